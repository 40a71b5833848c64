"""The papers of anomalib's models, for the tables and the report."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass
from typing import Any

from drdc.config.backbone import other_backbone
from drdc.config.departures import departures, shown
from drdc.config.optimisation import other_optimizer

ANOMALIB = "Akcay et al., Anomalib: A Deep Learning Library for Anomaly Detection, ICIP 2022"
#: Arguments that name a model's pre-trained network.
NETWORKS = ("backbone", "encoder_name")
#: Other arguments that the notes below a table say in words of their own, or that are folders.
TOLD = ("base_width", "dtd_dir", "imagenet_dir")


@dataclass(frozen=True)
class Paper:
    """A model's source.

    Attributes:
        citation: authors, title, place and year.
        backbone: the pre-trained network that is anomalib's default, as an argument names it; empty for none.
        trained: by gradients.
    """

    citation: str
    backbone: str = ""
    trained: bool = True


_WIDE, _SMALL, _DINO = "wide_resnet50_2", "resnet18", "vit_base_patch14_reg4_dinov2"
PAPERS = {
    "padim": Paper(
        "Defard et al., PaDiM: A Patch Distribution Modeling Framework for Anomaly Detection and "
        "Localization, ICPR 2021",
        _SMALL,
        trained=False,
    ),
    "draem": Paper(
        "Zavrtanik et al., DRÆM: A Discriminatively Trained Reconstruction Embedding for Surface Anomaly "
        "Detection, ICCV 2021"
    ),
    "patchcore": Paper(
        "Roth et al., Towards Total Recall in Industrial Anomaly Detection (PatchCore), CVPR 2022",
        _WIDE,
        trained=False,
    ),
    "reverse_distillation": Paper(
        "Deng and Li, Anomaly Detection via Reverse Distillation from One-Class Embedding, CVPR 2022", _WIDE
    ),
    "efficient_ad": Paper(
        "Batzner et al., EfficientAD: Accurate Visual Anomaly Detection at Millisecond-Level Latencies, "
        "WACV 2024"
    ),
    "dinomaly": Paper(
        "Guo et al., Dinomaly: The Less Is More Philosophy in Multi-Class Unsupervised Anomaly Detection, "
        "CVPR 2025",
        _DINO,
    ),
    "inp_former": Paper(
        "Luo et al., Exploring Intrinsic Normal Prototypes within a Single Image for Universal Anomaly "
        "Detection (INP-Former), CVPR 2025",
        _DINO,
    ),
    "stfpm": Paper(
        "Wang et al., Student-Teacher Feature Pyramid Matching for Anomaly Detection, BMVC 2021", _SMALL
    ),
    "fastflow": Paper(
        "Yu et al., FastFlow: Unsupervised Anomaly Detection and Localization via 2D Normalizing Flows, "
        "arXiv 2111.07677, 2021",
        _SMALL,
    ),
    "dfm": Paper(
        "Ahuja et al., Probabilistic Modeling of Deep Features for Out-of-Distribution and Adversarial "
        "Detection (DFM), arXiv 1909.11786, 2019",
        "resnet50",
        trained=False,
    ),
    "general_ad": Paper(
        "Sträter et al., GeneralAD: Anomaly Detection Across Domains by Attending to Distorted Features, "
        "ECCV 2024",
        "vit_large_patch14_dinov2.lvd142m",
    ),
    "anomaly_dino": Paper(
        "Damm et al., AnomalyDINO: Boosting Patch-based Few-shot Anomaly Detection with DINOv2, WACV 2025",
        "vit_small_patch14_dinov2",
        trained=False,
    ),
    "l2bt": Paper(
        "Costanzino et al., Learning to Be a Transformer to Pinpoint Anomalies (L2BT), IEEE Access 2025",
        _DINO,
    ),
    "foundad": Paper(
        "Zhai et al., Foundation Visual Encoders Are Secretly Few-Shot Anomaly Detectors (FoundAD), "
        "ICLR 2026",
        "dinov2_vit_base_14",
    ),
    "patchflow": Paper(
        "Zhang et al., PatchFlow: Leveraging a Flow-Based Model with Patch Features, arXiv 2602.05238, 2026",
        "tf_efficientnet_b5",
    ),
    "rad": Paper(
        "Zhang et al., Is Training Necessary for Anomaly Detection? (RAD), arXiv 2601.22763, 2026",
        "vit_base_patch16_dinov3",
        trained=False,
    ),
}


def pretrained_name(model: str, arguments: Mapping[str, Any]) -> str:
    """The pre-trained network of a model with these arguments, as timm names it; empty for none.

    EfficientAD's teacher is a file. Of a model that is not in `PAPERS` and whose arguments name no network,
    only the model's own name is known.
    """
    if model == "efficient_ad":
        return "pretrained_teacher"
    own = PAPERS[model].backbone if model in PAPERS else model
    return next((str(arguments[name]) for name in NETWORKS if name in arguments), own)


def cited(settings: Mapping[str, Any], published: Any, known: Collection[str]) -> str:
    """A model's source and how it differs with these settings, which are complete.

    Args:
        published: the settings of that model by default.
        known: those of them that its paper or its authors' code has.
    """
    model, arguments = settings["model"], settings["arguments"]
    paper = PAPERS.get(model, Paper(f"the model {model}"))
    used = next((arguments[name] for name in NETWORKS if name in arguments), paper.backbone)
    width = arguments.get("base_width", 128)
    told = {
        f"run through anomalib ({ANOMALIB})": True,
        "synthetic textures": model == "draem" and "dtd_dir" not in arguments,
        f"{width} channels for 128": width != 128,
        "random weights": bool(paper.backbone) and settings["weights"] == "scratch",
    }
    parts = [settings.get("citation") or paper.citation, *(text for text, holds in told.items() if holds)]
    parts += [f"{name} {shown(value)}" for name, value in arguments.items() if name not in (*NETWORKS, *TOLD)]
    if paper.trained:
        differs = departures(settings, published, ["model", "score"], known)
        parts += [differs, other_optimizer(settings, published.optimizer)]
    return "; ".join(filter(None, (*parts, other_backbone(used, paper.backbone))))
