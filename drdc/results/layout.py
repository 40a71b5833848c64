"""Where each result of an experiment is stored: the public interface of `results/`."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from drdc.config.variants import DRDC

#: The folder of the detectors in that of an experiment.
DETECTORS = "detectors"
#: The one to use among them, next to that folder.
RECOMMENDED = "recommended.safetensors"
#: Every image of the experiment.
MANIFEST = "manifest.csv"


@dataclass(frozen=True)
class Layout:
    """Paths of one experiment, relative to the working directory."""

    experiment: str

    @property
    def root(self) -> Path:
        return Path("results", self.experiment)

    @property
    def synthetic_dataset(self) -> Path:
        """Where the synthetic dataset is drawn."""
        return self.root / "dataset"

    @property
    def manifest(self) -> Path:
        return self.root / MANIFEST

    @property
    def dataset(self) -> Path:
        """Facts on the dataset, see `drdc.data.fingerprint`; not an output of a rule, like `state`."""
        return self.root / "dataset.json"

    @property
    def download(self) -> Path:
        """Where the dataset was downloaded from, see `drdc.stages.download`."""
        return self.root / "download.json"

    def weights(self, name: str) -> Path:
        """The digests of the pre-trained networks of `BACKBONE` or a method, see `drdc.stages.weights`."""
        return self.root / "weights" / f"{name}.json"

    def images(self, size: int) -> Path:
        """(N, size, size, 3) uint8, rows as in the manifest."""
        return self.root / "images" / f"{size}.npy"

    @property
    def masks(self) -> Path:
        """(N, H, W) bool, rows as in the manifest."""
        return self.root / "masks.npy"

    @property
    def problems(self) -> Path:
        """What is wrong with the dataset and did not stop `drdc prepare`."""
        return self.root / "problems.csv"

    @property
    def regions(self) -> Path:
        """How resizing changed the regions of each mask."""
        return self.root / "regions.csv"

    @property
    def features(self) -> Path:
        """(N, C, h, w) float16, rows as in the manifest."""
        return self.root / "features.npy"

    @property
    def groups(self) -> Path:
        """The known category that each held-out and test image is most like."""
        return self.root / "groups.csv"

    @property
    def costs(self) -> Path:
        """Time, memory and size of the methods, measured in one run."""
        return self.root / "costs.csv"

    @property
    def gallery(self) -> Path:
        return self.root / "gallery.html"

    def collected(self, kind: str) -> Path:
        """`scored` of all runs and seeds together."""
        return self.root / f"{kind}.csv"

    @property
    def tables(self) -> Path:
        return self.root / "tables"

    @property
    def figures(self) -> Path:
        return self.root / "figures"

    def seed(self, seed: int) -> Path:
        return self.root / f"seed{seed}"

    def model(self, seed: int, name: str) -> Path:
        """Trained weights; `name` is base, diffusion, unconditional or that of another method."""
        return self.seed(seed) / f"{name}.safetensors"

    def losses(self, seed: int, name: str) -> Path:
        return self.seed(seed) / f"{name}.losses.csv"

    def state(self, seed: int, name: str) -> Path:
        """What an interrupted training resumes from: not an output of a rule, so that nothing deletes it."""
        return self.root / "state" / f"seed{seed}-{name}.pt"

    def unfinished(self, seed: int, name: str, part: str) -> Path:
        """Predictions until all of them are computed: not an output of a rule, like `state`."""
        return self.root / "state" / f"seed{seed}-predict-{name}-{part}.npy"

    def predictions(self, seed: int, name: str, part: str) -> Path:
        """Predictions; `name`: of a variant or a method, `part`: a category, or `all`."""
        return self.seed(seed) / "predictions" / name / f"{part}.npy"

    def scored(self, seed: int, run: str, kind: str = "scores") -> Path:
        """Scores; `run`: a variant, a method or the controls; `kind`: one of `SCORED`."""
        return self.seed(seed) / "scores" / run / f"{kind}.csv"

    def sources(self, seed: int, models: Iterable[str]) -> list[Path]:
        """What a file belongs to that was made with these models, see `drdc.runtime.digests`."""
        return [self.manifest, *(self.model(seed, name) for name in models)]

    def detector(self, method: str = DRDC) -> Path:
        """Networks, settings and calibration in one file, for `drdc detect`."""
        return self.root / DETECTORS / f"{method}.safetensors"

    @property
    def recommended(self) -> Path:
        """The detector of the method that finds most in the self-check; a text that says so is next to it."""
        return self.root / RECOMMENDED

    def self_check(self, method: str = DRDC) -> Path:
        """What a method finds of synthetic defects; a picture is next to it."""
        return self.root / "self_check" / f"{method}.csv"

    @property
    def study(self) -> Path:
        """What each method reaches with other training data, see `drdc.config.study`."""
        return self.root / "study.csv"

    def point(self, name: str, ending: str = ".yaml") -> Path:
        """Of an experiment of a study: its settings, and with `.done` a file that says that it has scores."""
        return self.root / "points" / f"{name}{ending}"

    @property
    def about(self) -> Path:
        """Settings, versions, hardware and run times."""
        return self.root / "about.html"

    @property
    def front_page(self) -> Path:
        """What came out, for the first page of the report."""
        return self.root / "front_page.html"

    @property
    def settings(self) -> Path:
        """All settings, as a file that gives the same run."""
        return self.root / "config.yaml"

    @property
    def benchmarks(self) -> Path:
        """Time and memory of each job, as the workflow measured them."""
        return self.root / "benchmarks"

    def handed(self, stage: str, digest: str) -> Path:
        """The settings that the workflow passes to a stage, see `drdc.experiment.stage_settings.Handed`."""
        return self.root / "settings" / f"{stage}-{digest}.json"

    def log(self, name: str) -> Path:
        """Log of a job; the workflow's rules write them."""
        return self.root / "logs" / f"{name}.log"


#: The files of a scored run, `<kind>.csv`: its metrics, and what they are computed from.
SCORED = ("scores", "image_scores", "curves", "defects", "map_scales")
