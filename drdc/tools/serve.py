"""`drdc serve`: a page on this computer to look at single images with a trained model."""

from __future__ import annotations

import argparse
import ipaddress
import os
import signal
import socket
import tempfile
from contextlib import suppress
from typing import TYPE_CHECKING, Any

from drdc.endings import say, tell
from drdc.errors import UserError

if TYPE_CHECKING:
    from fastapi import FastAPI

    from drdc.detector import Detector

#: The browser asks nobody but this server, whatever the page's library has in its pages.
POLICY = (
    "default-src 'self'; script-src 'self' 'unsafe-inline' 'unsafe-eval'; style-src 'self' 'unsafe-inline'; "
    "img-src 'self' data: blob:; font-src 'self' data:; connect-src 'self'; worker-src 'self' blob:; "
    "frame-ancestors 'none'; form-action 'self'; base-uri 'self'"
)


def arguments(parser: argparse.ArgumentParser) -> None:
    """Add the command's arguments."""
    parser.add_argument("--model", required=True, help="folder of an experiment, or an exported file")
    parser.add_argument("--port", type=_port, default=7860, help="(default: %(default)s)")
    parser.add_argument(
        "--host", default="127.0.0.1", help="address to listen on (default: %(default)s, this computer alone)"
    )


def run(*, model: str, port: int, host: str) -> None:
    """Serve the page until it is interrupted; uploads are deleted at the latest then.

    Raises:
        UserError: the extra `serve` is not installed, the model cannot be read, or the port is taken.
    """
    with _listener(host, port) as listener, tempfile.TemporaryDirectory(prefix="drdc-serve-") as folder:
        os.environ |= {"GRADIO_TEMP_DIR": folder, "GRADIO_ANALYTICS_ENABLED": "False"}
        os.environ["HF_HUB_DISABLE_TELEMETRY"] = "1"
        try:
            import gradio  # noqa: F401
            import uvicorn
        except ImportError:
            raise UserError("the page needs Gradio; install it by `pip install -e '.[serve]'`") from None
        from drdc.detector import Detector

        app = application(Detector.load(model), host)
        if not _is_loopback(host):
            tell(
                f"warning: everybody who reaches {host}:{port} can use this page, without a password "
                "or encryption"
            )
        name = f"[{host}]" if ":" in host else host
        say(f"http://{name}:{listener.getsockname()[1]} (Ctrl-C ends it)")
        config = uvicorn.Config(app, log_level="warning", timeout_graceful_shutdown=2)  # pages stay connected
        signal.signal(signal.SIGTERM, signal.default_int_handler)  # uploads are deleted then, too
        with suppress(KeyboardInterrupt):
            uvicorn.Server(config).run(sockets=[listener])


def application(detector: Detector, host: str) -> FastAPI:
    """The page as a web application that answers to the name `host` alone, if that is this computer."""
    import gradio as gr
    from fastapi import FastAPI
    from starlette.middleware.trustedhost import TrustedHostMiddleware

    from drdc.page import MEGABYTES, STYLE, page

    app = FastAPI(docs_url=None, redoc_url=None, openapi_url=None)
    names = ["localhost", "127.0.0.1", "[::1]", host] if _is_loopback(host) else ["*"]
    app.add_middleware(TrustedHostMiddleware, allowed_hosts=names)  # no other site's name for this computer

    @app.middleware("http")
    async def keep_to_itself(request: Any, call_next: Any) -> Any:
        response = await call_next(request)
        response.headers["Content-Security-Policy"] = POLICY
        response.headers["Referrer-Policy"] = "no-referrer"
        return response

    fonts = ["system-ui", "sans-serif"]
    return gr.mount_gradio_app(
        app,
        page(detector),
        path="/",
        theme=gr.themes.Default(font=fonts, font_mono=["ui-monospace", "monospace"]),
        css=STYLE.read_text(encoding="utf-8"),
        max_file_size=MEGABYTES * 2**20,
        show_error=False,
        ssr_mode=False,
        footer_links=[],
        run_history=False,
        enable_monitoring=False,
    )


def _listener(host: str, port: int) -> socket.socket:
    """A socket that listens, so that a port that is taken is one sentence."""
    try:
        return socket.create_server((host, port), family=socket.AF_INET6 if ":" in host else socket.AF_INET)
    except OSError as error:
        raise UserError(
            f"--host {host} --port {port}: cannot listen there ({error.strerror}); take another"
        ) from None


def _is_loopback(host: str) -> bool:
    try:
        return host == "localhost" or ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False


def _port(text: str) -> int:
    if not text.isdecimal() or int(text) > 65535:
        raise argparse.ArgumentTypeError(f"{text!r} is no port, a whole number up to 65535")
    return int(text)
