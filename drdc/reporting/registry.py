"""All tables and figures that a module of `drdc.reporting` declares: nothing else lists them.

Planning the workflow imports this, and with it every module here: what takes long to import (matplotlib,
scipy, torch) is imported inside the functions that need it.
"""

from __future__ import annotations

from collections.abc import Mapping
from importlib import import_module
from pkgutil import iter_modules

import drdc.reporting
from drdc.reporting.declared import DECLARED, Declared
from drdc.reporting.kinds import Source, lacking
from drdc.runtime.errors import UserError

for _module in iter_modules(drdc.reporting.__path__, "drdc.reporting."):
    if _module.name != __name__:
        import_module(_module.name)

TABLES = dict(sorted(DECLARED["table"].items()))
FIGURES = dict(sorted(DECLARED["figure"].items()))


def _lacks(kind: str, source: Source) -> str:
    wanted = source.evaluation.self_check, source.study.values, source.reported
    return lacking(kind, source.variants, source.methods, *wanted)


def chosen(declared: Mapping[str, Declared], name: str | None, source: Source) -> list[Declared]:
    """The one called `name`, or all for which the experiment has what they need.

    Args:
        declared: `TABLES` or `FIGURES`.

    Raises:
        UserError: there is none of that name, or the experiment lacks what it needs.
    """
    what = "table" if declared is TABLES else "figure"
    if name is not None and name not in declared:
        raise UserError("", f"there is no {what} {name!r}", f"known: {', '.join(declared)}")
    lacks = {one: _lacks(declared[one].of, source) for one in declared}
    if name is not None and lacks[name]:
        raise UserError("", f"{name} {lacks[name]}", "")
    return [one for one in declared.values() if (name or one.name) == one.name and not lacks[one.name]]
