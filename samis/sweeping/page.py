"""The result of a study: a table for the terminal, JSON, and a page in the report's style."""

from __future__ import annotations

import math
import warnings
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from samis.evaluation.labels import label
from samis.reporting.analysis.chart import Axis, Curve, Drawing, LineChart, axis_to, round_up
from samis.reporting.analysis.table import BEST, SECOND, Block, Cell, Line, Table
from samis.reporting.render.document import Document, Section
from samis.reporting.render.html import render_page

if TYPE_CHECKING:
    from optuna import Study
    from optuna.trial import FrozenTrial

SHOWN = ("s_measure", "weighted_f", "iou", "mae")
_DRAWN = 12
"""Curves that a plot can hold and still be read."""


def ranked(study: Study) -> list[FrozenTrial]:
    """Return the last trial of each point that has been tried: those that completed from best to worst, then the others."""
    trials = sorted(study.get_trials(deepcopy=False), key=lambda trial: trial.state.name != "FAIL")
    tried = {str(trial.params): trial for trial in trials if trial.state.name in ("COMPLETE", "PRUNED", "FAIL")}
    sign = -1 if study.direction.name == "MAXIMIZE" else 1
    return sorted(
        (trial for trial in tried.values() if "overrides" in trial.user_attrs),
        key=lambda trial: math.inf if trial.state.name != "COMPLETE" or trial.value is None else sign * trial.value,
    )


def record(study: Study) -> list[dict[str, Any]]:
    """Return the trials as plain values, for JSON."""
    return [
        {
            "overrides": trial.user_attrs["overrides"], "state": trial.state.name.lower(), "epoch": trial.user_attrs.get("epoch"),
            "validation": trial.user_attrs.get("metrics", {}), "reason": trial.user_attrs.get("reason"),
            "host": trial.user_attrs.get("host"), "folder": trial.user_attrs.get("folder"),
        }
        for trial in ranked(study)
    ]  # fmt: skip


def importance(study: Study) -> dict[str, float]:
    """Return each searched key's share of the difference between trials (PED-ANOVA, Watanabe et al. 2023); {} where it has none."""
    import optuna

    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            return dict(
                optuna.importance.get_param_importances(
                    study, evaluator=optuna.importance.PedAnovaImportanceEvaluator()
                )
            )
    except (ValueError, RuntimeError):  # too few trials, or all alike
        return {}


def text_table(study: Study, metric: str) -> str:
    """Return the trials as aligned text, best first."""
    table = trial_table(study, metric)
    lines = [[*table.heads, *table.columns]]
    lines += [[*line.heads, *(cell.text for cell in line.cells)] for block in table.blocks for line in block.lines]
    widths = [max(len(line[column]) for line in lines) for column in range(len(lines[0]))]
    return "\n".join(
        "  ".join(word.ljust(width) for word, width in zip(line, widths, strict=True)).rstrip() for line in lines
    )


def trial_table(study: Study, metric: str) -> Table:
    """Return a table of the trials, best first."""
    trials = ranked(study)
    measured = {name for trial in trials for name in trial.user_attrs.get("metrics", {})}
    metrics = [metric, *(name for name in SHOWN if name != metric and name in measured)]
    lines = []
    for place, trial in enumerate(trials):
        about = trial.user_attrs
        state = {"COMPLETE": "", "PRUNED": f"pruned after epoch {trial.last_step}"}.get(
            trial.state.name, f"failed: {about.get('reason', 'cut')}"
        )
        values = about.get("metrics", {})
        cells = [Cell(str(about.get("epoch", "")))]
        cells += [Cell(f"{values[name]:.4f}" if name in values else "") for name in metrics]
        cells[1].rank = {0: BEST, 1: SECOND}.get(place, 0) if values else 0
        lines.append(Line([" ".join(about["overrides"]), state], cells))
    return Table("Trials, best first", ["trial", "state"], ["epoch", *map(label, metrics)], [Block("", lines)])


def render(study: Study, metric: str, *, title: str, command: str) -> str:
    """Return the page of a study as HTML; `command` trains the best trial."""
    trials = ranked(study)
    best = trials[0]
    sections = [Section("Trials", [trial_table(study, metric)], drawings=_plots(trials, metric))]
    shares = importance(study)
    if shares:
        lines = [Line([key], [Cell(f"{share:.2f}")]) for key, share in shares.items()]
        note = "Share of each key in what makes good trials good (PED-ANOVA); with few trials a rough figure."
        table = Table("Importance", ["key"], ["share"], [Block("", lines)], note)
        sections.append(Section("Importance of the keys", [table]))
    about = best.user_attrs
    answer = f"Best on validation: {' '.join(about['overrides'])}, {label(metric)} {best.value:.4f} at epoch {about['epoch']}."
    footer = f"Train it with: {command} (validation chose it, the test split was not used)"
    return render_page(Document(title, [], sections, footer=footer, headline=answer))


def _plots(trials: Sequence[FrozenTrial], metric: str) -> list[Drawing]:
    """Draw the validation value over the epoch, of the first trials."""
    drawn = [trial for trial in trials if trial.intermediate_values][:_DRAWN]
    values = [value for trial in drawn for value in trial.intermediate_values.values()]
    if not values:
        return []
    low, high, end = min(values), max(values), max(max(trial.intermediate_values) for trial in drawn)
    curves = []
    for place, trial in enumerate(drawn):
        epochs, heights = zip(*sorted(trial.intermediate_values.items()), strict=True)
        name, role = " ".join(trial.user_attrs["overrides"]), ("tuned", "best", "zero_shot")[place // 4]
        curves.append(Curve(name, role, place % 4, tuple(map(float, epochs)), tuple(heights)))
    described = f"{label(metric)} on validation over the epoch, from {low:.4f} to {high:.4f}, for {len(drawn)} trials"
    if high <= low:
        low, high = low - 0.01, high + 0.01
    y = Axis(label(metric), low, high, tuple(low + (high - low) * part / 4 for part in range(5)))
    return [
        LineChart("Validation over the epoch", axis_to(round_up(end), label="epoch", whole=True), y, curves, described)
    ]
