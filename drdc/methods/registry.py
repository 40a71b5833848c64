"""The compared systems by name: the files of this folder, and those that installed packages bring."""

from __future__ import annotations

import difflib
import pkgutil
from importlib import import_module
from importlib.metadata import EntryPoint, entry_points
from typing import TYPE_CHECKING, Any

import drdc.methods
from drdc.config.sections import Section
from drdc.runtime.errors import UserError

if TYPE_CHECKING:
    from drdc.methods.interface import System

#: An installed package adds a system by an entry point of this group: `name = "module:Class"`.
GROUP = "drdc.systems"
#: Files of this folder that are no system.
_OTHERS = {"fitted_method", "inputs", "interface", "pixels", "registry", "trainer"}


class Configured(Section):
    """One entry of `systems` in the configuration.

    Attributes:
        name: of the run: of its files, and of the method in the scores.
        system: what is run, one of `known_systems`.
        settings: of its class's `Settings`.
    """

    name: str
    system: str
    settings: dict[str, Any]


def own_systems() -> list[str]:
    """The systems of this folder."""
    found = {file.name for file in pkgutil.iter_modules(drdc.methods.__path__)}
    return sorted(found - _OTHERS)


def known_systems() -> list[str]:
    """All systems that can be named in the configuration."""
    return sorted({*own_systems(), *(point.name for point in entry_points(group=GROUP))})


def system_class(name: str) -> type[System]:
    """The class of a system, imported only now.

    Raises:
        UserError: there is no such system, or a package that it needs is not installed.
    """
    own = name in own_systems()
    brought = [] if own else list(entry_points(group=GROUP, name=name))
    if not own and not brought:
        known = known_systems()
        near = difflib.get_close_matches(name, known, 1, 0.5)
        mend = f"did you mean {near[0]!r}? known: " if near else "known: "
        raise UserError(f"there is no system {name!r}; {mend}{', '.join(known)}")
    try:
        return _own_class(name) if own else _brought_class(brought[0])
    except ImportError as error:
        command = "pip install -e '.[baselines]'" if own else f"pip install {error.name}"
        raise UserError(
            f"system {name!r} needs the package {error.name!r}, which is not installed; run `{command}`"
        ) from None


def _own_class(name: str) -> type[System]:
    from drdc.methods.interface import System

    module = import_module(f"drdc.methods.{name}")
    if hasattr(module, "__path__"):  # a folder
        module = import_module(f"drdc.methods.{name}.method")
    (found,) = (
        value
        for value in vars(module).values()
        if isinstance(value, type) and issubclass(value, System) and value.__module__ == module.__name__
    )
    return found


def _brought_class(point: EntryPoint) -> type[System]:
    from drdc.methods.interface import System

    found = point.load()
    if not (isinstance(found, type) and issubclass(found, System)):
        raise UserError(
            f"system {point.name!r}: its package gives {point.value}, which is no `System`; mend it"
        )
    return found
