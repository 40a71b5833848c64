"""The facts on a dataset, and how its images are listed without opening them."""

from __future__ import annotations

from collections.abc import Callable, Collection, Sequence
from pathlib import Path

from pydantic import Field

from drdc.config.section import Section
from drdc.data.problems import Problem, accepted
from drdc.data.samples import NORMAL, Sample
from drdc.data.tree import Tree

#: Images of a category: (training, normal test, anomalous test).
Counts = tuple[int, int, int]


class Reader(Section):
    """A dataset that the configuration can name.

    Attributes:
        name: in the configuration (`dataset.name`).
        title, home, licence, citation: its name in the literature, its home page, its licence and its paper.
        counts: the published images of each category; None where only those of the whole dataset are known.
        tested: with which images its reader was run.
        by_hand: how to get it, for the message about a missing folder.
        good: name of its folders of normal images, next to `good`, in MVTec AD's layout.
        read: lists the images of a layout of its own, given the folder and the wanted categories (None: all);
            None for MVTec AD's layout.
        find_root: the folder where the configuration names none.
    """

    name: str
    title: str
    home: str = ""
    licence: str = ""
    citation: str = ""
    counts: dict[str, Counts | None] = Field(default_factory=dict)
    tested: str = "synthetic trees in its layout, not the real data"
    by_hand: str = "put the dataset there or correct the root"
    good: str = NORMAL
    read: Callable[[Path, Sequence[str] | None], list[Sample]] | None = Field(default=None, exclude=True)
    find_root: Callable[[], Path] | None = Field(default=None, exclude=True)

    def scan(
        self, root: Path, categories: Sequence[str] | None = None, good: Collection[str] | None = None
    ) -> tuple[list[Sample], list[Problem]]:
        """Images and problems, judged by the names of files; no file is opened.

        Args:
            root: the dataset's folder.
            categories: the wanted ones; None for all.
            good: names of folders of normal images next to the usual one; None to report similar names.
                Read in MVTec AD's layout only, as are problems of names.

        Raises:
            UserError: there is no category, or a wanted one is missing.
        """
        if self.read is not None:
            return self.read(root, categories), []
        tree = Tree(root, frozenset({NORMAL, self.good, *(good or ())}), good is None)
        found = list(tree.read(categories))
        return [x for x in found if isinstance(x, Sample)], [x for x in found if isinstance(x, Problem)]

    def samples(self, root: Path, categories: Sequence[str] | None = None) -> list[Sample]:
        """The images of a dataset without errors. Raises UserError as `scan`, and for an error of names."""
        samples, problems = self.scan(root, categories)
        accepted(problems, (), root)
        return samples


class Source(Reader):
    """A dataset that can be downloaded as one archive.

    Attributes:
        file: name of the archive.
        urls: tried one after the other, until one gives the file with this SHA-256.
        size: bytes of the archive, for the progress, the free space and the message; the SHA-256 decides.
        sha256: of the archive; a file with another one is never unpacked.
        unpacked: about how many bytes the unpacked files take: for the free space; twice as many are the
            limit.
    """

    file: str
    urls: list[str]
    size: int
    sha256: str
    unpacked: int
