"""ScoreRow: one measured line with its birth certificate, JSON in and out (standard library only)."""

from __future__ import annotations

import json
import math
import os
from dataclasses import MISSING, asdict, dataclass, field, fields
from pathlib import Path
from typing import Any

KINDS = ("zero_shot", "tuned", "baseline", "saved_maps")
"""What a row measures: SAM untouched, SAM tuned, a specialised network trained here, a folder of published maps."""


@dataclass
class ScoreRow:
    """One segmenter, scored on one split of one data set.

    Attributes:
        name: what the report prints, e.g. ``"SAM tiny, grid, contrast"``.
        kind: one of ``KINDS``.
        dataset: key in DATASETS. split: ``"test"``, ``"val"`` ... n_images: images scored, defect-free ones included.
        prompt: ``"grid"``, ``"empty"``, ``"whole"``, ``"box"``, ``"point"``; ``"none"`` for networks that take no prompt.
        mask_rule: how many masks became one map, or None.
        oracle: True if the prompt or the rule saw the ground truth; such rows never share a column with others.
        protocol: metric protocol, e.g. ``"pysod"``.
        metrics: name -> mean over the defective images (or pooled, as the metric says).
        intervals: name -> [low, high], 95 % percentile bootstrap over images.
        per_class: class name -> metrics of its images, plus ``"n_images"``.
        curves: name -> 256 values, mean over images, threshold 255 down to 0 as the metrics' docstrings say.
        clean: defect-free images apart: ``n_images``, ``false_positive_area``, ``kept_clean``; None if there are none.
        empty_maps: how many maps were all zero (SAM offered no mask at all).
        provenance: config, commit, versions, weights_sha256, data_fingerprint, created, command, seconds_per_image ...
        images: per-image rows: id, class_name, and each metric; written beside the row as CSV, not into the JSON.
    """

    name: str
    kind: str
    dataset: str
    split: str
    n_images: int
    prompt: str
    mask_rule: str | None
    oracle: bool
    protocol: str
    metrics: dict[str, float]
    intervals: dict[str, list[float]] = field(default_factory=dict)
    per_class: dict[str, dict[str, float]] = field(default_factory=dict)
    curves: dict[str, list[float]] = field(default_factory=dict)
    clean: dict[str, float] | None = None
    empty_maps: int = 0
    provenance: dict[str, Any] = field(default_factory=dict)
    images: list[dict[str, Any]] = field(default_factory=list)

    def __post_init__(self) -> None:
        if self.kind not in KINDS:
            raise ValueError(f"row {self.name!r}: kind must be one of {', '.join(KINDS)}, got {self.kind!r}")

    @property
    def table(self) -> tuple[str, str, str, bool, str]:
        """What must agree for two rows to stand in one table or be subtracted."""
        fingerprint = str(self.provenance.get("data_fingerprint", ""))
        return self.dataset, self.split, self.protocol, self.oracle, fingerprint

    def save(self, path: str | Path) -> Path:
        """Write the row as JSON and its per-image rows as ``<stem>.csv`` beside it, each by rename; return the JSON's path."""
        path = Path(path)
        path.parent.mkdir(parents=True, exist_ok=True)
        if self.images:
            write_atomic(path.with_suffix(".csv"), _csv(self.images))
        content = {key: value for key, value in asdict(self).items() if key != "images"}
        write_atomic(path, json.dumps(_rounded(content), indent=1, sort_keys=False, ensure_ascii=False) + "\n")
        return path


def read_row(path: str | Path) -> ScoreRow:
    """Read one row, without its per-image rows.

    Raises:
        ValueError: the file is no score row; names the file and the key that is missing or unknown.
    """
    try:
        content = json.loads(Path(path).read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise ValueError(f"{path}: expected a score row in JSON, but {error}") from error
    known = {f.name: f for f in fields(ScoreRow)}
    needed = {name for name, f in known.items() if f.default is MISSING and f.default_factory is MISSING}
    if not isinstance(content, dict) or set(content) - set(known) or needed - set(content):
        raise ValueError(f"{path}: not a score row; write one with evaluate/score.py")
    try:
        return ScoreRow(**content)
    except ValueError as error:
        raise ValueError(f"{path}: {error}") from error


def read_rows(folder: str | Path) -> list[ScoreRow]:
    """Read every ``*.json`` row below a folder, sorted by path.

    Raises:
        ValueError: the folder holds no row, or a file in it is none.
    """
    paths = sorted(Path(folder).rglob("*.json"))
    if not paths:
        raise ValueError(f"{folder}: expected score rows (*.json) here, found none; write some with evaluate/score.py")
    return [read_row(path) for path in paths]


def write_atomic(path: str | Path, text: str) -> None:
    """Write `text` to a temporary name in the same folder, then rename: readers see the old file or the new, never half."""
    path = Path(path)
    temporary = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    try:
        with open(temporary, "w", encoding="utf-8") as file:
            file.write(text)
            file.flush()
            os.fsync(file.fileno())
        os.replace(temporary, path)
    finally:
        temporary.unlink(missing_ok=True)


def _rounded(value: Any) -> Any:
    """Round floats to 8 significant digits, so that rows stay readable and diffs small; what is no number becomes null."""
    if isinstance(value, float):
        return float(f"{value:.8g}") if math.isfinite(value) else None
    if isinstance(value, dict):
        return {key: _rounded(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_rounded(item) for item in value]
    return value


def _csv(rows: list[dict[str, Any]]) -> str:
    columns = list(dict.fromkeys(column for row in rows for column in row))
    lines = [",".join(columns)]
    for row in rows:
        lines.append(",".join(_cell(row.get(column, "")) for column in columns))
    return "\n".join(lines) + "\n"


def _cell(value: Any) -> str:
    text = f"{value:.6g}" if isinstance(value, float) else str(value)
    return '"' + text.replace('"', '""') + '"' if any(c in text for c in ',"\n\r') else text
