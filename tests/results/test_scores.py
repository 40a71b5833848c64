"""Reading what scored runs left, and naming what failed."""

from __future__ import annotations

import os
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from stamping import stamped

from drdc.config.evaluation import Evaluation, Sweeps
from drdc.config.fusion import Fusion
from drdc.config.sampling import Sampling
from drdc.config.variants import CONTROLS, FULL, ORACLES, RANDOM, Variant, runs, variants
from drdc.results.layout import Layout
from drdc.results.scores import failed_before, read_runs, read_scored
from drdc.runtime.errors import UserError

LAYOUT = Layout("tiny")
EVALUATION = Evaluation(ablation=True, sweeps=Sweeps(weight=[0.5], steps=[5]))
EVERY = variants(Sampling(), Fusion(), EVALUATION)


@pytest.fixture(autouse=True)
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)


def write_scores(seed: int, variant: str = FULL, config_hash: str = "0a1b") -> None:
    methods = ["base", "diffusion", "drdc"] if variant == FULL else ["drdc"]
    rows = [
        {"experiment": "tiny", "method": m, "variant": variant, "seed": seed, "category": c, "metric": k}
        for m in methods
        for c in ("01", "nut")
        for k in ("image_auroc", "pixel_auroc")
    ]
    path = LAYOUT.scored(seed, variant)
    path.parent.mkdir(parents=True, exist_ok=True)
    pd.DataFrame(rows).assign(value=0.5, note="", config_hash=config_hash).to_csv(path, index=False)
    stamped(path)


def touch(path: Path) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.touch()


def test_all_runs_stand_one_below_the_other() -> None:
    for seed in (0, 1):
        write_scores(seed)
        write_scores(seed, "weight=0.5")
    scores = read_runs(LAYOUT, runs(EVERY, [0, 1], EVALUATION, ["weight=0.5"]))
    assert len(scores) == 2 * (12 + 4)
    assert set(scores["category"]) == {"01", "nut"}
    assert scores["value"].eq(0.5).all()


def test_a_run_that_failed_has_all_its_cells_and_names_the_log() -> None:
    write_scores(0)
    scores = read_runs(LAYOUT, runs(EVERY, [0, 1], EVALUATION, ["weight=0.5"]))
    failed = scores[scores["note"].str.startswith("failed; see results/tiny/logs/")]
    assert len(failed) == 12 + 2 * 4, "seed 1 of the method, both seeds of the variant"
    assert failed["value"].isna().all()
    assert set(failed[failed["variant"] == "weight=0.5"]["method"]) == {"drdc"}


def test_seeds_of_different_settings_are_refused() -> None:
    write_scores(0, config_hash="ffff")
    for seed in (1, 2):
        write_scores(seed)
    path = LAYOUT.scored(1, FULL, "curves")
    path.write_text("method,category,level,recall,precision,fpr\n")
    stamped(path)
    for read in (
        lambda: read_runs(LAYOUT, runs(EVERY, [0, 1, 2], EVALUATION, [])),
        lambda: read_scored(LAYOUT, [(FULL, 0), (FULL, 1), (FULL, 2)], "curves"),
    ):
        with pytest.raises(UserError) as caught:
            read()
        assert str(caught.value) == (
            "results of tiny: full was scored with other settings for seed 0 than for seed 1, 2; score the "
            "other seeds again: `drdc score full --seed K` or the same `snakemake` command"
        )


def test_each_variant_has_settings_of_its_own_and_a_failed_run_none() -> None:
    for seed in (0, 1):
        write_scores(seed)
    write_scores(0, "weight=0.5", config_hash="ffff")
    scores = read_runs(LAYOUT, runs(EVERY, [0, 1, 2], EVALUATION, ["weight=0.5"]))
    assert set(scores[scores["note"] == ""].groupby("variant")["config_hash"].nunique()) == {1}


def test_the_log_is_that_of_the_first_job_without_a_result() -> None:
    def named(variant: Variant) -> str:
        return failed_before(LAYOUT, variant.name, 0, ["cap", "nut"], variant).name

    assert named(EVERY[FULL]) == "train.seed0.base.log"
    touch(LAYOUT.model(0, "base"))
    assert named(EVERY["TTC"]) == "train.seed0.unconditional.log"
    touch(LAYOUT.model(0, "diffusion"))
    touch(LAYOUT.predictions(0, FULL, "cap"))
    assert named(EVERY[FULL]) == "predict.seed0.full.nut.log"
    assert named(EVERY["steps=5"]) == "predict.seed0.steps=5.all.log"
    touch(LAYOUT.predictions(0, FULL, "nut"))
    assert named(EVERY["weight=0.5"]) == "score.seed0.weight=0.5.log"
    assert failed_before(LAYOUT, "small", 0, ["cap"], None).name == "train.seed0.small.log"
    touch(LAYOUT.model(0, "small"))
    assert failed_before(LAYOUT, "small", 0, ["cap"], None).name == "predict.seed0.small.all.log"
    assert failed_before(LAYOUT, CONTROLS, 0, ["cap"], None).name == "score.seed0.controls.log"


def test_a_training_that_failed_is_named_although_an_earlier_model_is_there() -> None:
    for path in (LAYOUT.model(0, "small"), LAYOUT.predictions(0, "small", "all")):
        touch(path)
    job = "train.seed0.small"
    for path in (LAYOUT.log(job), LAYOUT.benchmarks / f"{job}.tsv"):
        touch(path)
    assert failed_before(LAYOUT, "small", 0, ["cap"], None).name == "score.seed0.small.log"
    os.utime(LAYOUT.benchmarks / f"{job}.tsv", (0, 0))  # since then it has begun again
    assert failed_before(LAYOUT, "small", 0, ["cap"], None).name == f"{job}.log"


def test_controls_and_methods_follow_and_fail_as_runs_do() -> None:
    write_scores(0)
    scores = read_runs(LAYOUT, runs(EVERY, [0], EVALUATION, []), [(CONTROLS, 0), ("small", 0)])
    failed = scores[scores["note"] != ""].groupby("method")["note"].first().to_dict()
    assert failed.pop("small") == "failed; see results/tiny/logs/train.seed0.small.log"
    assert set(failed) == {RANDOM, *ORACLES.values()}
    assert set(failed.values()) == {"failed; see results/tiny/logs/score.seed0.controls.log"}


def test_without_any_score_there_is_nothing_to_report() -> None:
    with pytest.raises(UserError, match="run `drdc score` first"):
        read_runs(LAYOUT, runs(EVERY, [0], EVALUATION, []))


def test_a_damaged_file_is_named() -> None:
    write_scores(0)
    path = LAYOUT.scored(0, "full")
    path.write_text(path.read_text().replace("0.5", "high", 1))
    with pytest.raises(UserError, match=r"scores/full/scores\.csv: is damaged or was changed by hand"):
        read_runs(LAYOUT, runs(EVERY, [0], EVALUATION, []))
    stamped(path)
    with pytest.raises(UserError, match=r"scores/full/scores\.csv: column value"):
        read_runs(LAYOUT, runs(EVERY, [0], EVALUATION, []))
    path.write_text("")
    stamped(path)
    with pytest.raises(UserError, match=r"scores/full/scores\.csv: cannot be read"):
        read_runs(LAYOUT, runs(EVERY, [0], EVALUATION, []))


def test_rows_of_the_seeds_that_have_them() -> None:
    path = LAYOUT.scored(1, "full", "image_scores")
    touch(path)
    facts = {"seed": [1], "row": [3], "category": ["01"], "method": ["drdc"], "score": [0.25]}
    pd.DataFrame(facts).to_csv(path, index=False)
    stamped(path)
    frame = read_scored(LAYOUT, [("full", 0), ("full", 1)], "image_scores")
    assert frame.loc[0, ["category", "method", "score"]].tolist() == ["01", "drdc", 0.25]
    assert frame["row"].dtype == np.int64
    with pytest.raises(UserError, match=r"scores/full/curves\.csv: is missing"):
        read_scored(LAYOUT, [("full", 0), ("full", 1)], "curves")
    path.write_text(path.read_text().replace("0.25", "high"))
    stamped(path)
    with pytest.raises(UserError, match=r"scores/full/image_scores\.csv: column score holds something"):
        read_scored(LAYOUT, [("full", 0), ("full", 1)], "image_scores")
