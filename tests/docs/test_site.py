"""The manual as a site: all pages are there, and every link leads somewhere."""

import os
import re
import subprocess
import sys
from html import unescape
from pathlib import Path
from urllib.parse import unquote, urldefrag

import pytest
from blocks import ROOT, links

CODE = "https://example.org/drdc"


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Strictly: a link without a page, or to a heading that is not there, fails."""
    folder = tmp_path_factory.mktemp("site")
    command = [sys.executable, "-m", "mkdocs", "build", "--strict", "--site-dir", str(folder)]
    environment = os.environ | {"REPOSITORY": CODE}
    done = subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return folder


def targets(page: Path) -> set[str]:
    text = page.read_text(encoding="utf-8")
    return {unescape(found) for found in re.findall(r'(?:href|src)="([^"]+)"', text)}


def pages(site: Path) -> list[Path]:
    return [page for page in site.rglob("*.html") if page.name != "404.html"]


def test_every_page_of_the_index_is_in_it(site: Path) -> None:
    named = {target for _, target in links(ROOT / "docs/README.md") if target.endswith(".md")}
    assert len(pages(site)) == len(named) + 1


def test_links_within_the_site_lead_to_files_and_headings(site: Path) -> None:
    checked = 0
    for page in pages(site):
        for target in targets(page):
            path, anchor = urldefrag(target)
            if re.match("[a-z]+:", target):
                continue
            file = (page.parent / unquote(path)).resolve() if path else page
            file = file / "index.html" if file.is_dir() else file
            assert file.is_file(), f"{page.relative_to(site)} links to {target}"
            assert not anchor or f'id="{unquote(anchor)}"' in file.read_text("utf-8"), target
            checked += 1
    assert checked > 500


def test_links_to_code_name_files_of_the_repository(site: Path) -> None:
    prefix = f"{CODE}/blob/HEAD/"
    found = {target for page in pages(site) for target in targets(page) if target.startswith(prefix)}
    assert len(found) > 50
    assert not [target for target in found if not (ROOT / target.removeprefix(prefix)).exists()]


def test_equations_and_the_graph_are_drawn(site: Path) -> None:
    method = (site / "docs/method/index.html").read_text("utf-8")
    assert method.count('display="block"') >= 17
    assert "arithmatex" not in method
    assert 'class="mermaid"' in (site / "docs/workflow/index.html").read_text("utf-8")
