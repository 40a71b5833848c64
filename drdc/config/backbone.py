"""`backbone`: the frozen, pre-trained feature extractor."""

from __future__ import annotations

from typing import Annotated

from pydantic import Field

from drdc.config.section import MOST_PIXELS, Section, setting


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

    Both are names of timm; the tag of the weights, after the dot, does not count.
    """
    architecture = published.partition(".")[0]
    if not architecture or used.partition(".")[0] == architecture:
        return ""
    return f"backbone differs ({used} for {architecture})"
