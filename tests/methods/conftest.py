"""The drawn experiments of the compared methods, in which each is fitted at most once."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import chdir
from functools import cache
from pathlib import Path

import pytest
from drawn import CHEQUERED, PLAIN, Twofold, drawn_experiment, fitted_twofold
from torch import Tensor

from drdc.config.backbone import Network
from drdc.models import backbone
from drdc.results.layout import Layout

#: It compares features of image and reconstruction, which of white noise have nothing in common.
ON_CHEQUERS = ("diad",)


#: Weights of the backbones that the tests of this folder build, by name and file: most take the same.
_WEIGHTS: dict[tuple[str, str], dict[str, Tensor]] = {}


@pytest.fixture(autouse=True)
def _weights_are_read_once(monkeypatch: pytest.MonkeyPatch) -> None:
    read = backbone.pretrained_state

    def cached(settings: Network) -> dict[str, Tensor]:
        key = (settings.name, settings.weights)
        if key not in _WEIGHTS:
            _WEIGHTS[key] = read(settings)
        return dict(_WEIGHTS[key])

    monkeypatch.setattr(backbone, "pretrained_state", cached)


@pytest.fixture(scope="session")
def _drawn(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A working directory with both drawn experiments."""
    folder = tmp_path_factory.mktemp("drawn")
    with chdir(folder):
        drawn_experiment(PLAIN)
        drawn_experiment(CHEQUERED)
    return folder


@pytest.fixture
def drawn(_drawn: Path, monkeypatch: pytest.MonkeyPatch) -> Layout:
    """The plain drawn experiment, below the working directory; only to be read."""
    monkeypatch.chdir(_drawn)
    return PLAIN


@pytest.fixture
def layout(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Layout:
    """The same, for one test alone."""
    monkeypatch.chdir(tmp_path)
    return drawn_experiment()


@pytest.fixture(scope="session")
def _fits(_drawn: Path) -> Callable[[str], Twofold]:
    @cache
    def fit(name: str) -> Twofold:
        with chdir(_drawn):
            return fitted_twofold(CHEQUERED if name in ON_CHEQUERS else PLAIN, name)

    return fit


@pytest.fixture
def fits(_fits: Callable[[str], Twofold], drawn: Layout) -> Callable[[str], Twofold]:
    """Gives a method that is fitted in a drawn experiment, once, with the settings of `SMALL`."""
    return _fits
