"""`backbone`: the frozen, pre-trained feature extractor."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Annotated, Any

from pydantic import AfterValidator, Field

from drdc.config.section import MOST_PIXELS, Section, setting


def _rising(stages: list[int]) -> list[int]:
    if stages != sorted({*stages}):
        raise ValueError(f"must rise, as timm gives the maps in this order; write {sorted({*stages})}")
    return stages


Stages = Annotated[
    list[Annotated[int, Field(ge=0, le=99)]], Field(min_length=1, max_length=100), AfterValidator(_rising)
]


class Network(Section):
    """A frozen, pre-trained network of timm with 2-D feature maps."""

    name: str = setting("tf_efficientnet_b4.aa_in1k", "paper", "timm model; the weights tag is inferred.")
    weights: str = setting(
        "hub",
        "ours",
        "`hub`: downloaded by timm; `package`: from an installed Python package (tf_efficientnet_lite0, "
        "tf_efficientnet_lite1, tf_efficientnet_lite2, mobilenetv2_100); otherwise a local .safetensors or "
        ".pth file.",
    )
    input_size: int = setting(224, "paper", "Height and width of its input.", ge=32, le=MOST_PIXELS)
    feature_size: int = setting(
        14, "paper", "Height and width to which the feature maps of all stages are resized.", ge=2, le=64
    )
    stages: Stages = setting(
        [0, 1, 2, 3],
        "paper",
        "Stages 1-4 (strides 2, 4, 8, 16), as timm's `out_indices`; of a vision transformer its blocks, from "
        "0.",
    )

    @property
    def networks(self) -> list[Network]:
        """Each network by itself."""
        return [self]


class Further(Section):
    """A network next to another one, for images of the same size."""

    name: str = setting(..., "ours", "timm model.")
    weights: str = setting("hub", "ours", "As `backbone.weights`.")
    stages: Stages = setting([0, 1, 2, 3], "ours", "As `backbone.stages`.")


class Backbone(Network):
    """The frozen, ImageNet-pre-trained network whose features the base model reconstructs."""

    others: list[Further] = setting(
        [],
        "ours",
        "Further networks, each with `name`, `weights` and `stages`; their feature maps are concatenated to "
        "those of the first.",
        max_length=10,
        exclude_if=lambda others: not others,  # written as before there were several: no result is outdated
    )

    @property
    def networks(self) -> list[Network]:
        sizes = {"input_size": self.input_size, "feature_size": self.feature_size}
        first = self.model_dump(exclude={"others"})
        return [Network(**own) for own in (first, *(dict(other) | sizes for other in self.others))]

    @property
    def title(self) -> str:
        """The names of all networks."""
        return title(network.name for network in self.networks)


_JOINED = " + "


def title(names: Iterable[str]) -> str:
    """Several networks in one line, as they stand in tables and in `drdc plan`."""
    return _JOINED.join(names)


def title_of(settings: Mapping[str, Any]) -> str:
    """The same of a written `Backbone`."""
    return title(own["name"] for own in (settings, *settings.get("others", [])))


def other_backbone(used: str, published: str) -> str:
    """What the tables say of a pre-trained network other than the published one, if there is one; else "".

    `used` is a title, `published` a name of timm; the tag of the weights, after the dot, does not count.
    """
    architecture = published.partition(".")[0]
    if not architecture or [name.partition(".")[0] for name in used.split(_JOINED)] == [architecture]:
        return ""
    return f"backbone differs ({used} for {architecture})"
