"""A home folder that is missing or cannot be written: as the manual says."""

from __future__ import annotations

import os
import subprocess
import sys

import pytest

from drdc.config.backbone import Backbone
from drdc.models.backbone import FeatureExtractor
from drdc.runtime.errors import UserError

#: A folder that not even root can make.
NOWHERE = "/dev/null/home"


def test_a_folder_that_cannot_be_written_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    def fails(*_: object, **__: object) -> None:
        raise PermissionError(13, "Permission denied", f"{NOWHERE}/.cache/huggingface")

    monkeypatch.setattr("timm.create_model", fails)
    with pytest.raises(UserError, match=r"/\.cache/huggingface'\); set HOME or HF_HOME to a writable"):
        FeatureExtractor(Backbone(name="resnet18.a1_in1k"))


def test_pictures_are_drawn_all_the_same() -> None:
    code = "import matplotlib.pyplot as plt; plt.figure().savefig('/dev/null', format='png')"
    environment = {k: v for k, v in os.environ.items() if k != "MPLCONFIGDIR"} | {"HOME": NOWHERE}
    subprocess.run([sys.executable, "-c", code], env=environment, check=True, capture_output=True)
