"""`drdc plan`: Snakemake's jobs, measured or counted hours, and one sentence for bad input."""

from __future__ import annotations

import dataclasses
import os
import subprocess
import sys
from collections import Counter
from pathlib import Path

import pytest
import torch
import yaml
from running import ROOT, TINY

from drdc.cli import main
from drdc.experiment.experiment import Experiment, load_experiment
from drdc.experiment.points import points
from drdc.planning.hardware import GPUS, LAUNCH_SECONDS, Efficiency
from drdc.planning.image_counts import ImageCounts
from drdc.planning.machines import Elsewhere, Estimate, Here
from drdc.planning.memory import MARGIN, fitting
from drdc.planning.operations import KEPT_BYTES, Operation, Work, training_work
from drdc.planning.timing import (
    Timed,
    Training,
    base_map_seconds,
    base_map_work,
    base_training,
    call_work,
    diffusion_training,
)
from drdc.runtime.errors import UserError
from drdc.tools import new_experiment, plan

DEMO = ROOT / "config/config.yaml"


@dataclasses.dataclass(frozen=True)
class Made:
    """A machine whose speeds are made up: a step 1 s, a U-Net call 10 ms, base heatmaps 5 ms, else 1 ms."""

    title = "a made machine"
    on_gpu = False
    workers = 4
    memory = 4e8
    precision = "fp32"
    start = 2.0
    scoring_start = 0.5
    training_threads = 2

    def step(self, _: object) -> Estimate:
        return Estimate(1.0, "made")

    def call(self) -> Estimate:
        return Estimate(0.01, "made")

    def feature(self) -> Estimate:
        return Estimate(0.001, "made")

    def base_maps(self, _: int) -> Estimate:
        return Estimate(0.005, "made")

    phases = heatmap = lambda self, _: Estimate(0.001, "made")
    scoring = feature


@pytest.fixture(scope="module")
def demo() -> Experiment:
    return load_experiment(DEMO)


def test_jobs_are_those_of_snakemake_and_hours_follow_from_steps_and_calls(demo: Experiment) -> None:
    counted = plan.planned_jobs(DEMO)
    images = ImageCounts.of(demo)
    assert (images.train, images.held_out, images.test) == (260, 28, 128)
    rows = list(plan.planned_rows([plan.Run(demo, images)], counted, Made()))
    for stage in ("train", "predict", "score"):
        assert sum(row.jobs for row in rows if row.stage == stage) == counted[stage]
    assert sum(row.jobs for row in rows) == sum(counted.values())
    by_name = {row.what: row for row in rows}
    base = by_name["base"].each.seconds
    assert base == pytest.approx(2 + 1625 + 25 * 28 / 4 / 3), "steps, and a third of one for held-out images"
    assert by_name["full"].each.seconds == pytest.approx(2 + 156 / 4 * 0.085), "of one of 4 categories"
    assert by_name["disjoint_sets=3"].each.seconds == pytest.approx(2 + 156 * 0.125)
    assert (
        by_name["full"].each.how
        == "39 images of 85 ms; 8 U-Net calls of 10 ms and base heatmaps of 5 ms; made"
    )
    assert plan.total(rows, Made()).endswith("on 4 cores")


def test_of_a_study_all_experiments_are_planned_and_everything_is_measured_once(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """With 1 and 2 of 2 categories: two models and one."""
    monkeypatch.chdir(tmp_path)
    study = {"study": {"over": "categories", "values": [1, 2]}, "methods": {"simplenet": {"epochs": 2}}}
    file = tmp_path / "study.yaml"
    file.write_text(yaml.safe_dump(yaml.safe_load(TINY.read_text()) | {"evaluation": {}} | study))
    studied = [one.experiment for one in points(load_experiment(file))]
    counted = Counter(plan.planned_jobs(file)) + plan.study_jobs(studied)
    assert counted["point"] == 3
    asked = Counter[str]()

    class Counting(Made):
        def __getattribute__(self, name: str) -> object:
            asked.update([name])
            return super().__getattribute__(name)

    runs = [plan.Run(one, ImageCounts.of(one)) for one in studied]
    rows = list(plan.planned_rows(runs, counted, Counting()))
    assert sum(row.jobs for row in rows) == sum(counted.values())
    by_name = {(row.stage, row.what): row for row in rows}
    assert [by_name["train", name].jobs for name in ("base", "diffusion", "simplenet")] == [3, 3, 3]
    assert by_name["predict", "full"].jobs == 1 + 1 + 2, "categories"
    starts, steps, held_out = 3 * 2, 2 + 2 + 4, 2 * (1 + 1 + 2) / 8 / 3
    assert by_name["train", "diffusion"].seconds == pytest.approx(starts + steps + held_out)
    assert [asked[name] for name in ("step", "call", "base_maps", "feature", "scoring")] == [2, 1, 1, 1, 1]
    lines = list(plan.report("tiny", runs, counted, Made()))
    assert lines[0] == "tiny, a study of 3 experiments, on a made machine"
    assert [line.split(" ")[0] for line in lines[1:4]] == ["7", "14", ""]
    disk = sum(plan.disk(run) for run in runs)
    assert f"disk: {disk / 1e9:.3g} GB" in "\n".join(lines)


def test_each_row_is_told_as_soon_as_it_is_measured(
    demo: Experiment, capsys: pytest.CaptureFixture[str]
) -> None:
    quick = demo.model_copy(update={"methods": {}})
    list(plan.report("demo", [plan.Run(quick, ImageCounts.of(quick))], {"prepare": 1}, Made()))
    told = capsys.readouterr().err.splitlines()
    assert told[0] == "drdc: features tf_efficientnet_lite0: 2.4 s each"
    assert [line.split(":")[1] for line in told[1:4]] == [
        " train base",
        " train diffusion",
        " train unconditional",
    ]


def test_what_cannot_be_estimated_says_so_and_is_not_in_the_sum() -> None:
    known = plan.Row("train", "a", 2, Estimate(30.0, "measured"))
    unknown = plan.Row("train", "b", 3, Estimate(None, "it is from elsewhere"))
    head, first, second = plan.table([known, unknown])
    assert head.split() == ["stage", "of", "jobs", "each", "all", "how"]
    assert first.split()[2:] == ["2", "30", "s", "60", "s", "measured"]
    assert (
        second.endswith("-  -  not estimated: it is from elsewhere") or "not estimated: it is from" in second
    )
    assert plan.total([known, unknown], Made()) == "sum: 5 jobs, 60 s of one core, at least 15 s on 4 cores"


def test_a_job_with_several_threads_holds_as_many_cores() -> None:
    row = plan.Row.of(
        "train", "a", [(2, Estimate(30.0, "measured", threads=3)), (2, Estimate(10.0, "measured", 3))]
    )
    assert plan.total([row], Made()) == "sum: 4 jobs, 4 min of one core, at least 60 s on 4 cores"


def test_each_step_is_timed_with_the_threads_of_its_job(
    demo: Experiment, monkeypatch: pytest.MonkeyPatch
) -> None:
    used: list[int] = []

    def noted(*_: object) -> Timed:
        used.append(torch.get_num_threads())
        return Timed(1.0, 8)

    monkeypatch.setattr(os, "cpu_count", lambda: 16)
    monkeypatch.setattr(Training, "timed", noted)
    here, before = Here(demo), torch.get_num_threads()
    assert here.training_threads == 3, "five trainings"
    assert here.step(plan.training_of(demo, "base")).threads == 3
    new_experiment._measured(None, demo, demo)
    assert used == [3, 3, 3], "five trainings there, too"
    assert torch.get_num_threads() == before


def test_the_same_images_are_found_in_a_folder_and_by_published_numbers(demo: Experiment) -> None:
    paper = load_experiment(ROOT / "config/mvtec.yaml")
    images = ImageCounts.of(paper)
    assert (images.train + images.held_out, images.test, images.source) == (3629, 1725, "published")
    for name, category in (("mvtec", "screws"), ("realiad", "mint")):
        unknown = paper.dataset.model_copy(update={"name": name, "categories": [category]})
        with pytest.raises(UserError, match=f"the images of '{category}' are not known"):
            ImageCounts.of(paper.model_copy(update={"dataset": unknown}))


def test_disk_is_that_of_a_finished_run(finished: Path) -> None:
    tiny = load_experiment(TINY)
    arrays = [path for path in (finished / "results/tiny").rglob("*.npy") if "state" not in path.parts]
    size = sum(path.stat().st_size for path in arrays)
    assert plan.disk(plan.Run(tiny, ImageCounts.of(tiny))) == pytest.approx(size, rel=0.02)


def test_a_kernel_is_bound_by_arithmetic_by_memory_or_by_the_host() -> None:
    gpu = GPUS["a100"]
    all_of_it = Efficiency(1.0, 1.0)
    large = Work((Operation(312 * 10**12, 8, True),), 0)
    assert gpu.seconds(large, all_of_it) == pytest.approx(1)
    assert gpu.seconds(large, Efficiency(0.5, 1.0)) == pytest.approx(2)
    moved = Work((Operation(0, 2040 * 10**9, False),), 0)
    assert gpu.seconds(moved, all_of_it) == pytest.approx(1)
    assert gpu.seconds(moved, all_of_it, compiled=True) == pytest.approx(1 / 3)
    tiny = Work((Operation(1, 1, False),) * 1000, 0)
    assert gpu.seconds(tiny, all_of_it) == pytest.approx(1000 * LAUNCH_SECONDS)
    assert GPUS["rtx2080ti"].seconds(large, all_of_it) > 312 / 13.5, "it has no bf16"


def test_a_linear_layer_is_counted_as_by_hand() -> None:
    import torch

    work = training_work(lambda: torch.nn.Linear(64, 32, bias=False), lambda: [torch.empty(8, 64)])
    assert work.flops == 2 * (2 * 8 * 64 * 32), "forward, and the gradient of the weights"
    weights = 4 * 64 * 32
    assert work.memory >= weights + KEPT_BYTES * 64 * 32 + 4 * 8 * (64 + 32)


@pytest.mark.long
def test_the_part_of_a_batch_that_fits_is_a_divisor_and_grows_with_the_memory(demo: Experiment) -> None:
    """In float32: in bf16, which some processors have, twice as much fits."""
    single = {"diffusion": demo.diffusion.model_copy(update={"precision": "fp32"})}
    demo = demo.model_copy(update=single)
    training = diffusion_training(demo)
    none, some, all_of_it = (fitting(training, memory) for memory in (1e7, 3e8, 1e9))
    assert none == 0 < some < all_of_it == training.settings.batch_size == 8
    assert some in (1, 2, 4)
    assert "set diffusion.accumulation: " in plan.memory(demo, Made(), "diffusion")
    assert plan.memory(demo, Made(), "base").endswith("of 0.4")


MEASURED = """
import re, sys
from pathlib import Path
from drdc.experiment.experiment import load_experiment
from drdc.planning.timing import diffusion_training
def peak():
    return 1024 * int(re.search(r"VmHWM:\\s+(\\d+)", Path("/proc/self/status").read_text())[1])
training = diffusion_training(load_experiment(sys.argv[1]))
before = peak()
training._seconds(8, 1)
print(peak() - before)
"""


def test_a_real_step_needs_about_the_memory_that_is_counted(demo: Experiment) -> None:
    """On a CPU the workspaces of the convolutions come on top."""
    command = [sys.executable, "-c", MEASURED, str(DEMO)]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    counted = diffusion_training(demo).work(8, "fp32").memory
    assert 0.6 < int(done.stdout) / counted < 1.6


def test_another_gpu_is_counted_and_what_is_assumed_is_said(demo: Experiment) -> None:
    machine = Elsewhere(demo, GPUS["h100"], Efficiency())
    base, diffusion = (machine.step(t) for t in (base_training(demo), diffusion_training(demo)))
    assert base.seconds
    assert diffusion.seconds
    assert diffusion.how.startswith("counted: 0.03")
    assert "50% of 989 TFLOP/s" in machine.assumptions
    half = Elsewhere(demo, GPUS["h100"], Efficiency(0.001, 0.001)).step(diffusion_training(demo)).seconds
    assert half
    assert half > diffusion.seconds


@pytest.mark.parametrize(("stages", "channels"), [(None, 192), ([3], 112)])
def test_base_heatmaps_are_counted_with_their_memory_bank(
    demo: Experiment, stages: list[int] | None, channels: int
) -> None:
    """Each of 14 × 14 positions is compared with each feature of the bank, in the channels that it has."""
    changes = {"memory": 9000, "memory_stages": stages}
    with_bank = demo.model_copy(update={"base": demo.base.model_copy(update=changes)})
    without = base_map_work(demo, 10, "fp32").flops
    for train, rows in ((10, 1960), (1000, 9000)):
        product = 2 * demo.sampling.batch_size * 196 * rows * channels
        assert base_map_work(with_bank, train, "fp32").flops - without == product
    assert base_map_seconds(with_bank, 10) > 0


@pytest.mark.parametrize(
    ("options", "sentence"),
    [
        (["--config", "nowhere.yaml"], "nowhere.yaml: cannot be read"),
        (["--efficiency", "0.5", "0.8"], "--efficiency: is an assumption about --gpu; name one"),
        (["--gpu", "h100", "--efficiency", "2", "0.8"], "give two shares above 0, at most 1"),
    ],
)
def test_bad_input_is_one_sentence(
    options: list[str], sentence: str, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    (tmp_path / "wrong.yaml").write_text(yaml.safe_dump({"experiment": "x"}))
    assert main(["plan", *options]) == 2
    assert sentence in capsys.readouterr().err


@pytest.mark.long
@pytest.mark.parametrize(("file", "gpu"), [("80gb", "h100"), ("24gb", "rtx4090"), ("11gb", "rtx2080ti")])
def test_the_file_of_a_gpu_has_as_few_parts_as_its_memory_allows(file: str, gpu: str) -> None:
    """Of the paper's batch of 32; predictions fit too."""
    paper = yaml.safe_load((ROOT / "config/mvtec.yaml").read_text("utf-8"))
    layer = yaml.safe_load((ROOT / f"config/gpu/{file}.yaml").read_text("utf-8"))
    experiment = load_experiment({**paper, **{key: paper[key] | layer[key] for key in layer}})
    machine = Elsewhere(experiment, GPUS[gpu], Efficiency())
    training = diffusion_training(experiment)
    assert training.settings.batch_size == 32
    assert 32 // training.settings.accumulation == fitting(training, machine.memory, machine.precision)
    assert call_work(experiment, machine.precision).memory <= (1 - MARGIN) * machine.memory
