"""The rows of ``benchmarks/encoder.py``: the table, whether they agree, the line for machines."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import torch

TOLERANCE = {"cpu": 1e-5, "cuda": 1e-4}
HALF_FACTOR = 2.0
FAILED = "failed"
STOCK, STOCK_COMPILED, OURS, OURS_COMPILED = "stock", "stock, torch.compile", "ours", "ours, torch.compile"


@dataclass
class Row:
    """One side in one case: median seconds a call, peak bytes above the start, errors of output and gradient, or why not."""

    backward: bool
    way: str
    batch: int
    side: str
    seconds: float = 0.0
    peak: int | None = None
    errors: list[float] = field(default_factory=list)
    why: str = ""


def late(row: Row) -> Row:
    """Say that the time was over before the row's turn."""
    row.why = "not measured, the time was over"
    return row


def tell(row: Row) -> Row:
    """Print a row as soon as it is known."""
    print(f"  {row.way}, batch {row.batch}, {row.side}: {row.why or f'{row.seconds:.3f} s'}", flush=True)
    return row


def table(rows: list[Row]) -> str:
    """Return the rows as a Markdown table; ratios are to stock's eager row of the same case."""
    lines = [
        "| | batch | encoder | ms an image | times as fast | peak, MB | times less memory | error |",
        "|---|---:|---|---:|---:|---:|---:|---:|",
    ]
    base = {(row.way, row.batch): row for row in rows if row.side == STOCK and not row.why}
    batches = list(dict.fromkeys(row.batch for row in rows))
    for row in sorted(rows, key=lambda row: (row.backward, batches.index(row.batch))):
        if row.why:
            lines.append(f"| {row.way} | {row.batch} | {row.side} | {row.why} | | | | |")
            continue
        stock = base.get((row.way, row.batch))
        faster = f"{stock.seconds / row.seconds:.2f}" if stock else "–"
        less = f"{stock.peak / row.peak:.1f}" if stock and stock.peak and row.peak else "–"
        peak = "unknown" if row.peak is None else f"{row.peak / 1e6:.0f}"
        lines.append(
            f"| {row.way} | {row.batch} | {row.side} | {1e3 * row.seconds / row.batch:.2f} | {faster} | {peak} | {less} "
            f"| {max(row.errors):.1e} |"
        )
    return "\n".join(lines)


def agrees(rows: list[Row], dtype: torch.dtype, device: str) -> bool:
    """Return whether every measured result is what the module's docstring promises."""
    equal = True
    for row in rows:
        allowed = [TOLERANCE[device]] * 2
        if dtype != torch.float32:
            stock = [other.errors for other in rows if other.way == row.way and other.side == STOCK and other.errors]
            allowed = [HALF_FACTOR * max(error) for error in zip(*stock, strict=True)] if stock else [5e-2] * 2
        equal &= not row.why.startswith(FAILED) and all(
            error <= limit for error, limit in zip(row.errors, allowed, strict=False)
        )
    return equal


def line_for_machines(rows: list[Row], name: str, *, equal: bool) -> dict[str, Any]:
    """Return ratio and memory of ours against stock, both ways at the first batch that has both."""
    line: dict[str, Any] = {"name": name, "ratio": None, "peak_memory_ratio": None, "equal": equal}
    for row in rows:
        stock = next((r for r in rows if (r.way, r.batch, r.side) == (row.way, row.batch, STOCK) and r.seconds), None)
        if row.seconds and row.side != STOCK and stock:
            key = f"{'both' if row.backward else 'forward'}_{row.batch}_{row.side}".replace(", torch.", "_")
            line[key] = round(stock.seconds / row.seconds, 3)
            if row.side == OURS and row.backward and line["ratio"] is None:
                line["ratio"] = line[key]
                line["peak_memory_ratio"] = round(stock.peak / row.peak, 3) if stock.peak and row.peak else None
    return line
