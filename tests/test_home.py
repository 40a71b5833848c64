"""A home folder that is missing or cannot be written: as the manual says."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from drdc.config import Backbone
from drdc.errors import UserError
from drdc.models.backbone import FeatureExtractor

ROOT = Path(__file__).parents[1]
#: A folder that not even root can make.
NOWHERE = "/dev/null/home"


def test_weights_that_cannot_be_kept_are_one_sentence() -> None:
    """In a process of its own, as the hub's library reads HOME when it is imported."""
    code = (
        "from drdc.config import Backbone; from drdc.models.backbone import FeatureExtractor\n"
        "from drdc.endings import exit_code; import sys\n"
        "sys.exit(exit_code(lambda: FeatureExtractor(Backbone(name='resnet18.a1_in1k')) and 0))"
    )
    environment = {k: v for k, v in os.environ.items() if not k.startswith(("HF_", "XDG_", "TORCH"))}
    done = subprocess.run(
        [sys.executable, "-c", code],
        capture_output=True,
        text=True,
        env=environment | {"HOME": NOWHERE, "PYTHONPATH": str(ROOT)},
        check=False,
    )
    assert done.returncode == 2
    assert "drdc: backbone 'resnet18.a1_in1k' cannot be loaded" in done.stderr
    assert "Traceback" not in done.stderr


def test_a_folder_that_cannot_be_written_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    def fails(*_: object, **__: object) -> None:
        raise PermissionError(13, "Permission denied", f"{NOWHERE}/.cache/huggingface")

    monkeypatch.setattr("timm.create_model", fails)
    with pytest.raises(UserError, match=r"/\.cache/huggingface'\); set HOME or HF_HOME to a folder"):
        FeatureExtractor(Backbone(name="resnet18.a1_in1k"))


def test_pictures_are_drawn_all_the_same() -> None:
    code = "import matplotlib.pyplot as plt; plt.figure().savefig('/dev/null', format='png')"
    environment = {k: v for k, v in os.environ.items() if k != "MPLCONFIGDIR"} | {"HOME": NOWHERE}
    subprocess.run([sys.executable, "-c", code], env=environment, check=True, capture_output=True)
