"""Huge pages for the C library's memory: of small ones a large tensor has thousands, each to be found."""

from __future__ import annotations

import os
import sys

#: Read by the GNU C library, from 2.35 on, when a program starts. `hugetlb=1` asks the kernel for transparent
#: huge pages; with the thresholds, freed memory below 64 MiB is kept for the next tensor of that size instead
#: of being returned and asked for again, page by page, in every step. Of larger ones the holes that small
#: objects leave would add up without bound, to 22 GB in PatchCore's selection.
VARIABLE = "GLIBC_TUNABLES"
TUNABLES = f"glibc.malloc.hugetlb=1:glibc.malloc.mmap_threshold={2**26}:glibc.malloc.trim_threshold={2**32}"


def use_huge_pages() -> None:
    """Start this program again, with `TUNABLES`, unless the variable is set already.

    Another C library ignores it. Call it before anything is imported or read.
    """
    if sys.platform != "linux" or VARIABLE in os.environ:
        return
    os.environ[VARIABLE] = TUNABLES
    os.execv(sys.executable, [sys.executable, *sys.orig_argv[1:]])
