"""DRDC: multi-class anomaly detection via diffusion refinement with dual conditioning (ECCV 2024)."""

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from drdc.detection.detector import Detector as Detector

__version__ = "0.2.0"


def __getattr__(name: str) -> Any:
    """`Detector`, imported when it is asked for: torch is slow to import, and not every command needs it."""
    if name != "Detector":
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    from drdc.detection.detector import Detector

    return Detector
