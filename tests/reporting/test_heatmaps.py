"""The picture of all methods: every heatmap in its place, and one colour scale within a category."""

from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from test_figures import item

from drdc.reporting import heatmaps as rooms
from drdc.reporting.gallery import coloured
from drdc.reporting.heatmaps import draw_heatmaps
from drdc.reporting.shown_images import Shown
from drdc.runtime.errors import UserError

SIZE = 48


def corner(place: int, height: float = 1.0) -> np.ndarray:
    """A heatmap that is high in one quarter of the image."""
    heat = np.zeros((SIZE, SIZE))
    top, left = place // 2 * SIZE // 2, place % 2 * SIZE // 2
    heat[top : top + SIZE // 2, left : left + SIZE // 2] = height
    return heat


def shown(maps: dict[str, np.ndarray]) -> Shown:
    found = item(size=SIZE)
    found.heatmaps.update(maps)
    return found


def panels(path: Path, across: int) -> list[np.ndarray]:
    """The panels of the first line but the first two, which are the image and its ground truth."""
    picture = np.asarray(Image.open(path).convert("RGB"))
    side = min(rooms.WIDTH // across - rooms.GAP, rooms.LARGEST)
    lefts, top = [column * (side + rooms.GAP) for column in range(across)], rooms.TITLE + rooms.HEAD
    return [picture[top : top + side, left : left + side] for left in lefts][2:]


def brightness(panel: np.ndarray, place: int) -> float:
    half = len(panel) // 2
    top, left = place // 2 * half, place % 2 * half
    return float(panel[top + 5 : top + half - 5, left + 5 : left + half - 5].mean())


def test_each_method_has_its_heatmap_under_its_name(tmp_path: Path) -> None:
    maps = {name: corner(place) for place, name in enumerate(("base", "drdc", "net", "toy"))}
    draw_heatmaps([[shown(maps)]], ["base", "drdc", "net", "toy"], tmp_path / "h.png")
    for place, panel in enumerate(panels(tmp_path / "h.png", across=6)):
        quarters = [brightness(panel, quarter) for quarter in range(4)]
        assert int(np.argmax(quarters)) == place
        assert sorted(quarters)[-2] < 10, "black elsewhere"


def test_one_scale_for_the_images_of_a_category(tmp_path: Path) -> None:
    """The drawn one, the median of three, is pale next to the best found; of two methods each for itself."""
    group = [shown({"base": corner(0, h), "drdc": corner(0, 1.0)}) for h in (0.1, 0.3, 1.0)]
    draw_heatmaps([group], ["base", "drdc"], tmp_path / "h.png")
    base, drdc = (brightness(panel, 0) for panel in panels(tmp_path / "h.png", across=4))
    assert base == pytest.approx(coloured(np.array([0.3])).mean(), abs=2)
    assert drdc == pytest.approx(coloured(np.array([1.0])).mean(), abs=2)


def test_many_methods_are_broken_into_lines_and_many_categories_into_blocks(tmp_path: Path) -> None:
    def size(methods: int, categories: int) -> tuple[int, int]:
        """Without the colour bar."""
        names = [f"net{i}" for i in range(methods)]
        groups = [[shown({name: corner(0) for name in names})]] * categories
        draw_heatmaps(groups, names, tmp_path / "h.png")
        width, height = Image.open(tmp_path / "h.png").size
        return width, height - rooms.FOOT

    assert size(6, 1)[0] == size(14, 1)[0] == 1200
    assert 1.7 < size(14, 1)[1] / size(6, 1)[1] < 2.1
    assert size(14, 15)[1] == 15 * size(14, 1)[1]


def test_without_test_images_there_is_nothing_to_draw(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="no test image"):
        draw_heatmaps([[]], ["base"], tmp_path / "h.png")
    assert not list(tmp_path.iterdir())
