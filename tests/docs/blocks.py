"""Fenced blocks and links of the manual's Markdown files."""

import re
import textwrap
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).parents[2]
#: Pages whose blocks are run; the other Markdown files are generated.
PAGES = [ROOT / "README.md", ROOT / "CONTRIBUTING.md", *sorted((ROOT / "docs").glob("*.md"))]

_FENCE = re.compile(r"^(?P<indent> *)```(?P<language>\S*)\n(?P<text>.*?)^(?P=indent)```$", re.M | re.S)
_REASON = re.compile(r"<!-- not run: (?P<reason>[^>]+?) -->\s*\Z")
_HEADING = re.compile(r"^(#+) +(?P<title>.+?)\s*$", re.M)
_LINK = re.compile(r"\[(?P<text>[^\]]*)\]\((?P<target>[^)\s]+)\)")
_PATH = re.compile(r"\A# (?P<path>[\w./-]+/[\w.-]+\.\w+)\n")


@dataclass(frozen=True)
class Block:
    """One fenced block.

    Attributes:
        page, line: where its text begins.
        language: `sh`, `python`, ...; "" where it has none.
        text: without the fence's indentation.
        reason: why it is not run, from the comment `<!-- not run: why -->` right above; None where it is.
    """

    page: Path
    line: int
    language: str
    text: str
    reason: str | None

    @property
    def path(self) -> str | None:
        """The file that a reader is to write this block into: the first line is a comment with its path."""
        found = _PATH.match(self.text)
        return found["path"] if found else None

    @property
    def is_for_doing(self) -> bool:
        """Whether a reader does what it says, and does not only look at it."""
        return self.language not in ("text", "math", "mermaid")

    def __str__(self) -> str:
        return f"{self.page.relative_to(ROOT)}:{self.line}"


@dataclass(frozen=True)
class Chapter:
    """All blocks under one heading of the second level: they are worked through in their order."""

    page: Path
    title: str
    blocks: tuple[Block, ...]

    def __str__(self) -> str:
        return f"{self.page.relative_to(ROOT)}: {self.title}"


def blocks(page: Path) -> Iterator[Block]:
    """All fenced blocks of a page."""
    text = page.read_text(encoding="utf-8")
    for fence in _FENCE.finditer(text):
        reason = _REASON.search(text, 0, fence.start())
        yield Block(
            page,
            text.count("\n", 0, fence.start()) + 2,
            fence["language"],
            textwrap.dedent(fence["text"]),
            reason["reason"] if reason else None,
        )


def chapters(page: Path) -> Iterator[Chapter]:
    """The chapters of a page that have blocks."""
    text = _without_blocks(page.read_text(encoding="utf-8"))
    found = [h for h in _HEADING.finditer(text) if len(h[1]) == 2]
    starts = [(text.count("\n", 0, heading.start()) + 1, heading["title"]) for heading in found]
    every = list(blocks(page))
    ends = [line for line, _ in starts] + [text.count("\n") + 2]
    for (start, title), end in zip([(0, "top"), *starts], ends, strict=True):
        if own := tuple(block for block in every if start <= block.line < end):
            yield Chapter(page, title, own)


def anchors(page: Path) -> set[str]:
    """The names by which GitHub links to the headings of a page."""
    text = _without_blocks(page.read_text(encoding="utf-8"))
    titles = [heading["title"].lower() for heading in _HEADING.finditer(text)]
    return {re.sub(r"[^\w\- ]", "", title).replace(" ", "-") for title in titles}


def links(page: Path) -> list[tuple[str, str]]:
    """(text, target) of every link that stays in the repository."""
    text = _without_blocks(page.read_text(encoding="utf-8"))
    found = [(link["text"], link["target"]) for link in _LINK.finditer(text)]
    return [(text, target) for text, target in found if not re.match(r"[a-z]+:", target)]


def _without_blocks(text: str) -> str:
    """The text with its fenced blocks blanked (a comment of a shell is no heading), line numbers kept."""
    return _FENCE.sub(lambda fence: re.sub(r"[^\n]", "", fence[0]), text)
