"""Where everything of an experiment lies: the public interface of `results/`."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path


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
    def images(self) -> Path:
        """(N, H, W, 3) uint8, rows as in the manifest."""
        return self.root / "images.npy"

    @property
    def masks(self) -> Path:
        """(N, H, W) bool, rows as in the manifest."""
        return self.root / "masks.npy"

    @property
    def features(self) -> Path:
        """(N, C, h, w) float16, rows as in the manifest."""
        return self.root / "features.npy"

    @property
    def scores(self) -> Path:
        return self.root / "scores.csv"

    @property
    def tables(self) -> Path:
        return self.root / "tables"

    @property
    def figures(self) -> Path:
        return self.root / "figures"

    def seed(self, seed: int) -> Path:
        return self.root / f"seed{seed}"

    def model(self, seed: int, kind: str) -> Path:
        """Trained weights; `kind` is base or diffusion."""
        return self.seed(seed) / f"{kind}.safetensors"

    def losses(self, seed: int, kind: str) -> Path:
        return self.seed(seed) / f"{kind}.losses.csv"

    def state(self, seed: int, kind: str) -> Path:
        """What an interrupted training resumes from: no rule's output, so that nothing deletes it."""
        return self.root / "state" / f"seed{seed}-{kind}.pt"

    def predictions(self, seed: int, category: str) -> Path:
        return self.seed(seed) / "predictions" / f"{category}.npy"

    def seed_scores(self, seed: int) -> Path:
        return self.seed(seed) / "scores.csv"
