"""Every setting of an experiment: validation, defaults, JSON schema and manual come from these models.

Each setting says where its default comes from: `paper` (stated in the DRDC paper), `inferred` (reconstructed
from the paper's sources) or `ours` (chosen by this project, because the paper does not say).
"""

from __future__ import annotations

import difflib
import hashlib
import json
from pathlib import Path
from typing import Annotated, Any, Literal

import yaml
from pydantic import (
    BaseModel,
    ConfigDict,
    Field,
    TypeAdapter,
    ValidationError,
    field_validator,
    model_validator,
)

from drdc.errors import UserError

Source = Literal["paper", "inferred", "ours"]

MVTEC_CATEGORIES = [
    *("bottle", "cable", "capsule", "hazelnut", "metal_nut", "pill", "screw", "toothbrush", "transistor"),
    *("zipper", "carpet", "grid", "leather", "tile", "wood"),
]


def setting(default: Any, source: Source, description: str, **constraints: Any) -> Any:
    """A pydantic field whose default is labelled with its source."""
    return Field(default, description=description, json_schema_extra={"source": source}, **constraints)


class Section(BaseModel):
    """Settings are complete, known by name and never changed after loading."""

    model_config = ConfigDict(extra="forbid", frozen=True)


class Synthetic(Section):
    """How many images of the made dataset are drawn, per category."""

    train: int = setting(72, "ours", "Normal training images per category.", ge=2)
    test_good: int = setting(16, "ours", "Normal test images per category.", ge=1)
    test_bad: int = setting(24, "ours", "Anomalous test images per category, over its defect types.", ge=1)
    size: int = setting(128, "ours", "Height and width of the drawn images in pixels.", ge=32)
    seed: int = setting(0, "ours", "Seed of the drawing, independent of the training seeds.", ge=0)


class Dataset(Section):
    """Which images are used, and their size for the diffusion model, the heatmaps and the pixel metrics."""

    name: Literal["mvtec", "elpv", "synthetic"] = setting(
        "mvtec",
        "paper",
        "Reader: a tree in MVTec layout, the ELPV solar cells of their package, or the made dataset.",
    )
    root: str | None = setting(
        None, "ours", "Folder of the dataset. Not needed for `elpv` and `synthetic`, which know their own."
    )
    categories: list[str] = setting(
        MVTEC_CATEGORIES, "paper", "Categories that the one model is trained on and tested on.", min_length=1
    )
    image_size: int = setting(224, "paper", "Images are resized to this height and width.", ge=16)
    holdout: float = setting(
        0.1,
        "ours",
        "Part of the normal training images held out of training: for the loss curves and the map scales.",
        gt=0,
        lt=1,
    )
    synthetic: Synthetic = setting(Synthetic(), "ours", "Size of the made dataset.")

    @field_validator("categories")
    @classmethod
    def _distinct(cls, value: list[str]) -> list[str]:
        if len(set(value)) < len(value):
            raise ValueError("names a category twice; name each once")
        if bad := [name for name in value if "/" in name or name.startswith(".") or name == "mean"]:
            raise ValueError(f"cannot hold {bad[0]!r}: a category is the plain name of a folder")
        return value


class Backbone(Section):
    """The frozen, ImageNet-pre-trained network whose features the base model reconstructs."""

    name: str = setting("tf_efficientnet_b4.aa_in1k", "paper", "timm model; the weights tag is inferred.")
    weights: str = setting(
        "hub",
        "ours",
        "`hub`: timm downloads them; `package`: from an installed Python package (tf_efficientnet_lite0); "
        "anything else: a local .safetensors or .pth file.",
    )
    input_size: int = setting(224, "paper", "Images are resized to this height and width.", ge=32)
    feature_size: int = setting(14, "paper", "Height and width to which all stages are resized.", ge=2)
    stages: list[int] = setting(
        [0, 1, 2, 3], "paper", "Stages 1-4 (strides 2, 4, 8, 16), as timm's `out_indices`.", min_length=1
    )


class Optimisation(Section):
    """What both trainings share: AdamW, batch, learning rate and its schedule."""

    batch_size: int = setting(8, "inferred", "Images per step.", ge=1)
    learning_rate: float = setting(1e-4, "inferred", "Of AdamW.", gt=0)
    weight_decay: float = setting(1e-4, "inferred", "Of AdamW (the paper's digits are lost).", ge=0)
    clip_norm: float | None = setting(None, "ours", "Largest norm of the gradient; null for no limit.", gt=0)
    schedule: Literal["constant", "step", "cosine"] = setting(
        "constant", "ours", "Learning rate: constant, x0.1 after 80 % of the images, or a cosine to zero."
    )
    warmup: float = setting(0.0, "ours", "Part of the images over which the rate rises linearly.", ge=0, lt=1)
    balanced: bool = setting(False, "ours", "Draw all categories equally often, whatever their size.")
    validations: int = setting(25, "ours", "How often the held-out loss is measured.", ge=1)
    save_minutes: float = setting(5.0, "ours", "Minutes between saved states to resume from.", gt=0)


class Base(Optimisation):
    """The base model: feature reconstruction by a transformer (Sec. 3.1; recipe of UniAD)."""

    hidden: int = setting(256, "inferred", "Width of the tokens.", ge=8)
    heads: int = setting(8, "inferred", "Attention heads.", ge=1)
    feedforward: int = setting(1024, "inferred", "Width of the feed-forward layers.", ge=8)
    encoder_layers: int = setting(4, "inferred", "Encoder layers.", ge=1)
    decoder_layers: int = setting(4, "inferred", "Decoder layers, each with its own queries.", ge=1)
    dropout: float = setting(0.1, "inferred", "Dropout.", ge=0, lt=1)
    neighbour_window: int = setting(
        7, "inferred", "Side of the token window that a token may not attend to (odd; 0 turns it off).", ge=0
    )
    jitter_scale: float = setting(20.0, "inferred", "Feature jitter: strength of the noise.", ge=0)
    jitter_probability: float = setting(1.0, "inferred", "Feature jitter: part of the batches.", ge=0, le=1)
    epochs: float = setting(1000, "inferred", "Passes over the training images.", gt=0)
    clip_norm: float | None = setting(0.1, "inferred", "Largest norm of the gradient.", gt=0)
    schedule: Literal["constant", "step", "cosine"] = setting(
        "step", "inferred", "Learning rate: constant, x0.1 after 80 % of the images, or a cosine to zero."
    )


class Diffusion(Optimisation):
    """The diffusion model: ADM's U-Net as conditional denoiser (Sec. 4.2-4.3, Eq. 10)."""

    width: int = setting(128, "inferred", "Channels of the first level; a multiple of 32.", ge=32)
    multipliers: list[int] = setting(
        [1, 1, 2, 2, 4, 4],
        "inferred",
        "Width of each level, as a multiple; every level halves the size.",
        min_length=1,
    )
    layers_per_block: int = setting(2, "inferred", "Residual blocks per level.", ge=1)
    attention_levels: list[int] = setting(
        [3, 4, 5], "inferred", "Levels with self-attention, counted from 0 (full size)."
    )
    model_conditioning: bool = setting(
        True, "paper", "Show the known pixels to the network (6 input channels); false: 3 channels (Table 5)."
    )
    timesteps: int = setting(1000, "paper", "Length of the diffusion; index 0 is the image.", ge=1)
    max_timestep: int = setting(
        1000, "paper", "Largest index seen in training. Only indices up to sampling's are ever used.", ge=1
    )
    beta_start: float = setting(1e-4, "inferred", "Linear schedule: first beta.", gt=0, lt=1)
    beta_end: float = setting(0.02, "inferred", "Linear schedule: last beta.", gt=0, lt=1)
    grid_sizes: list[int] = setting(
        [2, 4, 8, 16], "inferred", "Cell sides k in pixels drawn in training, one per sample.", min_length=1
    )
    disjoint_sets: int = setting(
        2, "paper", "Sets n of a partition in training; one of them is masked.", ge=2
    )
    hole_input: Literal["qsample", "noise"] = setting(
        "qsample", "ours", "What is diffused inside the hole in training; goes with `sampling.hole_init`."
    )
    loss_region: Literal["image", "hole"] = setting(
        "image", "paper", "Eq. 10 over the whole image, or over the masked pixels only."
    )
    images: int = setting(3_200_000, "ours", "Training images seen.", ge=1)
    batch_size: int = setting(32, "ours", "Images per step.", ge=1)
    ema_decay: float = setting(
        0.9999, "inferred", "Moving average of the weights, used for sampling.", ge=0, lt=1
    )
    precision: Literal["auto", "fp32", "bf16"] = setting(
        "auto", "ours", "`auto` computes in bf16 where the hardware multiplies it natively."
    )


class Sampling(Section):
    """The reverse chain (Sec. 4.2-4.3, Eq. 7, 8, 11-13)."""

    steps: int = setting(10, "paper", "Number of timesteps |T|, equally spaced (Fig. 2a).", ge=1)
    initial_index: int = setting(250, "paper", "First timestep; the best range is 200-250 (Fig. 2b).", ge=1)
    disjoint_sets: int = setting(2, "paper", "Disjoint sets n of a partition (Fig. 2c).", ge=2)
    grid_sizes: list[int] = setting(
        [2, 4, 8, 16], "inferred", "Cell sides k in pixels; each must divide the image size.", min_length=1
    )
    hole_init: Literal["qsample", "noise"] = setting(
        "qsample", "ours", "First sample: the image diffused everywhere, or the noise-filled image diffused."
    )
    test_time_conditioning: bool = setting(True, "paper", "Put the known pixels back at each step (Eq. 13).")
    known_noise: Literal["fresh", "fixed"] = setting(
        "fresh", "ours", "Noise of the known pixels (Eq. 11): new at each step, or one per image."
    )
    clip: bool = setting(True, "inferred", "Clip the predicted clean image to [-1, 1].")
    batch_size: int = setting(4, "ours", "Images denoised together (times sets times grid sizes).", ge=1)


class Fusion(Section):
    """Spatio-temporal fusion and image score (Sec. 4.4, Eq. 14-17)."""

    scales: list[Literal[1, 2, 4, 8, 16]] = setting(
        [1, 2, 4, 8], "inferred", "Reductions of the compared images: 1, 1/2, 1/4, 1/8.", min_length=1
    )
    filter_size: int = setting(21, "inferred", "Side of the mean filter in pixels (odd).", ge=1)
    weight: float = setting(
        0.9, "paper", "Weight of the diffusion map; the base map has the rest.", ge=0, le=1
    )
    normalisation: Literal["mean", "mean_std", "none"] = setting(
        "mean", "ours", "Maps are divided by their mean (or standardised) over held-out normal images first."
    )
    pool_size: int = setting(
        16, "inferred", "Side of the average pool before the maximum (image score).", ge=1
    )


class Experiment(Section):
    """A whole experiment; the name gives the folder `results/<experiment>`."""

    experiment: str = setting(
        "mvtec", "ours", "Name of the experiment.", pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]*$"
    )
    seeds: list[int] = setting(
        [0, 1, 2, 3, 4], "paper", "One complete run each (the paper averages five).", min_length=1
    )
    dataset: Dataset = setting(Dataset(), "paper", "The images.")
    backbone: Backbone = setting(Backbone(), "paper", "The feature extractor.")
    base: Base = setting(Base(), "paper", "The base model.")
    diffusion: Diffusion = setting(Diffusion(), "paper", "The diffusion model.")
    sampling: Sampling = setting(Sampling(), "paper", "The reverse chain.")
    fusion: Fusion = setting(Fusion(), "paper", "The fusion of the heatmaps.")

    @field_validator("seeds")
    @classmethod
    def _seeds(cls, value: list[int]) -> list[int]:
        if len(set(value)) < len(value) or min(value) < 0:
            raise ValueError("must be different whole numbers, 0 or larger")
        return value

    @model_validator(mode="after")
    def _consistent(self) -> Experiment:
        for key, fault in _inconsistencies(self):
            raise ValueError(f"{key}: {fault}")
        return self


def _inconsistencies(e: Experiment) -> list[tuple[str, str]]:
    """What no single setting can see: (key, what is wrong and the mend)."""
    size, levels = e.dataset.image_size, len(e.diffusion.multipliers)
    faults = [
        (f"{name}.grid_sizes", f"{k} does not divide dataset.image_size {size}; take a divisor of it")
        for name, section in (("sampling", e.sampling), ("diffusion", e.diffusion))
        for k in section.grid_sizes
        if k < 1 or size % k
    ]
    faults += [
        (f"{name}.disjoint_sets", f"{section.disjoint_sets} sets cannot be made of the cells of {k} pixels")
        for name, section in (("sampling", e.sampling), ("diffusion", e.diffusion))
        for k in section.grid_sizes
        if k >= 1 and section.disjoint_sets > (size // k) ** 2
    ]
    checks = [
        (
            size % 2 ** (levels - 1) != 0,
            "diffusion.multipliers",
            f"{levels} levels need a dataset.image_size divisible by {2 ** (levels - 1)}, not {size}",
        ),
        (e.diffusion.width % 32 != 0, "diffusion.width", f"{e.diffusion.width} is not a multiple of 32"),
        (
            any(level not in range(levels) for level in e.diffusion.attention_levels),
            "diffusion.attention_levels",
            f"levels are counted 0 to {levels - 1}",
        ),
        (
            e.sampling.initial_index > e.diffusion.timesteps,
            "sampling.initial_index",
            f"{e.sampling.initial_index} lies beyond diffusion.timesteps, {e.diffusion.timesteps}",
        ),
        (
            e.sampling.initial_index > e.diffusion.max_timestep,
            "sampling.initial_index",
            f"{e.sampling.initial_index} is never seen in training; raise diffusion.max_timestep",
        ),
        (
            e.diffusion.max_timestep > e.diffusion.timesteps,
            "diffusion.max_timestep",
            f"must be at most diffusion.timesteps, {e.diffusion.timesteps}",
        ),
        (
            e.sampling.steps > e.sampling.initial_index,
            "sampling.steps",
            f"{e.sampling.steps} different steps do not fit below sampling.initial_index",
        ),
        (
            e.base.hidden % e.base.heads != 0 or e.base.hidden % 2 != 0,
            "base.hidden",
            f"{e.base.hidden} must be even and a multiple of base.heads, {e.base.heads}",
        ),
        (
            e.base.neighbour_window % 2 == 0 and e.base.neighbour_window > 0,
            "base.neighbour_window",
            "must be odd, or 0",
        ),
        (
            e.base.neighbour_window // 2 >= e.backbone.feature_size // 2 and e.base.neighbour_window > 0,
            "base.neighbour_window",
            f"{e.base.neighbour_window} leaves the middle token nothing to attend to at backbone.feature_size"
            f" {e.backbone.feature_size}; take at most {2 * (e.backbone.feature_size // 2) - 1}",
        ),
        (
            e.fusion.filter_size % 2 == 0 or e.fusion.filter_size > size,
            "fusion.filter_size",
            f"{e.fusion.filter_size} must be odd and at most dataset.image_size, {size}",
        ),
        (e.fusion.pool_size > size, "fusion.pool_size", f"must be at most dataset.image_size, {size}"),
        (
            size % max(STORED_SCALES) != 0,
            "dataset.image_size",
            f"{size} must be a multiple of {max(STORED_SCALES)}, so that maps exist at every scale",
        ),
        (
            e.dataset.name == "mvtec" and e.dataset.root is None,
            "dataset.root",
            "is missing; name the folder that holds the categories",
        ),
    ]
    return faults + [(key, fault) for wrong, key, fault in checks if wrong]


#: Scales at which predictions are stored, so that any `fusion.scales` can be scored without predicting again.
STORED_SCALES = (1, 2, 4, 8, 16)

#: The settings that each stage uses: a rule is run again when one of them changes, and by no other.
USES: dict[str, tuple[str, ...]] = {
    "prepare": ("dataset",),
    "features": ("dataset", "backbone"),
    "train_base": ("base",),
    "train_diffusion": ("diffusion",),
    "predict": ("sampling",),
    "score": ("dataset", "backbone", "base", "diffusion", "sampling", "fusion"),
    "tables": ("seeds",),
    "figures": ("seeds", "fusion"),
}


def load_experiment(source: str | Path | dict[str, Any]) -> Experiment:
    """Read and validate a whole experiment from a YAML file or a mapping.

    Raises:
        UserError: a file that is missing or not YAML, an unknown key or an impossible value.
    """
    name, mapping = _mapping(source)
    return _validate(Experiment, mapping, name, ())


def stage_settings(stage: str, source: str | Path) -> tuple[str, dict[str, Any]]:
    """Name of the experiment and the settings that `stage` uses (see `USES`).

    `source` is a YAML file, validated as a whole, or an inline JSON object with just those settings, which
    is how the workflow hands over exactly what a rule depends on.
    """
    if str(source).lstrip().startswith("{"):
        name, mapping = _mapping(source)
        keys = ("experiment", *USES[stage])
        if missing := [key for key in keys if key not in mapping]:
            raise UserError(f"{name}: the key {missing[0]!r} is missing; {stage} uses it")
        fields = {key: Experiment.model_fields[key] for key in keys}
        used = {k: _validate(Annotated[f.annotation, f], mapping[k], name, (k,)) for k, f in fields.items()}
        return used.pop("experiment"), used
    experiment = load_experiment(source)
    return experiment.experiment, {key: getattr(experiment, key) for key in USES[stage]}


def inline(experiment: Experiment, stage: str) -> str:
    """The settings that `stage` uses as one line of JSON, as `stage_settings` reads it."""
    used = experiment.model_dump(mode="json", include={"experiment", *USES[stage]})
    return json.dumps(used, separators=(",", ":"))


def config_hash(settings: dict[str, Any]) -> str:
    """First 12 hexadecimal digits of the SHA-256 of the settings: the same settings, the same hash."""
    text = json.dumps(settings, sort_keys=True, default=lambda section: section.model_dump(mode="json"))
    return hashlib.sha256(text.encode()).hexdigest()[:12]


def _mapping(source: str | Path | dict[str, Any]) -> tuple[str, dict[str, Any]]:
    if isinstance(source, dict):
        return "configuration", source
    inline_text = str(source).lstrip().startswith("{")
    name = "--config" if inline_text else str(source)
    try:
        loaded = yaml.safe_load(str(source) if inline_text else Path(source).read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError) as error:
        raise UserError(f"{name}: cannot be read ({error}); name an existing YAML file") from None
    except yaml.YAMLError as error:
        raise UserError(f"{name}: is not valid YAML ({' '.join(str(error).split())})") from None
    if not isinstance(loaded, dict):
        raise UserError(f"{name}: must hold keys and values, like config/config.yaml")
    return name, loaded


def _validate(model: Any, mapping: Any, name: str, prefix: tuple[str, ...]) -> Any:
    try:
        return TypeAdapter(model).validate_python(mapping)
    except ValidationError as error:
        lines = [f"{name}: {_sentence(model, item, prefix)}" for item in error.errors()]
        raise UserError("\n".join(lines)) from None


def _sentence(model: Any, item: Any, prefix: tuple[str, ...]) -> str:
    """One clear sentence for one fault that pydantic found."""
    key = ".".join(str(part) for part in (*prefix, *item["loc"]))
    if item["type"] == "extra_forbidden":
        section = model
        for part in item["loc"][:-1]:
            section = section.model_fields[part].annotation
        near = difflib.get_close_matches(str(item["loc"][-1]), section.model_fields, 1, 0.5)
        mend = f"did you mean {near[0]!r}?" if near else f"known: {', '.join(section.model_fields)}"
        return f"unknown key {key!r}; {mend}"
    message = item["msg"].removeprefix("Value error, ")
    if not key:
        return message
    given = f" (given: {item['input']!r})" if item["type"] != "missing" else ""
    return f"{key}: {message[0].lower()}{message[1:]}{given}"
