"""The methods by name: the files of this folder, and those of installed packages."""

from __future__ import annotations

import difflib
import pkgutil
import traceback
from functools import cache
from importlib import import_module
from importlib.metadata import EntryPoint, entry_points
from typing import TYPE_CHECKING, Any

import drdc.methods
from drdc.config.section import Section
from drdc.runtime.errors import UserError

if TYPE_CHECKING:
    from drdc.methods.interface import Method
    from drdc.models.pretrained import Pretrained

#: An installed package adds a method by an entry point of this group: `name = "module:Class"`.
GROUP = "drdc.methods"
#: Files of this folder that are not methods, and DRDC, which is always there.
_OTHERS = {
    "drdc",
    "features",
    "fitted_method",
    "fitting",
    "inputs",
    "interface",
    "pixels",
    "predictor",
    "registry",
    "settings",
    "trainer",
}


class Configured(Section):
    """One entry of `methods` in the configuration.

    Attributes:
        name: of the run: of its files, and of the method in the scores.
        method: one of `known_methods`.
        settings: of its class's `Settings`.
    """

    name: str
    method: str
    settings: dict[str, Any]


@cache  # planning asks thousands of times
def own_methods() -> tuple[str, ...]:
    """The methods of this folder."""
    found = {file.name for file in pkgutil.iter_modules(drdc.methods.__path__)}
    return tuple(sorted(found - _OTHERS))


def known_methods() -> list[str]:
    """All methods that can be named in the configuration."""
    return sorted({*own_methods(), *(point.name for point in entry_points(group=GROUP))})


def method_class(name: str) -> type[Method]:
    """The class of a method, imported only now.

    Raises:
        UserError: there is no such method, a package that it needs is not installed, or it cannot be imported
            for another reason.
    """
    own = name in own_methods()
    brought = [] if own else list(entry_points(group=GROUP, name=name))
    if not own and not brought:
        known = known_methods()
        near = difflib.get_close_matches(name, known, 1, 0.5)
        fix = f"did you mean {near[0]!r}? known: " if near else "known: "
        raise UserError("", f"there is no method {name!r}", f"{fix}{', '.join(known)}")
    try:
        return _own_class(name) if own else _brought_class(brought[0])
    except UserError:
        raise
    except Exception as error:  # whatever the code of a package raises
        missing = _missing_package(error)
        if missing and missing not in ("drdc", *(point.module.partition(".")[0] for point in brought)):
            command = "pip install -e '.[baselines]'" if own else f"pip install {missing}"
            raise UserError(
                "",
                f"method {name!r} needs the package {missing!r}, which is not installed",
                f"run `{command}`",
            ) from None
        said = f"{type(error).__name__}: {error}{_place(error)}"
        raise UserError(f"method {name!r} cannot be imported", " ".join(said.split()), "") from error


def _missing_package(error: Exception) -> str:
    """The package that an import did not find; empty for other errors."""
    name = error.name if isinstance(error, ModuleNotFoundError) else None
    return (name or "").partition(".")[0]


def _place(error: Exception) -> str:
    """Where in a package's code an error was raised; empty where the error itself says so."""
    frames = traceback.extract_tb(error.__traceback__)
    outside = [f for f in frames if f.filename != __file__ and "importlib" not in f.filename]
    return f" ({outside[-1].filename}, line {outside[-1].lineno})" if outside else ""


def pretrained_networks(configured: Configured) -> list[Pretrained]:
    """The pre-trained networks that a method loads with its settings; raises as `method_class`."""
    kind = method_class(configured.method)
    return kind.pretrained(kind.Settings.model_validate(configured.settings))


def _own_class(name: str) -> type[Method]:
    from drdc.methods.interface import Method

    module = import_module(f"drdc.methods.{name}")
    if hasattr(module, "__path__"):  # a folder
        module = import_module(f"drdc.methods.{name}.method")
    (found,) = (
        value
        for value in vars(module).values()
        if isinstance(value, type) and issubclass(value, Method) and value.__module__ == module.__name__
    )
    return found


def _brought_class(point: EntryPoint) -> type[Method]:
    from drdc.methods.interface import Method

    found = point.load()
    if not (isinstance(found, type) and issubclass(found, Method)):
        raise UserError(
            f"method {point.name!r}",
            f"its entry point {point.value} is not a `Method`",
            "correct it",
        )
    return found
