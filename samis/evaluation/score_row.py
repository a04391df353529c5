"""ScoreRow: one measured line with its provenance, JSON in and out (standard library only)."""

from __future__ import annotations

import csv
import hashlib
import io
import json
import math
import sys
from collections.abc import Iterable
from dataclasses import MISSING, asdict, dataclass, field, fields
from pathlib import Path
from typing import Any

from samis.core.cells import text_cell
from samis.core.files import write_atomic
from samis.errors import RowError, code_of, text_of

KINDS = ("zero_shot", "tuned", "baseline", "saved_maps", "ceiling")
"""What a row measures: SAM untouched, SAM tuned, a specialised network trained here, a folder of published maps, the mean
of several such folders (shown as a ceiling, compared with nothing)."""

BUDGETS = ("", "short", "smoke")
"""How long what a row measures was trained: as long as it gains ("", also for what was not trained here); not to a plateau of
validation (short); a few steps, to show that training runs (smoke)."""

IMAGES_SHA256 = "images_sha256"
"""Key of the provenance that says which per-image CSV belongs to a row."""
_KINDS_OF_VALUES: dict[str, type] = {
    "name": str, "dataset": str, "split": str, "n_images": int, "prompt": str, "oracle": bool, "protocol": str,
    "metrics": dict, "directions": dict, "verdicts": dict, "intervals": dict, "per_class": dict, "curves": dict, "empty_maps": int,
    "full_maps": int, "flat_on_defects": bool, "budget": str, "cost": dict, "provenance": dict,
}  # fmt: skip


@dataclass
class ScoreRow:
    """One segmenter, scored on one split of one data set.

    Attributes:
        name: what the report prints, e.g. ``"SAM tiny, grid, contrast"``.
        kind: one of ``KINDS``.
        dataset: the data set's label: its key in DATASETS, and the options that make it another one.
        split: ``"test"``, ``"val"`` ...
        n_images: images of the split.
        prompt: ``"grid"``, ``"empty"``, ``"whole"``, ``"box"``, ``"point"``; ``"none"`` for networks that take no prompt.
        mask_rule: how many masks became one map, or None.
        oracle: True if the prompt or the rule saw the ground truth; such rows never share a column with others.
        protocol: metric protocol, e.g. ``"pysod"``.
        metrics: name -> mean over the defective images (or pooled, as the metric says).
        directions: name -> 1 if more is better, -1 if less is, of each of ``metrics`` and of those of ``clean`` that have one.
        intervals: name -> [low, high], 95 % percentile bootstrap over images.
        per_class: class name -> metrics of its images, plus ``"n_images"``.
        curves: name -> 256 values, mean over images, threshold 255 down to 0 as the metrics' docstrings say.
        clean: defect-free images apart, those of the split or those that its data set keeps next to it: ``n_images``,
            ``threshold``, ``false_positive_area``, ``kept_clean``, and of the defective images ``defect_recall`` and
            ``image_auroc``, as ``samis.metrics.clean.inspect`` says; None if there are none.
        verdicts: of all images of the split and the defect-free ones next to it: ``rule``, ``threshold``, ``confusion``,
            ``miss_rate``, ``false_alarm_rate``, ``image_auroc``, ``image_ap``, ``intervals``, ``per_class``, as
            ``samis.decision.verdicts.summarise_verdicts`` says; empty in older rows.
        empty_maps: how many maps were all zero (SAM offered no mask at all).
        full_maps: how many maps had one value above zero at every pixel.
        flat_on_defects: whether the map of each defective image was one of the two.
        budget: one of ``BUDGETS``; a row of a small budget is shown, but represents its kind in no comparison.
        cost: of one image as predicted: ``parameters``, ``multiply_adds``, ``views``, ``frame_px``, ``p50_ms``, ``p95_ms``,
            ``timed_images``, ``device`` as ``evaluation.cost.measure`` says; of published maps what others state, with ``source``.
            Empty in older rows; any key may be missing.
        provenance: config, commit, versions, weights_sha256, data_fingerprint, created, command, seconds_per_image ...
        images: per-image rows: id, class_name, and each metric; written next to the row as CSV, not into the JSON.
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
    directions: dict[str, int] = field(default_factory=dict)
    intervals: dict[str, list[float]] = field(default_factory=dict)
    per_class: dict[str, dict[str, float]] = field(default_factory=dict)
    curves: dict[str, list[float]] = field(default_factory=dict)
    clean: dict[str, float] | None = None
    verdicts: dict[str, Any] = field(default_factory=dict)
    empty_maps: int = 0
    full_maps: int = 0
    flat_on_defects: bool = False
    budget: str = ""
    cost: dict[str, Any] = field(default_factory=dict)
    provenance: dict[str, Any] = field(default_factory=dict)
    images: list[dict[str, Any]] = field(default_factory=list)

    def __post_init__(self) -> None:
        if self.kind not in KINDS:
            raise RowError(
                f"row {self.name!r}: kind must be one of {', '.join(KINDS)}, got {self.kind!r}", code="E-ROW-FORMAT"
            )
        if self.budget not in BUDGETS:
            raise RowError(
                f"row {self.name!r}: budget must be {' or '.join(filter(None, BUDGETS))} or absent, got {self.budget!r}",
                code="E-ROW-FORMAT",
            )

    def __repr__(self) -> str:
        usual = [name for name in ("s_measure", "weighted_f", "mae", "iou") if name in self.metrics]
        shown = ", ".join(f"{name} {self.metrics[name]:.4f}" for name in usual or list(self.metrics)[:3])
        where = f"{self.dataset} {self.split}, {self.n_images} images, {self.protocol}"
        return f"<ScoreRow {self.name!r}{' (oracle)' if self.oracle else ''}: {where}: {shown}>"

    @property
    def degenerate(self) -> str:
        """What is wrong with a row whose maps say nothing about where defects are; "" of any other row."""
        if not self.n_images or self.empty_maps + self.full_maps < self.n_images:
            return "maps of all defects empty or full" if self.flat_on_defects else ""
        return (
            "all maps empty" if not self.full_maps else "all maps full" if not self.empty_maps else "maps empty or full"
        )

    @property
    def table(self) -> tuple[str, str, str, bool, str]:
        """What must agree for two rows to be in one table or be subtracted."""
        fingerprint = str(self.provenance.get("data_fingerprint", ""))
        clean_fingerprint = self.provenance.get("clean_fingerprint")
        if clean_fingerprint and self.protocol == "inspection":  # the only one whose metrics count clean images
            fingerprint += f"+{clean_fingerprint}"
        return self.dataset, self.split, self.protocol, self.oracle, fingerprint

    def save(self, path: str | Path) -> Path:
        """Write the row as JSON and its per-image rows as ``<stem>.csv`` next to it, each by rename; return the JSON's path."""
        path = Path(path)
        path.parent.mkdir(parents=True, exist_ok=True)
        content = {key: value for key, value in asdict(self).items() if key != "images"}
        if self.images:
            table = _csv(self.images)
            content["provenance"][IMAGES_SHA256] = hashlib.sha256(table.encode()).hexdigest()
            write_atomic(path.with_suffix(".csv"), table)
        write_atomic(path, json.dumps(rounded(content), indent=1, sort_keys=False, ensure_ascii=False) + "\n")
        return path


def read_row(path: str | Path) -> ScoreRow:
    """Read one row, without its per-image rows.

    Raises:
        ValueError: the file is no score row; names the file and the key that is missing or unknown.
    """
    try:
        content = json.loads(Path(path).read_text(encoding="utf-8"))
    except OSError as error:
        raise RowError(
            f"{path}: expected a score row in JSON, but {error.strerror}; check the path", code="E-FILE-UNREADABLE"
        ) from error
    except (ValueError, RecursionError) as error:
        raise RowError(
            f"{path}: expected a score row in JSON, but it is cut short or damaged ({error}); delete it and score again",
            code="E-ROW-DAMAGED",
        ) from error
    _check_directions(path, content)
    known = {f.name: f for f in fields(ScoreRow)}
    needed = {name for name, f in known.items() if f.default is MISSING and f.default_factory is MISSING}
    if not isinstance(content, dict) or set(content) - set(known) or needed - set(content):
        raise RowError(f"{path}: not a score row; write one with samis score", code="E-ROW-FORMAT")
    for name, kind in _KINDS_OF_VALUES.items():
        if not isinstance(content.get(name, kind()), kind):
            raise RowError(
                f"{path}: not a score row: expected {name} as {kind.__name__}, got {content[name]!r:.60}",
                code="E-ROW-FORMAT",
            )
    try:
        return ScoreRow(**content)
    except ValueError as error:
        raise RowError(f"{path}: {text_of(error)}", code=code_of(error, "E-ROW-FORMAT")) from error


def _check_directions(path: str | Path, content: Any) -> None:
    """Refuse a row whose metrics nobody can rank: no numbers, or written before rows had directions."""
    if not isinstance(content, dict) or not isinstance(content.get("metrics"), dict):
        return  # is refused for that
    directions = content.get("directions")
    directions = directions if isinstance(directions, dict) else {}
    for metric, value in content["metrics"].items():
        number = isinstance(value, int | float) and not isinstance(value, bool)
        if not number or not math.isfinite(value):
            raise RowError(
                f"{path}: expected {metric} to be a finite number, got {str(value)[:40]!r}; score it again",
                code="E-ROW-VALUE",
            )
        if directions.get(metric) not in (1, -1):
            raise RowError(
                f"{path}: expected the row to say whether more or less {metric} is better (directions: 1 or -1), got "
                f"{directions.get(metric)!r}; it is of an older version: score it again",
                code="E-ROW-DIRECTION",
            )


def direction(metric: str, rows: Iterable[ScoreRow]) -> int:
    """Return 1 if more of a metric is better, -1 if less is, as rows say.

    Raises:
        ValueError: no row says it, or two say different things.
    """
    signs = {row.directions[metric]: row.name for row in rows if metric in row.directions}
    if len(signs) > 1:
        raise RowError(
            f"rows {signs[1]!r} and {signs[-1]!r} differ in whether more {metric} is better; score both again",
            code="E-ROW-DIRECTION",
        )
    for sign in signs:
        return sign
    raise RowError(f"no row says whether more or less {metric} is better; score it again", code="E-ROW-DIRECTION")


def check_images(row: ScoreRow, table: Path) -> None:
    """Refuse a per-image CSV that was not written with its row, as a kill between the two files leaves it.

    Raises:
        ValueError: the CSV is of another scoring.
    """
    recorded = row.provenance.get(IMAGES_SHA256)
    if recorded is not None and hashlib.sha256(table.read_bytes()).hexdigest() != recorded:
        raise RowError(
            f"{table}: expected the per-image values of the row next to it, got others; score it again",
            code="E-ROW-IMAGES",
        )


def rows_of_training(
    folders: str | Path | Iterable[str | Path] | None, provenance_of_run: dict[str, Any]
) -> list[ScoreRow]:
    """Return the rows below folders that were scored from one training; none where there is no folder or no row.

    A file that is no row is named on stderr and passed over.

    Args:
        folders: of rows, or one.
        provenance_of_run: the run's ``provenance.json``. Rows hold a copy of it with rounded numbers; what is
            added to the run later, such as a threshold, is not compared.
    """
    known = {
        key: rounded(provenance_of_run.get(key)) for key in ("command", "commit", "data_fingerprint", "validation")
    }
    places = [folders] if isinstance(folders, str | Path) else folders or []
    rows = []
    for path in sorted(
        {path for place in places for path in Path(place).rglob("*.json")} if any(known.values()) else ()
    ):
        try:
            rows.append(read_row(path))
        except ValueError as error:
            print(f"left out of the card: {error}", file=sys.stderr)
    trainings = [(row, row.provenance.get("training") or {}) for row in rows]
    return [row for row, own in trainings if own and all(rounded(own.get(key)) == known[key] for key in known)]


def rounded(value: Any) -> Any:
    """Round floats to 8 significant digits, so that rows stay readable and diffs small; what is no number becomes null."""
    if isinstance(value, float):
        return float(f"{value:.8g}") if math.isfinite(value) else None
    if isinstance(value, dict):
        return {key: rounded(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [rounded(item) for item in value]
    return value


def _csv(rows: list[dict[str, Any]]) -> str:
    columns = list(dict.fromkeys(column for row in rows for column in row))
    return _line(columns) + "".join(_line([row.get(column, "") for column in columns]) for row in rows)


def _line(values: list[Any]) -> str:
    line = io.StringIO()
    csv.writer(line).writerow(
        [f"{value:.6g}" if isinstance(value, float) else str(text_cell(value)) for value in values]
    )
    return line.getvalue().removesuffix("\r\n") + "\n"  # with csv's own end of line, a cell with one is quoted
