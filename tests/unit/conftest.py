"""Made-up score rows whose numbers can be checked by hand."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from samis.evaluation.score_row import ScoreRow
from samis.metrics import directions_of
from samis.metrics.clean import INSPECTED


@pytest.fixture
def make_row() -> Callable[..., ScoreRow]:
    """Return a maker of rows: `values` lists per-image values by metric, whose means become the row's metrics."""

    def make(kind: str = "zero_shot", values: dict[str, list[float]] | None = None, **changes: Any) -> ScoreRow:
        values = values or {}
        metrics = {name: sum(each) / len(each) for name, each in values.items()} | changes.pop("metrics", {})
        count = len(next(iter(values.values()), [0, 0]))
        images = [
            {"id": f"i{n}", "class_name": "scratch", **{name: each[n] for name, each in values.items()}}
            for n in range(count)
        ]
        fields: dict[str, Any] = {
            "name": kind,
            "kind": kind,
            "dataset": "steel",
            "split": "test",
            "n_images": count,
            "prompt": "grid" if kind == "zero_shot" else "none",
            "mask_rule": "contrast" if kind == "zero_shot" else None,
            "oracle": False,
            "protocol": "pysod",
            "metrics": metrics,
            "directions": directions_of([*metrics, *INSPECTED]),
            "provenance": {"data_fingerprint": "f" * 64},
            "images": images if values else [],
        }
        return ScoreRow(**(fields | changes))

    return make


@pytest.fixture
def three_rows(make_row: Callable[..., ScoreRow]) -> list[ScoreRow]:
    """Zero-shot 0.5, tuned 0.8, best 0.9 in S (gap closed 75 %), and MAE 0.3, 0.1, 0.05 (80 %), over four images."""
    s = {"zero_shot": [0.4, 0.5, 0.5, 0.6], "tuned": [0.75, 0.8, 0.8, 0.85], "baseline": [0.9, 0.9, 0.85, 0.95]}
    mae = {"zero_shot": [0.2, 0.3, 0.3, 0.4], "tuned": [0.1, 0.1, 0.05, 0.15], "baseline": [0.05, 0.05, 0.04, 0.06]}
    return [make_row(kind, {"s_measure": s[kind], "mae": mae[kind]}) for kind in s]


@pytest.fixture
def saved_rows(three_rows: list[ScoreRow], tmp_path: Path) -> Path:
    """The three rows as files in a folder, each with its per-image CSV."""
    for row in three_rows:
        row.save(tmp_path / "rows" / f"{row.kind}.json")
    return tmp_path / "rows"
