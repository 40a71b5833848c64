"""`drdc workflow`: the files next to the package."""

from __future__ import annotations

from pathlib import Path

import pytest
from running import ROOT

from drdc.cli import main


def printed(capsys: pytest.CaptureFixture[str], *arguments: str) -> str:
    assert main(["workflow", *arguments]) == 0
    return capsys.readouterr().out.removesuffix("\n")


def test_the_snakefile_and_what_is_next_to_it(capsys: pytest.CaptureFixture[str]) -> None:
    assert Path(printed(capsys)) == ROOT / "Snakefile"
    assert Path(printed(capsys, "config/visa.yaml")) == ROOT / "config/visa.yaml"
    assert Path(printed(capsys, "profiles/slurm")) == ROOT / "profiles/slurm"


def test_a_name_that_does_not_exist(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["workflow", "config/mvtex.yaml"]) == 2
    said = capsys.readouterr().err
    assert "config/mvtex.yaml: does not exist; " in said
    assert "mvtec.yaml" in said
