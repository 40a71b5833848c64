"""Names that shells, tables, pages and file systems take for something else, through the whole workflow.

Each run is a real one. A name that is run as a command would make the file `canary`.
"""

from __future__ import annotations

import html
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import yaml
from PIL import Image
from running import TINY, snakemake

from drdc.config.names import LONGEST_CATEGORY, printable
from drdc.experiment.experiment import load_experiment
from drdc.runtime.errors import UserError

pytestmark = pytest.mark.long

SHELL = 'it\'s a "$(touch canary)"; touch canary & `touch canary` | %s #1 $x^2$'
FOREIGN = "Größe 部品 &lt;b&gt; \\ ?*[a]"
LONG = ("".join(f"{i}ü" for i in range(99))).encode()[:LONGEST_CATEGORY].decode(errors="ignore")
FILES = ["-rf", "a;b $(touch canary)", "{x} {wildcards}", "' \" %d", '部品, "2"', "n" * 240, "=1+1"]
DEFECTS = ["`touch canary`", "-x {y} 割れ <b> $\\frac$"]


def draw(path: Path, seed: int) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    pixels = np.random.default_rng(seed).integers(0, 256, (40, 32, 3), dtype=np.uint8)
    Image.fromarray(pixels).save(path)


def write_category(folder: Path, seed: int, *, tests: bool, masks: bool) -> None:
    for i, name in enumerate(FILES):
        draw(folder / "train/good" / f"{name}.png", seed + i)
        if tests:
            draw(folder / "test/good" / f"{name}.PNG", seed + 50 + i)
    for i, defect in enumerate(DEFECTS if tests else ()):
        for j, name in enumerate(FILES[1:4]):
            draw(folder / "test" / defect / f"{name}.png", seed + 100 + 10 * i + j)
            if masks:
                mask = np.zeros((40, 32), np.uint8)
                mask[8:24, 4:20] = 255
                path = folder / "ground_truth" / defect / f"{name}_mask.png"
                path.parent.mkdir(parents=True, exist_ok=True)
                Image.fromarray(mask).save(path)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A finished run: categories with masks, without masks, and without any test image."""
    folder = tmp_path_factory.mktemp("a run; $(touch canary)")
    data = folder / "data 'x' $(touch canary)"
    write_category(data / SHELL, 0, tests=True, masks=True)
    write_category(data / FOREIGN, 1000, tests=True, masks=False)
    write_category(data / LONG, 2000, tests=False, masks=False)
    done = snakemake(folder, "--configfile", configuration(folder, data, [SHELL, FOREIGN, LONG]))
    assert done.returncode == 0, done.stderr[-5000:]
    return folder


def configuration(folder: Path, data: Path, categories: list[str]) -> Path:
    config = yaml.safe_load(TINY.read_text())
    config["dataset"] = {"name": "mvtec", "root": str(data), "categories": categories, "image_size": 32}
    del config["evaluation"]
    path = folder / "config.yaml"
    path.write_text(yaml.safe_dump(config, allow_unicode=True), encoding="utf-8")
    return path


def table(folder: Path, name: str) -> pd.DataFrame:
    return pd.read_csv(folder / "results/tiny" / name, keep_default_na=False)


def test_no_name_is_run(folder: Path) -> None:
    assert not [p for p in folder.rglob("*") if p.name == "canary"]
    assert not Path("canary").exists()


def test_all_images_are_listed_by_their_own_names(folder: Path) -> None:
    manifest = table(folder, "manifest.csv")
    assert set(manifest.category) == {SHELL, FOREIGN, LONG}
    assert set(manifest.defect_type) == {"good", *DEFECTS}
    data = next(folder.glob("data*"))
    assert all((data / path).is_file() for path in manifest.path)
    assert set(table(folder, "image_scores.csv").path) < set(manifest.path)


def test_a_category_without_masks_has_image_metrics_alone_and_says_why(folder: Path) -> None:
    scores = table(folder, "scores.csv").query("method == 'drdc'").set_index(["category", "metric"])
    assert 0 <= float(scores.value[SHELL, "pixel_auroc"]) <= 1
    assert 0 <= float(scores.value[FOREIGN, "image_auroc"]) <= 1
    assert scores.value[FOREIGN, "pixel_auroc"] == ""
    assert "no masks" in scores.note[FOREIGN, "pixel_auroc"]
    assert "no masks" in (folder / "results/tiny/tables/summary.md").read_text()


def test_a_category_without_test_images_is_trained_on_and_has_no_scores(folder: Path) -> None:
    assert LONG in set(table(folder, "manifest.csv").query("split == 'train'").category)
    scores = table(folder, "scores.csv").query("category == @LONG")
    assert set(scores.value) == {""}
    assert all(scores.note.str.startswith("not defined: no "))
    assert (folder / f"results/tiny/seed0/predictions/full/{LONG}.npy").is_file()
    width, height = Image.open(folder / f"results/tiny/figures/fig3-{LONG}.png").size
    assert width > 5 * height, "words that say so"


def test_pages_and_tables_show_names_as_text(folder: Path) -> None:
    """Nothing of a name is markup; the paths that the gallery page shows are the files' own."""
    results = folder / "results/tiny"
    pages = [results / "gallery.html", results / "about.html", results / "report.html"]
    for page in [*pages, *sorted((results / "tables").glob("*.html"))]:
        assert "割れ <b>" not in page.read_text(encoding="utf-8").replace("\\u003c", "<").split("<script")[0]
    assert html.escape(SHELL) in (results / "tables/metrics.html").read_text(encoding="utf-8").replace(
        "&#34;", "&quot;"
    ).replace("&#39;", "&#x27;")
    tex = (results / "tables/metrics.tex").read_text(encoding="utf-8")
    assert r"\$(touch canary)" in tex
    assert r"\%s \#1 \$x\textasciicircum{}2\$" in tex


def test_a_dataset_without_any_test_image_is_trained_and_exported(tmp_path: Path) -> None:
    """Nothing is scored, and the run ends well; the held-out normal images are predicted."""
    write_category(tmp_path / "data/part", 0, tests=False, masks=False)
    done = snakemake(tmp_path, "--configfile", configuration(tmp_path, tmp_path / "data", ["part"]))
    assert done.returncode == 0, done.stderr
    assert (tmp_path / "results/tiny/detectors/drdc.safetensors").is_file()
    assert not (tmp_path / "results/tiny/seed0/scores/full/scores.csv").exists()
    predictions = np.load(tmp_path / "results/tiny/seed0/predictions/full/part.npy")
    held_out = np.flatnonzero(table(tmp_path, "manifest.csv").split == "val")
    assert predictions["row"].tolist() == held_out.tolist()


@pytest.mark.parametrize(
    ("name", "fault"),
    [
        ("all", "stands for all categories"),
        ("mean", "stands for all categories"),
        ("", "is empty"),
        (" wood", "begins or ends with a space"),
        (".wood", "begins with a dot"),
        ("-wood", "begins with a dot or a dash"),
        ("../wood", "begins with a dot"),
        ("a/b", "has a slash"),
        ("{seed}", "placeholder of Snakemake"),
        ("<results>", "placeholder of Snakemake"),
        ("a\nb", "line break or another control character"),
        ("a\x1b[31mb", "control character"),
        ("a\u2028b", "line break"),
        ("a\udcffb", "is not UTF-8"),
        ("ü" * LONGEST_CATEGORY, "is longer than 100 bytes"),
    ],
)
def test_a_category_that_cannot_be_carried_is_refused_in_one_sentence(name: str, fault: str) -> None:
    with pytest.raises(UserError) as failure:
        load_experiment({"dataset": {"name": "mvtec", "root": "data", "categories": [name]}})
    message = str(failure.value)
    assert message.startswith("configuration: dataset.categories: invalid value ")
    assert "; cannot hold " in message
    assert fault in message
    assert "\n" not in message


def test_names_are_shown_on_one_line() -> None:
    assert printable("部品 a\nb\x1b\udcff") == "部品 a\\nb\\x1b\\udcff"
