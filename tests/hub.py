"""A local server in place of Hugging Face's hub, with what the client needs of its protocol for files."""

from __future__ import annotations

import hashlib
import os
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

COMMIT = "0123456789abcdef0123456789abcdef01234567"


class Hub:
    """Serves `folder`/<owner>/<repository>/<file>.

    Attributes:
        asked: the requests so far, as `HEAD /owner/...`.
    """

    def __init__(self, folder: Path) -> None:
        self.folder, self.address = folder, ""
        self.asked: list[str] = []

    def stands_in(self, monkeypatch: pytest.MonkeyPatch, cache: Path, offline: bool = False) -> None:
        """This process takes it for the hub, with that cache."""
        from huggingface_hub import constants

        monkeypatch.setattr(constants, "ENDPOINT", self.address)
        template = f"{self.address}/{{repo_id}}/resolve/{{revision}}/{{filename}}"
        monkeypatch.setattr(constants, "HUGGINGFACE_CO_URL_TEMPLATE", template)
        monkeypatch.setattr(constants, "HF_HUB_CACHE", str(cache / "hub"))
        monkeypatch.setattr(constants, "HF_HUB_OFFLINE", offline)
        monkeypatch.setattr(constants, "HF_HUB_DISABLE_XET", True)
        monkeypatch.setenv("NO_PROXY", "127.0.0.1")

    def environment(self, cache: Path) -> dict[str, str]:
        """The same for another process."""
        kept = {k: v for k, v in os.environ.items() if not k.startswith("HF_")}
        return kept | {"HF_ENDPOINT": self.address, "HF_HOME": str(cache), "NO_PROXY": "127.0.0.1"}


@contextmanager
def hub(folder: Path) -> Iterator[Hub]:
    """A hub while the block runs."""
    served = Hub(folder)

    class Handler(BaseHTTPRequestHandler):
        def do_HEAD(self) -> None:
            self.answer()

        def do_GET(self) -> None:
            self.wfile.write(self.answer())

        def answer(self) -> bytes:
            served.asked.append(f"{self.command} {self.path}")
            repository, _, name = self.path.partition("?")[0].lstrip("/").partition("/resolve/")
            path = folder / repository / name.partition("/")[2]
            found = bool(name) and path.is_file()
            content = path.read_bytes() if found else b""
            self.send_response(200 if found else 404)
            self.send_header("Content-Length", str(len(content)))
            self.send_header("X-Repo-Commit", COMMIT)
            if found:
                self.send_header("ETag", f'"{hashlib.sha256(content).hexdigest()}"')
            else:
                self.send_header("X-Error-Code", "EntryNotFound")
            self.end_headers()
            return content

        def log_message(self, *_: object) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    served.address = f"http://127.0.0.1:{server.server_port}"
    threading.Thread(target=server.serve_forever, args=(0.01,), daemon=True).start()
    try:
        yield served
    finally:
        server.shutdown()
        server.server_close()
