"""The costs of a test image: time, U-Net calls, parameters, operations and memory of each method."""

from __future__ import annotations

from math import isnan

import pandas as pd

from drdc.reporting.aggregate import METHODS, reason_notes
from drdc.reporting.declared import table
from drdc.reporting.described import NONE, Methods, imported
from drdc.reporting.formats import Cell, Column, Table
from drdc.results.scores import typed
from drdc.runtime.errors import UserError

TEXTS = ("method", "variant", "device", "threads", "batch_size")
COLUMNS = {
    "seconds_per_image": (Column("seconds per image", decimals=3, unit="s"), 1.0),
    "cpu_seconds_per_image": (Column("CPU seconds per image", decimals=3, unit="s"), 1.0),
    "unet_calls": (Column("U-Net calls", decimals=0, unit="calls"), 1.0),
    "parameters": (Column("parameters (M)", decimals=1, unit="M"), 1e-6),
    "flops": (Column("GFLOP per image", decimals=1, unit="GFLOP"), 1e-9),
    "peak_memory": (Column("peak memory (MB)", decimals=0, unit="MB"), 1e-6),
}
NOTES = (
    "seconds per image: wall-clock time; CPU seconds: of all cores; both the shortest of five rounds "
    "in which all methods take turns; U-Net calls: for one image; parameters: in millions; GFLOP: 10^9 "
    "floating-point operations for one image, a multiplication with its addition counted as two; MB: 10^6 "
    "bytes.",
)


@table(
    "inference",
    of="costs",
    heading="Costs: time, memory and parameters.",
    section="glance",
    caption="Time, U-Net calls, parameters, operations and memory, measured in turns on one device.",
)
def costs(costs: pd.DataFrame, described: Methods = NONE) -> Table:
    """Costs of a test image per method, in the order of the rows.

    `costs`: rows of costs.csv: method, variant, unet_calls, seconds_per_image, cpu_seconds_per_image,
    parameters, flops (2 x multiply-accumulate), peak_memory (bytes), device, threads, batch_size. An empty
    number is shown as "n/d". Raises `UserError` for no rows, missing columns, or a duplicate method.
    """
    frame = typed(costs, TEXTS, tuple(COLUMNS), "costs.csv")
    if frame.empty:
        raise UserError("", "costs.csv has no rows", "run `drdc costs` first")
    names = [_name(m, v) for m, v in zip(frame["method"], frame["variant"], strict=True)]
    twice = [name for name in names if names.count(name) > 1]
    if twice:
        raise UserError("costs.csv", f"the method {twice[0]} appears twice", "keep one of its rows")
    rows = []
    for name, (_, line) in zip(names, frame.iterrows(), strict=True):
        values = [line[key] * factor for key, (_, factor) in COLUMNS.items()]
        rows.append((name, tuple(Cell(note="not measured") if isnan(v) else Cell(v) for v in values)))
    columns = tuple(column for column, _ in COLUMNS.values())
    reasons = {(c.label, name): cells[i].note for name, cells in rows for i, c in enumerate(columns)}
    notes = (*_conditions(names, frame), *NOTES, *reason_notes(reasons), *imported(described, "costs"))
    return Table("Costs of a test image", "method", columns, tuple(rows), notes, best="none")


def _name(method: str, variant: str) -> str:
    return METHODS.get(method, method) + ("" if variant in ("full", "") else f", {variant}")


def _conditions(names: list[str], frame: pd.DataFrame) -> tuple[str, ...]:
    """A note per combination of device, threads and batch size, with its methods if there are several."""
    conditions: dict[str, list[str]] = {}
    for name, device, threads, size in zip(
        names, frame["device"], frame["threads"], frame["batch_size"], strict=True
    ):
        conditions.setdefault(f"{device}, threads: {threads}, batch size: {size}", []).append(name)
    if len(conditions) == 1:
        return tuple(f"measured on {condition}." for condition in conditions)
    return tuple(f"measured on {where}: {'; '.join(who)}." for where, who in conditions.items())
