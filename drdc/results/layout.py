"""Where everything of an experiment lies: the public interface of `results/`."""

from __future__ import annotations

from collections.abc import Collection, Iterable
from dataclasses import dataclass
from pathlib import Path

from drdc.config.variants import ABLATION, FULL, swept

#: The detector's file in the folder of an experiment.
EXPORTED = "model.safetensors"
#: The folder of the compared methods: of a run's files, and of the detectors that they make.
METHODS = "methods"
#: What the experiment's own pre-trained network is called among those of the methods.
BACKBONE = "backbone"


@dataclass(frozen=True)
class Layout:
    """Paths of one experiment, relative to the working directory."""

    experiment: str

    @property
    def root(self) -> Path:
        return Path("results", self.experiment)

    @property
    def made_dataset(self) -> Path:
        """Where the made dataset is drawn."""
        return self.root / "dataset"

    @property
    def manifest(self) -> Path:
        return self.root / "manifest.csv"

    @property
    def dataset(self) -> Path:
        """What is known of the dataset, see `drdc.data.fingerprint`: no rule's output, like `state`."""
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
        """What resizing made of the regions of each mask."""
        return self.root / "regions.csv"

    @property
    def features(self) -> Path:
        """(N, C, h, w) float16, rows as in the manifest."""
        return self.root / "features.npy"

    @property
    def scores(self) -> Path:
        return self.root / "scores.csv"

    @property
    def costs(self) -> Path:
        """Time, memory and size of base model and DRDC, measured in one run."""
        return self.root / "costs.csv"

    @property
    def gallery(self) -> Path:
        return self.root / "gallery.html"

    def evidence(self, kind: str) -> Path:
        """`seed_evidence` of all seeds."""
        return self.root / f"{kind}.csv"

    @property
    def tables(self) -> Path:
        return self.root / "tables"

    @property
    def figures(self) -> Path:
        return self.root / "figures"

    def seed(self, seed: int) -> Path:
        return self.root / f"seed{seed}"

    def model(self, seed: int, kind: str) -> Path:
        """Trained weights; `kind` is base, diffusion or unconditional."""
        return self.seed(seed) / f"{kind}.safetensors"

    def losses(self, seed: int, kind: str) -> Path:
        return self.seed(seed) / f"{kind}.losses.csv"

    def state(self, seed: int, kind: str) -> Path:
        """What an interrupted training resumes from: no rule's output, so that nothing deletes it."""
        return self.root / "state" / f"seed{seed}-{kind}.pt"

    def unfinished(self, seed: int, name: str, part: str) -> Path:
        """Predictions until all of them are computed: no rule's output, like `state`."""
        return self.root / "state" / f"seed{seed}-predict-{name}-{part}.npy"

    def predictions(self, seed: int, name: str, part: str) -> Path:
        """Maps; `name` as in `drdc.config.variants.Stored`, `part` a category, or `all` for all of them."""
        return self.seed(seed) / "predictions" / name / f"{part}.npy"

    def method(self, seed: int, name: str, ending: str) -> Path:
        """What a compared method leaves: `.npy` its heatmaps, `.csv` its metrics; `model` has its weights."""
        return self.seed(seed) / METHODS / f"{name}{ending}"

    def seed_scores(self, seed: int, variant: str = FULL) -> Path:
        """Metrics of one run: of all methods, or of a variant of DRDC."""
        return self.seed(seed) / ("scores.csv" if variant == FULL else f"variants/{variant}.csv")

    def seed_evidence(self, seed: int, kind: str) -> Path:
        """What else the scoring of a run leaves: `image_scores`, `curves` or `defects`."""
        return self.seed(seed) / f"{kind}.csv"

    @property
    def exported(self) -> Path:
        """Networks, settings and calibration in one file, for `drdc detect`."""
        return self.root / EXPORTED

    def exported_method(self, name: str) -> Path:
        """The same of a compared method."""
        return self.root / METHODS / f"{name}.safetensors"

    @property
    def about(self) -> Path:
        """Settings, versions, hardware and run times."""
        return self.root / "about.html"

    @property
    def settings(self) -> Path:
        """All settings, as a file that gives the same run."""
        return self.root / "config.yaml"

    @property
    def benchmarks(self) -> Path:
        """Time and memory of each job, as the workflow measured them."""
        return self.root / "benchmarks"

    def handed(self, stage: str, digest: str) -> Path:
        """The settings that the workflow hands to a stage, see `drdc.experiment.stage_settings.Handed`."""
        return self.root / "settings" / f"{stage}-{digest}.json"

    def log(self, name: str) -> Path:
        """Log of a job; the workflow's rules write them."""
        return self.root / "logs" / f"{name}.log"


#: Every table, and what it is made of.
TABLES = {
    "summary": "scores",
    "table1": "scores",
    "table2": "scores",
    "table3": "scores",
    "table4": "scores",
    "table5": "ablation",
    "metrics": "scores",
    "defects": "defects",
    "regions": "regions",
    "separation": "image_scores",
    "significance": "scores",
    "inference": "costs",
}
#: Every figure, and what it is made of.
FIGURES = {
    "fig2": "sweeps",
    "fig3": "predictions",
    "heatmaps": "heatmaps",
    "histograms": "image_scores",
    "separation": "image_scores",
    "curves": "curves",
    "pareto": "costs",
    "losses": "losses",
}


def lacking(kind: str, variants: Iterable[str], methods: Collection[str]) -> str:
    """What an experiment lacks for tables and figures of a kind, and the mend; "" where it lacks nothing.

    Args:
        kind: a value of `TABLES` or `FIGURES`.
        variants, methods: names of those that the experiment runs.
    """
    needs = {
        "ablation": (
            set(ABLATION) <= set(variants),
            "the variants of the ablation; set evaluation.ablation to true",
        ),
        "sweeps": (bool(swept(variants)), "values to compare; name some in evaluation.sweeps"),
        "heatmaps": (bool(methods), "compared methods; name some in methods"),
    }
    there, need = needs.get(kind, (True, ""))
    return "" if there else f"needs {need}"


#: What the scoring of the whole method leaves beside its metrics, `<kind>.csv`.
EVIDENCE = ("image_scores", "curves", "defects")
FORMATS = ("csv", "md", "tex", "html")
