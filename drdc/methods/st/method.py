"""S-T (Uninformed Students): an ensemble of students regresses a teacher's descriptors of patches."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Literal

import torch
import torch.nn.functional as F
from pydantic import field_validator
from torch import Tensor, nn

from drdc.config.backbone import Network
from drdc.config.optimisation import OPTIMIZER, Optimizer
from drdc.config.section import MOST_CHANNELS, MOST_EPOCHS, MOST_IMAGES, MOST_PIXELS, setting
from drdc.methods.interface import History, Method, Shapes, TrainedSettings
from drdc.methods.st.patches import correlation, drawn_patches, pooled_features
from drdc.methods.st.scale import Scale
from drdc.methods.trainer import Trainer
from drdc.models.backbone import FeatureExtractor
from drdc.runtime.errors import UserError


class Teacher(TrainedSettings):
    """Settings of the distillation of a pre-trained network onto the teachers."""

    patches: int = setting(1, "ours", "Random patches of each image in a step.", ge=1, le=16_384)
    zoom: float = setting(
        2.0, "ours", "Patches are enlarged or reduced by a random factor of up to this.", ge=1
    )
    recolour: float = setting(
        0.5, "ours", "Colours of patches: gains are changed by up to this, offsets by up to half of it.", ge=0
    )
    compactness: float = setting(
        1.0, "inferred", "Weight of the term that makes the channels of a descriptor uncorrelated.", ge=0
    )
    batch_size: int = setting(64, "inferred", "Images per step.", ge=1, le=MOST_IMAGES)
    optimizer: Optimizer = setting("adam", "inferred", OPTIMIZER)
    learning_rate: float = setting(2e-4, "inferred", "Learning rate.", gt=0)
    weight_decay: float = setting(1e-5, "inferred", "Weight decay.", ge=0)
    epochs: float = setting(
        880,
        "inferred",
        "Passes over the training images, for each teacher (50,000 steps on MVTec AD).",
        gt=0,
        le=MOST_EPOCHS,
    )


class StudentTeacher(Method):
    """Pixels where students miss the teacher's descriptors, or contradict each other, are anomalous.

    For each receptive field a teacher, a small convolutional network, first learns the outputs of a frozen
    pre-trained network for single patches, with descriptors whose channels are uncorrelated. Then students of
    the same architecture learn the teacher's descriptors of all pixels of normal images, by squared error,
    the descriptors being standardised. A pixel's score is the error of the students' mean plus the variance
    among the students, both standardised over held-out normal images, averaged over the receptive fields.

    Networks are applied to all pixels at once: each pool has stride 1 there, and the layers after it are
    dilated, which gives each pixel the descriptor of the patch around it; images are mirrored at the border.

    Differs: the teachers see patches of the training images, zoomed, mirrored and recoloured, where the paper
    takes ImageNet's; both terms of their loss are means, where the paper has sums, and correlations are
    squared. The paper has no code, so that the sizes of the layers are those on which other implementations
    agree, and it does not define the score of an image. Students are trained on random squares where `crop`
    is set.
    """

    class Settings(TrainedSettings):
        """Uninformed Students (Bergmann et al., CVPR 2020); the settings of its students and of all of it."""

        receptive_fields: list[Literal[17, 33, 65]] = setting(
            [17, 33, 65], "inferred", "Receptive fields in pixels.", min_length=1
        )
        students: int = setting(3, "inferred", "Students of each teacher.", ge=2, le=100)
        width: int = setting(128, "inferred", "Channels of the first layer.", ge=1, le=MOST_CHANNELS)
        descriptor: int = setting(128, "inferred", "Channels of a descriptor.", ge=2, le=MOST_CHANNELS)
        crop: int | None = setting(
            None,
            "ours",
            "Side of the random square on which students are trained; null: whole images.",
            ge=1,
            le=MOST_PIXELS,
        )
        teacher: Teacher = setting(Teacher(), "inferred", "The distillation of the teachers.")
        backbone: Network = setting(
            Network(name="resnet18.tv_in1k", stages=[4]),
            "inferred",
            "The network that is distilled, of `stages` averaged over the patch; patches are resized to "
            "`input_size`, `feature_size` is not used.",
        )
        batch_size: int = setting(1, "inferred", "Images per step.", ge=1, le=MOST_IMAGES)
        optimizer: Optimizer = setting("adam", "inferred", OPTIMIZER)
        learning_rate: float = setting(1e-4, "inferred", "Learning rate.", gt=0)
        weight_decay: float = setting(1e-5, "inferred", "Weight decay.", ge=0)
        epochs: float = setting(
            100,
            "inferred",
            "Passes over the training images, for the students of each teacher.",
            gt=0,
            le=MOST_EPOCHS,
        )

        @field_validator("receptive_fields")
        @classmethod
        def _distinct(cls, value: list[int]) -> list[int]:
            if len(set(value)) < len(value):
                raise ValueError("names a receptive field twice")
            return value

    uses_features = False
    paper_name = "S-T"
    citation = (
        "Bergmann et al., Uninformed Students: Student-Teacher Anomaly Detection with Discriminative Latent "
        "Embeddings, CVPR 2020"
    )
    differs = "teachers distilled on the training images"

    def __init__(self, settings: Any, shapes: Shapes, weights: Mapping[str, Tensor] | None = None) -> None:
        super().__init__(settings, shapes, weights)
        _check(settings, shapes.image_size)
        self.scales = nn.ModuleDict(
            {str(field): Scale(field, settings) for field in settings.receptive_fields}
        )

    @classmethod
    def input_size(cls, settings: Mapping[str, Any], image_size: int) -> int:
        return image_size  # `backbone` sees patches of it, in the preparation of the teachers alone

    def fit(self, trainer: Trainer) -> History:
        device = next(self.parameters()).device
        source = FeatureExtractor(self.settings.backbone).to(device)
        # Drawn before any phase, so that an interrupted fitting draws the same.
        decoders = [nn.Linear(self.settings.descriptor, source.channels).to(device) for _ in self.scales]
        history: History = []
        for scale, decoder in zip(self._scales(), decoders, strict=True):
            history += self._distil(trainer, scale, decoder, source)
            history += self._instruct(trainer, scale)
        return history

    def heatmaps(self, images: Tensor, features: Tensor) -> Tensor:
        scores = [scale.standard_measures(images).sum(1) for scale in self._scales()]
        return torch.stack(scores).mean(0)

    def _scales(self) -> list[Any]:
        return list(self.scales.values())

    def _distil(
        self, trainer: Trainer, scale: Scale, decoder: nn.Module, source: FeatureExtractor
    ) -> History:
        """Train a teacher so that `decoder` maps its descriptors to the outputs of `source` for the patch."""
        own, side = self.settings.teacher, self.settings.backbone.input_size

        def loss(networks: Any, images: Tensor, features: Tensor) -> Tensor:
            patches = drawn_patches(images, scale.field, own.patches, own.zoom, own.recolour)
            described = networks[0](patches).flatten(1)
            target = pooled_features(source, patches, side)
            # L = ‖D(T(p)) − P(p)‖² + λ Σ_{i≠j} c_ij², c the correlations of the channels
            return F.mse_loss(networks[1](described), target) + own.compactness * correlation(described)

        history = trainer.descend(
            nn.ModuleList([scale.teacher, decoder]), loss, f"teacher{scale.field}", settings=own
        )
        scale.teacher.requires_grad_(False).eval()
        return history

    def _instruct(self, trainer: Trainer, scale: Scale) -> History:
        """Train the students of a teacher, and measure the scales of descriptors and scores."""
        with torch.no_grad():
            scale.set_targets(scale.describe(scale.padded(images)) for images, _ in trainer.batches())

        def loss(students: nn.ModuleList, images: Tensor, features: Tensor) -> Tensor:
            window = scale.window(images, self.settings.crop)
            target = scale.target(window)
            # Each student for itself: Σ_i ‖S_i − y‖², y = (T − μ) / σ
            return torch.stack([F.mse_loss(scale.seen(s, window), target) for s in students]).sum()

        history = trainer.descend(scale.students, loss, f"students{scale.field}")
        scale.eval()
        with torch.no_grad():
            scale.set_measures(scale.measures(images) for images, _ in trainer.held_out())
        return history


def _check(settings: Any, size: int) -> None:
    """Raise UserError where the settings do not fit images of that size."""
    largest = max(settings.receptive_fields)
    if largest // 2 >= size:
        raise UserError(
            "receptive_fields",
            f"{largest} is too large for dataset.image_size {size}, which can be mirrored for fields of up "
            f"to {2 * size - 1}",
            "use a smaller one",
        )
    if settings.crop is not None and settings.crop > size:
        raise UserError(
            "crop", f"{settings.crop} is larger than dataset.image_size {size}", "use at most that"
        )
