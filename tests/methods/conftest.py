"""The drawn experiment of the compared methods, in which each is fitted at most once."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import chdir
from functools import cache
from pathlib import Path

import pytest
from drawn import Twofold, drawn_experiment, fitted_twofold

from drdc.results.layout import Layout


@pytest.fixture(scope="session")
def _drawn(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("drawn")
    with chdir(folder):
        drawn_experiment()
    return folder


@pytest.fixture
def drawn(_drawn: Path, monkeypatch: pytest.MonkeyPatch) -> Layout:
    """The drawn experiment, below the working directory; only to be read."""
    monkeypatch.chdir(_drawn)
    return Layout("drawn")


@pytest.fixture
def layout(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Layout:
    """The same, for one test alone."""
    monkeypatch.chdir(tmp_path)
    return drawn_experiment()


@pytest.fixture(scope="session")
def fits(_drawn: Path) -> Callable[[str], Twofold]:
    """Gives a method that is fitted in the drawn experiment, once, with the settings of `SMALL`."""

    @cache
    def fit(name: str) -> Twofold:
        with chdir(_drawn):
            return fitted_twofold(Layout("drawn"), name)

    return fit
