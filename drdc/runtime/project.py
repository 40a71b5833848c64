"""Where the workflow is: next to the package in a checkout, inside it once it is installed (setup.py)."""

from __future__ import annotations

from pathlib import Path

_PACKAGE = Path(__file__).parents[1]
#: What a built package brings along; in a checkout these lie next to `drdc`.
_INSTALLED = _PACKAGE / "project"

#: The folder of the Snakefile, of `config`, `profiles` and `workflow`.
PROJECT = _INSTALLED if _INSTALLED.is_dir() else _PACKAGE.parent
SNAKEFILE = PROJECT / "Snakefile"
#: The experiments that come with the project.
CONFIG = PROJECT / "config"
