"""The manual: what it tells a reader to type works, and what it links to is there."""

import ast
import json
import re
import shlex
import shutil
from pathlib import Path
from subprocess import CompletedProcess

import pytest
import yaml
from blocks import PAGES, ROOT, Block, Chapter, anchors, blocks, chapters, links
from checkout import run

from drdc.cli import _parser

EVERY = [block for page in PAGES for block in blocks(page)]
#: `text` is printed or drawn, `math` an equation, `mermaid` a graph; a reader types all the others.
LANGUAGES = {"sh", "python", "yaml", "toml", "diff", "json", "text", "math", "mermaid"}
LINKING = [*PAGES, ROOT / "config/README.md", ROOT / "results/published/README.md"]


def names(items: list[Block] | list[Chapter]) -> list[str]:
    return [str(item) for item in items]


CHAPTERS = [c for page in PAGES for c in chapters(page) if any(b.is_for_doing for b in c.blocks)]
LEFT_OUT = [block for block in EVERY if block.reason]


@pytest.mark.parametrize("block", EVERY, ids=names(EVERY))
def test_a_block_says_what_language_it_is_in(block: Block) -> None:
    assert block.language in LANGUAGES, f"{block}: write one of {sorted(LANGUAGES)} behind the three ticks"


@pytest.mark.long
@pytest.mark.parametrize("chapter", CHAPTERS, ids=names(CHAPTERS))
def test_what_a_chapter_tells_to_do_works(chapter: Chapter, project: Path) -> None:
    """Its blocks one after the other, in a checkout where the (tiny) demo is finished.

    What says why it is not run is planned: a dry run of snakemake and make, the parsing of drdc's arguments.
    """
    for block in filter(lambda block: block.is_for_doing, chapter.blocks):
        if block.reason is None:
            follow(block, project)
        else:
            plan(block, project)


@pytest.mark.parametrize("block", LEFT_OUT, ids=names(LEFT_OUT))
def test_what_is_not_run_says_why(block: Block) -> None:
    """`pytest -rs tests/docs` lists the blocks of which nothing is even planned."""
    assert block.reason is not None
    assert len(block.reason.split()) > 1
    if not any(can_be_planned(words) for words in commands(block)):
        pytest.skip(f"{block} is not run: {block.reason}")


def follow(block: Block, folder: Path) -> None:
    """Do what the block says in `folder`."""
    if block.path is not None:
        (folder / block.path).parent.mkdir(parents=True, exist_ok=True)
        (folder / block.path).write_text(block.text, encoding="utf-8")
    elif block.language == "sh":
        check(run(folder, "bash", "-euo", "pipefail", "-c", block.text), block)
    elif block.language == "python":
        follow_python(block, folder)
    elif block.language == "diff":
        (folder / "change.diff").write_text(block.text, encoding="utf-8")
        check(run(folder, "git", "apply", "--whitespace=nowarn", "change.diff"), block)  # fits the code
    elif block.language == "json":
        assert [json.loads(line) for line in block.text.splitlines()]
    if block.language == "yaml":
        check_configuration(block, folder)


def follow_python(block: Block, folder: Path) -> None:
    """Run a block; of one with prompts, what it prints is compared."""
    if ">>>" in block.text:
        (folder / "session.txt").write_text(block.text, encoding="utf-8")
        check(run(folder, "python", "-m", "doctest", "session.txt"), block)
    else:
        check(run(folder, "python", "-c", block.text), block)


def check_configuration(block: Block, folder: Path) -> None:
    """A whole experiment is valid by itself, some settings are within the tiny experiment."""
    settings = yaml.safe_load(block.text)
    if "experiment" not in settings:
        whole = yaml.safe_load((folder / "config/config.yaml").read_text(encoding="utf-8"))
        settings = merged(whole, settings)
    code = f"from drdc.experiment.experiment import load_experiment; load_experiment({settings!r})"
    check(run(folder, "python", "-c", code), block)


def merged(whole: dict[str, object], part: dict[str, object]) -> dict[str, object]:
    """`whole` with the settings of `part` in place of its own."""
    both = dict(whole)
    for key, value in part.items():
        own = both.get(key)
        both[key] = merged(own, value) if isinstance(own, dict) and isinstance(value, dict) else value
    return both


def commands(block: Block) -> list[list[str]]:
    """The words of each command of a shell block."""
    lines = re.sub(r"\\\n", " ", block.text).splitlines() if block.language == "sh" else []
    parts = [part for line in lines for part in re.split(r"&&|\|\|", line)]
    return [words for part in parts if (words := shlex.split(part, comments=True))]


def can_be_planned(words: list[str]) -> bool:
    return words[0] in ("drdc", "snakemake", "make") and "--unlock" not in words


def plan(block: Block, folder: Path) -> None:
    """Check what is not run as far as it can be, with the demo's own configuration."""
    if block.language == "yaml":
        assert yaml.safe_load(block.text)
    tiny = shutil.copy(folder / "config/config.yaml", folder / "tiny.yaml")
    shutil.copy(ROOT / "config/config.yaml", folder / "config/config.yaml")
    for words in filter(can_be_planned, commands(block)):
        if words[0] == "drdc":
            _parser(words[1]).parse_args(words[1:])
        if words[:2] == ["drdc", "new-experiment"]:
            check(run(folder, *words), block)  # what follows reads the file that it writes
        elif words[0] != "drdc":
            check(run(folder, *words, "--dry-run"), block)
    shutil.move(tiny, folder / "config/config.yaml")


def check(done: CompletedProcess[str], block: Block) -> None:
    """The command came to a good end."""
    assert done.returncode == 0, f"{block}: {done.args}\n{done.stdout}\n{done.stderr}"


@pytest.mark.parametrize("page", LINKING, ids=[str(page.relative_to(ROOT)) for page in LINKING])
def test_what_a_page_links_to_is_there(page: Path) -> None:
    for _, target in links(page):
        name, _, anchor = target.partition("#")
        file = (page.parent / name).resolve() if name else page
        assert file.exists(), f"{page.name} links to {target}"
        assert not anchor or anchor in anchors(file), f"{page.name} links to {target}"


def test_a_link_to_code_names_what_the_file_defines() -> None:
    """`[`partition`](../drdc/equations/inpainting.py)`: the function, class or method is in that file."""
    linked = [
        (page, text.strip("`"), (page.parent / target.partition("#")[0]).resolve())
        for page in PAGES
        for text, target in links(page)
        if target.endswith(".py") and re.fullmatch(r"`[A-Za-z_.]+`", text) and not text.endswith(".py`")
    ]
    assert linked
    missing = [
        f"{page.name}: {name} in {file.name}" for page, name, file in linked if name not in defined(file)
    ]
    assert not missing


def defined(file: Path) -> set[str]:
    """Functions, classes, constants, methods as `Class.method` and fields as `Class.field` of a module."""
    found: set[str] = set()
    for node in ast.parse(file.read_text(encoding="utf-8")).body:
        found |= set(assigned(node))
        if isinstance(node, ast.ClassDef):
            found |= {f"{node.name}.{name}" for inner in node.body for name in assigned(inner)}
    return found


def assigned(node: ast.stmt) -> list[str]:
    if isinstance(node, ast.FunctionDef | ast.ClassDef):
        return [node.name]
    targets = node.targets if isinstance(node, ast.Assign) else [getattr(node, "target", None)]
    return [target.id for target in targets if isinstance(target, ast.Name)]


def test_every_equation_is_explained_and_linked() -> None:
    """docs/method.md has each equation, (1) to (17), in a chapter that links to code."""
    text = (ROOT / "docs/method.md").read_text(encoding="utf-8")
    numbered = {int(number) for number in re.findall(r"\\tag\{(\d+)\}", text)}
    assert numbered == set(range(1, 18))


def test_the_index_names_every_page() -> None:
    targets = {target for _, target in links(ROOT / "docs/README.md")}
    pages = {page.name for page in (ROOT / "docs").glob("*.md")} - {"README.md"}
    assert pages <= targets
