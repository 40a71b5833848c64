"""One GPU for one job: claims of many processes at once, on GPUs that only exist as names."""

from __future__ import annotations

import os
import platform
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace

import pytest

from drdc.runtime import devices
from drdc.runtime.errors import UserError
from drdc.runtime.locks import lock, open_plain

ROOT = str(Path(devices.__file__).parents[2])
# Claims, notes the beginning, works some seconds or until its input ends, notes the end; the clock is the
# machine's, so all jobs share it.
JOB = """
import os, sys, time
from drdc.runtime.devices import claim_gpus
ids = claim_gpus(int(sys.argv[1]))
assert os.environ["CUDA_VISIBLE_DEVICES"] == ",".join(ids), os.environ["CUDA_VISIBLE_DEVICES"]
begin = time.monotonic()
print(",".join(ids), flush=True)
time.sleep(float(sys.argv[2])) if len(sys.argv) > 2 else sys.stdin.read()
print(begin, time.monotonic(), flush=True)
"""


@pytest.fixture
def environment(tmp_path: Path) -> dict[str, str]:
    clean = {key: value for key, value in os.environ.items() if not key.startswith(("SLURM_", "CUDA_"))}
    return clean | {
        "TMPDIR": str(tmp_path),
        "CUDA_VISIBLE_DEVICES": "GPU-a,GPU-b,GPU-c,MIG-d/0/1",
        "PYTHONPATH": ROOT,
    }


def start(environment: dict[str, str], gpus: int, seconds: float | None = None) -> subprocess.Popen[str]:
    """A job that holds its GPUs for some seconds, or until `communicate` is called."""
    command = [sys.executable, "-c", JOB, str(gpus), *([] if seconds is None else [str(seconds)])]
    return subprocess.Popen(
        command, env=environment, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    )


def claimed(job: subprocess.Popen[str]) -> str:
    """Its GPUs, as soon as it has them."""
    assert job.stdout is not None
    return job.stdout.readline().strip()


def wait_until(condition: Callable[[], bool]) -> None:
    deadline = time.monotonic() + 60
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.05)


def results(jobs: list[subprocess.Popen[str]]) -> list[tuple[set[str], float, float]]:
    """(ids, begin, end) of each job."""
    rows = []
    for job in jobs:
        out, _ = job.communicate(timeout=60)
        assert job.returncode == 0
        ids, times = out.splitlines()
        begin, end = map(float, times.split())
        rows.append((set(ids.split(",")), begin, end))
    return rows


def assert_never_shared(rows: list[tuple[set[str], float, float]]) -> None:
    for i, (ids, begin, end) in enumerate(rows):
        for other_ids, other_begin, other_end in rows[i + 1 :]:
            if begin < other_end and other_begin < end:
                assert not ids & other_ids


def test_eight_jobs_on_four_gpus_never_share_one(environment: dict[str, str]) -> None:
    rows = results([start(environment, 1, 0.6) for _ in range(8)])
    assert all(len(ids) == 1 for ids, _, _ in rows)
    assert set.union(*(ids for ids, _, _ in rows)) <= set(environment["CUDA_VISIBLE_DEVICES"].split(","))
    assert_never_shared(rows)


def test_jobs_of_one_and_two_gpus_mix(environment: dict[str, str]) -> None:
    wanted = [2, 1, 2, 1, 1, 2]
    rows = results([start(environment, gpus, 0.4) for gpus in wanted])
    assert [len(ids) for ids, _, _ in rows] == wanted
    assert_never_shared(rows)


def test_a_killed_job_frees_its_gpus_and_leaks_none(environment: dict[str, str]) -> None:
    environment = environment | {"CUDA_VISIBLE_DEVICES": "0,1"}
    for _ in range(5):
        holder, waiting = start(environment, 2), None
        assert claimed(holder) == "0,1"
        waiting = start(environment, 2)
        wait_until(lambda: queued(environment))
        assert waiting.poll() is None
        holder.send_signal(signal.SIGKILL)
        holder.communicate()
        assert claimed(waiting) == "0,1"
        waiting.communicate()


def queued(environment: dict[str, str]) -> bool:
    """Whether a job waits for GPUs."""
    for path in Path(environment["TMPDIR"]).glob("drdc-gpus-*/queue-*.lock"):
        handle = open_plain(path)
        free = lock(handle)
        os.close(handle)
        if not free:
            return True
    return False


def test_a_job_of_two_gpus_is_not_passed_by_jobs_of_one(environment: dict[str, str]) -> None:
    environment = environment | {"CUDA_VISIBLE_DEVICES": "0,1"}
    holder = start(environment, 1)
    assert claimed(holder) == "0"
    two = start(environment, 2)
    wait_until(lambda: queued(environment))
    ones = [start(environment, 1, 0) for _ in range(3)]  # GPU 1 is free, but it is their turn after the two
    holder.communicate()
    assert claimed(two) == "0,1"
    two_end = float(two.communicate()[0].split()[1])
    assert all(begin >= two_end for _, begin, _ in results(ones))


def test_a_job_that_dies_in_the_queue_does_not_stop_it(environment: dict[str, str]) -> None:
    environment = environment | {"CUDA_VISIBLE_DEVICES": "0"}
    holder = start(environment, 1)
    assert claimed(holder) == "0"
    first = start(environment, 1)
    wait_until(lambda: queued(environment))
    second = start(environment, 1)
    first.kill()
    first.communicate()
    holder.communicate()
    assert claimed(second) == "0"
    second.communicate()


def test_gpus_that_the_user_hides_are_not_used(environment: dict[str, str]) -> None:
    """Two workflows with disjoint GPUs do not wait for each other."""
    pairs = [start(environment | {"CUDA_VISIBLE_DEVICES": ids}, 2) for ids in ("2,0", "3,1")]
    assert [claimed(job) for job in pairs] == ["2,0", "3,1"]
    for job in pairs:
        job.communicate()


@pytest.mark.parametrize(("visible", "count"), [("0,1", 3), ("7,7", 2), ("0,-1,1", 2), ("GPU-a", 2)])
def test_fewer_gpus_than_asked_for_is_one_sentence(
    environment: dict[str, str], visible: str, count: int
) -> None:
    """The command itself: it stops before it computes with fewer."""
    environment = environment | {"CUDA_VISIBLE_DEVICES": visible, "COLUMNS": "80"}
    command = [sys.executable, "-m", "drdc", "features", "--gpu", str(count)]
    for more in ({}, {"SLURM_JOB_ID": "17"}):
        done = subprocess.run(
            command, env=environment | more, capture_output=True, text=True, check=False, cwd=ROOT
        )
        assert done.returncode == 2
        assert f"{count} GPUs are requested, but only" in done.stderr
        assert "Traceback" not in done.stderr


def test_a_slurm_job_has_its_gpus_to_itself(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "2,3")
    monkeypatch.setenv("SLURM_JOB_ID", "17")
    assert devices.claim_gpus(2) == ["2", "3"]
    assert os.environ["CUDA_VISIBLE_DEVICES"] == "2,3"
    assert list(tmp_path.iterdir()) == []
    with pytest.raises(UserError, match="3 GPUs are requested, but only 2"):
        devices.claim_gpus(3)


def test_jobs_inside_one_slurm_job_share_its_gpus_out(environment: dict[str, str]) -> None:
    """`snakemake --cores all` in an interactive allocation; GPU 0 of another allocation is another GPU."""
    environment = environment | {"CUDA_VISIBLE_DEVICES": "0,1"}
    inside = [start(environment | {"SLURM_JOB_ID": "17"}, 1) for _ in range(2)]
    assert {claimed(job) for job in inside} == {"0", "1"}
    beside = start(environment | {"SLURM_JOB_ID": "18"}, 1)
    assert claimed(beside) == "0"
    for job in (*inside, beside):
        job.communicate()


@pytest.mark.parametrize("visible", ["", "-1", "NoDevFiles", " , "])
def test_without_gpus_there_is_nothing_to_claim(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, visible: str
) -> None:
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", visible)
    monkeypatch.delenv("SLURM_JOB_ID", raising=False)
    assert devices.claim_gpus(1) == []
    assert os.environ["CUDA_VISIBLE_DEVICES"] == visible
    assert list(tmp_path.iterdir()) == []


def test_gpus_are_counted_by_the_driver_where_none_are_named(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)
    tool = tmp_path / "nvidia-smi"
    tool.write_text("#!/bin/sh\necho 'GPU 0: H (UUID: a)'\necho '  MIG 1g (UUID: c)'\necho 'GPU 1: H'\n")
    tool.chmod(0o755)
    monkeypatch.setenv("PATH", str(tmp_path), prepend=os.pathsep)
    assert devices.visible_gpus() == ["0", "1"]
    tool.write_text("#!/bin/sh\nexit 9\n")
    assert devices.visible_gpus() == []
    tool.unlink()
    monkeypatch.setenv("PATH", str(tmp_path))
    assert devices.visible_gpus() == []


CARDS = """\
GPU 0: NVIDIA H100 80GB HBM3 (UUID: GPU-8932f937-d72c)
GPU 1: NVIDIA H100 80GB HBM3 (UUID: GPU-00aa)
  MIG 1g.10gb     Device  0: (UUID: MIG-77aa)
  MIG 1g.10gb     Device  1: (UUID: MIG-77bb)
GPU 2: NVIDIA H100 80GB HBM3 (UUID: GPU-8932ffff-0000)
"""


@pytest.fixture
def cards(environment: dict[str, str], tmp_path: Path) -> dict[str, str]:
    """An environment with the three GPUs of CARDS, one of them cut up."""
    tool = tmp_path / "tools/nvidia-smi"
    tool.parent.mkdir()
    tool.write_text(f"#!/bin/sh\ncat <<END\n{CARDS}END\n")
    tool.chmod(0o755)
    return environment | {"PATH": f"{tool.parent}{os.pathsep}{environment['PATH']}"}


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ("0", "GPU-8932f937-d72c"),
        ("GPU-8932f937-d72c", "0"),
        ("00", "gpu-8932F937-D72C"),
        ("2", "GPU-8932ff"),
        ("1", "MIG-77aa"),
        ("GPU-00aa", "MIG-77aa"),
    ],
)
def test_a_gpu_is_the_same_by_each_of_its_names(cards: dict[str, str], one: str, other: str) -> None:
    """The second waits until the first has ended."""
    first = start(cards | {"CUDA_VISIBLE_DEVICES": one}, 1)
    assert claimed(first) == one
    second = start(cards | {"CUDA_VISIBLE_DEVICES": other}, 1, 0)
    wait_until(lambda: queued(cards))
    assert second.poll() is None
    first.communicate()
    assert results([second])[0][0] == {other}


@pytest.mark.parametrize(
    ("given", "visible"),
    [
        ("0,GPU-8932f937-d72c,2", ["0", "2"]),
        ("GPU-00aa,1,MIG-77aa,MIG-77bb", ["GPU-00aa", "MIG-77bb"]),
        ("GPU-8932,0,2", ["GPU-8932", "0", "2"]),
        ("GPU-8932ff,2,GPU-zz", ["GPU-8932ff", "GPU-zz"]),
        ("1,2,-1,0", ["1", "2"]),
    ],
)
def test_a_gpu_that_is_named_twice_counts_once(
    monkeypatch: pytest.MonkeyPatch, cards: dict[str, str], given: str, visible: list[str]
) -> None:
    monkeypatch.setenv("PATH", cards["PATH"])
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", given)
    assert devices.visible_gpus() == visible


@pytest.mark.parametrize("name", ["gate", "queue", "../../up", "/", "GPU 1*?", "é" * 300, "con"])
def test_whatever_a_gpu_is_called_it_is_claimed(environment: dict[str, str], name: str) -> None:
    environment = environment | {"CUDA_VISIBLE_DEVICES": f"{name},gate,other"}
    (ids, *_), *_ = results([start(environment, 2, 0)])
    assert len(ids) == 2
    below = {path.parent for path in Path(environment["TMPDIR"]).rglob("*.lock")}
    assert len(below) == 1


@pytest.fixture
def locks(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Path:
    """Where the locks of this user and host would lie, not there yet."""
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "0,1")
    monkeypatch.delenv("SLURM_JOB_ID", raising=False)
    return tmp_path / f"drdc-gpus-{os.getuid()}-{platform.node()}"


@pytest.mark.parametrize("kind", ["file", "link", "dangling link", "another user", "locks are folders"])
def test_a_lock_folder_that_cannot_be_used_is_one_sentence(
    monkeypatch: pytest.MonkeyPatch, locks: Path, tmp_path: Path, kind: str
) -> None:
    elsewhere = tmp_path / "elsewhere"
    if kind == "file":
        locks.touch()
    elif kind == "another user":
        locks.mkdir()
        uid = os.getuid()
        monkeypatch.setattr("os.getuid", lambda: uid + 1)
        locks.rename(tmp_path / f"drdc-gpus-{uid + 1}-{platform.node()}")
    elif kind == "locks are folders":
        (locks / "gate.lock").mkdir(parents=True)
    else:
        if kind == "link":
            elsewhere.mkdir()
        locks.symlink_to(elsewhere)
    with pytest.raises(UserError, match=r"drdc-gpus-.*: the locks of the GPUs cannot be kept there .*TMPDIR"):
        devices.claim_gpus(1)
    assert not elsewhere.exists() or not list(elsewhere.iterdir())
    assert os.environ["CUDA_VISIBLE_DEVICES"] == "0,1"


def test_a_lock_that_leads_elsewhere_is_not_followed(locks: Path, tmp_path: Path) -> None:
    locks.mkdir()
    (locks / "gate.lock").symlink_to(tmp_path / "elsewhere")
    with pytest.raises(UserError, match=r"gate\.lock: is a link"):
        devices.claim_gpus(1)
    assert not (tmp_path / "elsewhere").exists()


def test_claiming_needs_no_heavy_import(environment: dict[str, str]) -> None:
    code = (
        "import sys, drdc.cli, drdc.runtime.devices; "
        "print({'torch', 'numpy', 'pandas', 'timm'} & set(sys.modules))"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], env=environment, capture_output=True, text=True, check=True
    )
    assert done.stdout.strip() == "set()"


def test_the_device_has_a_name() -> None:
    assert devices.device_name().strip()


def test_gpus_that_torch_cannot_use_are_asked_for_and_told_once(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """A training asks for its device at every batch."""
    asked: list[str] = []
    monkeypatch.setattr("torch.cuda.is_available", lambda: False)
    monkeypatch.setattr(devices, "visible_gpus", lambda: asked.append("again") or ["0"])
    devices._warn_of_unused_gpus.cache_clear()
    assert [devices.torch_device() for _ in range(3)] == ["cpu"] * 3
    assert len(asked) == 1
    assert caplog.text.count("torch can use none of the visible GPUs (0)") == 1
    devices._warn_of_unused_gpus.cache_clear()


def test_without_the_files_of_linux_a_computer_is_described_all_the_same(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """On macOS there is no /proc, and no `os.posix_fallocate`."""
    monkeypatch.setattr(Path, "read_text", gone)
    devices._cpu.cache_clear()
    devices.use_bf16.cache_clear()
    try:
        assert devices.device_name()
        assert not devices.use_bf16("auto", "cpu")
        assert devices.total_memory() > 2**28
    finally:
        devices._cpu.cache_clear()
        devices.use_bf16.cache_clear()


def gone(path: Path, *_: object) -> str:
    raise FileNotFoundError(2, "No such file or directory", str(path))


@pytest.mark.parametrize("compiler", [True, False])
def test_a_gpu_without_a_compiler_computes_uncompiled(
    compiler: bool, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    pretend_triton(monkeypatch, compiler)
    assert devices.compiles.__wrapped__("auto") is compiler
    assert ("Failed to find C compiler" in caplog.text) is not compiler


def test_compiling_that_is_asked_for_and_impossible_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    pretend_triton(monkeypatch, compiler=False)
    with pytest.raises(
        UserError, match=r"^compile: Triton cannot .*Failed to find C compiler.*; install gcc"
    ):
        devices.compiles.__wrapped__(True)
    assert devices.compiles.__wrapped__(False) is False


def pretend_triton(monkeypatch: pytest.MonkeyPatch, compiler: bool) -> None:
    """A GPU that Triton supports, on a machine with or without a C compiler."""

    class Active:
        @property
        def utils(self) -> object:
            if not compiler:
                raise RuntimeError("Failed to find C compiler.\nPlease specify via CC")
            return self

    monkeypatch.setattr(devices, "torch_device", lambda: "cuda")
    monkeypatch.setattr("torch.utils._triton.has_triton", lambda: True)
    runtime = SimpleNamespace(driver=SimpleNamespace(active=Active()))
    monkeypatch.setitem(sys.modules, "triton.runtime", runtime)
