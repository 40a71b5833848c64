"""One GPU for one job: claims of many processes at once, on GPUs that only exist as names."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from drdc import devices

ROOT = str(Path(devices.__file__).parents[1])
# Claims, notes the beginning, works, notes the end; the clock is the machine's, so all jobs share it.
JOB = """
import os, sys, time
from drdc.devices import claim_gpus
ids = claim_gpus(int(sys.argv[1]))
assert os.environ["CUDA_VISIBLE_DEVICES"] == ",".join(ids), os.environ["CUDA_VISIBLE_DEVICES"]
begin = time.monotonic()
print(",".join(ids), flush=True)
time.sleep(float(sys.argv[2]))
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


def start(environment: dict[str, str], gpus: int, seconds: float) -> subprocess.Popen[str]:
    command = [sys.executable, "-c", JOB, str(gpus), str(seconds)]
    return subprocess.Popen(command, env=environment, stdout=subprocess.PIPE, text=True)


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


def test_a_killed_job_frees_its_gpus(environment: dict[str, str]) -> None:
    environment = environment | {"CUDA_VISIBLE_DEVICES": "0,1"}
    holder = start(environment, 2, 60)
    assert holder.stdout is not None
    assert holder.stdout.readline() == "0,1\n"
    waiting = start(environment, 1, 0)
    time.sleep(1.5)
    assert waiting.poll() is None  # it waits
    holder.send_signal(signal.SIGKILL)
    holder.communicate()
    killed = time.monotonic()
    ((ids, begin, _),) = results([waiting])
    assert ids == {"0"}
    assert begin > killed - 0.5


def test_more_gpus_than_there_are(environment: dict[str, str]) -> None:
    environment = environment | {"CUDA_VISIBLE_DEVICES": "0,1"}
    assert results([start(environment, 3, 0)])[0][0] == {"0", "1"}


def test_under_a_scheduler_nothing_is_changed(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("TMPDIR", str(tmp_path))
    monkeypatch.setattr("tempfile.tempdir", None)
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "2,3")
    monkeypatch.setenv("SLURM_JOB_ID", "17")
    assert devices.claim_gpus(1) == ["2", "3"]
    assert os.environ["CUDA_VISIBLE_DEVICES"] == "2,3"
    assert list(tmp_path.iterdir()) == []


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
    tool.write_text("#!/bin/sh\necho 'GPU 0: H (UUID: a)'\necho 'GPU 1: H (UUID: b)'\n")
    tool.chmod(0o755)
    monkeypatch.setenv("PATH", str(tmp_path), prepend=os.pathsep)
    assert devices.visible_gpus() == ["0", "1"]
    tool.write_text("#!/bin/sh\nexit 9\n")
    assert devices.visible_gpus() == []
    tool.unlink()
    monkeypatch.setenv("PATH", str(tmp_path))
    assert devices.visible_gpus() == []


def test_claiming_needs_no_heavy_import(environment: dict[str, str]) -> None:
    code = (
        "import sys, drdc.cli, drdc.devices; print({'torch', 'numpy', 'pandas', 'timm'} & set(sys.modules))"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], env=environment, capture_output=True, text=True, check=True
    )
    assert done.stdout.strip() == "set()"


def test_the_device_has_a_name() -> None:
    assert devices.device_name().strip()
