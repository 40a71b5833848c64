"""Real hostile archives: nothing leaves the folder or grows without bound, and one sentence says why."""

from __future__ import annotations

import bz2
import io
import lzma
import stat
import struct
import tarfile
import zipfile
import zlib
from collections.abc import Callable
from pathlib import Path

import pytest

from drdc.data.archives import Limits, unpack
from drdc.runtime.errors import UserError

MIB = 2**20


@pytest.fixture
def out(tmp_path: Path) -> Path:
    """The folder to unpack into, with a neighbour that no archive may change."""
    (tmp_path / "precious").mkdir()
    (tmp_path / "precious" / "key").write_text("untouched")
    return tmp_path / "out"


def refused(archive: Path, out: Path, fault: str, member: str, limits: Limits | None = None) -> None:
    """The archive is refused in one sentence that names it and the member; nothing lies outside `out`."""
    with pytest.raises(UserError, match=fault) as caught:
        unpack(archive, out, limits or Limits())
    message = str(caught.value)
    assert message.startswith(f"{archive}: ")
    assert repr(member) in message
    assert "\n" not in message
    assert (out.parent / "precious" / "key").read_text() == "untouched"
    assert {p.name for p in out.parent.iterdir()} <= {archive.name, "precious", "out"}
    assert not [p for p in out.rglob("*") if p.is_symlink()]


# --- tar -------------------------------------------------------------------------------------------------


def entry(name: str, kind: bytes = tarfile.REGTYPE, content: bytes = b"hostile", **facts: object) -> tuple:
    info = tarfile.TarInfo(name)
    info.type = kind
    info.size = len(content) if kind == tarfile.REGTYPE else 0
    for key, value in facts.items():
        setattr(info, key, value)
    return info, content


def tar(path: Path, *entries: tuple, mode: str = "w") -> Path:
    with tarfile.open(path, mode, format=tarfile.PAX_FORMAT) as archive:
        for info, content in entries:
            archive.addfile(info, io.BytesIO(content) if info.size else None)
    return path


NAMES = [
    ("../precious/key", "leads out of the folder"),
    ("a/../../precious/key", "leads out of the folder"),
    ("a/..", "leads out of the folder"),
    ("/tmp/hostile", "has an absolute path"),
    ("//server/share", "has an absolute path"),
    ("..\\precious\\key", "has a Windows path"),
    ("C:\\Windows\\a.png", "has a Windows path"),
    ("C:a.png", "has a Windows path"),
    ("a\nb.png", "cannot be printed"),
    ("a\x1b[2Jb.png", "cannot be printed"),
    ("a\u202egnp.exe", "cannot be printed"),
]


@pytest.mark.parametrize(("name", "fault"), NAMES)
def test_a_name_that_leads_elsewhere_in_a_tar(tmp_path: Path, out: Path, name: str, fault: str) -> None:
    refused(tar(tmp_path / "a.tar", entry(name)), out, fault, name)


@pytest.mark.parametrize(("name", "fault"), NAMES)
def test_a_name_that_leads_elsewhere_in_a_zip(tmp_path: Path, out: Path, name: str, fault: str) -> None:
    with zipfile.ZipFile(tmp_path / "a.zip", "w") as archive:
        info = zipfile.ZipInfo("x")
        info.filename = name  # past the constructor, which would clean it
        archive.writestr(info, b"hostile")
    refused(tmp_path / "a.zip", out, fault, name)


def test_a_name_in_no_encoding(tmp_path: Path, out: Path) -> None:
    path = tar(tmp_path / "a.tar", entry("QQ.png"))
    raw = path.read_bytes().replace(b"QQ.png", b"\xff\xfe.png")
    header = raw[:148] + b" " * 8 + raw[156:512]
    path.write_bytes(raw[:148] + b"%06o\0 " % sum(header) + raw[156:])
    refused(path, out, "cannot be printed", "\udcff\udcfe.png")


@pytest.mark.parametrize(
    ("kind", "fault"),
    [
        (tarfile.SYMTYPE, "is a link"),
        (tarfile.LNKTYPE, "is a link"),
        (tarfile.CHRTYPE, "is a device"),
        (tarfile.BLKTYPE, "is a device"),
        (tarfile.FIFOTYPE, "is a device, a pipe"),
        (b"Z", "of an unknown kind"),
    ],
)
@pytest.mark.parametrize("linkname", ["../precious", "/etc/passwd", "b.png"])
def test_a_member_that_is_no_plain_file(
    tmp_path: Path, out: Path, kind: bytes, fault: str, linkname: str
) -> None:
    """Even a link to a file of the archive: a dataset has none."""
    path = tar(tmp_path / "a.tar", entry("b.png"), entry("a.png", kind, linkname=linkname))
    refused(path, out, fault, "a.png")


def test_nested_links_that_only_together_lead_out(tmp_path: Path, out: Path) -> None:
    """The trick of CVE-2025-4517: each link stays inside for a check that gives up on long paths."""
    deep = "/".join(["d" * 200] * 15)
    links = [entry(deep, tarfile.DIRTYPE), entry("s", tarfile.SYMTYPE, linkname=deep)]
    links += [entry("s/l", tarfile.SYMTYPE, linkname="../" * 15), entry("s/l/../precious/key")]
    refused(tar(tmp_path / "a.tar", *links), out, "is a link", "s")


def test_a_member_that_replaces_another(tmp_path: Path, out: Path) -> None:
    refused(tar(tmp_path / "a.tar", entry("a.png"), entry("a.png")), out, "is duplicate", "a.png")
    assert (out / "a.png").read_bytes() == b"hostile"


def test_a_file_where_a_folder_should_be(tmp_path: Path, out: Path) -> None:
    refused(tar(tmp_path / "a.tar", entry("a"), entry("a/b.png")), out, "below a file", "a/b.png")


def test_a_file_with_holes_is_no_cheap_bomb(tmp_path: Path, out: Path) -> None:
    """GNU tar's sparse files: a terabyte in one header."""
    info = tarfile.TarInfo("a.png")
    info.type = tarfile.GNUTYPE_SPARSE
    header = bytearray(info.tobuf(tarfile.GNU_FORMAT))
    header[386:410] = b"%011o\0" % 0 + b"%011o\0" % 0
    header[483:495] = b"%011o\0" % (2**33 - 1)
    header[148:156] = b" " * 8
    header[148:156] = b"%06o\0 " % sum(header)
    (tmp_path / "a.tar").write_bytes(bytes(header) + bytes(1024))
    refused(tmp_path / "a.tar", out, "is a file with holes", "a.png")


def bomb(path: Path, compress: Callable[[bytes], bytes], gigabytes: int = 10) -> Path:
    """A tar with one file of zeros, made of many small compressed streams one after the other."""
    size = gigabytes * 1000**3
    header = entry("zeros.png", content=b"")[0]
    header.size = size
    piece = compress(bytes(10**7))
    path.write_bytes(compress(header.tobuf()) + piece * (size // 10**7) + compress(bytes(1024)))
    return path


@pytest.mark.parametrize("compress", [lzma.compress, bz2.compress])
def test_ten_gigabytes_of_zeros_stop_early(
    tmp_path: Path, out: Path, compress: Callable[[bytes], bytes]
) -> None:
    archive = bomb(tmp_path / "a.tar", compress)
    assert archive.stat().st_size < 3 * MIB
    refused(archive, out, "unpacks to more than the 67108864 bytes allowed", "zeros.png")
    assert (out / "zeros.png").stat().st_size <= 64 * MIB


def test_many_files_together_are_counted(tmp_path: Path, out: Path) -> None:
    files = [entry(f"{i}.png", content=bytes(10_000)) for i in range(20)]
    archive = tar(tmp_path / "a.tar", *files, mode="w:xz")
    refused(archive, out, "unpacks to more than the 100000 bytes", "9.png", Limits(total=100_000))


def test_too_many_members(tmp_path: Path, out: Path) -> None:
    archive = tar(tmp_path / "a.tar", *(entry(f"{i}", tarfile.DIRTYPE) for i in range(20)))
    refused(archive, out, "is one more than the 10 allowed", "10", Limits(members=10))


def test_a_header_of_gigabytes_is_not_taken_into_memory(tmp_path: Path, out: Path) -> None:
    """An extended header says that it is 8 GiB long: `tarfile` alone would read all of it at once."""
    header = entry("x", content=b"")[0]
    header.type, header.size = tarfile.XHDTYPE, 2**33 - 1
    piece = lzma.compress(bytes(10**7))
    (tmp_path / "a.tar").write_bytes(lzma.compress(header.tobuf(tarfile.GNU_FORMAT)) + piece * 859)
    with pytest.raises(UserError, match=r"a header is longer than 65536 bytes.*; download it again"):
        unpack(tmp_path / "a.tar", out)


@pytest.mark.parametrize("size", [b"\xff" * 12, b"\xff" * 10 + b"\xfe\x00", b"\xff" * 10 + b"\xfc\x00"])
def test_a_negative_size_does_not_read_for_ever(tmp_path: Path, out: Path, size: bytes) -> None:
    """CVE-2025-8194: a size below zero leads `tarfile` back to the same header again and again."""
    header = bytearray(entry("a.png", content=b"")[0].tobuf())
    header[124:136] = size
    header[148:156] = b" " * 8
    header[148:156] = b"%06o\0 " % sum(header)
    (tmp_path / "a.tar").write_bytes(bytes(header) * 3 + bytes(1024))
    with pytest.raises(UserError, match=r"a\.tar: "):
        unpack(tmp_path / "a.tar", out)


def test_long_names_without_end(tmp_path: Path, out: Path) -> None:
    """A header for a long name that is followed by another, thousands of times."""
    header = entry("././@LongLink", content=b"")[0]
    header.type, header.size = tarfile.GNUTYPE_LONGNAME, 2
    (tmp_path / "a.tar").write_bytes((header.tobuf() + b"a\0".ljust(512, b"\0")) * 5000)
    with pytest.raises(UserError, match="is not a whole tar or zip archive"):
        unpack(tmp_path / "a.tar", out)


# --- zip -------------------------------------------------------------------------------------------------


def zipped(path: Path, mode: int, name: str = "a.png", content: bytes = b"../precious/key") -> Path:
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        info = zipfile.ZipInfo(name)
        info.create_system, info.external_attr, info.compress_type = 3, mode << 16, zipfile.ZIP_DEFLATED
        archive.writestr(info, content)
    return path


@pytest.mark.parametrize(
    ("kind", "fault"),
    [(stat.S_IFLNK, "is a link"), (stat.S_IFCHR, "is a device"), (stat.S_IFIFO, "is a device, a pipe")],
)
def test_a_zip_member_that_is_no_plain_file(tmp_path: Path, out: Path, kind: int, fault: str) -> None:
    refused(zipped(tmp_path / "a.zip", kind | 0o777), out, fault, "a.png")


def test_a_zip_member_that_is_encrypted(tmp_path: Path, out: Path) -> None:
    path = zipped(tmp_path / "a.zip", stat.S_IFREG | 0o644)
    raw = bytearray(path.read_bytes())
    for signature, place in ((b"PK\x03\x04", 6), (b"PK\x01\x02", 8)):
        raw[raw.index(signature) + place] |= 1
    path.write_bytes(raw)
    refused(path, out, "is encrypted", "a.png")


@pytest.mark.parametrize("said", [10, 10**9])
def test_a_zip_whose_headers_lie_about_the_size(tmp_path: Path, out: Path, said: int) -> None:
    """10 MB of zeros that the headers call 10 bytes, or 1 GB: neither is believed, nor all written."""
    path = zipped(tmp_path / "a.zip", stat.S_IFREG | 0o644, content=bytes(10**7))
    raw = bytearray(path.read_bytes())
    for signature, place in ((b"PK\x03\x04", 22), (b"PK\x01\x02", 24)):
        start = raw.index(signature) + place
        raw[start : start + 4] = struct.pack("<I", said)
    path.write_bytes(raw)
    with pytest.raises(UserError, match="is not a whole tar or zip archive") as caught:
        unpack(path, out)
    assert repr("a.png") in str(caught.value)
    assert (out / "a.png").stat().st_size <= 10**7


def test_a_zip_bomb_stops_early(tmp_path: Path, out: Path) -> None:
    path = zipped(tmp_path / "a.zip", stat.S_IFREG | 0o644, content=bytes(200 * MIB))
    assert path.stat().st_size < MIB
    refused(path, out, "unpacks to more than the 67108864 bytes allowed", "a.png")
    assert (out / "a.png").stat().st_size <= 64 * MIB


def test_a_zip_whose_members_share_their_bytes(tmp_path: Path, out: Path) -> None:
    """Fifield's bomb: many entries of the directory point at one compressed piece; each is counted."""
    packed = zlib.compressobj(9, zlib.DEFLATED, -15)
    zeros = bytes(10 * MIB)
    piece = packed.compress(zeros) + packed.flush()
    facts = (20, 0, 8, 0, 0, zlib.crc32(zeros), len(piece), len(zeros), 1, 0)
    body = struct.pack("<4s5H3L2H", b"PK\x03\x04", *facts) + b"0" + piece
    entries = b"".join(
        struct.pack("<4s6H3L5H2L", b"PK\x01\x02", 20, *facts, 0, 0, 0, 0, 0) + bytes([48 + i])
        for i in range(10)
    )
    end = struct.pack("<4s4H2LH", b"PK\x05\x06", 0, 0, 10, 10, len(entries), len(body), 0)
    (tmp_path / "a.zip").write_bytes(body + entries + end)
    with pytest.raises(UserError, match=r"a\.zip: "):
        unpack(tmp_path / "a.zip", out)
    assert sum(p.stat().st_size for p in out.iterdir()) <= 64 * MIB


def test_two_zip_members_of_one_name(tmp_path: Path, out: Path) -> None:
    path = tmp_path / "a.zip"
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("a.png", b"first")
        with pytest.warns(UserWarning, match="Duplicate name"):
            archive.writestr("a.png", b"second")
    refused(path, out, "is duplicate", "a.png")
    assert (out / "a.png").read_bytes() == b"first"
