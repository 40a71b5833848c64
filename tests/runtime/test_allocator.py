"""The C library is asked for huge pages, once, before anything else happens."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from drdc.runtime.allocator import VARIABLE

#: What a program of ours begins with; it prints its process, its arguments and the variable at each start.
CODE = f"""
import os, sys
print(os.getpid(), *sys.argv[1:], os.environ.get({VARIABLE!r}, "unset"), flush=True)
from drdc.runtime.allocator import use_huge_pages
use_huge_pages()
print("begun")
"""

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="only Linux may have the GNU C library")


def started(*command: str | Path, **environment: str) -> list[str]:
    """Lines that a Python program prints, with the variable as given or unset."""
    inherited = {name: value for name, value in os.environ.items() if name != VARIABLE}
    done = subprocess.run(
        [sys.executable, *command], env=inherited | environment, capture_output=True, text=True, check=True
    )
    return done.stdout.splitlines()


@pytest.mark.parametrize("form", ["file", "code"])
def test_a_program_starts_again_once_as_the_same_process_with_the_same_arguments(
    form: str, tmp_path: Path
) -> None:
    (tmp_path / "program.py").write_text(CODE)
    command = [tmp_path / "program.py"] if form == "file" else ["-c", CODE]
    first, second, begun = started(*command, "a b", "--c")
    assert first.endswith("a b --c unset")
    assert second.removesuffix(second.split()[-1]) == first.removesuffix("unset")
    assert "glibc.malloc.hugetlb=1:" in second
    assert begun == "begun"


def test_what_the_user_has_set_stays() -> None:
    assert started("-c", CODE, **{VARIABLE: ""})[0].split()[1:] == []
    own = "glibc.malloc.check=0"
    lines = started("-c", CODE, **{VARIABLE: own})
    assert [lines[0].split()[1], *lines[1:]] == [own, "begun"]


def test_the_program_has_it() -> None:
    code = "import os, sys; from drdc.__main__ import main; sys.argv[1:] = ['check', 'nowhere']\n"
    code += f"main(); print(os.environ[{VARIABLE!r}])"
    assert "hugetlb=1" in started("-c", code)[-1]


#: The steps of a greedy selection of patches: large arrays, and small objects between them that stay.
SELECTION = """
import resource
from drdc.runtime.allocator import use_huge_pages
use_huge_pages()
import torch
torch.set_num_threads(1)
features, kept = torch.ones(600_000, 128), []
nearest, place = torch.full((len(features), 1), float("inf")), torch.tensor(0)
for step in range(10):
    distance = (features - features[place]).pow(2).sum(1, keepdim=True).sqrt()
    nearest = torch.minimum(nearest, distance)
    place = torch.max(nearest.squeeze(1), 0)[1]
    kept += [place, bytearray(3000 + 977 * step)]
print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // 1024)
"""


@pytest.mark.long
def test_memory_does_not_grow_by_holes_between_what_stays() -> None:
    (peak,), (usual,) = (map(int, started("-c", SELECTION, **given)) for given in ({}, {VARIABLE: ""}))
    assert peak < 1.15 * usual, "MB; a hole is of 300, a fifth of all"
