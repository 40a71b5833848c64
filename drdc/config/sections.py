"""Every setting of an experiment: validation, defaults, JSON schema and manual come from these models.

Each setting says where its default comes from: `paper` (stated in the DRDC paper), `inferred` (reconstructed
from the paper's sources) or `ours` (chosen by this project, because the paper does not say).
"""

from __future__ import annotations

from typing import Annotated, Any, Literal, get_args
from unicodedata import normalize

from pydantic import BaseModel, ConfigDict, Field, field_validator

from drdc.config.names import category_fault
from drdc.config.problems import Acceptable
from drdc.runtime.arguments import LARGEST_SEED

Source = Literal["paper", "inferred", "ours"]

#: Scales at which predictions are stored, so that any `fusion.scales` can be scored without predicting again.
STORED_SCALES = (1, 2, 4, 8, 16)
#: The same of the base map, for the ablation with a multi-scale base heatmap (Table 5).
BASE_SCALES = (1, 2, 4, 8)

MVTEC_CATEGORIES = [
    *("bottle", "cable", "capsule", "hazelnut", "metal_nut", "pill", "screw", "toothbrush", "transistor"),
    *("zipper", "carpet", "grid", "leather", "tile", "wood"),
]


#: Bounds of what decides memory and time, far above any sensible value; a model file is held to them too.
MOST_PIXELS = 2048  # of a side
MOST_IMAGES = 100_000  # of a batch, or drawn
MOST_EPOCHS = 1_000_000
MOST_CHANNELS = 16_384  # of a compared method's layer
MOST_TIMESTEPS = 100_000


def setting(default: Any, source: Source, description: str, **constraints: Any) -> Any:
    """A pydantic field whose default is labelled with its source."""
    return Field(default, description=description, json_schema_extra={"source": source}, **constraints)


class Section(BaseModel):
    """Settings are complete, known by name and never changed after loading."""

    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False)


class Synthetic(Section):
    """Size of the synthetic dataset."""

    train: int = setting(72, "ours", "Normal training images per category.", ge=2, le=MOST_IMAGES)
    test_good: int = setting(16, "ours", "Normal test images per category.", ge=1, le=MOST_IMAGES)
    test_bad: int = setting(
        24, "ours", "Anomalous test images per category, over its defect types.", ge=1, le=MOST_IMAGES
    )
    size: int = setting(128, "ours", "Height and width of the images in pixels.", ge=32, le=MOST_PIXELS)
    seed: int = setting(
        0, "ours", "Seed of the images, independent of the training seeds.", ge=0, le=LARGEST_SEED
    )


class Dataset(Section):
    """The images, and their size in the diffusion model, the heatmaps and the pixel metrics."""

    name: str = setting(
        "mvtec",
        "paper",
        "One of [the datasets](../docs/datasets.md); `mvtec` also reads any folder in MVTec AD's layout.",
    )
    root: str | None = setting(
        None, "ours", "Folder of the dataset; not needed for `elpv` (in its package) and `synthetic` (drawn)."
    )
    download: bool = setting(
        False,
        "ours",
        "Download the dataset if `root` does not exist; an existing folder is never changed.",
    )
    categories: list[str] = setting(
        MVTEC_CATEGORIES, "paper", "Categories that the single model is trained and tested on.", min_length=1
    )
    image_size: int = setting(
        224,
        "paper",
        "Height and width of the resized images; a multiple of 16, so that maps exist at every scale.",
        ge=16,
        le=MOST_PIXELS,
        multiple_of=max(STORED_SCALES),
    )
    bits: int | None = setting(
        None,
        "ours",
        "Bit depth of image files with more than 8 bits per channel; null: as their tags say, else the "
        "smallest of 8, 10, 12, 14 and 16 that holds all such training images of a category.",
        ge=8,
        le=16,
    )
    holdout: float = setting(
        0.1,
        "ours",
        "Fraction of the normal training images held out, for validation losses and map normalisation.",
        gt=0,
        lt=1,
    )
    good: list[str] | None = setting(
        None,
        "ours",
        "Further names of folders of normal images, case-insensitive, as `[ok, pass]`. null: stop at a test "
        "folder whose name suggests normal images; `[]`: such folders are defect types.",
    )
    accept: list[Acceptable] = setting(
        [],
        "ours",
        "Errors of `drdc check` to accept instead of stopping: "
        f"{', '.join(f'`{kind}`' for kind in get_args(Acceptable))}.",
    )
    synthetic: Synthetic = setting(Synthetic(), "ours", "Size of the synthetic dataset.")

    @field_validator("categories")
    @classmethod
    def _distinct(cls, value: list[str]) -> list[str]:
        if len({normalize("NFC", name) for name in value}) < len(value):
            raise ValueError("names a category twice; name each once")
        if faults := [(name, fault) for name in value if (fault := category_fault(name))]:
            name, fault = faults[0]
            raise ValueError(f"cannot hold {name!r}, which {fault}; rename the folder")
        return value


class Backbone(Section):
    """The frozen, ImageNet-pre-trained network whose features the base model reconstructs."""

    name: str = setting("tf_efficientnet_b4.aa_in1k", "paper", "timm model; the weights tag is inferred.")
    weights: str = setting(
        "hub",
        "ours",
        "`hub`: downloaded by timm; `package`: from an installed Python package (tf_efficientnet_lite0); "
        "otherwise a local .safetensors or .pth file.",
    )
    input_size: int = setting(224, "paper", "Height and width of its input.", ge=32, le=MOST_PIXELS)
    feature_size: int = setting(
        14, "paper", "Height and width to which the feature maps of all stages are resized.", ge=2, le=64
    )
    stages: list[Annotated[int, Field(ge=0, le=99)]] = setting(
        [0, 1, 2, 3],
        "paper",
        "Stages 1-4 (strides 2, 4, 8, 16), as timm's `out_indices`.",
        min_length=1,
        max_length=100,
    )


def other_backbone(used: str, published: str) -> str:
    """What the tables say of a pre-trained network other than the published one, if there is one; else "".

    Both are names of timm, of which only what stands before the weights' tag counts.
    """
    architecture = published.partition(".")[0]
    if not architecture or used.partition(".")[0] == architecture:
        return ""
    return f"backbone differs ({used} for {architecture})"


class Optimisation(Section):
    """Optimisation by AdamW, validation and checkpoints."""

    batch_size: int = setting(8, "inferred", "Images per step.", ge=1, le=MOST_IMAGES)
    learning_rate: float = setting(1e-4, "inferred", "Learning rate of AdamW.", gt=0)
    weight_decay: float = setting(1e-4, "inferred", "Weight decay of AdamW (illegible in the paper).", ge=0)
    clip_norm: float | None = setting(None, "ours", "Maximum norm of the gradient; null: no clipping.", gt=0)
    schedule: Literal["constant", "step", "cosine"] = setting(
        "constant",
        "ours",
        "Learning rate: constant, × 0.1 after 80 % of the images, or cosine decay to zero.",
    )
    warmup: float = setting(
        0.0, "ours", "Fraction of the images over which the rate rises linearly.", ge=0, lt=1
    )
    balanced: bool = setting(False, "ours", "Sample all categories equally often, whatever their size.")
    validations: int = setting(25, "ours", "Number of evaluations of the held-out loss.", ge=1, le=100_000)
    save_images: int | None = setting(
        None, "ours", "Images between checkpoints; null: `save_minutes` only.", ge=1
    )
    save_minutes: float = setting(5.0, "ours", "Maximum minutes between checkpoints.", gt=0)


class Base(Optimisation):
    """The base model: feature reconstruction by a transformer (Sec. 3.1; recipe of UniAD)."""

    hidden: int = setting(256, "inferred", "Width of the tokens.", ge=8, le=8192)
    heads: int = setting(8, "inferred", "Attention heads.", ge=1, le=1024)
    feedforward: int = setting(1024, "inferred", "Width of the feed-forward layers.", ge=8, le=65_536)
    encoder_layers: int = setting(4, "inferred", "Encoder layers.", ge=1, le=100)
    decoder_layers: int = setting(4, "inferred", "Decoder layers, each with its own queries.", ge=1, le=100)
    dropout: float = setting(0.1, "inferred", "Dropout.", ge=0, lt=1)
    neighbour_window: int = setting(
        7, "inferred", "Side of the token window that a token may not attend to (odd; 0: no mask).", ge=0
    )
    jitter_scale: float = setting(20.0, "inferred", "Feature jitter: scale of the noise.", ge=0)
    jitter_probability: float = setting(
        1.0, "inferred", "Feature jitter: fraction of the batches.", ge=0, le=1
    )
    epochs: float = setting(1000, "inferred", "Passes over the training images.", gt=0, le=MOST_EPOCHS)
    clip_norm: float | None = setting(0.1, "inferred", "Maximum norm of the gradient.", gt=0)
    schedule: Literal["constant", "step", "cosine"] = setting(
        "step",
        "inferred",
        "Learning rate: constant, × 0.1 after 80 % of the images, or cosine decay to zero.",
    )


class Diffusion(Optimisation):
    """The diffusion model: ADM's U-Net as conditional denoiser (Sec. 4.2-4.3, Eq. 10)."""

    width: int = setting(128, "inferred", "Channels of the first level; a multiple of 32.", ge=32, le=1024)
    multipliers: list[Annotated[int, Field(ge=1, le=32)]] = setting(
        [1, 1, 2, 2, 4, 4],
        "inferred",
        "Channels of each level as multiples of `width`; each level halves the resolution.",
        min_length=1,
        max_length=10,
    )
    layers_per_block: int = setting(2, "inferred", "Residual blocks per level.", ge=1, le=32)
    attention_levels: list[int] = setting(
        [3, 4, 5], "inferred", "Levels with self-attention, counted from 0 (full resolution).", max_length=10
    )
    model_conditioning: bool = setting(
        True, "paper", "Feed the known pixels to the network (6 input channels); false: 3 channels (Table 5)."
    )
    timesteps: int = setting(
        1000, "paper", "Length of the diffusion process; index 0 is the image.", ge=1, le=MOST_TIMESTEPS
    )
    max_timestep: int = setting(
        1000,
        "paper",
        "Largest timestep seen in training; sampling starts at `sampling.initial_index`.",
        ge=1,
        le=MOST_TIMESTEPS,
    )
    beta_start: float = setting(1e-4, "inferred", "Linear schedule: first beta.", gt=0, lt=1)
    beta_end: float = setting(0.02, "inferred", "Linear schedule: last beta.", gt=0, lt=1)
    grid_sizes: list[int] = setting(
        [2, 4, 8, 16],
        "inferred",
        "Cell sides k in pixels, one drawn per training sample.",
        min_length=1,
        max_length=32,
    )
    disjoint_sets: int = setting(
        2, "paper", "Disjoint sets n of a partition in training, one of which is masked.", ge=2, le=1024
    )
    hole_input: Literal["qsample", "noise"] = setting(
        "qsample", "ours", "What is diffused inside the hole in training; should match `sampling.hole_init`."
    )
    loss_region: Literal["image", "hole"] = setting(
        "image", "paper", "Eq. 10 over the whole image or the masked pixels only."
    )
    images: int = setting(3_200_000, "ours", "Training images seen.", ge=1, le=10**11)
    batch_size: int = setting(32, "ours", "Images per step.", ge=1, le=MOST_IMAGES)
    ema_decay: float = setting(
        0.9999,
        "inferred",
        "Decay of the exponential moving average of the weights, which is used for sampling.",
        ge=0,
        lt=1,
    )
    precision: Literal["auto", "fp32", "bf16"] = setting(
        "auto", "ours", "`auto`: bf16 where the hardware supports it natively."
    )


class Sampling(Section):
    """The reverse chain (Sec. 4.2-4.3, Eq. 7, 8, 11-13)."""

    steps: int = setting(
        10, "paper", "Number |T| of equally spaced timesteps (Fig. 2a).", ge=1, le=MOST_TIMESTEPS
    )
    initial_index: int = setting(
        250, "paper", "First timestep; the best range is 200-250 (Fig. 2b).", ge=1, le=MOST_TIMESTEPS
    )
    disjoint_sets: int = setting(2, "paper", "Disjoint sets n of a partition (Fig. 2c).", ge=2, le=1024)
    grid_sizes: list[int] = setting(
        [2, 4, 8, 16],
        "inferred",
        "Cell sides k in pixels; each must divide the image size.",
        min_length=1,
        max_length=32,
    )
    hole_init: Literal["qsample", "noise"] = setting(
        "qsample", "ours", "Initial sample: the diffused image, or the diffused image with noise in the hole."
    )
    test_time_conditioning: bool = setting(True, "paper", "Replace the known pixels at each step (Eq. 13).")
    known_noise: Literal["fresh", "fixed"] = setting(
        "fresh", "ours", "Noise of the known pixels (Eq. 11): new at each step or fixed per image."
    )
    clip: bool = setting(True, "inferred", "Clip the predicted clean image to [-1, 1].")
    batch_size: int = setting(
        4, "ours", "Images denoised together (× sets × grid sizes).", ge=1, le=MOST_IMAGES
    )


class Fusion(Section):
    """Spatio-temporal fusion and image score (Sec. 4.4, Eq. 14-17)."""

    scales: list[Literal[1, 2, 4, 8, 16]] = setting(
        [1, 2, 4, 8],
        "inferred",
        "Downscaling factors of the compared images.",
        min_length=1,
        max_length=len(STORED_SCALES),
    )
    filter_size: int = setting(
        21, "inferred", "Side of the mean filter in pixels (odd).", ge=1, le=MOST_PIXELS
    )
    weight: float = setting(
        0.9, "paper", "Weight λ of the diffusion map; 1 − λ is that of the base map.", ge=0, le=1
    )
    normalisation: Literal["mean", "mean_std", "none"] = setting(
        "mean",
        "ours",
        "First divide maps by their mean over held-out normal images, standardise them, or neither.",
    )
    pool_size: int = setting(
        16,
        "inferred",
        "Side of the average pool before the maximum (image score) in pixels.",
        ge=1,
        le=MOST_PIXELS,
    )
    grid_sizes: list[int] | None = setting(
        None, "paper", "Grid sizes whose maps are averaged (Eq. 15); null: all of `sampling.grid_sizes`."
    )
    timesteps: Literal["all", "last"] = setting(
        "all",
        "paper",
        "Average over all timesteps (Eq. 15), or the last one only: one grid size, scale 1 (Table 5).",
    )
    base_scales: list[Literal[1, 2, 4, 8]] = setting(
        [1], "paper", "Downscaling factors of the base model's features; more of them were worse (Table 5)."
    )


class Sweeps(Section):
    """Values of Figure 2, a panel for each non-empty list; the experiment's own value is added.

    Variants that differ only in the fusion are scored from the experiment's predictions.
    """

    steps: list[int] = setting([], "ours", "Numbers of timesteps (Fig. 2a).")
    initial_index: list[int] = setting([], "ours", "First timesteps (Fig. 2b).")
    disjoint_sets: list[int] = setting([], "ours", "Numbers of disjoint sets (Fig. 2c).")
    filter_size: list[int] = setting([], "ours", "Sides of the mean filter in pixels (Fig. 2d).")
    weight: list[float] = setting([], "ours", "Weights of the diffusion map (Fig. 2e).")
    grid_sizes: list[list[int]] = setting(
        [], "ours", "Sets of grid sizes; subsets of `sampling.grid_sizes` cost no U-Net call."
    )
    scales: list[list[int]] = setting([], "ours", "Sets of scales.")
    normalisation: list[str] = setting([], "ours", "Normalisations of the maps.")
    pool_size: list[int] = setting([], "ours", "Sides of the average pool of the image score.")
    hole_init: list[str] = setting([], "ours", "Initial samples of the hole; the model is not trained again.")


class Evaluation(Section):
    """What is measured in addition: Table 5, Figure 2 and the cost of inference."""

    ablation: bool = setting(
        False, "ours", "Run the seven variants of Table 5; trains a second, unconditional diffusion model."
    )
    sweeps: Sweeps = setting(Sweeps(), "ours", "Sensitivity (Figure 2).")
    seeds: list[int] | None = setting(
        None, "ours", "Seeds of ablation and sweeps, a subset of the experiment's; null: all."
    )
    costs: list[Annotated[int, Field(ge=1, le=MOST_TIMESTEPS)]] = setting(
        [], "ours", "Further numbers of timesteps whose time per image is measured."
    )


class Described(Section):
    """What tables and figures say of a method.

    Attributes:
        paper_name: what the paper's tables and the re-runs call it; "" where they do not have it.
        citation: authors, title, place and year, and in what the method differs from that; "" for neither.
        input_size: height and width in pixels of the images that it sees; None where unknown.
    """

    paper_name: str = ""
    citation: str = ""
    input_size: int | None = None


def single_grid_size(sampling: Sampling) -> int:
    """The one k of variants without spatio-temporal fusion (Table 5): the middle one, of two the smaller."""
    return sorted(sampling.grid_sizes)[(len(sampling.grid_sizes) - 1) // 2]
