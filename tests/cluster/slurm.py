"""A real SLURM of one node on this machine, with four fake GPUs, for as long as a test needs it.

Needs root and Debian's packages slurmctld, slurmd, slurm-client and munge; no accounting database, no control
groups and no network. The node claims more cores and memory than there are: nothing is bound or measured.
"""

from __future__ import annotations

import os
import platform
import secrets
import shutil
import signal
import stat
import subprocess
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

GPUS = 4
PROGRAMS = ("munged", "slurmctld", "slurmd", "sbatch", "squeue", "scancel")
#: Always the same folder, so that what a killed run left behind is found and stopped.
FOLDER = Path("/tmp/drdc-slurm")
#: Where SLURM's commands look by themselves: the executor plugin does not pass SLURM_CONF on.
SYSTEM = Path("/etc/slurm")
CONFIGURATION = """\
ClusterName=drdc
SlurmctldHost={node}(127.0.0.1)
SlurmctldPort=27817
SlurmdPort=27818
SlurmUser=root
SlurmdUser=root
AuthType=auth/munge
AuthInfo=socket={folder}/munge.socket
CredType=cred/munge
StateSaveLocation={folder}/state
SlurmdSpoolDir={folder}/spool
SlurmctldPidFile={folder}/slurmctld.pid
SlurmdPidFile={folder}/slurmd.pid
SlurmctldLogFile={folder}/slurmctld.log
SlurmdLogFile={folder}/slurmd.log
ProctrackType=proctrack/linuxproc
TaskPlugin=task/none
JobAcctGatherType=jobacct_gather/none
AccountingStorageType=accounting_storage/none
JobCompType=jobcomp/filetxt
JobCompLoc={folder}/finished.log
SelectType=select/cons_tres
SelectTypeParameters=CR_CPU_Memory
SlurmdParameters=config_overrides
GresTypes=gpu
ReturnToService=2
KillWait=2
MinJobAge=600
SchedulerParameters=batch_sched_delay=1,sched_min_interval=100000
NodeName={node} NodeAddr=127.0.0.1 CPUs=32 RealMemory=256000 Gres=gpu:{gpus} State=UNKNOWN
PartitionName=main Nodes={node} Default=YES MaxTime=INFINITE State=UP
"""
#: slurmd takes devices only; without a file for each GPU no job would get CUDA_VISIBLE_DEVICES.
DEVICES = "AutoDetect=off\nNodeName={node} Name=gpu File={folder}/gpu[0-{last}]\n"


def why_not() -> str | None:
    """Why no SLURM can be started here; None where it can."""
    path = f"{os.environ['PATH']}{os.pathsep}/usr/sbin"
    missing = [name for name in PROGRAMS if shutil.which(name, path=path) is None]
    if missing:
        return f"{', '.join(missing)}: not installed (Debian: slurmctld slurmd slurm-client munge)"
    if os.getuid() != 0:
        return "only root can start a SLURM with fake GPUs"
    own = [path for path in configuration_links() if path.exists() and not path.is_symlink()]
    return f"{own[0]} belongs to a real SLURM" if own else None


def configuration_links() -> list[Path]:
    return [SYSTEM / "slurm.conf", SYSTEM / "gres.conf"]


@contextmanager
def running() -> Iterator[None]:
    """SLURM's commands work inside; whatever happens, nothing of it is left afterwards."""
    stop()
    write_configuration()
    try:
        start("munged", "--force", f"--key-file={FOLDER}/munge.key", f"--socket={FOLDER}/munge.socket",
              f"--pid-file={FOLDER}/munged.pid", f"--log-file={FOLDER}/munged.log",
              f"--seed-file={FOLDER}/munge.seed")  # fmt: skip
        start("slurmctld", "-f", str(FOLDER / "slurm.conf"))
        start("slurmd", "-f", str(FOLDER / "slurm.conf"), "-N", node())
        wait_until(lambda: "idle" in output("sinfo", "-h", "-o", "%T"), 60, "the node did not come up")
        yield
    finally:
        stop()


def write_configuration() -> None:
    for name in ("state", "spool"):
        (FOLDER / name).mkdir(parents=True)
    FOLDER.chmod(0o755)
    key = FOLDER / "munge.key"
    key.write_bytes(secrets.token_bytes(128))
    key.chmod(0o400)
    for number in range(GPUS):
        os.mknod(FOLDER / f"gpu{number}", stat.S_IFCHR | 0o666, Path(os.devnull).stat().st_rdev)
    values = {"node": node(), "folder": FOLDER, "gpus": GPUS, "last": GPUS - 1}
    (FOLDER / "slurm.conf").write_text(CONFIGURATION.format(**values))
    (FOLDER / "gres.conf").write_text(DEVICES.format(**values))
    SYSTEM.mkdir(exist_ok=True)
    for link in configuration_links():
        link.symlink_to(FOLDER / link.name)


def start(*command: str) -> None:
    path = {"PATH": f"{os.environ['PATH']}{os.pathsep}/usr/sbin"}
    subprocess.run(command, check=True, env=os.environ | path)


def stop() -> None:
    """Ends the jobs and the three services of this module, also those of a run that was killed."""
    if is_running("slurmctld") and is_running("slurmd"):
        output("scancel", "--user", "root")
        with suppress(TimeoutError):
            wait_until(lambda: not output("squeue", "-h", "-t", "R,CG,PD"), 20, "jobs do not end")
    for name in ("slurmd", "slurmctld", "munged"):
        if (process := is_running(name)) is not None:
            os.kill(process, signal.SIGTERM)
            with suppress(TimeoutError):
                wait_until(lambda name=name: is_running(name) is None, 10, "")  # type: ignore[misc]
            if is_running(name) is not None:
                os.kill(process, signal.SIGKILL)
    for link in configuration_links():
        if link.is_symlink() and link.readlink().parent == FOLDER:
            link.unlink()
    shutil.rmtree(FOLDER, ignore_errors=True)


def is_running(name: str) -> int | None:
    """The id of a service's process, if it is alive and ours."""
    try:
        process = int((FOLDER / f"{name}.pid").read_text())
        return process if str(FOLDER).encode() in Path(f"/proc/{process}/cmdline").read_bytes() else None
    except (OSError, ValueError):
        return None


def output(*command: str) -> str:
    return subprocess.run(command, capture_output=True, text=True, check=False, timeout=30).stdout.strip()


def wait_until(condition: Callable[[], object], seconds: float, message: str) -> None:
    deadline = time.monotonic() + seconds
    while not condition():
        if time.monotonic() > deadline:
            raise TimeoutError(message)
        time.sleep(0.25)


def node() -> str:
    return platform.node().split(".")[0]


def finished_jobs() -> list[dict[str, str]]:
    """What SLURM recorded of each job that is over: JobId, Name, JobState, StartTime, EndTime, ..."""
    lines = (FOLDER / "finished.log").read_text().splitlines()
    return [dict(item.split("=", 1) for item in line.split() if "=" in item) for line in lines]
