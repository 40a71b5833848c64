"""The contents of a folder of images: images, files of operating systems, and what is left out."""

from __future__ import annotations

import os
import re
import unicodedata
from collections.abc import Collection, Iterator
from pathlib import Path

#: Names of image files, in lower case.
EXTENSIONS = {
    *(".png", ".jpg", ".jpeg", ".bmp", ".tif", ".tiff", ".webp"),
    *(".pbm", ".pgm", ".ppm", ".pnm", ".jp2"),
}
#: What Synology, QNAP, macOS, Windows, Linux, Python and viewers create next to images, in lower case.
_SYSTEM = {
    *("@eadir", "@tmp", "@__thumb", "@recycle", "@recently-snapshot", "#recycle", "#snapshot", "~snapshot"),
    *("__macosx", "icon\r", "network trash folder", "temporary items"),
    *("thumbs.db", "ehthumbs.db", "ehthumbs_vista.db", "desktop.ini", "picasa.ini", "zbthumbnail.info"),
    *("thumbs", "thumbnail", "thumbnails", "_thumbs", "_thumbnails"),
    *("$recycle.bin", "recycler", "recycled", "system volume information", "lost+found", "__pycache__"),
}
_FOUND_BY_CHKDSK = re.compile(r"found\.\d{3}")


def is_system(name: str) -> bool:
    """Whether a file or folder is hidden, or one of those that operating systems create everywhere."""
    plain = name.casefold().strip(" ").partition(":")[0]
    return name.startswith(".") or plain in _SYSTEM or bool(_FOUND_BY_CHKDSK.fullmatch(plain))


def same_form(name: str) -> str:
    """A name in the Unicode form NFC, in which equal names have equal characters; macOS writes another."""
    return unicodedata.normalize("NFC", name)


def entries(folder: Path, but: Collection[str] = ()) -> list[Path]:
    """The contents of a folder by name, without files of operating systems; empty if it is missing."""
    if not folder.is_dir():
        return []
    return sorted(path for path in folder.iterdir() if not is_system(path.name) and path.name not in but)


def folders(folder: Path) -> list[Path]:
    """The folders directly in a folder, also linked ones."""
    return [path for path in entries(folder) if path.is_dir()]


def called_image(path: Path) -> bool:
    """Whether a file is an image by its name."""
    return path.suffix.lower() in EXTENSIONS and not is_system(path.name)


def images(folder: Path) -> list[Path]:
    """The image files directly in a folder, by name."""
    return [path for path in entries(folder) if called_image(path) and not path.is_dir()]


def below(folder: Path) -> Iterator[Path]:
    """All files of a folder and its subfolders, and the folders that are not entered.

    These are links to folders, which may lead anywhere, and folders that may not be read.
    """
    closed: list[Path] = []
    for parent, inner, files in os.walk(folder, onerror=lambda error: closed.append(Path(error.filename))):
        linked = [name for name in inner if Path(parent, name).is_symlink()]
        yield from sorted(Path(parent, name) for name in (*files, *linked) if not is_system(name))
        inner[:] = sorted(name for name in inner if not is_system(name) and name not in linked)
    yield from closed


def why_left_out(path: Path) -> str:
    """Why a file or folder is not read, as a noun: of what kind it is."""
    if path.is_symlink() and not path.exists():
        return "broken link"
    if path.is_dir():
        return "linked folder" if path.is_symlink() else "folder"
    if not path.is_file():
        return "special file"
    return f"{path.suffix.lower()} file" if path.suffix else "file without suffix"
