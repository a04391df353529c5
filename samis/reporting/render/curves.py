"""Draw the gap as bars, precision over recall, and F- and E-measure over the threshold.

Colours are those of Okabe and Ito, told apart by colour-blind readers too; kinds of rows keep theirs in every figure.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from samis.core.files import replacing
from samis.evaluation.labels import label
from samis.evaluation.rows import SPECIALISED, best_row, has
from samis.evaluation.score_row import ScoreRow, direction
from samis.reporting.analysis.answer import Answer

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

COLOURS = {
    "zero_shot": "#E69F00",
    "tuned": "#0072B2",
    "baseline": "#009E73",
    "saved_maps": "#009E73",
    "ceiling": "#009E73",
}
SORTS = (("zero_shot",), ("tuned",), SPECIALISED)
"""Kinds that share a colour, and so share the line styles."""
NAMES = {"zero_shot": "zero-shot SAM", "tuned": "tuned SAM", "best": "best specialised"}
BAR_COLOURS = {"zero_shot": COLOURS["zero_shot"], "tuned": COLOURS["tuned"], "best": COLOURS["baseline"]}
HATCHES = {"zero_shot": "////", "tuned": "", "best": "...."}
"""Hatches tell the bars apart in print as well."""
STYLES = ("-", "--", ":", "-.")
WIDTH_IN = 8.3
"""Width of a figure: at 100 dpi as wide as a README's column, so that 9 pt text stays readable."""
MOST_PER_SORT = 4
THRESHOLDS = tuple(range(255, -1, -1))


def new_figure(width: float, height: float, *, dpi: int = 160) -> Figure:
    """Return an empty figure on white, `width` by `height` inches, outside pyplot's global state."""
    import matplotlib
    from matplotlib.figure import Figure

    matplotlib.rcParams.update({"font.size": 9, "axes.spines.top": False, "axes.spines.right": False})
    matplotlib.rcParams.update({"hatch.linewidth": 0.6, "axes.grid": False, "font.family": "DejaVu Sans"})
    return Figure(figsize=(width, height), dpi=dpi, facecolor="white", layout="constrained")


def save_figure(figure: Figure, path: str | Path) -> Path:
    """Write a figure as PNG by rename, without a time or version in it, so that equal figures are equal files."""
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    with replacing(path, durable=False) as temporary:
        figure.savefig(temporary, format="png", metadata={"Software": None})
    return path


def draw_gap(groups: Sequence[Sequence[Answer]], path: str | Path) -> Path:
    """Draw zero-shot, tuned and best specialised side by side, one panel per data set, errors in a panel of their own.

    Args:
        groups: per data set its answers, one per metric.
        path: the PNG to write.

    Raises:
        ValueError: if there is nothing to draw.
    """
    groups = [group for group in groups if group]
    if not groups:
        raise ValueError("expected at least one data set to draw")
    split = [
        [[a for a in group if direction(a.metric, a.chosen.present) == sign] for sign in (1, -1)] for group in groups
    ]
    widths = [max(len(group[side]) for group in split) for side in (0, 1)]
    columns = [side for side in (0, 1) if widths[side]]
    figure = new_figure(WIDTH_IN, 0.45 + 1.9 * len(groups))
    axes = figure.subplots(
        len(groups), len(columns), squeeze=False, width_ratios=[widths[side] + 0.7 for side in columns]
    )
    for panels, sides, group in zip(axes, split, groups, strict=True):
        for position, side in enumerate(columns):
            _bars(panels[position], sides[side], lower=side == 1)
        panels[0].set_title(group[0].title, loc="left", fontsize=10, fontweight="bold")
    from matplotlib.patches import Patch

    handles = [
        Patch(facecolor=BAR_COLOURS[key], edgecolor="white", hatch=HATCHES[key], label=name)
        for key, name in NAMES.items()
    ]
    figure.legend(handles=handles, loc="outside upper right", ncols=3, frameon=False)
    return save_figure(figure, path)


def _bars(axis: Axes, group: Sequence[Answer], *, lower: bool) -> None:
    if not group:
        axis.set_axis_off()
        return
    top = 0.0
    for position, answer in enumerate(group):
        rows = {"zero_shot": answer.chosen.zero_shot, "tuned": answer.chosen.tuned, "best": answer.chosen.best}
        for offset, (key, row) in enumerate(rows.items()):
            if row is None:
                continue
            x, value = position + 0.27 * (offset - 1), row.metrics[answer.metric]
            low, high = row.intervals.get(answer.metric, (value, value))
            axis.bar(x, value, width=0.25, color=BAR_COLOURS[key], edgecolor="white", hatch=HATCHES[key])
            if low < high:
                bars = [[max(0.0, value - low)], [max(0.0, high - value)]]
                axis.errorbar(x, value, yerr=bars, color="#333333", linewidth=0.9, capsize=2)
            text = f"{value:.3f}" if lower else f"{value:.2f}"
            axis.annotate(text, (x, max(high, value)), (0, 2), textcoords="offset points", ha="center", fontsize=7)
            top = max(top, high, value)
    axis.set_xticks(range(len(group)), [label(answer.metric) for answer in group])
    axis.set_xlim(-0.6, len(group) - 0.4)
    axis.set_ylim(0, (top or 1.0) * 1.16 if lower else max(1.0, top * 1.08))
    axis.tick_params(axis="x", length=0)
    if lower:
        axis.set_title("lower is better", fontsize=8, loc="right", color="#555555")


def notable_rows(rows: Sequence[ScoreRow], metric: str) -> list[ScoreRow]:
    """Return the best few non-oracle rows of each sort by one metric, best first, to keep a figure readable."""
    notable: list[ScoreRow] = []
    for kinds in SORTS:
        rest = [row for row in rows if row.kind in kinds and not row.oracle and has(row, metric)]
        for _ in range(min(MOST_PER_SORT, len(rest))):
            best = best_row(rest, metric, kinds)
            rest = [row for row in rest if row is not best]
            notable += [best] if best else []
    return notable


def draw_precision_recall(rows: Sequence[ScoreRow], path: str | Path, *, title: str = "") -> Path | None:
    """Draw precision over recall at 256 thresholds, means over images; None if no row has both curves."""
    rows = [row for row in rows if row.curves.get("precision") and row.curves.get("recall")]
    if not rows:
        return None
    figure = new_figure(WIDTH_IN, 4.2)
    axis = figure.subplots()
    for row, style in zip(rows, _styles(rows), strict=True):
        axis.plot(
            row.curves["recall"], row.curves["precision"], style, color=COLOURS[row.kind], label=row.name, linewidth=1.6
        )
    axis.set(xlabel="recall", ylabel="precision", xlim=(0, 1.01), ylim=(0, 1.01))
    return _finish(figure, axis, path, title)


def draw_threshold(rows: Sequence[ScoreRow], path: str | Path, *, title: str = "") -> Path | None:
    """Draw F- and E-measure over the threshold, means over images; None if no row has either curve."""
    rows = [row for row in rows if row.curves.get("f_measure") or row.curves.get("e_measure")]
    if not rows:
        return None
    figure = new_figure(WIDTH_IN, 3.8)
    axes = figure.subplots(1, 2, sharey=True)
    for axis, curve, name in zip(axes, ("f_measure", "e_measure"), ("F-measure", "E-measure"), strict=True):
        for row, style in zip(rows, _styles(rows), strict=True):
            if row.curves.get(curve):
                axis.plot(THRESHOLDS, row.curves[curve], style, color=COLOURS[row.kind], label=row.name, linewidth=1.6)
        axis.set(xlabel="threshold", ylabel=name, xlim=(0, 255), ylim=(0, 1.01))
        axis.set_xticks([0, 64, 128, 192, 255])
    return _finish(figure, axes[0] if axes[0].lines else axes[1], path, title)


def _styles(rows: Sequence[ScoreRow]) -> list[str]:
    styles: list[str] = []
    seen: dict[str, int] = {}
    for row in rows:
        seen[COLOURS[row.kind]] = seen.get(COLOURS[row.kind], -1) + 1
        styles.append(STYLES[seen[COLOURS[row.kind]] % len(STYLES)])
    return styles


def _finish(figure: Figure, axis: Axes, path: str | Path, title: str) -> Path:
    handles, names = axis.get_legend_handles_labels()
    figure.legend(handles, names, loc="outside lower center", ncols=2, frameon=False, fontsize=8)
    if title:
        figure.suptitle(title, x=0.01, ha="left", fontsize=10, fontweight="bold")
    return save_figure(figure, path)
