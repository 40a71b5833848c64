"""The page and the table of `drdc detect`: `index.html` and `results.csv`, of all images of one call."""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path
from tempfile import TemporaryFile
from typing import TYPE_CHECKING, Any, BinaryIO

from drdc.config.names import ALL
from drdc.reporting.browser import Pictures, picture_of, write_gallery
from drdc.reporting.shown_images import Facts, Scales
from drdc.runtime.files import atomic, not_written

if TYPE_CHECKING:
    from drdc.detection.detector import Detection, Detector

PAGE, TABLE = "index.html", "results.csv"
COLUMNS = (
    *("image", "decision", "score", "threshold", "p_value", "category", "regions", "area_percent", "boxes"),
    "notes",
)
NORMAL, ANOMALOUS, UNUSABLE = "normal", "anomalous", "unusable"


class Results:
    """What one call of `drdc detect` has found; facts in memory, pictures in a nameless file of `folder`."""

    def __init__(self, detector: Detector, options: dict[str, Any], folder: Path) -> None:
        self.detector, self.options, self.folder = detector, options, folder
        self.facts: list[Facts] = []
        self.rows: list[dict[str, Any]] = []
        self.faults: list[str] = []
        self._scales: Scales = {}
        self._pictures: BinaryIO
        self._open = ExitStack()

    def __enter__(self) -> Results:
        with self._written():
            self._pictures = self._open.enter_context(TemporaryFile(dir=self.folder))
        return self

    def __exit__(self, *error: object) -> None:
        with suppress(OSError):  # told before, where it was written
            self._open.close()

    def unusable(self, image: Path, reason: str) -> None:
        """An image that could not be read."""
        self.rows.append({"image": str(image), "decision": UNUSABLE, "notes": reason})
        self.faults.append(reason)

    def add(self, image: Path, found: Detection) -> None:
        """An image, and what was found in it."""
        scale = found.usual, found.pixel_threshold
        self._scales.setdefault(found.category, {self.detector.method: scale})
        pictures = picture_of(found.image, {self.detector.method: (found.heatmap, *scale)})
        with self._written():
            self._pictures.write(json.dumps(pictures).encode() + b"\n")
        regions = found.regions
        width, height = found.image.size
        self.facts.append(
            Facts(
                path=str(image),
                category=found.category,
                group=found.category,
                defect_type="",
                label=None,
                scores={self.detector.method: found.score},
                size=(width, height),
                boxes=tuple(tuple(one[:4]) for one in regions),
            )
        )
        boxes = "; ".join(" ".join(map(str, one[:4])) for one in regions)
        self.rows.append(
            {
                "image": str(image),
                "decision": ANOMALOUS if found.anomalous else NORMAL,
                "score": f"{found.score:.6g}",
                "threshold": f"{found.threshold:.6g}",
                "p_value": f"{found.p_value:.4g}",
                "category": found.category,
                "regions": len(regions),
                "area_percent": f"{found.area:.3g}",
                "boxes": boxes,
                "notes": "; ".join(found.notes),
            }
        )

    def write(self) -> None:
        """Write `results.csv`, and `index.html` where there is an image to show.

        Raises:
            UserError: they cannot be written.
        """
        text = io.StringIO()
        table = csv.DictWriter(text, COLUMNS, restval="", lineterminator="\n")
        table.writeheader()
        table.writerows(self.rows)
        with atomic(self.folder / TABLE) as part:
            part.write_text(text.getvalue(), encoding="utf-8", errors="backslashreplace")
        if not self.facts:
            return
        method = self.detector.method
        unmoved = self.options | {"added": 0.0}
        own = {name: self.detector.reference(name, **unmoved) for name in self._scales}
        whole = self.detector.reference(**unmoved) if len(own) > 1 else next(iter(own.values()))
        write_gallery(
            self.facts,
            self._all_pictures(),
            self.folder / PAGE,
            title=f"{self.detector.experiment}: what {method} found in {len(self.facts)} images",
            methods={method: method},
            heatmaps={method: "Heatmap"},
            thresholds={method: {name: one.threshold for name, one in own.items()} | {ALL: whole.threshold}},
            calibration=whole.about if self.options["threshold"] is None else None,
            added=self.options["added"],
            scales=self._scales,
            tested=False,
            faults=self.faults,
        )

    @contextmanager
    def _written(self) -> Iterator[None]:
        try:
            yield
        except OSError as error:
            raise not_written(self.folder / PAGE, error) from None

    def _all_pictures(self) -> Iterator[Pictures]:
        with self._written():
            self._pictures.seek(0)
        for line in self._pictures:
            yield json.loads(line)
