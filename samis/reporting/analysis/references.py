"""The rows that a training is compared with in TensorBoard: zero-shot SAM and the best specialised network of the same data set."""

from __future__ import annotations

import re
from collections.abc import Iterable

from samis.evaluation.rows import SPECIALISED, best_row
from samis.evaluation.score_row import ScoreRow


def reference_lines(
    rows: Iterable[ScoreRow], *, dataset: str, splits: tuple[str, ...], protocol: str, metric: str
) -> dict[str, dict[str, float]]:
    """Choose the best zero-shot row and the best specialised row, and name them after their split.

    Args:
        rows: rows of any data sets.
        dataset: of the training.
        splits: by preference; each line is taken from the first split that has such a row (validation, else test).
        protocol: of the validation's metrics.
        metric: by which the best row is chosen.

    Returns:
        Name (fit for a folder, with the split in it) -> metrics; without the rows that are missing.

    Example:
        >>> row = ScoreRow("SAM, grid", "zero_shot", "steel", "test", 9, "grid", None, False, "pysod", {"mae": 0.2}, {"mae": -1})
        >>> reference_lines([row], dataset="steel", splits=("val", "test"), protocol="pysod", metric="mae")
        {'zero_shot_on_test_SAM_grid': {'mae': 0.2}}
    """
    fitting = [row for row in rows if row.dataset == dataset and row.protocol == protocol]
    lines = {}
    for name, kinds in (("zero_shot", ("zero_shot",)), ("best_specialised", SPECIALISED)):
        chosen = (best_row((row for row in fitting if row.split == split), metric, kinds) for split in splits)
        row = next((row for row in chosen if row is not None), None)
        if row is not None:
            slug = re.sub(r"[^A-Za-z0-9.-]+", "_", row.name).strip("_")
            lines[f"{name}_on_{row.split}_{slug}"] = row.metrics
    return lines
