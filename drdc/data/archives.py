"""Unpacking archives that may be hostile: only plain files and folders below the wanted one are allowed."""

from __future__ import annotations

import bz2
import gzip
import lzma
import stat
import tarfile
import zipfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path, PureWindowsPath
from typing import IO, Any, TypeVar

from drdc.runtime.errors import UserError
from drdc.runtime.files import not_written

_ZIP = b"PK"
_DECOMPRESSORS: dict[bytes, Callable[..., Any]] = {
    b"\x1f\x8b": gzip.open,
    b"BZh": bz2.open,
    b"\xfd7zXZ\x00": lzma.open,
}
#: Bytes read at a time, and the longest header of a tar: a hostile one may ask for gigabytes of memory.
_CHUNK = 2**16
#: An archive of any size may become this many bytes.
_SMALL = 2**26

Result = TypeVar("Result")


@dataclass(frozen=True)
class Limits:
    """Bounds of what is unpacked; the sizes in the archive's own headers are not trusted.

    Attributes:
        members: files and folders at most.
        total: bytes at most.
        ratio: bytes at most, as a multiple of the archive's own size (64 MiB are always allowed).
    """

    members: int = 100_000
    total: int = 2**36
    ratio: float = 20.0


@dataclass(frozen=True)
class _Member:
    """One entry: `read` returns its next bytes (None: a folder); `fault`: why it is refused, if it is."""

    name: str
    fault: str
    read: Callable[[int], bytes] | None


def unpack(archive: Path, folder: Path, limits: Limits = Limits()) -> None:
    """Unpack a tar (plain, gzip, bzip2 or xz) or zip archive into the new folder `folder`.

    Files get the modes, owner and times of this process, never the archive's. After a failure the folder
    is incomplete; the caller removes it.

    Raises:
        UserError: the archive is damaged, unpacks to more than `limits`, or has a member that is a link, a
            device or encrypted, leads out of the folder, replaces another or has an unprintable or Windows
            name (one sentence with archive and member); or the folder cannot be written.
    """
    root = folder.resolve()
    with _opened(archive) as file:
        meter = _Meter(archive, limits)
        members = _reading(meter, lambda: _members(file, meter))
        while (member := _reading(meter, lambda: next(members, None))) is not None:
            target = _target(meter, member, root)
            try:
                _write(member, target, meter)
            except (FileExistsError, NotADirectoryError):
                raise meter.refusal(member.name, "is duplicate or below a file") from None
            except OSError as error:
                raise not_written(target, error) from error


class _Meter:
    """Counts members and the unpacked bytes, and stops at the limits."""

    def __init__(self, archive: Path, limits: Limits) -> None:
        self.archive, self.limits = archive, limits
        self.most = min(limits.total, max(_SMALL, int(limits.ratio * archive.stat().st_size)))
        self.members = self.bytes = 0
        self.name = ""

    def member(self, name: str) -> None:
        self.name = name
        self.members += 1
        if self.members > self.limits.members:
            raise self.refusal(name, f"is one more than the {self.limits.members} allowed")

    def spend(self, count: int) -> None:
        self.bytes += count
        if self.bytes > self.most:
            raise self.refusal(self.name, f"unpacks to more than the {self.most} bytes allowed")

    def refusal(self, name: str, fault: str) -> UserError:
        return UserError(
            self.archive, f"member {name!r} {fault}, which is refused", "get the archive from its publisher"
        )


class _Metered:
    """Unpacked bytes, read forwards in small pieces and counted: the part of a file that `tarfile` uses."""

    def __init__(self, file: IO[bytes], meter: _Meter) -> None:
        self.file, self.meter = file, meter
        self.position = 0

    def tell(self) -> int:
        return self.position

    def seek(self, position: int) -> None:
        if position < self.position:
            raise tarfile.ReadError("a header points backwards")
        while self.position < position and self.read(min(_CHUNK, position - self.position)):
            pass

    def read(self, size: int = -1) -> bytes:
        if not 0 <= size <= _CHUNK:
            raise tarfile.ReadError(f"a header is longer than {_CHUNK} bytes")
        piece = self.file.read(size)
        self.position += len(piece)
        self.meter.spend(len(piece))
        return piece


@contextmanager
def _opened(archive: Path) -> Iterator[IO[bytes]]:
    try:
        with archive.open("rb") as file:
            yield file
    except OSError as error:
        raise UserError(archive, f"cannot be read ({error.strerror or error})", "restore it") from error


def _members(file: IO[bytes], meter: _Meter) -> Iterator[_Member]:
    """The entries one after the other; each must be read before the next."""
    start = file.read(max(map(len, _DECOMPRESSORS)))
    file.seek(0)
    if start.startswith(_ZIP):
        return _zip_members(file, meter)
    unpacked = next(
        (opener(file) for magic, opener in _DECOMPRESSORS.items() if start.startswith(magic)), file
    )
    return _tar_members(_Metered(unpacked, meter), meter)


def _tar_members(stream: Any, meter: _Meter) -> Iterator[_Member]:
    with tarfile.open(fileobj=stream, mode="r:") as tar:
        for info in tar:
            meter.member(info.name)
            fault = ""
            if info.issym() or info.islnk():
                fault = "is a link"
            elif not (info.isreg() or info.isdir()):
                fault = "is a device, a pipe or of an unknown kind"
            elif info.issparse():
                fault = "is a file with holes"
            content = None if fault else tar.extractfile(info)
            yield _Member(info.name, fault, content.read if content else None)
    while rest := stream.read(_CHUNK):  # to the end, where the checksum is
        if any(rest):
            raise tarfile.ReadError("there is data after its end")


def _zip_members(file: IO[bytes], meter: _Meter) -> Iterator[_Member]:
    with zipfile.ZipFile(file) as archive:
        for info in archive.infolist():
            name = info.orig_filename
            meter.member(name)
            kind = stat.S_IFMT(info.external_attr >> 16)
            fault = ""
            if kind == stat.S_IFLNK:
                fault = "is a link"
            elif kind not in (0, stat.S_IFREG, stat.S_IFDIR):
                fault = "is a device, a pipe or of an unknown kind"
            elif info.flag_bits & 1:
                fault = "is encrypted"
            if info.is_dir() or fault:
                yield _Member(name, fault, None)
                continue
            with archive.open(info) as packed:
                content = _Metered(packed, meter)
                yield _Member(name, "", content.read)
                if content.position != info.file_size:
                    raise zipfile.BadZipFile("it has another size than its header says")


def _reading(meter: _Meter, read: Callable[[], Result]) -> Result:
    """The result of `read`; any exception of the decoders becomes one sentence."""
    try:
        return read()
    except UserError:
        raise
    except Exception as error:
        reason = " ".join(str(error).split()) or type(error).__name__
        place = f" at member {meter.name!r}" if meter.name else ""
        raise UserError(
            meter.archive, f"is not a whole tar or zip archive ({reason}{place})", "download it again"
        ) from None


def _write(member: _Member, target: Path, meter: _Meter) -> None:
    read = member.read
    if read is None:
        target.mkdir(parents=True, exist_ok=True)
        return
    target.parent.mkdir(parents=True, exist_ok=True)
    with target.open("xb") as file:
        while piece := _reading(meter, lambda: read(_CHUNK)):
            file.write(piece)


def _target(meter: _Meter, member: _Member, root: Path) -> Path:
    """The path of a member: always below `root`, which only this module writes."""
    fault = member.fault or _name_fault(member.name)
    target = root / member.name
    if not fault and not target.resolve().is_relative_to(root):
        fault = "leads out of the folder"
    if fault:
        raise meter.refusal(member.name, fault)
    return target


def _name_fault(name: str) -> str:
    if not name.isprintable():
        return "has characters in its name that cannot be printed"
    if name.startswith("/"):
        return "has an absolute path"
    if "\\" in name or PureWindowsPath(name).drive:
        return "has a Windows path"
    return "leads out of the folder" if ".." in name.split("/") else ""
