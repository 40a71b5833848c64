"""Published datasets: downloaded once, verified every time, unpacked completely or not at all.

Next to the dataset's folder are the archive, `<archive>.part` while it is downloaded, and a hidden folder
while it is unpacked. After any interruption the same command resumes from there.
"""

from __future__ import annotations

import logging
import os
import shutil
import sys
from collections import Counter
from contextlib import suppress
from pathlib import Path
from typing import Any, BinaryIO

from tqdm import tqdm

from drdc.data.archives import Limits, unpack
from drdc.data.reader import Source
from drdc.runtime.digests import sha256_of
from drdc.runtime.errors import UserError
from drdc.runtime.files import exclusive, free_space, move, not_written

log = logging.getLogger(__name__)

#: Bytes written at a time; an incomplete piece is dropped.
_PIECE = 2**14


def obtain(source: Source, folder: Path) -> str | None:
    """Download a dataset into `folder`, unless that exists: such a folder is left as it is.

    An archive next to `folder` is used instead of the network. Several processes may ask for the same dataset
    at once: one downloads, the others wait.

    Returns:
        Where the archive came from: its address, or its path where it was there already; None where the
        folder exists.

    Raises:
        UserError: no address gives the right file (then: what to fetch by hand and where to put it), the
            archive is another file than the published one, or the disk is full. `folder` is not there then.
    """
    if folder.exists():
        return None
    if folder.is_symlink():
        raise UserError(folder, "is a broken link", "remove it, or create the folder that it leads to")
    archive = folder.with_name(source.file)
    with exclusive(archive):
        if folder.exists():
            return None
        _check_space(source, folder, archive)
        origin = _verify(source, archive) if archive.exists() else _download(source, archive)
        _unpack(source, archive, folder)
    return origin


def _check_space(source: Source, folder: Path, archive: Path) -> None:
    """Raise before anything is written, if there is no space for the archive and its content."""
    have = next((p.stat().st_size for p in (archive, _part(archive)) if p.exists()), 0)
    need = (max(0, source.size - have) + source.unpacked) // 2**20
    if need > (free := free_space(folder)):
        raise UserError(
            folder,
            f"{source.title} needs {need} MiB there, for {source.file} and its content, but {free} MiB "
            "are free",
            "free some space or name a folder on another disk",
        )


def _verify(source: Source, archive: Path) -> str:
    """The path of an archive with the published SHA-256."""
    log.info("verifying %s", archive)
    if (found := sha256_of(archive)) != source.sha256:
        raise UserError(
            archive,
            f"is not the published {source.title} (SHA-256 {found}, published {source.sha256})",
            "remove it and run the same command again to download it",
        )
    return str(archive)


def _part(archive: Path) -> Path:
    return archive.with_name(f"{archive.name}.part")


def _download(source: Source, archive: Path) -> str:
    """Fetch the archive from the first address that has it, which is returned; verified, it gets its name."""
    from requests import RequestException

    part, faults = _part(archive), []
    for url in source.urls:
        log.info("downloading %s (%.2f GB) from %s", source.file, source.size / 1e9, url)
        begun_before = part.exists()
        try:
            _fetch(url, part, source.size)
        except RequestException as error:
            faults.append(f"{url}: {' '.join(str(error).split())[:200]}")
            continue
        except OSError as error:
            raise not_written(part, error) from error
        if (found := sha256_of(part)) == source.sha256:
            move(part, archive)
            return url
        faults.append(f"{url}: sent another file, with SHA-256 {found}")
        if not begun_before or part.stat().st_size >= source.size:
            part.unlink()
    raise UserError(
        "",
        f"{source.title} cannot be downloaded ({'; '.join(faults)})",
        f"get {source.file} ({source.size} bytes, SHA-256 {source.sha256}) by hand, see {source.home}, put "
        f"it at {archive} and run the same command again, which verifies and unpacks it",
    )


def _fetch(url: str, part: Path, size: int) -> None:
    """Append to `part` what it lacks; a lost connection is renewed as long as it makes progress."""
    from requests import ConnectionError, HTTPError, Timeout, codes
    from requests.exceptions import ChunkedEncodingError

    part.touch()
    have = part.stat().st_size
    if have > size:  # of another file
        os.truncate(part, 0)
        have = 0
    while have < size:
        before = have
        try:
            _request(url, part, have, size)
        except (ConnectionError, Timeout, ChunkedEncodingError):
            if part.stat().st_size <= before:
                raise
        except HTTPError as error:
            if error.response is None or error.response.status_code != codes.range_not_satisfiable:
                raise
        have = part.stat().st_size
        if have <= before:
            return  # complete; the SHA-256 decides whether it is right
        log.info("%d of %d bytes of %s are here", have, size, part.name)


class _Whole(Exception):
    """All bytes of the file have arrived, whatever else is sent."""


class _Rest:
    """A file to write to, which appends what `part` lacks, up to the file's size.

    A server without range requests sends the file from its beginning, and a network with a login page
    sends that first: what is here already is compared, and never overwritten.
    """

    def __init__(self, file: BinaryIO, have: int, size: int) -> None:
        self.file, self.have, self.lacking = file, have, size - have
        self.known = 0  # bytes that come a second time

    def begin(self, response: Any, **_: Any) -> None:
        """Read the headers of an answer."""
        start = response.headers.get("Content-Range", f"bytes {self.have}-").partition("-")[0]
        if response.status_code == 206 and start != f"bytes {self.have}":
            raise self._another()
        self.known = self.have if response.status_code == 200 else 0
        self.file.seek(self.have - self.known)

    def write(self, content: bytes) -> None:
        again, new = content[: self.known], content[self.known :][: self.lacking]
        if self.file.read(len(again)) != again:
            raise self._another()
        self.file.write(new)
        self.known -= len(again)
        self.lacking -= len(new)
        if not self.lacking:
            raise _Whole

    def flush(self) -> None:
        self.file.flush()

    def _another(self) -> Exception:
        from requests import RequestException

        return RequestException(
            f"sent another file than the one of which {self.have} bytes are kept in {self.file.name}; "
            "remove it to start from the beginning"
        )


def _request(url: str, part: Path, have: int, size: int) -> None:
    """One HTTP request for all bytes of the file after the first `have`, added to `part`."""
    from pooch import HTTPDownloader  # type: ignore[import-untyped]

    headers = {"Accept-Encoding": "identity"} | ({"Range": f"bytes={have}-"} if have else {})
    bar = tqdm(total=size - have, unit="B", unit_scale=True, disable=not sys.stderr.isatty())
    with part.open("r+b") as file, suppress(_Whole):
        rest = _Rest(file, have, size)
        options = {"headers": headers, "hooks": {"response": rest.begin}, "timeout": 60}
        HTTPDownloader(progressbar=bar, chunk_size=_PIECE, **options)(url, rest, None)


def _unpack(source: Source, archive: Path, folder: Path) -> None:
    """Unpack a verified archive next to `folder`, count its images, and only then rename it."""
    hidden = folder.with_name(f".{folder.name}.unpacking")
    log.info("unpacking %s", archive)
    try:
        shutil.rmtree(hidden, ignore_errors=True)  # what a killed process left
        unpack(archive, hidden, Limits(total=2 * source.unpacked))
        found = _checked(source, archive, hidden)
        os.sync()  # also after a power failure, the folder has complete files or does not exist
        found.rename(folder)
    except OSError as error:
        raise not_written(folder, error) from error
    finally:
        shutil.rmtree(hidden, ignore_errors=True)
    log.info("%s contains %s; %s is not needed any more", folder, source.title, archive)


def _checked(source: Source, archive: Path, hidden: Path) -> Path:
    """The unpacked folder that holds the categories, with as many images as were published."""
    folders = [hidden, *sorted(path for path in hidden.iterdir() if path.is_dir())]
    found = next((folder for folder in folders if _holds(source, folder)), None)
    if found is None:
        raise UserError(
            archive,
            f"has no folder with {', '.join(source.counts)}",
            f"get it from {source.home}",
        )
    samples = [s for s in source.samples(found) if (found / s.path).is_file()]
    numbers: Counter[tuple[str, str, int]] = Counter((s.category, s.split, s.label) for s in samples)
    kinds = (("train", 0), ("test", 0), ("test", 1))
    wrong = [
        f"{name} {counts} instead of {published}"
        for name, published in source.counts.items()
        if (counts := tuple(numbers[name, *kind] for kind in kinds)) != published
    ]
    if wrong:
        raise UserError(
            archive,
            "has different numbers of training, normal test and anomalous test images than published "
            f"({'; '.join(wrong)})",
            f"get it from {source.home}",
        )
    return found


def _holds(source: Source, folder: Path) -> bool:
    """Whether a folder has all published categories, for the dataset's reader."""
    try:
        source.scan(folder, list(source.counts))
    except UserError:
        return False
    return True
