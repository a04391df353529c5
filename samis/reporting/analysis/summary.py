"""The answer in three sentences, as a README shows it: SAM before tuning, what tuning gains, the overlap with the truth."""

from __future__ import annotations

from collections.abc import Sequence

from samis.evaluation.labels import label, number
from samis.evaluation.rows import TableKey
from samis.evaluation.score_row import ScoreRow
from samis.reporting.analysis.answer import Answer, tested
from samis.reporting.analysis.gap import percent
from samis.reporting.analysis.sentences import headline

OVERLAP = "iou"


def summary(by_group: dict[TableKey, list[Answer]]) -> str:
    """Return the answer of all test splits in up to three sentences, each left out where its rows are missing.

    Args:
        by_group: what ``samis.reporting.analysis.answer.answers`` returned.
    """
    groups = list(tested(by_group).values())
    return " ".join(filter(None, [_before(groups), headline(by_group), overlap(by_group)]))


def _before(groups: Sequence[Sequence[Answer]]) -> str:
    """Return the range of zero-shot SAM and of the best specialised networks, in the first group's leading metric."""
    leads = [group[0] for group in groups if group[0].metric == groups[0][0].metric]
    zero = [lead.chosen.zero_shot for lead in leads if lead.chosen.zero_shot]
    best = [lead.chosen.best for lead in leads if lead.chosen.best]
    if not zero:
        return ""
    metric = leads[0].metric
    sets = "1 test set" if len(zero) == 1 else f"{len(zero)} test sets"
    text = f"Before tuning, SAM reaches {label(metric)} {_range(zero, metric)} on {sets}"
    return f"{text}; the best specialised network reaches {_range(best, metric)}." if best else f"{text}."


def _range(rows: Sequence[ScoreRow], metric: str) -> str:
    values = [row.metrics[metric] for row in rows]
    texts = dict.fromkeys(number(value, metric, rows[0].protocol) for value in (min(values), max(values)))
    return " to ".join(texts)


def overlap(by_group: dict[TableKey, list[Answer]]) -> str:
    """Return the mean overlap with the true defects before and after tuning, of each group that has both; "" if none has."""
    parts = []
    for answer in (answer for group in tested(by_group).values() for answer in group if answer.metric == OVERLAP):
        zero, tuned = answer.chosen.zero_shot, answer.chosen.tuned
        if zero and tuned:
            values = f"{percent(zero.metrics[OVERLAP])} % to {percent(tuned.metrics[OVERLAP])} %"
            parts.append(f"from {values} on {answer.title.partition(' (test')[0]}")
    if not parts:
        return ""
    listed = " and ".join(filter(None, [", ".join(parts[:-1]), parts[-1]]))
    return f"Tuning changes the mean overlap with the true defects (IoU) {listed}."
