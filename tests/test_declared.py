"""Every package that is imported is declared in pyproject.toml: none comes only by way of another."""

from __future__ import annotations

import ast
import re
import sys
import tomllib
from collections.abc import Iterator
from importlib.metadata import packages_distributions
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
OWN = {"drdc", "benchmarks", *(path.stem for path in (ROOT / "tests").rglob("*.py"))}
BROUGHT = packages_distributions()


def imported(path: Path) -> Iterator[str]:
    """The top-level names that a Python file or a rule file imports."""
    text = path.read_text("utf-8")
    if path.suffix == ".py":
        for node in ast.walk(ast.parse(text)):
            if isinstance(node, ast.Import):
                yield from (alias.name.partition(".")[0] for alias in node.names)
            elif isinstance(node, ast.ImportFrom) and not node.level:
                yield str(node.module).partition(".")[0]
    else:
        yield from re.findall(r"^\s*(?:from|import) (\w+)", text, re.M)


def packages(requirements: list[str]) -> set[str]:
    return {plain(match[0]) for one in requirements if (match := re.match(r"[\w.-]+", one))}


def plain(name: str) -> str:
    return re.sub("[-_.]+", "-", name).lower()


def required(*folders: str) -> dict[str, str]:
    """By package an importing file."""
    files = [path for name in folders for path in sorted((ROOT / name).rglob("*"))]
    own = [path for path in files if path.suffix in (".py", ".smk")]
    return {
        package: str(path.relative_to(ROOT))
        for path in [*own, ROOT / "Snakefile"]
        for name in imported(path)
        if name not in OWN | sys.stdlib_module_names
        for package in [next((plain(one) for one in BROUGHT.get(name, [])), plain(name))]
    }


@pytest.mark.parametrize(
    ("folders", "extras"),
    [
        (("drdc", "workflow"), [extra for extra in PROJECT["optional-dependencies"] if extra != "dev"]),
        (("tests", "benchmarks"), list(PROJECT["optional-dependencies"])),
    ],
)
def test_what_is_imported_is_declared(folders: tuple[str, ...], extras: list[str]) -> None:
    declared = packages(PROJECT["dependencies"])
    for extra in extras:
        declared |= packages(PROJECT["optional-dependencies"][extra])
    missing = {name: file for name, file in required(*folders).items() if name not in declared}
    assert not missing
