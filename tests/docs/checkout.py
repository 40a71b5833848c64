"""Running commands in a copy of the project."""

import os
import subprocess
import sys
from pathlib import Path


def run(
    folder: Path, *command: str, programs: Path | None = None, seconds: float = 400
) -> subprocess.CompletedProcess[str]:
    """Run a command as somebody would in a checkout of the project; what pip installs stays in there.

    `programs`: a folder whose commands are preferred to the installed ones.
    """
    first = [str(programs)] if programs else []
    path = os.pathsep.join([*first, str(Path(sys.executable).parent), os.environ["PATH"]])
    pip = {"PIP_TARGET": str(folder), "PIP_NO_DEPS": "1", "PIP_NO_BUILD_ISOLATION": "0", "PIP_NO_INDEX": "1"}
    return subprocess.run(
        command,
        cwd=folder,
        env=os.environ | pip | {"PATH": path, "PYTHONPATH": str(folder)},
        capture_output=True,
        text=True,
        timeout=seconds,
        check=False,
    )
