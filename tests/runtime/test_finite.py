"""NaN and infinity: refused where they arise, with the images or the weights that have them."""

from __future__ import annotations

import math
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from drdc.config.fusion import Fusion
from drdc.detection.assembly import calibrated
from drdc.detection.model_file import calibration_tensors, read_calibration
from drdc.evaluation.calibration import Calibration
from drdc.evaluation.category import CategoryEvaluation
from drdc.methods.fitted_method import FittedMethod
from drdc.methods.inputs import Batch
from drdc.methods.interface import Method, MethodSettings, Shapes
from drdc.models.inpainter import load_trained
from drdc.results.heatmaps import Heatmaps, StoredReading, stored_type
from drdc.results.layout import Layout
from drdc.results.predictions import record_type, statistics
from drdc.runtime.errors import UserError
from drdc.runtime.files import save_weights
from drdc.runtime.finite import refuse_not_finite

NAMES = ["a.png", "b.png", "c.png"]
UNUSABLE = st.sampled_from([math.nan, math.inf, -math.inf])


@given(UNUSABLE, st.integers(0, 2), st.sampled_from(["base1", "scale1", "last"]))
def test_one_number_anywhere_names_its_image(value: float, row: int, field: str) -> None:
    records = np.zeros(3, record_type(16, 4, [4]))
    name = field if field in (records.dtype.names or ()) else f"k4.{field}"
    refuse_not_finite("the predictions are", [records], NAMES, "train again")
    records[name][row, 0, -1] = value
    with pytest.raises(UserError) as caught:
        refuse_not_finite("the predictions are", [records], NAMES, "train again")
    assert str(caught.value) == f"the predictions are NaN or infinite for {NAMES[row]}; train again"


def test_many_images_are_counted() -> None:
    with pytest.raises(UserError, match=r"for 0, 1, 2, 3, 4 and 35 more; "):
        refuse_not_finite("the features are", [np.full((40, 2), np.nan)], map(str, range(40)), "change it")


@pytest.mark.parametrize("value", [math.nan, math.inf, -math.inf])
@pytest.mark.parametrize("where", ["maps", "scores"])
def test_scores_are_refused_before_the_metrics(value: float, where: str) -> None:
    about = pd.DataFrame(
        {"path": NAMES, "label": [0, 1, 1], "defect_type": ["good", "bent", "bent"], "mask": ["", "m", "m"]}
    )
    masks, values = np.zeros((3, 4, 4), dtype=bool), {"maps": np.zeros((3, 4, 4)), "scores": np.zeros(3)}
    values[where][1] = value
    evaluation = CategoryEvaluation("nut", ["uniad"], True, [])
    with pytest.raises(UserError, match=r"the scores of uniad are NaN or infinite for b\.png"):
        evaluation.update(about, masks, {"uniad": values["maps"]}, {"uniad": values["scores"]})


@pytest.mark.parametrize("value", [math.nan, math.inf])
def test_a_calibration_is_refused_when_it_is_made_and_when_it_is_read(value: float) -> None:
    good, names = np.array([1.0, 2.0]), np.array(["nut", "nut"])
    for scores, peaks in ((np.array([1.0, value]), good), (good, np.array([value, 1.0]))):
        with pytest.raises(UserError, match="scores of held-out images are NaN or infinite"):
            Calibration(scores, peaks, names, names)
    tensors = calibration_tensors({"full": Calibration(good, good, names, names)}, ["nut"])
    tensors["calibration.full.peaks"] = torch.tensor([1.0, value], dtype=torch.float64)
    with pytest.raises(UserError, match="scores of held-out images are NaN or infinite"):
        read_calibration(tensors, "full", ["nut"])


def test_an_export_names_the_held_out_image() -> None:
    table = pd.DataFrame({"path": NAMES, "category": "nut", "group": "nut"})
    records = np.zeros(2, stored_type(2))
    records["row"], records["heatmap"][1, 0, 0] = [0, 2], np.inf
    heatmaps = Heatmaps([records], StoredReading("small"), ("small",))
    with pytest.raises(UserError, match=r"scores are NaN or infinite for c\.png"):
        calibrated(heatmaps, "small", table, np.array([True, False, True]))


def test_the_scale_of_the_maps_is_a_number() -> None:
    records = np.zeros(2, record_type(16, 4, None))
    records["row"] = [0, 1]
    records["scale1"][1] = np.inf
    fusion = Fusion(scales=[1], base_scales=[1], filter_size=3, pool_size=3)
    with pytest.raises(UserError, match="the maps of held-out images are NaN or infinite"):
        statistics([records], np.array([True, True]), fusion)


@pytest.mark.parametrize("value", [math.nan, math.inf])
def test_weights_are_refused_by_path(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, value: float) -> None:
    monkeypatch.chdir(tmp_path)
    layout = Layout("tiny")
    weights = {"a": torch.zeros(3), "b": torch.tensor([0.0, value]), "count": torch.tensor(3)}
    save_weights(layout.model(0, "base"), weights, {"base": {}})
    with pytest.raises(UserError, match="b is NaN or infinite; remove it and train it again") as caught:
        load_trained(layout, 0, "base", "base")
    assert str(caught.value).startswith(str(layout.model(0, "base")))


def test_an_infinite_heat_of_a_method_is_not_clamped_to_a_number() -> None:
    class Hot(Method):
        def heatmaps_and_scores(self, images: torch.Tensor, _: object) -> tuple[torch.Tensor, torch.Tensor]:
            maps = torch.full((len(images), 2, 2), 1e30)
            maps[0, 0, 0] = math.inf
            return maps, maps.amax((1, 2))

    fitted = FittedMethod("hot", Hot(MethodSettings(), Shapes(2, 0, 1)), (0.0, 1.0), 2, 0)
    maps = fitted.predict(Batch(torch.zeros(2, 3, 2, 2), torch.zeros(2, 0), ["0", "1"]))["heatmap"]
    assert np.isnan(maps[0, 0, 0])
    assert np.isfinite(maps[1]).all()
