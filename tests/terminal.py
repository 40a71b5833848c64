"""Runs a command whose output goes to a terminal, or to a pipe."""

from __future__ import annotations

import os
import pty
import subprocess
import termios
from pathlib import Path


def said(command: list[str], folder: Path, *, terminal: bool = True) -> str:
    """What a command, which must succeed, writes; `folder`: its working directory."""
    reads, writes = pty.openpty() if terminal else os.pipe()
    if terminal:
        termios.tcsetwinsize(writes, (24, 120))
    with subprocess.Popen(command, cwd=folder, stderr=writes, stdout=writes) as process:
        os.close(writes)
        text = _all(reads)
    os.close(reads)
    assert process.returncode == 0, text
    return text


def _all(reads: int) -> str:
    """All until the other end is closed, which a terminal tells by an error."""
    content = b""
    try:
        while part := os.read(reads, 4096):
            content += part
    except OSError:
        pass
    return content.decode()
