"""How commands end: exit codes, closed pipes, full disks, other terminals, Ctrl-C from the first import."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from drdc.runtime.endings import exit_code
from drdc.runtime.errors import UserError


def ended_by(error: BaseException) -> int:
    def command() -> int:
        raise error

    return exit_code(command)


@pytest.mark.parametrize(
    ("error", "code", "said"),
    [
        (UserError("nut.png", "no image", ""), 2, "drdc: nut.png: no image\n"),
        (MemoryError(), 2, "drdc: out of memory"),
        (
            RuntimeError("CUDA out of memory. Tried to allocate 20 GiB\nSee"),
            2,
            "20 GiB); give the command more",
        ),
        (ZeroDivisionError("x"), 70, "Traceback"),
        (OSError(5, "Input/output error"), 70, "Traceback"),
        (RecursionError(), 70, "Traceback"),
        (KeyboardInterrupt(), 130, "drdc: interrupted"),
    ],
)
def test_no_failure_has_the_code_of_an_anomaly(
    error: BaseException, code: int, said: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert ended_by(error) == code
    shown = capsys.readouterr().err
    assert said in shown
    assert ("Traceback" in shown) == (code == 70)


def test_ctrl_c_that_a_module_in_c_turns_into_its_own_error(capsys: pytest.CaptureFixture[str]) -> None:
    error = ImportError("initialization failed")
    error.__cause__ = KeyboardInterrupt()
    assert ended_by(error) == 130
    assert "Traceback" not in capsys.readouterr().err


TALKS = """
import sys
from drdc.runtime.endings import exit_code, say, tell
def talk():
    for number in range(3_000):
        say(f"größe {number} \\u56fe")
        tell(f"größe {number}")
    return 0
sys.exit(exit_code(talk))
"""


def talk(redirection: str, encoding: str = "utf-8") -> tuple[int, str]:
    """Exit code and what is left to read of a program that writes much, behind a shell's redirection."""
    command = ["bash", "-c", f'set -o pipefail; "$0" -c "$1" {redirection}', sys.executable, TALKS]
    environment = {"PYTHONIOENCODING": encoding, "PYTHONPATH": str(Path(__file__).parents[2])}
    done = subprocess.run(
        command, capture_output=True, text=True, errors="replace", env=environment, check=False
    )
    return done.returncode, done.stdout + done.stderr


@pytest.mark.parametrize(
    ("redirection", "reason"),
    [
        ("2>/dev/null | head -1", ""),
        ("2>&1 >/dev/full | tail -1", "No space left on device"),
        ("2>/dev/full | head -1", ""),
        ("2>&1 | head -1", ""),
    ],
)
def test_output_that_cannot_be_written_ends_the_command(redirection: str, reason: str) -> None:
    code, said = talk(redirection)
    assert code == 2
    assert "Traceback" not in said
    assert "Exception" not in said
    assert reason in said


@pytest.mark.parametrize(
    "redirection", [">/dev/null 2>/dev/full", ">/dev/null 2>&-", ">&- 2>/dev/null", ">&- 2>&-"]
)
def test_messages_that_nobody_reads_stop_nothing(redirection: str) -> None:
    assert talk(redirection) == (0, "")


def test_a_closed_stream_gives_its_number_to_no_file(tmp_path: Path) -> None:
    code = (
        "import sys; from drdc.runtime.endings import exit_code, say, tell; say, tell\n"
        "def work():\n"
        "    with open(sys.argv[1], 'w') as file: say('spoken'); tell('told'); file.write('written')\n"
        "    return 0\n"
        "exit_code(work)"
    )
    shell = ["bash", "-c", '"$0" -c "$1" "$2" >&- 2>&- <&-', sys.executable, code, str(tmp_path / "file")]
    subprocess.run(shell, env={"PYTHONPATH": str(Path(__file__).parents[2])}, check=True)
    assert (tmp_path / "file").read_text() == "written"


@pytest.mark.parametrize(
    ("encoding", "line"),
    [("ascii", r"gr\xf6\xdfe 2999 \u56fe"), ("latin-1", r"2999 \u56fe"), ("utf-8", "图")],
)
def test_letters_that_a_terminal_has_not_are_escaped(encoding: str, line: str) -> None:
    code, said = talk("2>/dev/null | tail -1", encoding)
    assert code == 0
    assert line in said


@pytest.mark.parametrize("module", ["argparse", "yaml", "pydantic"])
def test_ctrl_c_while_the_program_is_imported(tmp_path: Path, module: str) -> None:
    """A module of that name stands for the moment at which the signal comes."""
    (tmp_path / f"{module}.py").write_text(
        "import os, signal, time\n"
        "signal.signal(signal.SIGINT, signal.default_int_handler)  # where the tests run in the background\n"
        "os.kill(os.getpid(), signal.SIGINT)\ntime.sleep(9)\n"
    )
    environment = {"PYTHONPATH": f"{tmp_path}:{Path(__file__).parents[2]}"}
    command = [sys.executable, "-m", "drdc", "check", "nowhere"]
    done = subprocess.run(command, capture_output=True, text=True, env=environment, check=False)
    assert done.returncode == 130
    assert done.stderr.startswith("drdc: interrupted; ")
    assert done.stderr.count("\n") == 1


@pytest.mark.parametrize("arguments", [["--help"], ["detect", "--help"], ["detect", "größe"]])
def test_help_goes_through_any_pipe(arguments: list[str]) -> None:
    command = ["bash", "-c", '"$0" -m drdc "$@" | true', sys.executable, *arguments]
    environment = {"PYTHONPATH": str(Path(__file__).parents[2]), "PYTHONIOENCODING": "ascii"}
    done = subprocess.run(command, capture_output=True, text=True, env=environment, check=False)
    assert "Traceback" not in done.stderr
    assert "Exception" not in done.stderr
