"""Published numbers as data: Tables 1-5 of the DRDC paper, and independent re-runs.

The files in `paper/` have every value in percent exactly as printed, also where the printed mean is not the
mean of its row: AST in Table 2 (printed 94.7, the cells give 94.79) and the pixel AUROC of UniAD+UNet in
Table 4 (printed 97.13, the cells give 97.10).
"""

from importlib.resources import as_file, files

import pandas as pd

from drdc.runtime.csv_rows import read_rows

TABLES = (1, 2, 3, 4, 5)
#: Of what no source tells.
UNKNOWN = "unknown"
NUMBERS = {"table": "int64", "value": "float64", "column": "int64"}
FLAGS = ("multi_scale_base", "spatio_temporal_fusion", "model_conditioning", "test_time_conditioning")


def paper_values(table: int) -> pd.DataFrame:
    """One table of the DRDC paper (ECCV 2024), tidy: one row per printed number.

    Columns: table, dataset (mvtec | btad), setting (one-class | multi-class | control), method, category
    (folder name of the dataset, or "mean" for the printed average), metric (as in scores.csv), value
    (percent), source. Table 5 has further columns: column (1-7 as printed), variant, four boolean columns for
    the modules that are switched on, and certainty: the positions of the paper's tick marks are lost, so the
    variants were inferred from their counts per row and from the text of Sec. 5.3.

    Raises `ValueError` for a table other than 1-5.
    """
    if table not in TABLES:
        raise ValueError(f"the paper has Tables 1 to 5, not Table {table}")
    frame = _read(f"table{table}.csv")
    flags = {name: frame[name] == "1" for name in FLAGS if name in frame}
    return frame.assign(**flags)


def reruns() -> pd.DataFrame:
    """Means over categories that others published for one model of all categories, one row per number.

    Columns: method, dataset (mvtec | btad | visa), category (always "mean"), metric (as in scores.csv), value
    (percent), source (who measured), kind ("own": from the method's own paper or repository, "re-run":
    measured by a benchmark or another method's paper), epochs (float, NaN where not known), and the protocol,
    as far as the source or its public code tells it, else "unknown": input_size (pixels), mask_threshold
    (pixels of the resized ground truth above it count as anomalous: "0" or "0.5"), checkpoint ("last",
    "best on test": chosen by the test images, "untrained"). A method may appear several times with different
    values: that spread is what the rows are for.

    InvAD is the feature inversion of Zhang et al. (arXiv 2404.10760, in ADer), not the diffusion inversion of
    the same name of Sakai et al. (arXiv 2504.05662), of which there are no rows.
    """
    runs = _read("reruns.csv")
    return runs.assign(epochs=pd.to_numeric(runs["epochs"]))


def _read(name: str) -> pd.DataFrame:
    """A data file with text columns as text and numbers as numbers."""
    with as_file(files("drdc.reporting") / "paper" / name) as path:
        frame = pd.DataFrame([row for _, row in read_rows(path)])
    return frame.astype({column: kind for column, kind in NUMBERS.items() if column in frame})
