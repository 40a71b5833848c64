"""scores, predictions and loss curves -> figures."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from itertools import product
from typing import TYPE_CHECKING, Any

import pandas as pd

from drdc.config.sections import Evaluation, Fusion, Sampling
from drdc.config.variants import Sweep, runs, sweeps, swept, variants
from drdc.data.manifest import read_manifest
from drdc.evaluation.category import COMPARED
from drdc.reporting import distributions, sensitivity
from drdc.reporting.figures import losses, no_figure
from drdc.reporting.gallery import Shown, choose, gallery, median_of
from drdc.reporting.heatmaps import heatmaps
from drdc.reporting.pareto import pareto
from drdc.results.layout import FIGURES, Layout, lacking
from drdc.results.scores import MethodRun, Run, numeric, read_evidence, read_runs, read_table
from drdc.runtime.errors import UserError
from drdc.runtime.files import atomic

if TYPE_CHECKING:
    from drdc.reporting.test_images import ShownImages


def figures(
    layout: Layout,
    name: str | None = None,
    *,
    seeds: list[int],
    image_size: int,
    sampling: Sampling,
    fusion: Fusion,
    evaluation: Evaluation,
    methods: dict[str, Any],
) -> None:
    """Draw one figure, or all that the experiment has, as `figures/<name>.png`.

    Beside Figure 2 lie its numbers, `fig2.csv`; beside Figure 3 `overview.png` (the median of each category)
    and `fig3-<category>.png`.
    """
    if name is not None and name not in FIGURES:
        raise UserError("", f"there is no figure {name!r}", f"known: {', '.join(FIGURES)}")
    panels = sweeps(sampling, fusion, evaluation)
    every = variants(sampling, fusion, evaluation)
    lacks = {one: lacking(kind, every, methods) for one, kind in FIGURES.items()}
    if name is not None and lacks[name]:
        raise UserError("", f"{name} {lacks[name]}", "")
    models = ["base", "diffusion", *(["unconditional"] if evaluation.ablation else [])]
    draw: dict[str, Callable[[], None]] = {
        "fig2": lambda: _fig2(layout, runs(every, seeds, evaluation, swept(every)), panels),
        "fig3": lambda: _fig3(layout, seeds[0], image_size, fusion),
        "heatmaps": lambda: _heatmaps(layout, seeds[0], image_size, fusion, methods),
        "pareto": lambda: _pareto(
            layout, runs(every, seeds, evaluation, swept(every, "steps")), product(methods, seeds)
        ),
        "losses": lambda: losses(_logs(layout, models, seeds), layout.figures / "losses.png"),
    } | {kind: _evidence(layout, seeds, kind) for kind in ("histograms", "separation", "curves")}
    for one in FIGURES if name is None else [name]:
        if not lacks[one]:
            draw[one]()


def _evidence(layout: Layout, seeds: list[int], name: str) -> Callable[[], None]:
    drawn = getattr(distributions, name)
    return lambda: drawn(read_evidence(layout, seeds, FIGURES[name]), layout.figures / f"{name}.png")


def _fig2(layout: Layout, chosen: list[Run], panels: list[Sweep]) -> None:
    drawn = sensitivity.fig2(read_runs(layout, chosen), panels, layout.figures / "fig2.png")
    with atomic(layout.figures / "fig2.csv") as path:
        drawn.to_csv(path, index=False)


def _pareto(layout: Layout, chosen: list[Run], methods: Iterable[MethodRun]) -> None:
    scores = read_runs(layout, chosen, methods)
    pareto(numeric(read_table(layout.costs, "costs")), scores, layout.figures / "pareto.png")


def _logs(layout: Layout, models: list[str], seeds: list[int]) -> dict[str, pd.DataFrame]:
    paths = {f"{model}/{seed}": layout.losses(seed, model) for model in models for seed in seeds}
    found = {key: numeric(read_table(path, "train")) for key, path in paths.items() if path.is_file()}
    if not found:
        raise UserError(paths[f"base/{seeds[0]}"], "there is no loss curve", "run `drdc train base` first")
    return found


def _fig3(layout: Layout, seed: int, image_size: int, fusion: Fusion) -> None:
    """Figure 3: the images that the gallery's rule chooses, all together and category by category."""
    from drdc.reporting.test_images import ShownImages

    groups = _chosen(ShownImages(layout, seed, image_size, fusion))
    gallery(list(groups.values()), layout.figures / "fig3.png")
    gallery([[median_of(items)] for items in groups.values()], layout.figures / "overview.png")
    for category, items in groups.items():
        gallery([items], layout.figures / f"fig3-{category}.png")
    table = read_manifest(layout.manifest)
    for category in set(table.category) - set(table.category[table.split == "test"]):
        no_figure(f"{category} has no test images to show.", layout.figures / f"fig3-{category}.png")


def _heatmaps(layout: Layout, seed: int, image_size: int, fusion: Fusion, methods: dict[str, Any]) -> None:
    """The median image of each category in Figure 3, as base model, DRDC and all methods see it."""
    from drdc.reporting.test_images import ShownImages

    images = ShownImages(layout, seed, image_size, fusion, methods)
    groups = list(_chosen(images).values())
    heatmaps(groups, [*COMPARED, *images.methods], layout.figures / "heatmaps.png")


def _chosen(images: ShownImages) -> dict[str, list[Shown]]:
    """The images of each category that Figure 3 shows."""
    groups = {}
    for category, about in images.scores.groupby("category"):
        chosen = choose(about["drdc"].to_numpy(), about["label"].to_numpy(), about["defect_type"].tolist())
        rows = about.index[chosen].tolist()
        shown = dict(zip(sorted(rows), images.shown(rows), strict=True))
        groups[str(category)] = [shown[row] for row in rows]
    return groups
