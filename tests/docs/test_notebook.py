"""The notebook of the manual runs from its first cell to its last, and draws what the detector finds."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import matplotlib as mpl
import numpy as np
import pytest

from drdc import Detector

NOTEBOOK = Path(__file__).parents[2] / "docs/detector.ipynb"
CELLS = [one for one in json.loads(NOTEBOOK.read_text())["cells"] if one["cell_type"] == "code"]


def test_it_is_committed_without_outputs() -> None:
    assert all(one["outputs"] == [] and one["execution_count"] is None for one in CELLS)


@pytest.mark.long
def test_its_cells_run_and_draw_image_heatmap_and_outline(
    exported: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    for folder in ("docs", "results"):
        (tmp_path / folder).mkdir()
    (tmp_path / "results/demo").symlink_to(exported)
    monkeypatch.chdir(tmp_path / "docs")
    mpl.use("agg")
    names: dict[str, Any] = {}
    for cell in CELLS:
        exec("".join(cell["source"]), names)
    expected = Detector.load(exported).detect(names["images"][0])
    said = capsys.readouterr().out
    assert said.startswith(f"{expected.verdict}\nscore {expected.score:.3g}, ")
    left, middle, right = (names[name].images[0].get_array() for name in ("left", "middle", "right"))
    np.testing.assert_array_equal(left, expected.image)
    np.testing.assert_allclose(middle, expected.heatmap, rtol=1e-3)
    np.testing.assert_array_equal(right, expected.outlined())
    assert len(said.splitlines()) >= 3 + len(expected.regions) + 8
    names["plt"].close("all")
