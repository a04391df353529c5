"""The specialised network that a tuned SAM is compared with: its repeats, the lead over it, its training images."""

from __future__ import annotations

from collections.abc import Sequence

from samis.evaluation.labels import number, signed, span, value_of
from samis.evaluation.repeats import families, mean_and_spread, name_of
from samis.evaluation.rows import SPECIALISED, Chosen
from samis.evaluation.score_row import ScoreRow
from samis.reporting.analysis.gap import Difference
from samis.reporting.analysis.table import Block, Cell, Line, Table, column


def repeats_of(row: ScoreRow | None, rows: Sequence[ScoreRow]) -> list[ScoreRow]:
    """Return the rows of one kind of the training that a row belongs to, without oracle rows and small budgets."""
    if row is None:
        return []
    fair = [other for other in rows if other.kind == row.kind and not (other.oracle or other.budget)]
    return next((repeats for repeats in families(fair).values() if row in repeats), [row])


def missing_comparators(chosen: Chosen, rows: Sequence[ScoreRow]) -> list[str]:
    """Return a sentence for each kind of row that a comparison lacks: that it is not there, or why it does not count.

    Args:
        chosen: the rows compared.
        rows: the group that they were chosen from.
    """
    sentences = []
    for role, (kinds, name, loss) in _LACKS.items():
        if role in chosen.by_role:
            continue
        there = [row for row in rows if row.kind in kinds]
        plain = [row for row in there if not row.oracle]
        short = [row for row in plain if row.budget]
        if not plain:
            helped = " without help of the ground truth" if there else ""
            text = f"No {name} was scored on these images{helped}: {loss}"
        elif len(short) == len(plain):
            names = ", ".join(dict.fromkeys(families(short)))
            text = f"No {name} that was trained to a plateau was scored on these images (small budget: {names}): {loss}"
        else:
            text = f"No {name} with a usable result was scored on these images: {loss}"
        sentences.append(f"{text}.")
    return sentences


_LACKS = {
    "zero_shot": (("zero_shot",), "untouched (zero-shot) SAM", "what tuning gains cannot be stated"),
    "tuned": (("tuned",), "tuned SAM", "there is nothing to compare"),
    "best": (SPECIALISED, "specialised network", "how far SAM is from one cannot be stated"),
}
"""Role -> kinds of row that can have it, its name, and what cannot be stated without it."""


def spread_words(repeats: Sequence[ScoreRow], metric: str) -> str:
    """Return that a row is the median of its repeats, and their range; "" for a single row.

    Args:
        repeats: rows of one training with several seeds or draws.
        metric: whose range.
    """
    values = [row.metrics[metric] for row in repeats if metric in row.metrics]
    if len(values) < 2:
        return ""
    word = "seeds" if ", seed " in repeats[0].name else "draws"
    low, high = (number(value, metric, repeats[0].protocol) for value in (min(values), max(values)))
    return f"median of {len(values)} {word}, {span(low, high).replace('–', ' to ')}"


def best_words(best: ScoreRow, repeats: Sequence[ScoreRow], metric: str) -> str:
    """Return the best specialised network's name with its value and, of several seeds, their range.

    Args:
        best: its row.
        repeats: rows of the same training.
        metric: whose value.
    """
    spread = spread_words(repeats, metric)
    return f"the best specialised network ({best.name}, {value_of(best, metric)}{': ' if spread else ''}{spread})"


def is_ahead(lead: Difference | None) -> bool:
    """Return whether tuned minus specialised is better and its interval, where there is one, does not hold 0."""
    return lead is not None and lead.better and (lead.interval is None or lead.interval[0] * lead.interval[1] > 0)


def lead_words(lead: Difference, best: str) -> str:
    """Return by how much a tuned SAM is ahead of the best specialised network, or that the difference is not clear of zero.

    Args:
        lead: tuned - specialised.
        best: the network, from ``best_words``.
    """
    bounds = [signed(bound, lead.metric, lead.protocol) for bound in lead.interval or ()]
    sure = f" (95 % interval {' to '.join(bounds)})" if bounds else ""
    value = signed(lead.value, lead.metric, lead.protocol)
    if is_ahead(lead):
        return f"ahead of {best} by {value}{sure}"
    return f"level with {best}: the difference of {value} is not clear of zero{sure}"


def training_note(tuned: ScoreRow, best: ScoreRow) -> str:
    """Return that two rows were trained with different shares of defect-free images; "" if not, or if it is not known.

    Args:
        tuned: the tuned row.
        best: the specialised row.
    """
    shares = [_clean_share(row) for row in (tuned, best)]
    if None in shares or shares[0] == shares[1]:
        return ""
    first, second = (f"{100 * (share or 0):.0f} %" for share in shares)
    one, other = (next(iter(families([row]))) for row in (tuned, best))  # without the number of the seed
    return (
        f"Not trained on the same images: {first} of those of {one} were free of defects, {second} of those of {other}."
    )


def _clean_share(row: ScoreRow) -> float | None:
    config = row.provenance.get("config")
    data = config.get("data") if isinstance(config, dict) else None
    share = data.get("clean_share") if isinstance(data, dict) else None
    trained = bool(row.provenance.get("training"))  # published maps have a config, but were not trained with it
    return float(share) if trained and isinstance(share, int | float) else None


def repeats_table(title: str, rows: Sequence[ScoreRow], metrics: Sequence[str]) -> Table | None:
    """Build the table of trainings that were repeated, mean and standard deviation; None if none was.

    Args:
        title: of the group.
        rows: one group of ``samis.evaluation.rows.group_rows``.
        metrics: columns.
    """
    fair = [row for row in rows if not row.oracle]
    named = {m: repeats for m, repeats in families(fair).items() if len(repeats) > 1}
    shown = [
        metric for metric in metrics if any(metric in row.metrics for repeats in named.values() for row in repeats)
    ]
    if not named or not shown:
        return None
    table = Table(f"{title}: repeated trainings", ["Method"], [column(metric, fair) for metric in shown])
    table.note = "Mean and, small, standard deviation over draws of the training images or seeds of the training."

    def cell(repeats: Sequence[ScoreRow], metric: str) -> Cell:
        known = all(metric in row.metrics for row in repeats)
        return Cell(*mean_and_spread(repeats, metric)) if known else Cell("–")

    lines = [
        Line([name_of(method, repeats)], [cell(repeats, metric) for metric in shown])
        for method, repeats in named.items()
    ]
    table.blocks.append(Block("", lines))
    return table
