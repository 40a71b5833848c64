"""A hook of MkDocs (mkdocs.yml): the site of the manual, from files all over the repository.

A page has the path in the site that its file has in the repository, so that links from page to page work in
both. Links to other files lead to the code; pictures are copied; equations become MathML, without a script.
"""

from __future__ import annotations

import html
import posixpath
import re
from collections.abc import Iterator
from functools import partial
from itertools import chain
from pathlib import Path
from typing import Any

from latex2mathml.converter import convert
from mkdocs.structure.files import File, Files

ROOT = Path(__file__).parents[1]
INDEX = "docs/README.md"

_LINK = re.compile(r"(?P<picture>!?)\[(?P<text>[^\[\]]*)\]\((?P<target>[^()\s]+)\)")
_FENCED = re.compile(r"^ *```.*?^ *```$", re.M | re.S)
_EQUATION = re.compile(r'<(?P<tag>span|div) class="arithmatex">\\[(\[](?P<latex>.*?)\\[)\]]</(?P=tag)>', re.S)
_NUMBERED = '<div style="display: flex; align-items: center"><div style="flex: 1">{}</div>({})</div>'
_NUMBER = re.compile(r"\\tag\{(\d+)\}")


def on_config(config: Any) -> Any:
    """The order of the pages is that of the index."""
    readme, *others = pages()
    config.nav = [readme, INDEX, *others]
    return config


def on_files(files: Files, config: Any) -> Files:
    """In place of the files in `docs`: all pages, and the pictures that they show."""
    for file in [one for one in files if one.src_dir == config.docs_dir]:
        files.remove(file)
    for path in dict.fromkeys([INDEX, *pages(), *pictures()]):
        files.append(File.generated(config, path, abs_src_path=str(ROOT / path)))
    return files


def on_page_markdown(markdown: str, page: Any, config: Any, **_: Any) -> str:
    """Links to what is no page of the site lead to the code."""
    led = partial(_led, page=page.file.src_uri, code=config.repo_url)
    texts = [_LINK.sub(led, text) for text in _FENCED.split(markdown)]
    return "".join(chain(*zip(texts, [*_FENCED.findall(markdown), ""], strict=True)))


def on_page_content(content: str, **_: Any) -> str:
    """Equations as MathML, which browsers draw by themselves."""
    return _EQUATION.sub(_mathml, content)


def pages() -> list[str]:
    """The files that the index names, in its order."""
    named = (path for picture, path in links(INDEX) if not picture and path.endswith(".md"))
    return list(dict.fromkeys(named))


def pictures() -> Iterator[str]:
    """Those that any page shows."""
    for page in pages():
        yield from (path for picture, path in links(page) if picture)


def links(page: str) -> list[tuple[bool, str]]:
    """(whether it is a picture, the file) of the links that stay in the repository."""
    text = _FENCED.sub("", (ROOT / page).read_text(encoding="utf-8"))
    found = [(bool(link["picture"]), link["target"]) for link in _LINK.finditer(text)]
    return [(picture, in_repository(page, target)) for picture, target in found if _is_inside(target)]


def in_repository(page: str, target: str) -> str:
    """The file that a page's link leads to, from the root of the repository."""
    return posixpath.normpath(posixpath.join(posixpath.dirname(page), target.partition("#")[0]))


def _is_inside(target: str) -> bool:
    return not re.match(r"[a-z]+:|#", target)


def _led(link: re.Match[str], page: str, code: str | None) -> str:
    """The link as the site has it."""
    if link["picture"] or not _is_inside(link["target"]):
        return link[0]
    path = in_repository(page, link["target"])
    if path in (INDEX, *pages()):
        return link[0]
    return f"[{link['text']}]({code}/blob/HEAD/{path})" if code else link["text"]


def _mathml(equation: re.Match[str]) -> str:
    latex = html.unescape(equation["latex"]).strip()
    number = _NUMBER.search(latex)
    shown = convert(_NUMBER.sub("", latex), display="block" if equation["tag"] == "div" else "inline")
    return _NUMBERED.format(shown, number[1]) if number else shown
