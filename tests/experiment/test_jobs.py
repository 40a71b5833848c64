"""What an experiment trains, predicts and scores, and in which order."""

from __future__ import annotations

from running import ROOT

from drdc.experiment import jobs
from drdc.experiment.experiment import load_experiment


def test_base_models_come_first_and_then_the_longest() -> None:
    demo = load_experiment(ROOT / "config/config.yaml")
    assert jobs.trainings(demo, demo.evaluation) == [
        *(("base", 0), ("base", 1)),
        *(("diffusion", 0), ("diffusion", 1)),
        ("unconditional", 0),
    ]
    compared = load_experiment(ROOT / "config/demo-systems.yaml")
    order = [model for model, _ in jobs.trainings(compared, compared.evaluation)]
    assert order[:3] == ["base", "diad", "diffusion"], "DiAD's time limit is the longest"
    assert sorted(order[3:]) == sorted({*compared.methods} - {"diad"})


def test_predictions_are_shared_and_sweeps_have_their_own_seeds() -> None:
    demo = load_experiment(ROOT / "config/config.yaml")
    found = jobs.predictions(demo, demo.evaluation)
    assert {name for name, seed in found if seed == 1} == {"full"}
    assert {name for name, seed in found if seed == 0} == {
        *("full", "TTC", "MC", "steps=1", "initial_index=100", "disjoint_sets=3")
    }
    variant = found["TTC", 0]
    assert variant is not None
    assert variant.model == "unconditional"
    scored = jobs.scored_runs(demo, demo.evaluation)
    assert ("controls", 1) in scored
    assert ("weight=0.5", 1) not in scored


def test_jobs_that_run_side_by_side_share_the_cores() -> None:
    assert [jobs.share_of_cores(cores, 5) for cores in (1, 2, 16)] == [1, 1, 3]
    assert jobs.share_of_cores(8, 0) == 8
