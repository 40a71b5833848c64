"""What stands before the page: limits, other sites, files and addresses; over real HTTP."""

from __future__ import annotations

import http.client
import json
import socket
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import uvicorn

from drdc.tools.guard import Guard

LARGEST = 3_000_000  # bytes of an upload, plus 16 KiB around its files


class Page:
    """Answers everything, and keeps a record of what came through."""

    def __init__(self) -> None:
        self.seen: list[tuple[str, str, bytes]] = []

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        if scope["type"] != "http":
            return
        body, more = b"", scope["method"] == "POST"
        while more:
            message = await receive()
            body, more = body + message["body"], message["more_body"]
        self.seen.append((scope["method"], scope["path"], body))
        await send({"type": "http.response.start", "status": 200, "headers": []})
        await send({"type": "http.response.body", "body": b"the page"})


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("uploads")
    (folder / "photo.png").touch()
    (folder / "link.png").symlink_to("/etc/passwd")
    return folder


@pytest.fixture(scope="module")
def served(folder: Path) -> Iterator[tuple[int, Page]]:
    """The port, and what stands behind the guard."""
    page = Page()
    server = uvicorn.Server(uvicorn.Config(Guard(page, folder, LARGEST), log_level="warning", lifespan="off"))
    listener = socket.create_server(("127.0.0.1", 0))
    thread = threading.Thread(target=server.run, kwargs={"sockets": [listener]}, daemon=True)
    thread.start()
    while not server.started:
        time.sleep(0.01)
    yield listener.getsockname()[1], page
    server.should_exit = True
    thread.join(10)


@pytest.fixture
def ask(served: tuple[int, Page]) -> Any:
    """Send a request; gives status, text, headers, and whether it came through to the page."""

    def asked(method: str, path: str, body: Any = None, **headers: str) -> tuple[int, str, bool, Any]:
        port, page = served
        page.seen.clear()
        connection = http.client.HTTPConnection("127.0.0.1", port, timeout=20)
        names = {name.replace("_", "-"): value for name, value in headers.items()}
        connection.request(method, path, body, names, encode_chunked=hasattr(body, "__next__"))
        answer = connection.getresponse()
        return answer.status, answer.read().decode(), bool(page.seen), answer.headers

    return asked


@pytest.mark.parametrize(
    "path",
    ["/", "/config", "/assets/a/b.js", "/gradio_api/queue/data?session_hash=x", "/gradio_api/heartbeat/x"],
)
def test_what_the_page_reads_is_given_and_asks_nobody_else(ask: Any, path: str) -> None:
    status, _, through, headers = ask("GET", path)
    assert (status, through) == (200, True)
    assert "default-src 'self'" in headers["Content-Security-Policy"]


@pytest.mark.parametrize(
    "path",
    [
        "/gradio_api/proxy=http://169.254.169.254/latest",
        "/proxy=http://elsewhere.example/",
        "/gradio_api/stream/a/b/1/playlist.m3u8",
        "/gradio_api/deep_link?session_hash=x",
        "/monitoring",
        "/gradio_api/vibe-code",
        "/file=/etc/passwd",
        "/gradio_api/file//etc/passwd",
        "//etc/passwd",
    ],
)
def test_all_else_that_the_library_offers_is_not_there(ask: Any, path: str) -> None:
    status, _, through, _ = ask("GET", path)
    assert (status, through) == (404, False)


@pytest.mark.parametrize(
    "path",
    [
        "/etc/passwd",
        "{f}/../x",
        "{f}/link.png",
        "http://127.0.0.1:1/x",
        "https://elsewhere.example/x",
        "%00",
        "x",
        "",
    ],
)
def test_no_other_file_and_no_address_is_read(ask: Any, folder: Path, path: str) -> None:
    path = path.format(f=folder)
    assert ask("GET", f"/gradio_api/file={path}")[:3:2] == (403, False)
    if "%" not in path:
        body = json.dumps(
            {"data": [{"path": path, "meta": {"_type": "gradio.FileData"}}, [{"a": {"path": path}}]]}
        )
        assert ask("POST", "/gradio_api/queue/join", body)[:3:2] == (403, False)


def test_what_was_dropped_is_read(ask: Any, folder: Path) -> None:
    path = str(folder / "photo.png")
    assert ask("GET", f"/gradio_api/file={path}")[:3:2] == (200, True)
    body = json.dumps({"data": [{"path": path, "url": "http://127.0.0.1/x"}], "fn_index": 0})
    assert ask("POST", "/gradio_api/queue/join", body)[:3:2] == (200, True)


@pytest.mark.parametrize("path", [3, None, ["/etc/passwd"], {"path": "/etc/passwd"}])
def test_a_path_that_is_no_text_is_refused(ask: Any, path: Any) -> None:
    assert ask("POST", "/gradio_api/queue/join", json.dumps({"data": [{"path": path}]}))[:3:2] == (403, False)


@pytest.mark.parametrize("body", [b"", b"{", b"\xff", b"[" * 50_000])
def test_what_is_no_json_is_refused(ask: Any, body: bytes) -> None:
    assert ask("POST", "/gradio_api/queue/join", body)[:3:2] == (400, False)


def pieces(size: int) -> Iterator[bytes]:
    """A body of unknown length."""
    for _ in range(0, size, 100_000):
        yield bytes(100_000)


@pytest.mark.parametrize(
    ("path", "limit"),
    [
        ("/gradio_api/upload", LARGEST + 2**14),
        ("/gradio_api/queue/join", 2**20),
        ("/gradio_api/reset", 2**20),
    ],
)
@pytest.mark.parametrize("chunked", [False, True])
def test_a_large_request_is_refused_in_one_sentence(ask: Any, path: str, limit: int, chunked: bool) -> None:
    headers = {"Transfer_Encoding": "chunked"} if chunked else {}
    body = pieces(4 * limit) if chunked else bytes(4 * limit)
    status, said, through, _ = ask("POST", path, body, **headers)
    assert (status, through) == (413, False)
    assert "maximum allowed size" in said


def test_an_upload_comes_through_whole(ask: Any, served: tuple[int, Page]) -> None:
    assert ask("POST", "/gradio_api/upload", b"x" * LARGEST)[0] == 200
    assert served[1].seen == [("POST", "/gradio_api/upload", b"x" * LARGEST)]


@pytest.mark.parametrize(
    ("method", "path"),
    [
        *(
            ("POST", f"/gradio_api/{name}")
            for name in ("run/predict", "call/new", "vibe-edit", "component_server")
        ),
        *(("POST", name) for name in ("/login", "/upload", "/", "/gradio_api/upload/../queue/join")),
        *((method, "/gradio_api/upload") for method in ("PUT", "DELETE", "OPTIONS", "PATCH")),
    ],
)
def test_nothing_else_is_taken(ask: Any, method: str, path: str) -> None:
    assert ask(method, path, b"{}")[:3:2] == (404, False)


FOREIGN = [
    {"Origin": "http://elsewhere.example"},
    {"Origin": "null"},
    {"Origin": "http://127.0.0.1:1"},
    {"Origin": "http://["},
    {"Sec_Fetch_Site": "cross-site"},
    {"Sec_Fetch_Site": "same-site"},
    {"Sec_Fetch_Site": "cross-site", "Sec_Fetch_Mode": "navigate", "Origin": "http://elsewhere.example"},
]


@pytest.mark.parametrize("headers", FOREIGN, ids=str)
@pytest.mark.parametrize("path", ["/gradio_api/upload", "/gradio_api/queue/join", "/gradio_api/cancel"])
def test_another_site_changes_nothing(ask: Any, path: str, headers: dict[str, str]) -> None:
    assert ask("POST", path, b"{}", **headers)[:3:2] == (403, False)


@pytest.mark.parametrize("headers", FOREIGN, ids=str)
def test_another_site_reads_nothing(ask: Any, headers: dict[str, str]) -> None:
    assert ask("GET", "/config", **headers)[:3:2] == (403, False)


def test_the_page_itself_and_a_link_to_it_are_answered(ask: Any, served: tuple[int, Page]) -> None:
    own = {"Origin": f"http://127.0.0.1:{served[0]}", "Sec_Fetch_Site": "same-origin"}
    assert ask("POST", "/gradio_api/upload", b"x", **own)[0] == 200
    assert ask("GET", "/", Sec_Fetch_Site="cross-site", Sec_Fetch_Mode="navigate")[0] == 200
    assert ask("GET", "/", Sec_Fetch_Site="none")[0] == 200
