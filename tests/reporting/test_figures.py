"""The figures are written, readable in size, not blank, and the same bytes for the same numbers."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from PIL import Image

from drdc.config.described import Described
from drdc.reporting import figures
from drdc.reporting import gallery as rooms
from drdc.reporting.figures import looks, losses, new_figure, percent_height, percent_limits
from drdc.reporting.gallery import HEATMAPS, choose, colour_bar, gallery, median_of
from drdc.reporting.shown_images import Shown
from drdc.runtime.errors import UserError


def log(seed: int) -> pd.DataFrame:
    rng = np.random.default_rng(seed)
    images = np.arange(1, 41) * 100
    train = 4.0 / np.sqrt(images) * np.exp(0.1 * rng.standard_normal(40))
    return pd.DataFrame(
        {"images": images, "train_loss": train, "val_loss": np.where(images % 400, np.nan, train)}
    )


def item(seed: int = 0, *, defect_type: str = "scratch", size: int = 48, gain: float = 1.0) -> Shown:
    rng = np.random.default_rng(seed)
    image = rng.integers(0, 256, (size, size, 3), dtype=np.uint8)
    mask = np.zeros((size, size), bool)
    mask[size // 4 : size // 2, size // 4 : size // 2] = True
    heat = gain * (mask + 0.1 * rng.random((size, size)))
    return Shown(
        path=f"gear/test/{defect_type}/{seed}.png",
        category="gear",
        group="gear",
        defect_type=defect_type,
        label=1,
        scores={"base": 0.0, "drdc": float(heat.max())},
        image=image,
        reconstruction=255 - image,
        mask=mask,
        heatmaps={kind: gain * heat for gain, kind in enumerate(HEATMAPS, 1)},
    )


def pixels(path: Path) -> np.ndarray:
    return np.asarray(Image.open(path).convert("RGB"))


def test_losses_are_drawn_in_a_readable_size_with_the_colour_of_each_model(tmp_path: Path) -> None:
    losses(
        {f"{model}/{seed}": log(seed) for model in ("base", "diffusion") for seed in (0, 1)},
        tmp_path / "l.png",
    )
    picture = pixels(tmp_path / "l.png")
    assert picture.shape == (672, 1200, 3)
    for colour, half in (((0, 0x72, 0xB2), picture[:, :600]), ((0xD5, 0x5E, 0), picture[:, 600:])):
        assert (half == colour).all(axis=2).sum() > 50


def test_a_seed_has_one_dash_also_where_a_model_lacks_another(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    drawn: list[Any] = []
    monkeypatch.setattr(figures, "_draw", lambda axes, log, colour, dash: drawn.append(dash))
    losses({name: log(0) for name in ("base/0", "base/1", "unconditional/1")}, tmp_path / "l.png")
    assert drawn[0] != drawn[1] == drawn[2]


def test_losses_show_what_an_answer_without_the_image_would_have(tmp_path: Path) -> None:
    losses({"base/0": log(0), "diffusion/0": log(1)}, tmp_path / "without.png")
    losses({"base/0": log(0).assign(means_loss=0.3), "diffusion/0": log(1)}, tmp_path / "with.png")
    without, given = pixels(tmp_path / "without.png"), pixels(tmp_path / "with.png")
    blue = [(picture[:, :600] == (0, 0x72, 0xB2)).all(axis=2).sum(axis=1) for picture in (without, given)]
    assert (blue[1] - blue[0]).max() > 50  # a line across the base model's panel
    assert np.array_equal(without[200:, 620:], given[200:, 620:])


def test_losses_ignore_the_order_of_rows(tmp_path: Path) -> None:
    losses({"base/0": log(0)}, tmp_path / "a.png")
    losses({"base/0": log(0).iloc[::-1]}, tmp_path / "b.png")
    losses({"base/0": log(1)}, tmp_path / "c.png")
    assert (tmp_path / "a.png").read_bytes() == (tmp_path / "b.png").read_bytes()
    assert (tmp_path / "a.png").read_bytes() != (tmp_path / "c.png").read_bytes()


def test_losses_refuse_what_they_cannot_draw(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="no training log"):
        losses({}, tmp_path / "l.png")
    with pytest.raises(UserError, match="base/0 has no column val_loss"):
        losses({"base/0": log(0).drop(columns="val_loss")}, tmp_path / "l.png")
    assert not list(tmp_path.iterdir())


def test_choose_takes_worst_median_best_anomalous_and_median_normal() -> None:
    scores = np.array([0.9, 0.1, 0.5, 0.3, 0.7, 0.2, 0.6, 0.8])
    labels = np.array([1, 1, 1, 1, 1, 0, 0, 0])
    assert choose(scores, labels, ["a"] * 5 + ["good"] * 3) == [1, 2, 0, 6]


def test_choose_breaks_ties_by_defect_type_then_position() -> None:
    scores, labels = np.full(6, 0.5), np.array([1, 1, 1, 1, 0, 0])
    assert choose(scores, labels, ["stain", "crack", "hole", "crack", "good", "good"]) == [1, 3, 0, 4]


@pytest.mark.parametrize(
    ("labels", "expected"), [([1, 1], [0, 1]), ([1], [0]), ([0, 0, 0], [1]), ([], []), ([0, 1], [1, 0])]
)
def test_choose_with_few_images_repeats_none(labels: list[int], expected: list[int]) -> None:
    scores = np.linspace(0.1, 0.9, len(labels))
    assert choose(scores, np.array(labels, int), ["d"] * len(labels)) == expected


@pytest.mark.parametrize(("labels", "median"), [([1, 1, 1, 0], 1), ([1, 1, 0], 0), ([1, 0], 0), ([0, 0], 0)])
def test_the_median_is_an_anomalous_image_where_there_is_one(labels: list[int], median: int) -> None:
    """Of scores that rise with the place; of two the lower."""
    scores = np.arange(len(labels), dtype=float)
    images = [replace(item(), label=label, path=str(place)) for place, label in enumerate(labels)]
    group = [images[place] for place in choose(scores, np.array(labels), ["d"] * len(labels))]
    assert median_of(group).path == str(median)


def test_choose_refuses_bad_input() -> None:
    with pytest.raises(ValueError, match="same length"):
        choose(np.zeros(2), np.zeros(3, int), ["a"] * 2)
    with pytest.raises(ValueError, match="finite"):
        choose(np.array([0.0, np.nan]), np.zeros(2, int), ["a"] * 2)


def test_gallery_shows_every_panel_and_is_reproducible(tmp_path: Path) -> None:
    groups = [[item(0), item(1)], [item(2, defect_type="$a_b$ & 50% | a very long name of a defect")]]
    gallery(groups, tmp_path / "a.png")
    gallery(groups, tmp_path / "b.png")
    assert (tmp_path / "a.png").read_bytes() == (tmp_path / "b.png").read_bytes()
    picture = pixels(tmp_path / "a.png")
    assert picture.shape[1] == rooms.WIDTH
    side = rooms._side([groups])
    for column in range(len(rooms.COLUMNS)):
        left = rooms._left(column, side)
        panel = picture[rooms.HEAD : rooms.HEAD + side, left : left + side]
        assert panel.std() > 5, column
    labels = picture[rooms.HEAD : rooms.HEAD + side, : rooms.LABEL]
    assert (labels.min(axis=2) < 128).sum() > 100  # text
    assert (labels[:, -2:] == 255).all()  # which stays clear of the panels


def test_panels_show_input_and_reconstruction_unchanged(tmp_path: Path) -> None:
    side = rooms._side([[[item()]]])
    one = item(size=side)
    gallery([[one]], tmp_path / "g.png")
    picture = pixels(tmp_path / "g.png")
    rows = slice(rooms.HEAD, rooms.HEAD + side)
    for column, expected in ((0, one.image), (5, one.reconstruction)):
        left = rooms._left(column, side)
        np.testing.assert_array_equal(picture[rows, left : left + side], expected)


def test_colour_scale_is_shared_within_a_category_only() -> None:
    bright, dim = item(0), item(0, gain=0.3)
    together = list(rooms._panels([bright, dim], 64))
    alone = next(rooms._panels([dim], 64))
    for column in (2, 3, 4):
        assert together[0][column].mean() > together[1][column].mean() + 5
        assert alone[column].mean() > together[1][column].mean() + 5


def test_ground_truth_is_red_where_anomalous_and_grey_elsewhere() -> None:
    one = item(size=64)
    marked = rooms.marked(one, 64).astype(int)
    assert (marked[one.mask][:, 0] > marked[one.mask][:, 1] + 60).all()
    assert (np.ptp(marked[~one.mask], axis=1) == 0).all()


def test_constant_heatmaps_are_drawn(tmp_path: Path) -> None:
    gallery([[item(size=16, gain=0.0)]], tmp_path / "g.png")
    assert (tmp_path / "g.png").stat().st_size > 1000


@pytest.mark.parametrize(("categories", "rows"), [(1, 1), (4, 4), (7, 4), (15, 4), (30, 4), (1, 40)])
def test_gallery_of_any_length_keeps_its_limits(categories: int, rows: int) -> None:
    groups = [[item(size=4)] * rows for _ in range(categories)]
    blocks, side = rooms._fit(groups)
    canvas, places = rooms._compose(blocks, side)
    assert canvas.shape[0] <= rooms.MAX_HEIGHT
    assert canvas.shape[1] <= rooms.WIDTH
    assert side >= rooms.SMALLEST
    assert len(places) >= min(categories * rows, 30)
    assert sum(map(len, blocks)) == categories


def test_overview_draws_a_category_without_anomalous_images(tmp_path: Path) -> None:
    gear = [item(seed) for seed in choose(np.arange(6.0), np.arange(6) % 2, ["d"] * 6)]
    flawless = [
        item(seed, defect_type="good") for seed in choose(np.arange(5.0), np.zeros(5, int), ["good"] * 5)
    ]
    groups = [rows[:2][-1:] for rows in (gear, flawless, [])]
    assert [[row.defect_type for row in rows] for rows in groups] == [["scratch"], ["good"], []]
    gallery(groups, tmp_path / "overview.png")
    assert pixels(tmp_path / "overview.png").shape[1] <= rooms.WIDTH


def test_long_names_break_at_underscores() -> None:
    assert rooms._wrapped("grid: metal_contamination") == ["grid: metal_", "contamination"]
    assert rooms._wrapped("cable: cut_in") == ["cable: cut_in"]


def test_percent_axes_hold_their_numbers_and_are_never_lower_than_two_points() -> None:
    for low, high in ((95.0, 95.0), (99.9, 100.0), (50.0, 90.0), (0.0, 0.5)):
        bottom, top = percent_limits(low, high, percent_height(low, high))
        assert bottom <= low <= high <= top
        assert top - bottom >= 2.0
        assert top < 100.0 + 0.1 * (top - bottom)


def test_a_method_looks_alike_where_others_are_missing() -> None:
    described = dict.fromkeys(("net", "toy", "lost"), Described())
    every, few = looks(["base", "drdc", "net", "toy", "lost"]), looks(["lost", "drdc"], described)
    assert few["lost"] == every["lost"]
    assert few["drdc"] == every["drdc"]


def test_a_figure_is_saved_for_the_screen_and_for_print(tmp_path: Path) -> None:
    losses({"base/0": log(0)}, tmp_path / "l.png")
    assert sorted(path.name for path in tmp_path.iterdir()) == ["l.pdf", "l.png"]
    printed = (tmp_path / "l.pdf").read_bytes()
    assert printed.startswith(b"%PDF")
    assert b"CreationDate" not in printed
    assert b"/Type3" not in printed


def test_the_colours_of_heatmaps_are_explained() -> None:
    figure = new_figure(5.0, 2.0, layout=None)
    colour_bar(figure, "method")
    (axes,) = figure.axes
    assert [tick.get_text() for tick in axes.get_xticklabels()] == ["1st percentile", "99.8th percentile"]
    assert axes.get_xlabel() == "anomaly score of a pixel; a scale for each category and method"


def test_empty_gallery_is_refused(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="no image"):
        gallery([[]], tmp_path / "g.png")
