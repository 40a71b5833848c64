"""What no single setting can see: settings that do not fit together, each with the mend."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from drdc.config import Experiment, Sampling


def single_grid_size(sampling: Sampling) -> int:
    """The one k of variants without spatio-temporal fusion (Table 5): the middle one, of two the smaller."""
    return sorted(sampling.grid_sizes)[(len(sampling.grid_sizes) - 1) // 2]


def inconsistencies(e: Experiment) -> list[tuple[str, str]]:
    """(key, what is wrong and the mend) of every fault."""
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
        (
            e.fusion.grid_sizes is not None
            and not (e.fusion.grid_sizes and set(e.fusion.grid_sizes) <= set(e.sampling.grid_sizes)),
            "fusion.grid_sizes",
            f"{e.fusion.grid_sizes} must be some of sampling.grid_sizes, {e.sampling.grid_sizes}",
        ),
        (
            e.fusion.timesteps == "last"
            and (e.fusion.scales != [1] or e.fusion.grid_sizes != [single_grid_size(e.sampling)]),
            "fusion.timesteps",
            f"the last one alone is stored at scale 1 of grid size {single_grid_size(e.sampling)};"
            " set fusion.scales and fusion.grid_sizes to these",
        ),
        (
            e.evaluation.seeds is not None
            and not (e.evaluation.seeds and set(e.evaluation.seeds) <= set(e.seeds)),
            "evaluation.seeds",
            f"{e.evaluation.seeds} must be some of the experiment's seeds, {e.seeds}",
        ),
        (
            e.evaluation.ablation and not e.diffusion.model_conditioning,
            "evaluation.ablation",
            "compares with a conditional model; set diffusion.model_conditioning to true",
        ),
        (e.fusion.pool_size > size, "fusion.pool_size", f"must be at most dataset.image_size, {size}"),
        (
            e.dataset.name in ("mvtec", "btad") and e.dataset.root is None,
            "dataset.root",
            "is missing; name the folder that holds the categories",
        ),
    ]
    return faults + [(key, fault) for wrong, key, fault in checks if wrong]
