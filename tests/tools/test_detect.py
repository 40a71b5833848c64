"""`drdc detect`: files for each image, whole JSON lines, awkward inputs and exit codes."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from exporting import drdc
from limits import size_limit
from PIL import Image

from drdc import Detector
from drdc.runtime.errors import UserError
from drdc.runtime.locks import lock
from drdc.tools.detect import _Writer
from drdc.tools.inputs import LONGEST, about_left_out, find_images, total_left_out
from drdc.tools.results_page import Results

FACTS = {
    *("image", "score", "p_value", "category", "threshold", "anomalous", "pixel_threshold"),
    *("false_alarm_rate", "calibrated_on", "width", "height", "seconds", "overlay", "heatmap"),
    *("heatmap_scale", "regions", "notes"),
}


@pytest.fixture(scope="module")
def photos(exported: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two normal images, one with a blot in a folder below, a text file and a hidden image."""
    folder = tmp_path_factory.mktemp("photos")
    normal = sorted((exported / "dataset/capsule/train/good").iterdir())[:2]
    (folder / "late shift").mkdir()
    for path in normal:
        shutil.copy(path, folder)
    blot = Image.open(normal[0]).convert("RGB")
    blot.paste((255, 0, 200), (8, 8, 24, 24))
    blot.save(folder / "late shift/blot.png")
    (folder / "notes.txt").write_text("no image")
    shutil.copy(normal[0], folder / ".hidden.png")
    return folder


def detect(exported: Path, output: Path, *arguments: str | Path) -> int:
    return drdc(
        output.parent, "detect", "--model", str(exported), "--output", str(output), *map(str, arguments)
    )


def lines(output: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in (output / "results.jsonl").read_text().splitlines()]


def test_a_folder_gives_score_decision_heatmap_and_overlay_of_each_image(
    exported: Path, photos: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "out"
    assert detect(exported, out, photos, "--batch", "2") == 0
    found = lines(out)
    assert [Path(one["image"]).relative_to(photos).as_posix() for one in found] == [
        *sorted(path.name for path in photos.glob("[!.]*.png")),
        "late shift/blot.png",
    ]
    assert all(set(one) == FACTS for one in found)
    assert found[-1]["anomalous"]
    assert found[-1]["overlay"] == f"{photos.name}/late shift/blot.overlay.png"
    said, warned = capsys.readouterr()
    assert "drdc: 1 file left out: 1 .txt file; images are called .bmp, " in warned
    assert "a probability of 5 % at most. Calibrated on 20 held-out normal images of all categories." in said
    assert f"s an image; 0 unusable; 1 file left out; results in {out}/index.html\n" in said
    assert len([line for line in said.splitlines() if "anomalous  " in line or "normal  " in line]) == 3
    reference = Detector.load(exported)
    for one in found:
        expected = reference.detect(one["image"])
        assert one["score"] == pytest.approx(expected.score, rel=1e-3)
        assert one["threshold"] == expected.threshold
        with Image.open(out / one["overlay"]) as overlay:
            assert overlay.size == (one["width"], one["height"]) == (64, 64)


def test_a_table_and_a_page_have_all_images_of_the_call(exported: Path, photos: Path, tmp_path: Path) -> None:
    out, bad = tmp_path / "out", tmp_path / "cut.png"
    bad.write_bytes(b"no image")
    assert detect(exported, out, photos, bad) == 2
    rows = pd.read_csv(out / "results.csv", keep_default_na=False, dtype=str)
    for row, line in zip(rows.to_dict("records"), lines(out), strict=True):
        assert row["image"] == line["image"]
        if "error" in line:
            assert (row["decision"], row["score"]) == ("unusable", "")
            assert "not a readable image" in row["notes"]
            continue
        assert row["decision"] == ("anomalous" if line["anomalous"] else "normal")
        assert float(row["score"]) == pytest.approx(line["score"], rel=1e-5)
        boxes = [list(own.values())[:4] for own in line["regions"]]
        assert [list(map(int, box.split())) for box in row["boxes"].split("; ") if box] == boxes
    blot = rows[rows.image.str.endswith("blot.png")].iloc[0]
    left, top, width, height = map(int, blot.boxes.split("; ")[0].split())
    assert left <= 16 <= left + width
    assert top <= 16 <= top + height
    assert 0 < float(blot.area_percent) < 100
    page = (out / "index.html").read_text()
    assert page.count('id="pictures-') == 3
    assert "<summary>1 unusable</summary>" in page


def test_a_threshold_of_ones_own_decides_and_its_rate_is_told(
    exported: Path, photos: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    reference = Detector.load(exported).reference("capsule")
    for options, expected in (
        (("--threshold", "1e9"), (1e9, 1 / 21)),
        (("--threshold", str(reference.scores.min() - 1)), (reference.scores.min() - 1, 1.0)),
        (("--added", "0.25"), (reference.threshold + 0.25, 1 / 21)),
    ):
        assert detect(exported, tmp_path / "out", photos, *options) == 0
        for line in lines(tmp_path / "out"):
            if line["category"] == "capsule":
                assert (line["threshold"], line["false_alarm_rate"]) == pytest.approx(expected)
                assert line["anomalous"] == (line["score"] > line["threshold"])
    assert "with a probability of 100 % at most" in capsys.readouterr().out


def test_the_page_tells_calibrated_from_added_and_given_thresholds(
    exported: Path, photos: Path, tmp_path: Path
) -> None:
    """So that the number at its slider means the same to `--added`."""
    unmoved, page = Detector.load(exported).reference("capsule").threshold, tmp_path / "out/index.html"
    for options, threshold, added, said in (
        (("--added", "0.25"), unmoved, 0.25, "starts at 0.25 plus the value calibrated on 20 held-out"),
        (("--threshold", "3.5"), 3.5, 0.0, "starts at the given value, not calibrated; move it"),
        (("--threshold", "3.5", "--added", "-1"), 3.5, -1.0, "starts at -1.0 plus the given value, not"),
    ):
        assert detect(exported, tmp_path / "out", photos, *options) == 0
        text = page.read_text()
        settings = json.loads(text.partition('id="settings">')[2].partition("</script>")[0])
        (thresholds,) = settings["thresholds"].values()
        assert (thresholds["capsule"], settings["added"]) == (threshold, added)
        assert said in text


def test_thresholds_of_each_category_are_told_with_the_images_they_are_from(
    exported: Path, photos: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Ten held-out images of each of two categories are enough for a rate of 10 %."""
    assert detect(exported, tmp_path / "out", photos, "--false-alarm-rate", "0.1") == 0
    said = "the held-out normal images of that category and those that join it (capsule 10, wood 10)."
    assert f"Calibrated on {said}" in capsys.readouterr().out
    own = {line["category"]: (line["threshold"], line["calibrated_on"]) for line in lines(tmp_path / "out")}
    ((category, (threshold, about)),) = own.items()
    assert about == f"10 held-out normal images of category {category}"
    text = (tmp_path / "out/index.html").read_text()
    assert f"starts at the value calibrated on {about};" in text, "all images are of one"
    (thresholds,) = json.loads(text.partition('id="settings">')[2].partition("</script>")[0])[
        "thresholds"
    ].values()
    assert thresholds == {category: threshold, "all": threshold}


def test_nothing_of_an_earlier_call_stays_next_to_a_new_one(
    exported: Path, photos: Path, tmp_path: Path
) -> None:
    out, bad = tmp_path / "out", tmp_path / "cut.png"
    bad.write_bytes(b"no image")
    assert detect(exported, out, photos) == 0
    assert detect(exported, out, bad) == 2
    assert not (out / "index.html").exists()
    assert len((out / "results.csv").read_text().splitlines()) == 2


def test_two_calls_do_not_write_into_one_folder(
    exported: Path, photos: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "out"
    assert detect(exported, out, photos) == 0
    before = {path.name: path.read_bytes() for path in out.iterdir() if path.is_file()}
    with (out / "results.jsonl").open("rb") as held:
        assert lock(held.fileno())
        assert detect(exported, out, photos) == 2
    assert "another `drdc detect` is writing there; name another folder" in capsys.readouterr().err
    assert before == {path.name: path.read_bytes() for path in out.iterdir() if path.is_file()}


def test_the_heatmap_of_16_bits_has_the_stated_scale(exported: Path, photos: Path, tmp_path: Path) -> None:
    blot = photos / "late shift/blot.png"
    assert detect(exported, tmp_path / "png", blot) == 0
    assert detect(exported, tmp_path / "npy", blot, "--heatmap", "npy") == 0
    (stored,), (raw,) = lines(tmp_path / "png"), lines(tmp_path / "npy")
    assert set(raw) == FACTS - {"heatmap_scale"}
    exact = np.load(tmp_path / "npy" / raw["heatmap"], allow_pickle=False)
    assert exact.dtype == np.float32
    with Image.open(tmp_path / "png" / stored["heatmap"]) as image:
        assert image.mode == "I;16"
        pixels = np.asarray(image).astype(float)
    low, high = stored["heatmap_scale"]
    assert (pixels.min(), pixels.max()) == (0, 65535)
    np.testing.assert_allclose(low + pixels / 65535 * (high - low), exact, atol=(high - low) / 65535)


def test_an_unreadable_image_has_a_line_that_says_why_and_the_others_are_done(
    exported: Path, photos: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = tmp_path / "in"
    shutil.copytree(photos, folder)
    (folder / "cut.png").write_bytes((photos / "late shift/blot.png").read_bytes()[:200])
    (folder / "empty.jpg").touch()
    out = tmp_path / "out"
    assert detect(exported, out, folder, folder / "none.png", folder / "nothing*.png", "--batch", "2") == 2
    found = {Path(one["image"]).name: one for one in lines(out)}
    bad = {name for name, one in found.items() if "error" in one}
    assert bad == {"cut.png", "empty.jpg", "none.png", "nothing*.png"}
    assert len(found) == 7
    errors = capsys.readouterr().err
    assert all(f"{name}" in errors for name in bad)
    assert "Traceback" not in errors


def test_exit_code_1_says_that_an_image_is_anomalous_but_only_on_request(
    exported: Path, photos: Path, tmp_path: Path
) -> None:
    blot = photos / "late shift/blot.png"
    assert detect(exported, tmp_path / "a", blot) == 0
    assert detect(exported, tmp_path / "a", blot, "--fail-on-anomaly") == 1
    assert detect(exported, tmp_path / "a", blot, photos / "none.png", "--fail-on-anomaly") == 2
    assert detect(exported, tmp_path / "a", photos / "notes.txt", "--fail-on-anomaly") == 2


def test_fast_says_what_it_saves_and_loses(
    exported: Path, photos: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert detect(exported, tmp_path / "full", photos) == 0
    assert detect(exported, tmp_path / "fast", photos, "--fast") == 0
    assert "Fast: 4 U-Net calls an image instead of 8; image AUROC" in capsys.readouterr().out
    full, fast = lines(tmp_path / "full"), lines(tmp_path / "fast")
    assert full[0]["threshold"] != fast[0]["threshold"]
    assert fast[-1]["anomalous"]


@pytest.mark.parametrize(
    ("arguments", "text"),
    [
        (["--false-alarm-rate", "0.001"], "needs at least 999 held-out normal images, and there are 20"),
        (["--false-alarm-rate", "5"], "must be between 0 and 1"),
        (["--threshold", "nan"], "the threshold becomes nan; give finite scores"),
        (["--threshold", "inf"], "the threshold becomes inf; give finite scores"),
        (["--added", "nan"], "the threshold becomes nan; give finite scores"),
        (["--category", "nut"], "'nut' is not known to this model; known: capsule, wood"),
        (["--model", "missing"], "missing: is missing; `snakemake missing` or `drdc export` writes it"),
        (["--output", "taken"], "taken: cannot be written"),
    ],
)
def test_a_bad_option_is_one_sentence_and_nothing_is_written(
    exported: Path,
    photos: Path,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    arguments: list[str],
    text: str,
) -> None:
    (tmp_path / "taken").write_text("a file")
    assert detect(exported, tmp_path / "out", photos, *arguments) == 2
    assert text in capsys.readouterr().err
    assert sorted(path.name for path in tmp_path.iterdir()) == ["taken"]
    assert (tmp_path / "taken").read_text() == "a file"


def test_no_image_at_all_is_one_sentence(
    exported: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "folder").mkdir()
    assert detect(exported, tmp_path / "out", tmp_path / "folder") == 2
    assert "no image there; name image files, folders or patterns" in capsys.readouterr().err
    assert not (tmp_path / "out").exists()


def test_hostile_names_stay_in_the_output_folder_and_off_the_terminal(
    exported: Path, photos: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    names = [
        *("-rf.png", "$(touch canary).png", "a;b.png", "new\nline.png", "\x1b[31mred.png", "grün 图.png"),
        *("{x}.png", "%s.png", "é" * 120 + ".png", b"\xff\xfe.png".decode(errors="surrogateescape")),
    ]
    folder = tmp_path / "in"
    folder.mkdir()
    for name in names:
        shutil.copy(photos / "late shift/blot.png", folder / name)
    out = tmp_path / "out"
    assert detect(exported, out, folder) == 0
    found = lines(out)
    assert {Path(one["image"]).name for one in found} == set(names)
    for one in found:
        for kind in ("overlay", "heatmap"):
            written = out / one[kind]
            assert written.is_file()
            assert out in written.resolve().parents
    assert len({one["overlay"] for one in found}) == len(names)
    assert "\x1b" not in capsys.readouterr().out
    assert not list(tmp_path.rglob("canary"))


@pytest.mark.long
def test_a_killed_run_leaves_whole_lines_and_whole_files(
    exported: Path, photos: Path, tmp_path: Path
) -> None:
    """The real command, killed as soon as it has written three lines; a rerun starts anew and ends."""
    folder = tmp_path / "in"
    folder.mkdir()
    for number in range(60):
        shutil.copy(photos / "late shift/blot.png", folder / f"{number:02}.png")
    out = tmp_path / "out"
    command = [sys.executable, "-m", "drdc", "detect", "--model", exported, "--output", out, folder]
    command += ["--batch", "1", "--threads", "1"]
    with subprocess.Popen(list(map(str, command)), stdout=subprocess.PIPE) as process:
        assert process.stdout is not None
        while process.stdout.readline().count(b"anomalous  ") == 0:
            assert process.poll() is None
        process.stdout.readline()
        process.send_signal(signal.SIGKILL)
    found = lines(out)
    assert 2 <= len(found) < 60
    assert (out / "results.jsonl").read_bytes().endswith(b"\n")
    for one in found:
        with Image.open(out / one["overlay"]) as overlay, Image.open(out / one["heatmap"]) as heatmap:
            overlay.load()
            heatmap.load()
    assert detect(exported, out, folder, "--fast") == 0
    assert len(lines(out)) == 60
    assert not list(out.rglob("*.partial*"))


@pytest.mark.long
def test_a_full_disk_stops_the_run_with_one_sentence(exported: Path, photos: Path, tmp_path: Path) -> None:
    """A limit on the size of files stands for a full disk; the lines that were written stay."""
    code = (
        "import resource, signal, sys\n"
        "signal.signal(signal.SIGXFSZ, signal.SIG_IGN)\n"
        "resource.setrlimit(resource.RLIMIT_FSIZE, (700, 700))\n"
        "from drdc.cli import main\n"
        "sys.exit(main(sys.argv[1:]))"
    )
    out = tmp_path / "out"
    command = [sys.executable, "-c", code, "detect", "--model", exported, "--output", out, photos]
    done = subprocess.run(
        list(map(str, command)), capture_output=True, text=True, check=False, env=os.environ | {"HOME": "/"}
    )
    assert done.returncode == 2
    assert "cannot be written" in done.stderr
    assert "Traceback" not in done.stderr
    assert not list(out.rglob("*overlay.png"))


@pytest.mark.parametrize("room", range(100, 400, 37))
def test_a_disk_that_fills_within_a_line_keeps_whole_lines(tmp_path: Path, room: int) -> None:
    with (
        size_limit(room),
        _Writer(tmp_path, "png", Results(None, {}, tmp_path)) as writer,
        pytest.raises(UserError, match="cannot be written"),
    ):
        for number in range(100):
            writer.unusable(Path(f"{number}.png"), "no image")
    content = (tmp_path / "results.jsonl").read_bytes()
    assert room - 60 < len(content) <= room
    assert content.endswith(b"\n")
    assert [json.loads(line)["error"] for line in content.splitlines()] == ["no image"] * content.count(b"\n")


def test_pictures_wait_on_the_disk_of_the_output(
    exported: Path, photos: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Where programs keep temporary files there may be little space."""
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path / "none"))
    assert detect(exported, tmp_path / "out", photos) == 0
    assert (tmp_path / "out/index.html").is_file()


def test_pictures_that_find_no_space_are_one_sentence(
    exported: Path, photos: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    content = Detector.load(exported).detect(next(photos.rglob("*.png")))
    results = Results(Detector.load(exported), {}, tmp_path)
    with size_limit(4096), pytest.raises(UserError, match=r"index\.html: cannot be written"), results:
        for _ in range(100):
            results.add(Path("1.png"), content)
    assert not list(tmp_path.iterdir())


def touch(folder: Path, *names: str) -> None:
    for name in names:
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).touch()


def named(arguments: list[str | Path], output: Path) -> dict[str, str]:
    found, _, _ = find_images(map(str, arguments), output)
    return {str(image): str(name) for image, name in found}


def test_names_keep_the_folders_and_are_unique(tmp_path: Path) -> None:
    touch(tmp_path, "a/x.png", "a/x.jpg", "a/X.bmp", "a/deep/x.png", "b/x.png", "a/x-2.png")
    names = named([tmp_path / "a", tmp_path / "b/x.png"], tmp_path / "out")
    assert names[str(tmp_path / "a/deep/x.png")] == "a/deep/x"
    assert names[str(tmp_path / "b/x.png")] == "x"
    assert len({name.casefold() for name in names.values()}) == 6
    assert all(name.startswith("a/") for image, name in names.items() if "/a/" in image)


def test_no_image_is_taken_twice_and_results_are_no_input(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    touch(tmp_path, "in/x.png", "in/out/old.overlay.png", "in/.trash/y.png", "in/notes.txt")
    monkeypatch.chdir(tmp_path)
    assert named(["in", "in/x.png", "./in", tmp_path / "in/out"], Path("in/out")) == {"in/x.png": "in/x"}


def test_a_pattern_finds_files_and_folders_and_a_file_may_be_called_like_one(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    touch(tmp_path, "p/a1.png", "p/a2.PNG", "p/b.png", "q/c/d.png", "q/[x].png", "q/x.png")
    monkeypatch.chdir(tmp_path)
    out = Path("out")
    assert set(named(["p/a*"], out)) == {"p/a1.png", "p/a2.PNG"}
    assert named(["q*"], out)["q/c/d.png"] == "q/c/d"
    assert set(named(["**/*.png"], out)) == {"p/a1.png", "p/b.png", "q/c/d.png", "q/[x].png", "q/x.png"}
    assert set(named(["q/[x].png"], out)) == {"q/[x].png"}
    assert find_images(["z*", "p/b.png"], out)[1] == ["z*"]


def test_very_long_names_leave_room_for_the_ending(tmp_path: Path) -> None:
    touch(tmp_path, "é" * 120 + "1.png", "é" * 120 + "2.png")
    names = set(named([tmp_path], tmp_path / "out").values())
    assert len(names) == 2
    assert all(len(Path(name).name.encode()) <= LONGEST for name in names)


@pytest.fixture
def mixed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder with images, links, other files, and what methods leave."""
    monkeypatch.chdir(tmp_path)
    touch(
        tmp_path, "in/a.png", "in/b.GIF", "in/c.heic", "in/d.heic", "in/plain", "in/deep/e.png", "store/f.png"
    )
    touch(tmp_path, "in/@eaDir/g.png", "in/deep/._e.png", "in/__MACOSX/h.png", "in/Thumbs.db", "in/.i.png")
    (tmp_path / "in/linked").symlink_to(tmp_path / "store")
    (tmp_path / "in/up").symlink_to("..")
    (tmp_path / "in/link.png").symlink_to(tmp_path / "store/f.png")
    (tmp_path / "in/gone.png").symlink_to("nowhere.png")
    (tmp_path / "in/loop.png").symlink_to("loop.png")
    return tmp_path / "in"


@pytest.mark.parametrize("argument", ["in", "in/*", "in/**/*"])
def test_what_is_left_out_is_counted_by_reason(mixed: Path, argument: str) -> None:
    found, empty, left_out = find_images([argument], Path("out"))
    assert {"in/a.png", "in/deep/e.png", "in/link.png"} <= {str(image) for image, _ in found}
    assert not any("@eaDir" in str(image) or "__MACOSX" in str(image) for image, _ in found)
    assert len({image.resolve().parent / image.name for image, _ in found}) == len(found)
    assert empty == []
    files = {".gif file": 1, ".heic file": 2, "file without suffix": 1, "broken link": 2}
    assert files.items() <= left_out.items()
    if argument == "in":
        assert left_out == files | {"linked folder": 2}
        assert about_left_out(left_out).startswith(
            "6 files and 2 folders left out: 1 .gif file, 2 .heic files, 2 broken links, "
            "1 file without suffix, 2 linked folders; images are called .bmp, "
        )


def test_nothing_left_out_is_not_told(tmp_path: Path) -> None:
    touch(tmp_path, "in/a.png", "in/.DS_Store")
    assert total_left_out(find_images([str(tmp_path / "in")], tmp_path / "out")[2]) == ""


@pytest.mark.parametrize("output", ["in", "."])
def test_an_output_that_holds_all_images_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, output: str
) -> None:
    touch(tmp_path, "in/a.png")
    monkeypatch.chdir(tmp_path)
    for argument in ("in", "in/a.png", "in/*"):
        with pytest.raises(UserError, match=f"--output {output}: all images are in it"):
            find_images([argument], Path(output))


def test_what_lies_in_the_output_is_counted(tmp_path: Path) -> None:
    touch(tmp_path, "in/a.png", "in/out/b.png")
    found, _, left_out = find_images([str(tmp_path / "in")], tmp_path / "in/out")
    assert [image.name for image, _ in found] == ["a.png"]
    assert left_out == {"file in --output": 1}
