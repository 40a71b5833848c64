"""Running commands in a copy of the project."""

import os
import subprocess
import sys
from pathlib import Path


def run(folder: Path, *command: str, seconds: float = 400) -> subprocess.CompletedProcess[str]:
    """Run a command as somebody would who stands in a checkout of the project."""
    path = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
    return subprocess.run(
        command,
        cwd=folder,
        env=os.environ | {"PATH": path, "PYTHONPATH": str(folder)},
        capture_output=True,
        text=True,
        timeout=seconds,
        check=False,
    )
