"""`about.html`: what it tells of the problems of the images."""

from __future__ import annotations

import re
from pathlib import Path

import pandas as pd
import pytest
from stamping import stamped

from drdc.data.manifest import COLUMNS
from drdc.data.problems import Problem, write_problems
from drdc.experiment.experiment import Experiment
from drdc.results.benchmarks import note_training
from drdc.results.layout import Layout
from drdc.results.scores import write_table
from drdc.stages.about import ORIGIN, about


@pytest.fixture
def layout(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Layout:
    monkeypatch.chdir(tmp_path)
    layout = Layout("own")
    layout.root.mkdir(parents=True)
    scores = {"variant": "full", "seed": 0} | dict.fromkeys(ORIGIN, "1")
    write_table(layout.collected("scores"), pd.DataFrame([scores]))
    row = ["cap/train/good/0.png", "cap", "train", 0, "good", "", 8, 8, 8, 8, "0" * 64, "0" * 64]
    write_table(layout.manifest, pd.DataFrame([row], columns=list(COLUMNS)))
    return layout


def whole(layout: Layout, *problems: Problem) -> str:
    write_problems(problems, ["mask-empty"], layout.problems)
    stamped(layout.problems)
    experiment = Experiment(experiment="own", dataset={"root": "data", "categories": ["cap"]}, seeds=[0])
    settings = {key: getattr(experiment, key) for key in Experiment.model_fields if key != "experiment"}
    about(layout, **settings)
    return layout.about.read_text(encoding="utf-8")


def page(layout: Layout, *problems: Problem) -> str:
    text = whole(layout, *problems)
    return text[text.index("Problems of the images") : text.index("Versions and hardware")]


def test_each_kind_of_problem_is_counted(layout: Layout) -> None:
    told = page(
        layout,
        Problem("no-masks", "cap", "", "has no masks", "-"),
        Problem("mask-empty", "nut", "nut/ground_truth/<b>/0.png", "is empty", "-"),
        Problem("mask-empty", "nut", "nut/ground_truth/<b>/1.png", "is empty", "-"),
    )
    rows = [line for line in told.splitlines() if line.startswith("<tr><td>")]
    assert rows == [
        "<tr><td>mask-empty</td><td>accepted</td><td>2</td><td>nut/ground_truth/&lt;b&gt;/0.png</td></tr>",
        "<tr><td>no-masks</td><td>warning</td><td>1</td><td>cap</td></tr>",
    ]


def test_run_times_are_those_of_the_experiments_own_jobs(layout: Layout) -> None:
    """Not of seeds, methods and variants that it had before; and of trainings, not of their last calls."""
    layout.benchmarks.mkdir()
    own = ["prepare", "train.seed0.base", "train.seed0.diffusion", "predict.seed0.full.cap"]
    others = ["train.seed1.base", "train.seed0.uniad", "predict.seed0.full.nut", "score.seed0.weight=0.5"]
    for job in (*own, *others, "export.uniad"):
        (layout.benchmarks / f"{job}.tsv").write_text("s\th:m:s\tmax_rss\n2.0\t0:00:02\t100.0\n")
    note_training(layout, 0, "diffusion", 3600.0)
    text = whole(layout)
    rows = text[text.index("Run times") : text.index("Settings")].split("<tr>")[2:]
    assert [re.findall("<td>(.*?)</td>", row) for row in rows] == [
        ["predict", "1", "2.0", "2.0", "100"],
        ["prepare", "1", "2.0", "2.0", "100"],
        ["train", "2", "3602.0", "3600.0", "100"],
    ]


def test_scores_of_test_images_that_are_gone_are_not_reported(layout: Layout) -> None:
    text = whole(layout)
    assert "no test images" in layout.front_page.read_text()
    for path in (layout.tables / "summary.html", layout.figures / "overview.png"):
        path.parent.mkdir(exist_ok=True)
        path.write_text("<p>98.7</p>")
    assert whole(layout) == text
    assert "no test images" in layout.front_page.read_text()


def test_no_problem_is_said_so(layout: Layout) -> None:
    assert "<p>None.</p>" in page(layout)
