"""The guard of the page of `drdc serve`: only requests of the page itself reach Gradio."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from pathlib import Path
from tempfile import SpooledTemporaryFile
from typing import IO, TYPE_CHECKING, Any
from urllib.parse import urlsplit

from starlette.datastructures import Headers, MutableHeaders
from starlette.responses import PlainTextResponse

if TYPE_CHECKING:
    from starlette.types import ASGIApp, Message, Receive, Scope, Send

#: The browser may contact only this server, whatever the page's library has in its pages.
POLICY = (
    "default-src 'self'; script-src 'self' 'unsafe-inline' 'unsafe-eval'; style-src 'self' 'unsafe-inline'; "
    "img-src 'self' data: blob:; font-src 'self' data:; connect-src 'self'; worker-src 'self' blob:; "
    "frame-ancestors 'none'; form-action 'self'; base-uri 'self'"
)
#: Addresses that the page reads, apart from its files.
_READ = re.compile(
    r"/|/(config|theme\.css|favicon\.ico|robots\.txt|manifest\.json)|/(assets|static|svelte|pwa_icon)(/.*)?"
    r"|/gradio_api/((app_id|info|queue/data|startup-events|theme\.css|upload_progress)/?|heartbeat/[^/]+)"
)
_FILES = "/gradio_api/file="
_UPLOAD = "/gradio_api/upload"
_SENT = (_UPLOAD, "/gradio_api/queue/join", "/gradio_api/cancel", "/gradio_api/reset", "/gradio_api/reset/")
_LARGEST_MESSAGE = 2**20  # bytes of what the page sends apart from an upload
_OVERHEAD = 2**14  # bytes around the files of an upload
_PART = 2**20  # bytes of an upload in memory; the rest is on the disk
_DRAINED = 5  # times the limit that is read and thrown away, so that the sender reads the refusal


class Refused(Exception):
    """A request that is answered by a status and a sentence."""

    def __init__(self, status: int, sentence: str) -> None:
        super().__init__(sentence)
        self.status = status


class Guard:
    """ASGI middleware: limits every request, and refuses those of other sites.

    Nothing is downloaded for a caller, and only files in the folder of the uploads are read or served.

    Args:
        app: what is guarded.
        folder: of uploads and pictures.
        largest: bytes of an upload, of all its files together.
    """

    def __init__(self, app: ASGIApp, folder: Path, largest: int) -> None:
        self.app, self.folder, self.largest = app, folder.resolve(), largest

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "lifespan":
            await self.app(scope, receive, send)
        elif scope["type"] == "http":
            await self._answer(scope, receive, _with_policy(send))
        else:
            await send({"type": "websocket.close", "code": 1008})

    async def _answer(self, scope: Scope, receive: Receive, send: Send) -> None:
        with SpooledTemporaryFile(_PART, dir=str(self.folder)) as body:
            try:
                _refuse_foreign(Headers(scope=scope))
                if scope["method"] in ("GET", "HEAD"):
                    self._refuse_other_addresses(scope["path"])
                else:
                    await self._read(scope, receive, body)
                    receive = _again(body, receive)
            except Refused as error:
                await PlainTextResponse(f"{error}\n", error.status)(scope, receive, send)
            else:
                await self.app(scope, receive, send)

    def _refuse_other_addresses(self, path: str) -> None:
        if path.startswith(_FILES):
            self._refuse_outside(path.removeprefix(_FILES))
        elif not _READ.fullmatch(path):
            raise Refused(404, "the page has nothing there")

    async def _read(self, scope: Scope, receive: Receive, body: IO[bytes]) -> None:
        """Read a request that the page may send whole into `body`."""
        if scope["method"] != "POST" or scope["path"] not in _SENT:
            raise Refused(404, "the page accepts nothing there")
        if scope["path"] == _UPLOAD:
            await _copy(receive, body, self.largest + _OVERHEAD)
            return
        await _copy(receive, body, _LARGEST_MESSAGE)
        body.seek(0)
        try:
            paths = list(_paths(json.load(body)))
        except (ValueError, RecursionError):
            raise Refused(400, "the request is not JSON") from None
        for path in paths:
            self._refuse_outside(path)

    def _refuse_outside(self, path: Any) -> None:
        """Raise unless a path is one in the folder, as Gradio returned it."""
        try:
            own = Path(path).resolve().is_relative_to(self.folder) and Path(path).is_absolute()
        except (OSError, ValueError, TypeError, RuntimeError):
            own = False
        if not own:
            raise Refused(403, "only files that were dropped on the page are read")


def _refuse_foreign(headers: Headers) -> None:
    """Raise for a request that a page of another site or program makes.

    A link from there to this page is not such a request, as it changes nothing and its answer cannot be read.
    """
    site = headers.get("sec-fetch-site", "none")
    followed = headers.get("sec-fetch-mode") == "navigate" and "origin" not in headers
    hosts = [_host(origin) for origin in headers.getlist("origin")]
    if (site not in ("same-origin", "none") and not followed) or any(
        host != headers.get("host", "").lower() for host in hosts
    ):
        raise Refused(403, "another site asks; only the page itself is answered")


def _host(origin: str) -> str:
    try:
        return urlsplit(origin).netloc.lower()
    except ValueError:
        return ""


async def _copy(receive: Receive, body: IO[bytes], limit: int) -> None:
    """Write the whole body of a request, of at most `limit` bytes, into `body`."""
    size, more = 0, True
    while more and size <= _DRAINED * limit:
        message = await receive()
        if message["type"] == "http.disconnect":
            raise Refused(400, "the request was broken off")
        part, more = message.get("body", b""), message.get("more_body", False)
        size += len(part)
        if size <= limit:
            body.write(part)
    if size > limit:
        raise Refused(413, f"the request is larger than {limit} bytes, the maximum allowed size")


def _again(body: IO[bytes], receive: Receive) -> Receive:
    """A receiver that returns a body that was read already, and then the rest."""
    size, more = body.seek(0, 2), True
    body.seek(0)

    async def received() -> Message:
        nonlocal more
        if not more:
            return await receive()
        part = body.read(_PART)
        more = body.tell() < size
        return {"type": "http.request", "body": part, "more_body": more}

    return received


def _with_policy(send: Send) -> Send:
    async def sent(message: Message) -> None:
        if message["type"] == "http.response.start":
            headers = MutableHeaders(scope=message)
            headers["Content-Security-Policy"] = POLICY
            headers["Referrer-Policy"] = "no-referrer"
        await send(message)

    return sent


def _paths(value: Any) -> Iterator[Any]:
    """The values of `path` anywhere in the content of a request: Gradio would read or download them."""
    if isinstance(value, dict) and "path" in value:
        yield value["path"]
    for inner in value.values() if isinstance(value, dict) else value if isinstance(value, list) else ():
        yield from _paths(inner)
