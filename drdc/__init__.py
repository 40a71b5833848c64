"""DRDC: multi-class anomaly detection via diffusion refinement with dual conditioning (ECCV 2024)."""

__version__ = "0.1.0"
