"""The fitting of a method, rehearsed: its phases, and why there are none."""

from __future__ import annotations

import pytest
from running import ROOT

from drdc.experiment.experiment import load_experiment
from drdc.planning.rehearsal import rehearse
from drdc.runtime.errors import UserError

DEMO = load_experiment(ROOT / "config/demo-systems.yaml")


@pytest.mark.parametrize(
    ("name", "phases"),
    [("simplenet", [(650, 16)]), ("uniad_vae", [(1625, 4), (650, 16)]), ("mkd", [(650, 16)])],
)
def test_a_method_tells_its_phases_by_its_own_fit(name: str, phases: list[tuple[int, int]]) -> None:
    found = rehearse(DEMO, name, 260)
    assert [(phase.steps, phase.batch) for phase in found.phases] == phases
    assert all(phase.seconds > 0 and phase.work.flops > 0 for phase in found.phases)
    assert found.seconds > 0


def test_networks_of_the_hub_are_not_fetched(monkeypatch: pytest.MonkeyPatch) -> None:
    settings = dict(DEMO.methods["mkd"])
    settings["backbone"] = settings["backbone"] | {"weights": "hub"}
    changed = DEMO.model_copy(update={"methods": {"mkd": settings}})
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    assert rehearse(changed, "mkd", 260).phases


def test_what_cannot_be_rehearsed_says_why() -> None:
    with pytest.raises(UserError, match="a model of anomalib brings a training of its own"):
        rehearse(DEMO, "padim", 260)
    settings = DEMO.methods["diad"] | {"pretrained": "/nowhere"}
    with pytest.raises(UserError):
        rehearse(DEMO.model_copy(update={"methods": {"diad": settings}}), "diad", 260)
