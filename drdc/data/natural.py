"""Folders of photos as people keep them, and the commands that make a dataset of them.

    flat/*.png                       one product, normal images alone
    part/good/*.png                  the same in a folder that says so
    part/ok/*.png, part/nok/*.png    normal and defective images
    parts/lid/..., parts/gear/...    several products, each in one of these ways

Nothing is copied or moved: the commands make links. Where it is not plain which images are normal (several
folders that say so, or photos next to such a folder), there are none, so that no image is left out unseen.
"""

from __future__ import annotations

import shlex
from collections.abc import Iterator
from pathlib import Path

from drdc.config.names import category_fault, sounds_good
from drdc.data.listing import folders, images

#: Behind the name of the folder of photos, for that of the links.
LINKED = "-dataset"


def commands(root: Path) -> str:
    """Commands after which a folder's images are a dataset, and its name; "" where none are recognised."""
    target = Path(root.resolve().name + LINKED)
    products = list(_products(root))
    if any(len(_normal(folder)) > 1 for _, folder in products):
        return ""
    lines = [line for name, folder in products for line in _links(target / name, folder)]
    return f"`{' && '.join(lines)}`, and name {shlex.quote(str(target))}" if lines else ""


def _products(root: Path) -> Iterator[tuple[str, Path]]:
    """(name, folder) of each product."""
    inside = folders(root)
    if images(root) or any(sounds_good(one.name) for one in inside):
        inside = [root]
    for folder in inside:
        name = folder.resolve().name
        if not category_fault(name) and _normal(folder):
            yield name, folder


def _normal(folder: Path) -> list[Path]:
    """The folders that may hold the normal images of a product: itself, and those below it called so."""
    said = [one for one in folders(folder) if sounds_good(one.name)]
    return [one for one in (folder, *said) if images(one)]


def _links(category: Path, folder: Path) -> Iterator[str]:
    """The commands for one product."""
    normal = _normal(folder)
    defects = [one for one in folders(folder) if one not in normal and images(one)]
    parts = ["train", *(["test"] if defects else [])]
    yield f"mkdir -p {shlex.join(str(category / part) for part in parts)}"
    yield _link(normal[0], category / "train/good")
    for one in defects:
        yield _link(one, category / "test" / one.name)


def _link(folder: Path, to: Path) -> str:
    return shlex.join(["ln", "-s", str(folder.resolve()), str(to)])
