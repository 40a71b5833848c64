"""`evaluation`: ablation, sensitivity and costs."""

from __future__ import annotations

from typing import Annotated

from pydantic import Field

from drdc.config.section import MOST_TIMESTEPS, Section, setting


class Sweeps(Section):
    """Values of Figure 2, a panel for each non-empty list; the experiment's own value is added.

    Variants that differ only in the fusion are scored from the experiment's predictions.
    """

    steps: list[int] = setting([], "ours", "Numbers of timesteps (Fig. 2a).")
    initial_index: list[int] = setting([], "ours", "First timesteps (Fig. 2b).")
    disjoint_sets: list[int] = setting([], "ours", "Numbers of disjoint sets (Fig. 2c).")
    filter_size: list[int] = setting([], "ours", "Sides of the mean filter in pixels (Fig. 2d).")
    weight: list[float] = setting([], "ours", "Weights of the diffusion map (Fig. 2e).")
    raw_weight: list[float] = setting(
        [],
        "ours",
        "Weights in the sum of raw maps, the other reading of Eq. 17 (Fig. 2e); the paper's 0.9 is added. "
        "With `ablation` Table 5 is scored in this reading, too.",
    )
    grid_sizes: list[list[int]] = setting(
        [], "ours", "Sets of grid sizes; subsets of `sampling.grid_sizes` cost no U-Net call."
    )
    scales: list[list[int]] = setting([], "ours", "Sets of scales.")
    normalisation: list[str] = setting([], "ours", "Normalisations of the maps.")
    pool_size: list[int] = setting([], "ours", "Sides of the average pool of the image score.")


class Evaluation(Section):
    """What is measured in addition: Table 5, Figure 2 and the cost of inference."""

    ablation: bool = setting(
        False, "ours", "Run the seven variants of Table 5; trains a second, unconditional diffusion model."
    )
    beyond: bool = setting(
        False,
        "ours",
        "Score variants of the fusion that go beyond the paper, from the same predictions; "
        "needs a memory bank (`base.memory`).",
    )
    sweeps: Sweeps = setting(Sweeps(), "ours", "Sensitivity (Figure 2).")
    seeds: list[int] | None = setting(
        None, "ours", "Seeds of ablation and sweeps, a subset of the experiment's; null: all."
    )
    self_check: int = setting(
        4,
        "ours",
        "Synthetic defects of each of six kinds, in each category, that every method is tried on; 0: none.",
        ge=0,
        le=1000,
    )
    costs: list[Annotated[int, Field(ge=1, le=MOST_TIMESTEPS)]] = setting(
        [], "ours", "Further numbers of timesteps whose time per image is measured."
    )
