"""A `drdc` and a `snakemake` that start at once, for tests that run many of their commands.

A command's process is forked from one that has imported torch and all stages already, and calls the same
`main` with the same arguments, environment, folder and streams. Tests that kill jobs, change the code or look
at the start of a command use the real ones.
"""

from __future__ import annotations

import atexit
import json
import os
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import traceback
from functools import cache
from importlib import import_module
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parents[1]
#: Each command with the module of its `main`.
PROGRAMS = {"drdc": "drdc.cli", "snakemake": "snakemake.cli"}

_CLIENT = """#!{python} -IS
import json, os, signal, socket, sys
server = socket.socket(socket.AF_UNIX)
server.connect({address!r})
socket.send_fds(server, [b"x"], [0, 1, 2])
asked = json.dumps([[os.path.basename(sys.argv[0]), *sys.argv[1:]], os.getcwd(), dict(os.environ)]).encode()
server.sendall(len(asked).to_bytes(4, "big") + asked)
child = int.from_bytes(server.recv(4), "big")
for number in (signal.SIGINT, signal.SIGTERM):
    signal.signal(number, lambda number, _: os.kill(child, number))
code = int.from_bytes(server.recv(4), "big")
if code >= 256:
    signal.signal(code - 256, signal.SIG_DFL)
    os.kill(os.getpid(), code - 256)
sys.exit(code)
"""


@cache
def folder() -> Path:
    """A folder for the front of PATH with both commands; their server ends with this process."""
    place = Path(tempfile.mkdtemp(prefix="drdc-forking-"))
    address = str(place / "socket")
    clients = place / "bin"
    clients.mkdir()
    for name in PROGRAMS:
        (clients / name).write_text(_CLIENT.format(python=sys.executable, address=address))
        (clients / name).chmod(0o755)
    environment = os.environ | {"OMP_NUM_THREADS": "1", "CUDA_VISIBLE_DEVICES": ""}
    command = [sys.executable, __file__, address]
    server = subprocess.Popen(
        command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, env=environment, cwd=ROOT
    )
    assert server.stdout is not None
    assert server.stdout.readline() == b"ready\n"
    _KEPT.append(server)  # its standard input stays open as long as this process lives
    return clients


_KEPT: list[Any] = []


def _serve(address: str) -> None:
    for name in ("diffusers", "timm", "torchvision", *PROGRAMS.values(), "drdc.reporting.registry"):
        import_module(name)
    for path in sorted((ROOT / "drdc/stages").glob("[!_]*.py")):
        import_module(f"drdc.stages.{path.stem}")
    listener = socket.socket(socket.AF_UNIX)
    listener.bind(address)
    listener.listen(64)
    signal.signal(signal.SIGCHLD, signal.SIG_DFL)
    sys.stdout.write("ready\n")
    sys.stdout.flush()
    if os.fork() == 0:  # ends the server when the tests end
        sys.stdin.buffer.read()
        os.kill(os.getppid(), signal.SIGKILL)
        shutil.rmtree(Path(address).parent, ignore_errors=True)
        os._exit(0)
    while True:
        connection, _ = listener.accept()
        if os.fork() == 0:
            listener.close()
            _watch(connection)
        connection.close()
        _reap()


def _reap() -> None:
    try:
        while os.waitpid(-1, os.WNOHANG)[0]:
            pass
    except ChildProcessError:
        return


def _watch(connection: socket.socket) -> None:
    """In a process of its own: start the command, wait for it and tell how it ended."""
    _, streams, _, _ = socket.recv_fds(connection, 1, 3)
    length = int.from_bytes(connection.recv(4), "big")
    asked = b""
    while len(asked) < length:
        asked += connection.recv(length - len(asked))
    arguments, where, environment = json.loads(asked)
    child = os.fork()
    if child == 0:
        connection.close()
        _run(arguments, where, environment, streams)
    connection.sendall(child.to_bytes(4, "big"))
    _, status = os.waitpid(child, 0)
    code = os.waitstatus_to_exitcode(status)
    connection.sendall((code if code >= 0 else 256 - code).to_bytes(4, "big"))
    os._exit(0)


def _run(arguments: list[str], where: str, environment: dict[str, str], streams: list[int]) -> None:
    for number, stream in enumerate(streams):
        os.dup2(stream, number)
    sys.stdin, sys.stdout, sys.stderr = (
        os.fdopen(number, mode, closefd=False) for number, mode in enumerate(("r", "w", "w"))
    )
    os.chdir(where)
    os.environ.clear()
    os.environ.update(environment)
    added = [path for path in environment.get("PYTHONPATH", "").split(os.pathsep) if path]
    sys.path[:0] = [path for path in added if path not in sys.path]
    sys.argv = arguments
    signal.signal(signal.SIGINT, signal.default_int_handler)
    code = 1
    try:
        code = import_module(PROGRAMS[arguments[0]]).main(arguments[1:]) or 0
    except SystemExit as end:
        code = end.code if isinstance(end.code, int) else int(end.code is not None)
        if isinstance(end.code, str):
            print(end.code, file=sys.stderr)
    except BaseException:
        traceback.print_exc()
    finally:
        atexit._run_exitfuncs()
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(code)


if __name__ == "__main__":
    _serve(sys.argv[1])
