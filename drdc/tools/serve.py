"""`drdc serve`: a local page that finds defects in images with a trained method."""

from __future__ import annotations

import argparse
import ipaddress
import os
import signal
import socket
import tempfile
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING

from drdc.runtime.endings import say, tell
from drdc.runtime.errors import UserError
from drdc.tools.options import add_model
from drdc.tools.uploads import upload_folder

if TYPE_CHECKING:
    from fastapi import FastAPI

    from drdc.detection.detector import Detector


MEGABYTES = 1000  # of a drop: all its files together
SECONDS_KEPT = 3600  # how long an upload and a picture shown stay on the disk


def arguments(parser: argparse.ArgumentParser) -> None:
    """Add the command's arguments."""
    add_model(parser)
    parser.add_argument("--port", type=_port, default=7860, help="port to listen on (default: %(default)s)")
    parser.add_argument(
        "--host", default="127.0.0.1", help="address to listen on (default: %(default)s, this computer alone)"
    )


def run(*, model: str, port: int, host: str) -> None:
    """Serve the page until it is interrupted; uploads are deleted at the latest then.

    Raises:
        UserError: the extra `serve` is not installed, the model cannot be read, or the port is taken.
    """
    _end_by_signals()
    with _listener(host, port) as listener, upload_folder(SECONDS_KEPT) as folder:
        tempfile.tempdir = str(folder)
        os.environ |= {"GRADIO_TEMP_DIR": str(folder), "GRADIO_ANALYTICS_ENABLED": "False"}
        os.environ["HF_HUB_DISABLE_TELEMETRY"] = "1"
        try:
            import gradio  # noqa: F401
            import uvicorn
        except ImportError:
            raise UserError(
                "", "the page needs Gradio, which is not installed", "run `pip install -e '.[serve]'`"
            ) from None
        from drdc.detection.detector import Detector

        app = application(Detector.load(model), host, folder)
        if not _is_loopback(host):
            tell(
                f"warning: everyone who can reach {host}:{port} can use this page, without a password "
                "or encryption"
            )
        name = f"[{host}]" if ":" in host else host
        say(f"http://{name}:{listener.getsockname()[1]} (Ctrl-C ends it)")
        config = uvicorn.Config(app, log_level="warning", timeout_graceful_shutdown=2)  # pages stay connected
        with suppress(KeyboardInterrupt):
            uvicorn.Server(config).run(sockets=[listener])


def _end_by_signals() -> None:
    """End as by Ctrl-C, with the uploads deleted, when the terminal is closed or the system says so.

    Where SIGHUP is ignored, as under `nohup`, it stays so.
    """
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    if signal.getsignal(signal.SIGHUP) != signal.SIG_IGN:
        signal.signal(signal.SIGHUP, lambda *_: signal.raise_signal(signal.SIGTERM))


def application(detector: Detector, host: str, folder: Path) -> FastAPI:
    """The page as a web application that answers to the name `host` alone, if that is this computer.

    `folder` is where Gradio keeps uploads and pictures (`GRADIO_TEMP_DIR`).
    """
    import gradio as gr
    from fastapi import FastAPI
    from starlette.middleware.trustedhost import TrustedHostMiddleware

    from drdc.detection.web_page import STYLE, page
    from drdc.tools.guard import Guard

    app = FastAPI(docs_url=None, redoc_url=None, openapi_url=None)
    names = ["localhost", "127.0.0.1", "[::1]", host] if _is_loopback(host) else ["*"]
    app.add_middleware(TrustedHostMiddleware, allowed_hosts=names)  # no other site's name for this computer
    app.add_middleware(Guard, folder=folder, largest=MEGABYTES * 2**20)
    fonts = ["system-ui", "sans-serif"]
    return gr.mount_gradio_app(
        app,
        page(detector, SECONDS_KEPT),
        path="/",
        theme=gr.themes.Default(font=fonts, font_mono=["ui-monospace", "monospace"]),
        css=STYLE.read_text(encoding="utf-8"),
        show_error=False,
        ssr_mode=False,
        footer_links=[],
        run_history=False,
        enable_monitoring=False,
    )


def _listener(host: str, port: int) -> socket.socket:
    """A socket that listens; a port in use is reported in one sentence."""
    try:
        return socket.create_server((host, port), family=socket.AF_INET6 if ":" in host else socket.AF_INET)
    except OSError as error:
        raise UserError(
            f"--host {host} --port {port}", f"cannot listen there ({error.strerror})", "take another"
        ) from None


def _is_loopback(host: str) -> bool:
    try:
        return host == "localhost" or ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False


def _port(text: str) -> int:
    if not text.isdecimal() or int(text) > 65535:
        raise argparse.ArgumentTypeError(f"must be a port, an integer up to 65535, got {text!r}")
    return int(text)
