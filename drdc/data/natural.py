"""Folders of photos as people keep them, and the commands that make a dataset of them.

    flat/*.png                       one product, normal images alone
    part/good/*.png                  the same in a folder that says so
    part/ok/*.png, part/nok/*.png    normal and defective images
    parts/lid/..., parts/gear/...    several products, each in one of these ways

Nothing is copied or moved: the commands make links. Where it is not plain which images are normal (several
folders that say so, or photos next to such a folder), what the others are (photos next to folders of photos,
a folder of masks), or where an image would be left out unseen, there are none.
"""

from __future__ import annotations

import re
import shlex
from collections.abc import Iterator
from pathlib import Path

from drdc.config.names import category_fault, sounds_good
from drdc.data.listing import below, called_image, folders, images

#: Behind the name of the folder of photos, for that of the links.
LINKED = "-dataset"
#: Names of folders that hold masks, not photos.
_MASKS = re.compile(r"(?i)ground[ _-]?truths?|gt|masks?|labels?|annotations?|segmentations?")


def commands(root: Path) -> str:
    """Commands after which a folder's images are a dataset, and its name; "" where none are recognised."""
    target = Path(root.resolve().name + LINKED)
    products = list(_products(root))
    if not all(_is_plain(folder) for _, folder in products) or _left_out(root, products):
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


def _defects(folder: Path) -> list[Path]:
    """The folders of a product's other images, one for each kind of defect."""
    normal = _normal(folder)
    return [one for one in folders(folder) if one not in normal and images(one)]


def _is_plain(folder: Path) -> bool:
    """Whether it is plain which images of a product are normal, and that the others are defective ones."""
    defects = _defects(folder)
    mixed = images(folder) and defects  # the folders may be of other products
    masks = any(_MASKS.fullmatch(one.name) for one in defects)
    return len(_normal(folder)) == 1 and not mixed and not masks


def _left_out(root: Path, products: list[tuple[str, Path]]) -> bool:
    """Whether there are images that none of the links leads to."""
    linked = {one for _, folder in products for one in (*_normal(folder), *_defects(folder))}
    return any(file.parent not in linked for file in below(root) if called_image(file))


def _links(category: Path, folder: Path) -> Iterator[str]:
    """The commands for one product."""
    normal, defects = _normal(folder), _defects(folder)
    parts = ["train", *(["test"] if defects else [])]
    yield f"mkdir -p {shlex.join(str(category / part) for part in parts)}"
    yield _link(normal[0], category / "train/good")
    for one in defects:
        yield _link(one, category / "test" / one.name)


def _link(folder: Path, to: Path) -> str:
    # -n: a second time it fails, and does not write a link into the photos behind the first
    return shlex.join(["ln", "-sn", str(folder.resolve()), str(to)])
