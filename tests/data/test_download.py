"""Downloads from a server of our own: right, wrong, cut, killed, dead; and archives placed by hand."""

from __future__ import annotations

import hashlib
import io
import json
import re
import signal
import subprocess
import sys
import tarfile
import threading
import time
from collections.abc import Iterator
from contextlib import suppress
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import yaml
from handing import handed_over
from layouts import TREES
from limits import size_limit
from PIL import Image

from drdc import cli
from drdc.config.dataset import Dataset
from drdc.data.datasets import READERS, SOURCES
from drdc.data.download import obtain
from drdc.data.fingerprint import listing, trigger
from drdc.data.reader import Source
from drdc.results.layout import Layout
from drdc.runtime.digests import verify
from drdc.runtime.errors import UserError
from drdc.stages.download import download as download_stage
from drdc.stages.prepare import prepare

PIECE = 2**14
HOME = "https://example.org/dataset"


def image(seed: int) -> bytes:
    pixels = np.random.default_rng(seed).integers(0, 256, (48, 48, 3), dtype=np.uint8)
    buffer = io.BytesIO()
    Image.fromarray(pixels).save(buffer, "PNG")
    return buffer.getvalue()


def archive(good: int = 20, top: str = "released/") -> bytes:
    """A dataset of one category in MVTec AD's layout, below a folder of its own, as .tar.xz."""
    files = {f"{top}nut/train/good/{i:03d}.png": image(i) for i in range(good)}
    files |= {f"{top}nut/test/good/000.png": image(100), f"{top}nut/test/bent/000.png": image(101)}
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w:xz") as tar:
        for name, content in files.items():
            info = tarfile.TarInfo(name)
            info.size = len(content)
            tar.addfile(info, io.BytesIO(content))
    return buffer.getvalue()


ARCHIVE = archive()


class Server(BaseHTTPRequestHandler):
    """Serves one file as `server.behaviour` says, and keeps a record of the requests and of what it sent."""

    protocol_version = "HTTP/1.1"

    def do_GET(self) -> None:
        behaviour: SimpleNamespace = self.server.behaviour  # type: ignore[attr-defined]
        wanted = self.headers.get("Range", "")
        if behaviour.status != 200:
            return self.answer(behaviour.status, b"", 0)
        start = int(wanted.removeprefix("bytes=").removesuffix("-")) if wanted and behaviour.ranges else 0
        if wanted and behaviour.ranges and start >= len(behaviour.content):
            return self.answer(416, b"", 0)
        body = behaviour.content[start:]
        cut = behaviour.cuts.pop(0) if behaviour.cuts else len(body)
        behaviour.requests.append(SimpleNamespace(range=wanted, sent=len(body[:cut])))
        self.answer(206 if wanted and behaviour.ranges else 200, body[:cut], len(body))

    def answer(self, status: int, body: bytes, length: int) -> None:
        self.send_response(status)
        self.send_header("Content-Length", str(length))
        if status == 206 and self.server.behaviour.range_sent:  # type: ignore[attr-defined]
            self.send_header("Content-Range", self.server.behaviour.range_sent)  # type: ignore[attr-defined]
        self.end_headers()
        pause = self.server.behaviour.pause  # type: ignore[attr-defined]
        with suppress(ConnectionError):  # of a reader that has enough
            for i in range(0, len(body), 4096):
                self.wfile.write(body[i : i + 4096])
                if pause:
                    time.sleep(pause)
        self.close_connection = len(body) < length

    def log_message(self, *_: object) -> None:
        pass


@pytest.fixture
def server(monkeypatch: pytest.MonkeyPatch) -> Iterator[SimpleNamespace]:
    """What the server does: `content`, `status`, if it knows `ranges`, where it `cuts`; its `requests`."""
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")
    behaviour = SimpleNamespace(
        content=ARCHIVE, status=200, ranges=True, cuts=[], requests=[], pause=0, range_sent=""
    )
    http = ThreadingHTTPServer(("127.0.0.1", 0), Server)
    http.behaviour = behaviour  # type: ignore[attr-defined]
    behaviour.url = f"http://127.0.0.1:{http.server_port}/nut.tar.xz"
    threading.Thread(target=http.serve_forever, args=(0.01,), daemon=True).start()
    yield behaviour
    http.shutdown()
    http.server_close()


def source(*urls: str, content: bytes = ARCHIVE, **changes: object) -> Source:
    facts: dict[str, object] = {
        "name": "mvtec",
        "title": "Nuts",
        "home": HOME,
        "licence": "CC BY 4.0",
        "file": "nut.tar.xz",
        "urls": list(urls),
        "size": len(content),
        "sha256": hashlib.sha256(content).hexdigest(),
        "unpacked": 10**6,
        "counts": {"nut": (20, 1, 1)},
    }
    return Source.model_validate(facts | changes)


def whole(folder: Path) -> bool:
    return len(READERS["mvtec"].samples(folder)) == 22


def left(folder: Path) -> set[str]:
    """Names of all files and folders but the lock."""
    return {path.name for path in folder.iterdir()} - {"nut.tar.xz.lock"}


# --- the network -----------------------------------------------------------------------------------------


def test_a_dataset_comes_whole(tmp_path: Path, server: SimpleNamespace) -> None:
    folder = tmp_path / "data" / "mvtec"
    assert obtain(source(server.url), folder) == server.url
    assert whole(folder)
    assert left(folder.parent) == {"mvtec", "nut.tar.xz"}
    assert [request.range for request in server.requests] == [""]


def test_an_existing_folder_comes_first_and_is_left_alone(tmp_path: Path, server: SimpleNamespace) -> None:
    (tmp_path / "mvtec").mkdir()
    assert not obtain(source(server.url), tmp_path / "mvtec")
    assert left(tmp_path) == {"mvtec"}
    assert not list((tmp_path / "mvtec").iterdir())
    assert not server.requests


def test_a_broken_link_is_told_before_anything_is_fetched(tmp_path: Path, server: SimpleNamespace) -> None:
    (tmp_path / "mvtec").symlink_to(tmp_path / "not mounted")
    with pytest.raises(UserError, match="mvtec: is a broken link; remove it, or create the folder"):
        obtain(source(server.url), tmp_path / "mvtec")
    assert not server.requests


def test_a_cut_connection_goes_on_where_it_was(tmp_path: Path, server: SimpleNamespace) -> None:
    server.cuts = [2 * PIECE, 3 * PIECE]
    assert obtain(source(server.url), tmp_path / "mvtec")
    assert whole(tmp_path / "mvtec")
    assert [request.range for request in server.requests] == [
        "",
        f"bytes={2 * PIECE}-",
        f"bytes={5 * PIECE}-",
    ]
    assert sum(request.sent for request in server.requests) == len(ARCHIVE)


def test_a_later_command_asks_for_the_rest_only(tmp_path: Path, server: SimpleNamespace) -> None:
    server.cuts = [3 * PIECE, 0]
    with pytest.raises(UserError, match="cannot be downloaded"):
        obtain(source(server.url), tmp_path / "mvtec")
    assert left(tmp_path) == {"nut.tar.xz.part"}
    assert obtain(source(server.url), tmp_path / "mvtec")
    assert server.requests[-1].range == f"bytes={3 * PIECE}-"
    assert server.requests[-1].sent == len(ARCHIVE) - 3 * PIECE


def test_a_server_without_ranges_sends_all_again(tmp_path: Path, server: SimpleNamespace) -> None:
    server.ranges, server.cuts = False, [PIECE]
    assert obtain(source(server.url), tmp_path / "mvtec")
    assert whole(tmp_path / "mvtec")
    assert [request.range for request in server.requests] == ["", f"bytes={PIECE}-"]
    assert server.requests[-1].sent == len(ARCHIVE)


def test_a_connection_that_brings_nothing_more_ends(tmp_path: Path, server: SimpleNamespace) -> None:
    server.cuts = [PIECE] + [0] * 50
    with pytest.raises(UserError, match="cannot be downloaded"):
        obtain(source(server.url), tmp_path / "mvtec")
    assert len(server.requests) == 2


@pytest.mark.parametrize("sent", ["changed", "shorter", "page"])
def test_wrong_bytes_are_never_unpacked(tmp_path: Path, server: SimpleNamespace, sent: str) -> None:
    server.content = {
        "changed": ARCHIVE[:500] + bytes(8) + ARCHIVE[508:],
        "shorter": ARCHIVE[:-100],
        "page": b"<html>moved</html>",
    }[sent]
    with pytest.raises(UserError, match=r"sent another file, with SHA-256 [0-9a-f]{64}"):
        obtain(source(server.url), tmp_path / "mvtec")
    assert left(tmp_path) == set()
    server.content = ARCHIVE
    assert obtain(source(server.url), tmp_path / "mvtec")


def test_the_hash_decides_where_less_comes_than_the_published_size(
    tmp_path: Path, server: SimpleNamespace
) -> None:
    assert obtain(source(server.url, size=len(ARCHIVE) + 1000), tmp_path / "mvtec")
    assert whole(tmp_path / "mvtec")


@pytest.mark.parametrize("begun", [0, 1, 3 * PIECE, len(ARCHIVE) - 1])
@pytest.mark.parametrize("ranges", [True, False])
def test_what_sends_more_than_the_size_is_stopped_there(
    tmp_path: Path, server: SimpleNamespace, begun: int, ranges: bool
) -> None:
    """A server that would send for ever: what comes after the archive is not taken."""
    server.content, server.ranges = ARCHIVE + bytes(10**8), ranges
    if begun:
        (tmp_path / "nut.tar.xz.part").write_bytes(ARCHIVE[:begun])
    assert obtain(source(server.url), tmp_path / "mvtec")
    assert (tmp_path / "nut.tar.xz").read_bytes() == ARCHIVE
    server.content = bytes(10**8)
    with pytest.raises(UserError, match="sent another file"):
        obtain(source(server.url, file="other.tar.xz"), tmp_path / "other")
    assert "other.tar.xz.part" not in left(tmp_path)


@pytest.mark.parametrize("page", [b"<html>password?</html>", bytes(10 * len(ARCHIVE))])
@pytest.mark.parametrize("begun", [1, 3 * PIECE])
def test_a_page_in_place_of_the_rest_leaves_what_has_arrived(
    tmp_path: Path, server: SimpleNamespace, begun: int, page: bytes
) -> None:
    """A network that asks for a password first answers everything by its own page, with status 200."""
    part = tmp_path / "nut.tar.xz.part"
    part.write_bytes(ARCHIVE[:begun])
    server.content, server.ranges = page, False
    with pytest.raises(UserError, match=f"than the one of which {begun} bytes are kept in .*; remove"):
        obtain(source(server.url), tmp_path / "mvtec")
    assert part.read_bytes() == ARCHIVE[:begun]
    server.content, server.ranges = ARCHIVE, True
    assert obtain(source(server.url), tmp_path / "mvtec")
    assert server.requests[-1].range == f"bytes={begun}-"


def test_another_part_than_was_asked_for_is_not_taken(tmp_path: Path, server: SimpleNamespace) -> None:
    part = tmp_path / "nut.tar.xz.part"
    part.write_bytes(ARCHIVE[:1000])
    server.range_sent = "bytes 999-2000/5000"
    with pytest.raises(UserError, match="bytes are kept in"):
        obtain(source(server.url), tmp_path / "mvtec")
    assert part.read_bytes() == ARCHIVE[:1000]


def test_an_address_that_has_less_leaves_what_another_has_sent(
    tmp_path: Path, server: SimpleNamespace
) -> None:
    part = tmp_path / "nut.tar.xz.part"
    part.write_bytes(ARCHIVE[: 3 * PIECE])
    server.content = ARCHIVE[:PIECE]
    with pytest.raises(UserError, match="cannot be downloaded"):
        obtain(source(server.url), tmp_path / "mvtec")
    assert part.read_bytes() == ARCHIVE[: 3 * PIECE]


def test_the_rest_of_another_file_is_thrown_away(tmp_path: Path, server: SimpleNamespace) -> None:
    (tmp_path / "nut.tar.xz.part").write_bytes(bytes(len(ARCHIVE) + 5))
    assert obtain(source(server.url), tmp_path / "mvtec")
    assert [request.range for request in server.requests] == [""]


def test_a_dead_address_says_what_to_fetch_by_hand(tmp_path: Path, server: SimpleNamespace) -> None:
    server.status = 404
    folder = tmp_path / "mvtec"
    with pytest.raises(UserError, match="404 Client Error") as caught:
        obtain(source(server.url), folder)
    message = str(caught.value)
    published = source()
    for fact in (
        published.file,
        published.sha256,
        f"{published.size} bytes",
        HOME,
        str(tmp_path / "nut.tar.xz"),
    ):
        assert fact in message
    assert "\n" not in message
    assert not folder.exists()
    (tmp_path / "nut.tar.xz").write_bytes(ARCHIVE)  # as the message says
    assert obtain(published, folder)
    assert whole(folder)


def test_the_second_address_is_tried(tmp_path: Path, server: SimpleNamespace) -> None:
    """Nothing listens on port 9 of this machine."""
    assert obtain(source("http://127.0.0.1:9/nut.tar.xz", server.url), tmp_path / "mvtec")
    assert whole(tmp_path / "mvtec")


def test_no_network_is_one_sentence(tmp_path: Path, server: SimpleNamespace) -> None:
    with pytest.raises(UserError, match=r"by hand, see https://example\.org/dataset"):
        obtain(source("http://127.0.0.1:9/a", "http://no-such-host.invalid/a"), tmp_path / "mvtec")


@pytest.mark.parametrize("top", ["", "released/"])
@pytest.mark.parametrize("name", ["kolektorsdd", "mvtec_ad_2"])
def test_a_layout_of_its_own_comes_whole(
    name: str, top: str, tmp_path: Path, server: SimpleNamespace
) -> None:
    """Found in the archive by its own reader: not every category is a folder."""
    make, counts = TREES[name]
    made = make(tmp_path / "made")
    with tarfile.open(tmp_path / "made.tar.gz", "w:gz") as tar:
        tar.add(made, top or ".")
    server.content = (tmp_path / "made.tar.gz").read_bytes()
    sha256 = hashlib.sha256(server.content).hexdigest()
    facts = {"urls": [server.url], "size": len(server.content), "sha256": sha256, "unpacked": 10**6}
    facts = SOURCES[name].model_copy(update=facts | {"counts": counts})
    assert obtain(facts, tmp_path / name) == server.url
    assert READERS[name].samples(tmp_path / name) == READERS[name].samples(made)
    fewer = {category: (train - 1, good, bad) for category, (train, good, bad) in counts.items()}
    with pytest.raises(UserError, match="has different numbers of training, normal test and anomalous"):
        obtain(facts.model_copy(update={"counts": fewer}), tmp_path / "other")
    assert not (tmp_path / "other").exists()


# --- archives placed by hand -----------------------------------------------------------------------------


def test_an_archive_placed_by_hand_needs_no_network(tmp_path: Path, server: SimpleNamespace) -> None:
    placed = tmp_path / "nut.tar.xz"
    placed.write_bytes(ARCHIVE)
    assert obtain(source(server.url), tmp_path / "mvtec") == str(placed)
    assert whole(tmp_path / "mvtec")
    assert not server.requests


def test_a_wrong_archive_placed_by_hand_is_refused_and_kept(tmp_path: Path, server: SimpleNamespace) -> None:
    placed = tmp_path / "nut.tar.xz"
    placed.write_bytes(ARCHIVE[:-1])
    with pytest.raises(UserError, match=r"nut\.tar\.xz: is not the published Nuts .*remove it"):
        obtain(source(server.url), tmp_path / "mvtec")
    assert placed.read_bytes() == ARCHIVE[:-1]
    assert left(tmp_path) == {"nut.tar.xz"}
    assert not server.requests


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (archive(good=19), r"nut \(19, 1, 1\) instead of \(20, 1, 1\)"),
        (archive(top="a/b/"), "has no folder with nut"),
        (b"text", "is not a whole tar or zip archive"),
    ],
)
def test_contents_other_than_published_never_get_the_name(
    tmp_path: Path, content: bytes, message: str
) -> None:
    (tmp_path / "nut.tar.xz").write_bytes(content)
    with pytest.raises(UserError, match=message):
        obtain(source(content=content), tmp_path / "mvtec")
    assert left(tmp_path) == {"nut.tar.xz"}


def test_the_archive_may_hold_the_categories_at_its_top(tmp_path: Path) -> None:
    content = archive(top="./")
    (tmp_path / "nut.tar.xz").write_bytes(content)
    assert obtain(source(content=content), tmp_path / "mvtec")
    assert whole(tmp_path / "mvtec")


# --- full disks ------------------------------------------------------------------------------------------


def test_too_little_space_is_told_before_anything_is_fetched(tmp_path: Path, server: SimpleNamespace) -> None:
    with pytest.raises(UserError, match=r"mvtec: Nuts needs \d+ MiB there, .* but \d+ MiB are free"):
        obtain(source(server.url, unpacked=10**18), tmp_path / "mvtec")
    assert left(tmp_path) == set()
    assert not server.requests


def test_a_disk_that_fills_keeps_what_came(tmp_path: Path, server: SimpleNamespace) -> None:
    with size_limit(20_000), pytest.raises(UserError, match=r"\.part: cannot be written .* MiB free there"):
        obtain(source(server.url), tmp_path / "mvtec")
    kept = (tmp_path / "nut.tar.xz.part").stat().st_size
    assert kept <= 20_000
    assert obtain(source(server.url), tmp_path / "mvtec")
    assert server.requests[-1].range == (f"bytes={kept}-" if kept else "")


def test_a_disk_that_fills_while_unpacking_leaves_the_archive(tmp_path: Path) -> None:
    (tmp_path / "nut.tar.xz").write_bytes(ARCHIVE)
    with size_limit(3000), pytest.raises(UserError, match=r"\.png: cannot be written .* MiB free there"):
        obtain(source(), tmp_path / "mvtec")
    assert left(tmp_path) == {"nut.tar.xz"}
    assert obtain(source(), tmp_path / "mvtec")


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A real file system of 256 KiB."""
    disk = tmp_path / "disk"
    disk.mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", "size=256k", "tmpfs", str(disk)]
    if subprocess.run(mount, capture_output=True).returncode:
        pytest.skip("this user may not mount a file system")
    yield disk
    subprocess.run(["umount", str(disk)], check=True)


def test_a_really_full_disk(small_disk: Path, server: SimpleNamespace) -> None:
    (small_disk / "ballast").write_bytes(bytes(160 * 1024))
    with pytest.raises(UserError, match=r"(No space left on device|MiB are free)"):
        obtain(source(server.url, unpacked=0), small_disk / "mvtec")
    assert not (small_disk / "mvtec").exists()


# --- kills and company -----------------------------------------------------------------------------------


def start(facts: Source, folder: Path) -> subprocess.Popen[str]:
    """`obtain` in a process of its own."""
    code = (
        "import sys, pathlib; from drdc.data.download import obtain; from drdc.data.reader import Source;"
        "print(bool(obtain(Source.model_validate_json(sys.argv[1]), pathlib.Path(sys.argv[2]))))"
    )
    command = [sys.executable, "-c", code, facts.model_dump_json(), str(folder)]
    return subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)


def killed_when(process: subprocess.Popen[str], reached: object) -> None:
    while not reached():  # type: ignore[operator]
        assert process.poll() is None, process.communicate()
        time.sleep(0.002)
    process.send_signal(signal.SIGKILL)
    process.communicate()


def test_killed_while_downloading_and_started_again(tmp_path: Path, server: SimpleNamespace) -> None:
    server.content = content = archive(good=300)
    server.pause = 0.005
    facts = source(server.url, content=content, counts={"nut": (300, 1, 1)}, unpacked=10**7)
    part, folder = tmp_path / "nut.tar.xz.part", tmp_path / "mvtec"
    killed_when(start(facts, folder), lambda: part.exists() and part.stat().st_size > 0)
    kept = part.stat().st_size
    assert 0 < kept < len(content)
    assert not folder.exists()
    server.pause = 0
    assert obtain(facts, folder)
    assert server.requests[-1].range == f"bytes={kept}-"
    assert len(READERS["mvtec"].samples(folder)) == 302


def test_killed_while_unpacking_and_started_again(tmp_path: Path) -> None:
    content = archive(good=400)
    (tmp_path / "nut.tar.xz").write_bytes(content)
    facts, folder = source(content=content, counts={"nut": (400, 1, 1)}, unpacked=10**7), tmp_path / "mvtec"
    hidden = tmp_path / ".mvtec.unpacking" / "released" / "nut" / "train" / "good"
    killed_when(start(facts, folder), lambda: hidden.is_dir() and len(list(hidden.iterdir())) > 5)
    assert left(tmp_path) == {"nut.tar.xz", ".mvtec.unpacking"}
    assert obtain(facts, folder)
    assert len(READERS["mvtec"].samples(folder)) == 402
    assert left(tmp_path) == {"nut.tar.xz", "mvtec"}


def test_two_at_once_download_it_once(tmp_path: Path, server: SimpleNamespace) -> None:
    server.pause = 0.01
    both = [start(source(server.url), tmp_path / "mvtec") for _ in range(2)]
    said = [process.communicate(timeout=60)[0].strip() for process in both]
    assert sorted(said) == ["False", "True"]
    assert whole(tmp_path / "mvtec")
    assert len(server.requests) == 1


# --- the commands ----------------------------------------------------------------------------------------


def test_the_published_sources_are_complete() -> None:
    counts = {name: np.sum(list(s.counts.values()), axis=0).tolist() for name, s in SOURCES.items()}
    assert counts == {
        "mvtec": [3629, 467, 1258],
        "btad": [1799, 451, 290],
        "visa": [8659, 962, 1200],
        "kolektorsdd": [277, 70, 52],
        "mvtec_ad_2": [2528 + 302, 379, 705],
    }
    for published in SOURCES.values():
        assert all(url.startswith("https://") for url in published.urls)
        assert len(bytes.fromhex(published.sha256)) == 32


def test_the_command_names_licence_and_folder(
    tmp_path: Path,
    server: SimpleNamespace,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.setitem(SOURCES, "mvtec", source(server.url))
    folder = tmp_path / "my nuts"
    assert cli.main(["download", "mvtec", "--to", str(folder)]) == 0
    assert capsys.readouterr().out == f"Nuts: CC BY 4.0; {HOME}\n{folder}: ready\n"
    assert whole(folder)
    assert cli.main(["download", "mvtec", "--to", str(folder)]) == 0
    assert "exists already and was left as it is" in capsys.readouterr().out


def test_the_command_refuses_a_wrong_archive(tmp_path: Path) -> None:
    """As a user runs it: the exit code is 2, the message one line without a traceback."""
    (tmp_path / "data").mkdir()
    (tmp_path / "data" / "btad.zip").write_bytes(b"moved")
    command = [sys.executable, "-m", "drdc", "download", "btad"]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True)
    assert done.returncode == 2
    last = done.stderr.splitlines()[-1]
    assert last.startswith("drdc: data/btad.zip: is not the published BTAD (SHA-256 ")
    assert "Traceback" not in done.stderr


@pytest.mark.parametrize(
    "words", [[], ["visa", "--config", "own.yaml"], ["--config", "own.yaml", "--to", "data"]]
)
def test_the_command_takes_a_name_or_a_configuration(
    words: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    assert cli.main(["download", *words]) == 2
    assert re.match("drdc: (drdc download|--to): ", capsys.readouterr().err)


def configured(folder: Path, **changes: object) -> Dataset:
    facts = {"name": "mvtec", "root": str(folder), "categories": ["nut"], "image_size": 16}
    return Dataset.model_validate(facts | changes)


def handed(dataset: Dataset) -> str:
    return handed_over(Path(), "tiny", "download", dataset=dataset.model_dump())


TINY = Layout("tiny")


@pytest.fixture
def here(tmp_path: Path, server: SimpleNamespace, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A working directory where MVTec AD is what the server has."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setitem(SOURCES, "mvtec", source(server.url))
    return tmp_path


def test_the_workflow_fetches_what_is_missing_and_notes_where_it_is_from(
    here: Path, server: SimpleNamespace
) -> None:
    folder = Path("data/mvtec")
    settings = handed(configured(folder, download=True))
    assert cli.main(["download", "--config", settings, "--only-dataset"]) == 0
    assert whole(folder)
    verify(TINY.download, "download")
    facts = json.loads(TINY.download.read_text())
    published = {"dataset": "Nuts", "folder": str(folder), "licence": "CC BY 4.0", "home": HOME}
    digest = hashlib.sha256(ARCHIVE).hexdigest()
    assert facts == published | {"archive": "nut.tar.xz", "source": server.url, "sha256": digest}
    assert cli.main(["download", "--config", settings, "--only-dataset"]) == 0
    assert len(server.requests) == 1
    facts = json.loads(TINY.download.read_text())
    assert facts == published | {"archive": "nut.tar.xz", "source": None, "sha256": None}, "it was there"


def test_nothing_is_fetched_that_was_not_asked_for(here: Path, server: SimpleNamespace) -> None:
    dataset = configured(Path("data/mvtec"))
    assert cli.main(["download", "--config", handed(dataset), "--only-dataset"]) == 0
    with pytest.raises(UserError, match=r"www\.mvtec\.com"):
        prepare(TINY, dataset=dataset)
    assert not server.requests
    assert not TINY.download.exists()


def test_by_hand_a_configuration_brings_its_pretrained_networks_too(here: Path) -> None:
    dataset = configured(Path("data/mvtec"), download=True, image_size=64)
    backbone = {"name": "tf_efficientnet_lite0", "weights": "package"}
    content = {"experiment": "tiny", "dataset": dataset.model_dump(), "backbone": backbone}
    Path("tiny.yaml").write_text(yaml.safe_dump(content))
    assert cli.main(["download", "--config", "tiny.yaml"]) == 0
    assert whole(Path("data/mvtec"))
    (network,) = json.loads(TINY.weights("backbone").read_text())
    assert (network["name"], network["source"]) == ("tf_efficientnet_lite0", "package")


def test_what_the_workflow_fetched_after_planning_is_prepared_once(here: Path) -> None:
    """What stands for the dataset in the workflow is the same before and after."""
    dataset = configured(Path("data/mvtec"), download=True)
    planned = trigger(TINY.dataset, listing(dataset))
    download_stage(TINY, dataset=dataset)
    assert trigger(TINY.dataset, listing(dataset)) == planned
    prepare(TINY, dataset=dataset)
    assert trigger(TINY.dataset, listing(dataset)) == planned
    (Path("data/mvtec") / "nut/train/good/new.png").write_bytes(image(7))
    assert trigger(TINY.dataset, listing(dataset)) != planned


def test_only_published_datasets_can_be_downloaded(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    config = tmp_path / "a.yaml"
    config.write_text("dataset: {name: elpv, download: true, categories: [mono]}")
    assert cli.main(["prepare", "--config", str(config)]) == 2
    assert (
        "dataset.download: is for btad, kolektorsdd, mvtec, mvtec_ad_2, visa alone" in capsys.readouterr().err
    )
