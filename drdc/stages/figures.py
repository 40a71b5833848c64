"""predictions and loss curves -> figures."""

from __future__ import annotations

import numpy as np
import pandas as pd

from drdc.config import Fusion
from drdc.data.manifest import read_manifest
from drdc.errors import UserError
from drdc.files import load_array
from drdc.fusion import image_score
from drdc.layout import Layout
from drdc.predictions import chunks, fuse, read, statistics
from drdc.reporting.figures import losses
from drdc.reporting.gallery import GalleryItem, choose, gallery


def figures(layout: Layout, *, seeds: list[int], fusion: Fusion) -> None:
    """Write `figures/`: fig3 and overview (galleries of the first seed) and losses (all seeds), as PNG."""
    logs = {f"{kind}/{seed}": _log(layout, seed, kind) for kind in ("base", "diffusion") for seed in seeds}
    losses(logs, layout.figures / "losses.png")
    table = read_manifest(layout.manifest)
    files = {c: layout.predictions(seeds[0], c) for c in sorted(set(table.category))}
    scale = statistics(files.values(), (table.split == "val").to_numpy(), fusion)
    items = [_rows(layout, table, read(path), fusion, scale) for path in files.values()]
    gallery(items, layout.figures / "fig3.png")
    gallery([rows[:2][-1:] for rows in items], layout.figures / "overview.png")  # medians, where there are


def _log(layout: Layout, seed: int, kind: str) -> pd.DataFrame:
    path = layout.losses(seed, kind)
    if not path.is_file():
        raise UserError(f"{path}: there is no loss curve; run `drdc train {kind} --seed {seed}` first")
    return pd.read_csv(path)


def _rows(
    layout: Layout,
    table: pd.DataFrame,
    records: np.ndarray,
    fusion: Fusion,
    scale: dict[str, tuple[float, float]],
) -> list[GalleryItem]:
    """The rows of one category, chosen by the gallery's rule among its test images."""
    test = np.flatnonzero((table.split == "test").to_numpy()[records["row"]])
    if not len(test):
        return []
    scores = np.concatenate(
        [
            image_score(fuse(records[batch], fusion, scale).drdc, fusion.pool_size).numpy()
            for batch in chunks(test)
        ]
    )
    about = table.iloc[records["row"][test]]
    images, masks = (load_array(path, len(table), "prepare") for path in (layout.images, layout.masks))
    items = []
    for i in choose(scores, about.label.to_numpy(), about.defect_type.tolist()):
        record, facts = records[test[i : i + 1]], about.iloc[i]
        maps = fuse(record, fusion, scale)
        items.append(
            GalleryItem(
                image=np.array(images[record["row"][0]]),
                mask=np.array(masks[record["row"][0]]),
                base=maps.base[0].numpy(),
                diffusion=maps.diffusion[0].numpy(),
                fused=maps.drdc[0].numpy(),
                reconstruction=record["reconstruction"][0],
                title=f"{facts.category}: {facts.defect_type}",
                score=float(scores[i]),
            )
        )
    return items
