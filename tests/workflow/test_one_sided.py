"""Test sets that leave something undefined: all stages end, and tables give the reason."""

from __future__ import annotations

import hashlib
import shutil
from collections.abc import Iterator
from contextlib import chdir
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import yaml
from exporting import drdc
from PIL import Image
from running import TINY
from stamping import stamped

from drdc.config.fusion import Fusion
from drdc.config.variants import FULL
from drdc.data.manifest import COLUMNS, read_manifest
from drdc.data.regions import Regions
from drdc.evaluation.metrics import METRICS
from drdc.reporting.costs import COLUMNS as COSTS
from drdc.reporting.shown_images import ShownImages
from drdc.results.heatmaps import stored_type
from drdc.results.layout import Layout
from drdc.results.predictions import record_type

STAGES = ("score", "score weight=0.5", "score controls", "collect", "tables", "figures", "gallery")
SIZE = 16
#: Category -> good test images, anomalous ones of each defect type, whether they have masks.
MIXED = {
    "both": (2, {"dot": 3, "blot": 1}, True),
    "good": (2, {}, True),
    "bad": (0, {"dot": 2}, True),
    "bare": (2, {"dot": 2}, False),
    "none": (0, {}, True),
}
SINGLE = {"good": (1, {}, True)}


def made(root: Path, categories: dict[str, tuple[int, dict[str, int], bool]]) -> None:
    """Manifest, pixels, random predictions, losses and costs, as the stages before the scoring leave them."""
    rng, layout = np.random.default_rng(0), Layout("tiny")
    with chdir(root):
        rows = [row for name, kinds in categories.items() for row in listed(name, *kinds)]
        table = pd.DataFrame(rows, columns=list(COLUMNS))
        layout.predictions(0, FULL, "x").parent.mkdir(parents=True)
        table.to_csv(layout.manifest, index=False)
        pd.DataFrame(columns=["category", *Regions._fields]).to_csv(layout.regions, index=False)
        masks = np.zeros((len(table), SIZE, SIZE), dtype=bool)
        masks[table["mask"] != "", 4:9, 4:9] = True
        np.save(layout.masks, masks)
        layout.images(SIZE).parent.mkdir()
        np.save(layout.images(SIZE), rng.integers(0, 256, (len(table), SIZE, SIZE, 3), dtype=np.uint8))
        for name in categories:
            own = np.flatnonzero((table["category"] == name) & (table["split"] != "train"))
            records = np.zeros(len(own), record_type(SIZE, 4, [4, 8]))
            for field in records.dtype.names or ():
                records[field] = rng.random(records[field].shape)
            records["row"] = own
            np.save(layout.predictions(0, FULL, name), records)
        groups = table[["category", "split"]].assign(group=table["category"], distance=1.0)
        groups.rename_axis("row").reset_index().to_csv(layout.groups, index=False)
        losses = pd.DataFrame({"images": [4, 8], "train_loss": [1.0, 0.5], "val_loss": [1.0, 0.6]})
        losses.to_csv(layout.losses(0, "base"), index=False)
        costs = {
            "method": ["base", "drdc"],
            "variant": FULL,
            "device": "a CPU",
            "threads": 1,
            "batch_size": 4,
        }
        pd.DataFrame(costs).assign(**dict.fromkeys(COSTS, 1.0)).to_csv(layout.costs, index=False)
        stamped(layout.manifest, layout.regions, layout.masks, layout.images(SIZE), layout.costs)
        stamped(
            layout.groups,
            layout.losses(0, "base"),
            *(layout.predictions(0, FULL, name) for name in categories),
        )


def listed(category: str, good: int, defects: dict[str, int], masked: bool) -> Iterator[tuple[object, ...]]:
    """Rows of the manifest: two held-out normal images, then those to test."""
    kinds = [("val", "good", 2), ("test", "good", good), *(("test", *kind) for kind in defects.items())]
    for split, kind, count in kinds:
        for i in range(count):
            path, bad = f"{category}/{split}/{kind}/{i}.png", int(kind != "good")
            digest = hashlib.sha256(path.encode()).hexdigest()
            mask = "m.png" if bad and masked else ""
            yield path, category, split, bad, kind, mask, SIZE, SIZE, 8, 8, digest, digest


def chain(folder: Path, categories: dict[str, tuple[int, dict[str, int], bool]]) -> Path:
    """Results of the stages from the scoring to the gallery, in this process."""
    made(folder, categories)
    config = yaml.safe_load(TINY.read_text())
    config["dataset"] = {"name": "mvtec", "root": "data", "categories": [*categories], "image_size": SIZE}
    config["evaluation"] = {"ablation": False, "sweeps": {"weight": [0.5]}, "self_check": 0}
    (folder / "config.yaml").write_text(yaml.safe_dump(config))
    for stage in STAGES:
        assert drdc(folder, *stage.split(), "--config", "config.yaml", "--threads", "1") == 0, stage
    return folder / "results/tiny"


@pytest.fixture(scope="module")
def mixed(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return chain(tmp_path_factory.mktemp("mixed"), MIXED)


def cells(results: Path, table: str) -> dict[tuple[str, str], tuple[str, str]]:
    """(value, note) of each (row, column)."""
    frame = pd.read_csv(results / f"tables/{table}.csv", dtype=str, keep_default_na=False)
    return {
        (row, column): (value, note)
        for row, column, value, note in frame[["row", "column", "value", "note"]].to_numpy()
    }


def test_each_category_has_numbers_or_reasons(mixed: Path) -> None:
    found = cells(mixed, "metrics")
    reasons = {
        ("good", "Image AUROC"): "not defined: no anomalous images",
        ("good", "Pixel AUROC"): "not defined: no anomalous pixels",
        ("bad", "Image AUROC"): "not defined: no normal images",
        ("bare", "Pixel AUROC"): "not defined: no masks",
        ("none", "Image AUROC"): "not defined: no anomalous and no normal images",
        ("none", "Pixel AUPRO"): "not defined: no anomalous and no normal pixels",
    }
    for (category, metric), reason in reasons.items():
        assert found[f"{category}: DRDC", metric] == ("", reason)
    for category, metric in (("both", "Image AUROC"), ("bare", "Image AUROC"), ("bad", "Pixel AUROC")):
        assert found[f"{category}: DRDC", metric][0]
    notes = (mixed / "tables/metrics.md").read_text()
    assert (
        "Image AUROC, Image AP, Image F1-max: means over 2 of 5 categories, without bad, good, none." in notes
    )
    assert "means over 2 of 5 categories, without bare, good, none." in notes


def test_oracles_are_not_defined_without_masks(mixed: Path) -> None:
    scores = pd.read_csv(mixed / "scores.csv", keep_default_na=False)
    oracles = scores[scores["method"].str.startswith("oracle") & (scores["category"] == "bare")]
    assert len(oracles) == 5 * len(METRICS)
    assert set(oracles["value"]) == {""}
    assert set(oracles["note"]) == {"not defined: no masks"}
    own = scores[(scores["method"] == "oracle_mask@1") & (scores["category"] == "both")]
    assert set(own.loc[own["metric"].isin(["image_auroc", "pixel_auroc"]), "value"].astype(float)) == {1.0}


def test_defect_types_and_separation_have_reasons(mixed: Path) -> None:
    found = cells(mixed, "defects")
    assert found["both: blot", "images"][0] == "1.0"
    assert found["good", "change of Image AUROC"] == ("", "not defined: no anomalous images")
    assert found["bare: dot", "DRDC Pixel AUROC"] == ("", "not defined: no masks")
    found = cells(mixed, "separation")
    assert found["none: DRDC", "overlap"] == ("", "no good test image")
    few = "a threshold needs 19 held-out normal images, and there are 10"
    assert found["both: DRDC", "detection rate"] == ("", few)
    assert found["good: DRDC", "Cohen's d"] == ("", "no anomalous test image")


def test_what_a_failed_prediction_lacks_is_told_with_its_log(mixed: Path, tmp_path: Path) -> None:
    folder = shutil.copytree(mixed.parents[1], tmp_path / "project")
    with chdir(folder):
        Layout("tiny").predictions(0, FULL, "both").unlink()
    jobs = ("score.seed0.full", "tables.separation", "tables.summary", "figures.coverage")
    assert drdc(folder, "partial-report", *jobs, "--config", "config.yaml", "--threads", "1") == 0
    why = ("", "failed; see results/tiny/logs/predict.seed0.full.both.log")
    found = cells(folder / "results/tiny", "separation")
    for row in ("both: base", "both: DRDC", "all together: DRDC"):
        assert {found[row, column] for column in ("overlap", "Cohen's d", "detection rate")} == {why}
    assert found["none: DRDC", "overlap"] == ("", "no good test image")
    assert cells(folder / "results/tiny", "summary")["DRDC, pooled", "Image AUROC"] == why
    notes = (folder / "results/tiny/tables/summary.md").read_text()
    told = "approximate: without the held-out images of both, which failed."
    assert f"DRDC, bare: {told}" in notes, "on one scale by means over all of them"
    assert notes.count(told) == 2, "of images and of pixels, and of no other method"


def test_where_drdc_failed_and_another_method_did_not_pictures_are_of_the_other_categories(
    mixed: Path, tmp_path: Path
) -> None:
    folder = shutil.copytree(mixed.parents[1], tmp_path / "project")
    config = yaml.safe_load((folder / "config.yaml").read_text()) | {"methods": {"simplenet": {}}}
    (folder / "config.yaml").write_text(yaml.safe_dump(config))
    with chdir(folder):
        layout = Layout("tiny")
        rows = np.flatnonzero(read_manifest(layout.manifest)["split"] != "train")
        records = np.ones(len(rows), stored_type(SIZE))
        records["row"], records["score"] = rows, rows
        layout.predictions(0, "simplenet", "all").parent.mkdir()
        np.save(layout.predictions(0, "simplenet", "all"), records)
        stamped(layout.predictions(0, "simplenet", "all"))
        layout.predictions(0, FULL, "both").unlink()
        for made in (layout.gallery, layout.figures / "fig3-both.png", layout.figures / "fig3-none.png"):
            made.unlink()
    options = ("--config", "config.yaml", "--threads", "1")
    assert drdc(folder, "score", "simplenet", *options) == 0
    jobs = ("score.seed0.full", "figures.heatmaps", "figures.fig3", "gallery")
    assert drdc(folder, "partial-report", *jobs, *options) == 0
    with chdir(folder):
        assert "both/test" not in layout.gallery.read_text()
        assert "good/test" in layout.gallery.read_text()
        assert (layout.figures / "heatmaps.png").is_file()
        images = ShownImages(layout, 0, SIZE, Fusion())
        assert (images.untested, images.failed) == (["none"], ["both"])
        assert (layout.figures / "fig3-both.png").is_file()


def test_figures_say_over_how_many_categories_they_are(mixed: Path) -> None:
    numbers = pd.read_csv(mixed / "figures/fig2.csv", dtype=str)
    assert set(numbers["categories"]) == {"2 of 5"}
    assert "for a false-alarm rate of at most 9.1 %" in (mixed / "gallery.html").read_text()


def test_one_good_test_image_in_all_is_enough_for_every_stage(tmp_path: Path) -> None:
    results = chain(tmp_path, SINGLE)
    found = cells(results, "summary")
    assert found["DRDC", "Image AUROC"] == ("", "no category is defined")
    with chdir(results):
        for name in ("curves", "pareto", "fig2", "histograms", "separation", "fig3", "fig3-good", "overview"):
            assert Image.open(f"figures/{name}.png").size[0] in (720, 800, 960, 1200), name
