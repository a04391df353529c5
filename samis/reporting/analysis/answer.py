"""The answer per group of rows and metric: the rows compared, the gain of tuning, the gap closed."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from samis.errors import UserError, did_you_mean
from samis.evaluation.rows import Chosen, TableKey, choose, group_metrics, group_rows, title
from samis.evaluation.score_row import ScoreRow
from samis.reporting.analysis.comparator import missing_comparators, repeats_of
from samis.reporting.analysis.gap import Difference, Gap, difference, gap_closed


@dataclass
class Answer:
    """The comparison of one group of rows in one metric.

    Attributes:
        title: the group's name.
        metric: the metric.
        chosen: the rows compared.
        gain: tuned - zero-shot; None if one of the two is missing.
        gap: the gap closed; None if one of the three rows is missing.
        lead: tuned - specialised; None if one of the two is missing.
        repeats: the rows of the same training as the specialised row, itself among them.
        missing: a sentence for each kind of row that is missing.
    """

    title: str
    metric: str
    chosen: Chosen
    gain: Difference | None = None
    gap: Gap | None = None
    lead: Difference | None = None
    repeats: Sequence[ScoreRow] = ()
    missing: Sequence[str] = ()

    @property
    def worse(self) -> bool:
        """Whether the tuned row is worse than the zero-shot row."""
        return self.gain is not None and self.gain.worse


def answers(
    rows: Sequence[ScoreRow], metrics: Sequence[str] | None = None, *, tuned: str | None = None
) -> dict[TableKey, list[Answer]]:
    """Compare zero-shot, tuned and specialised rows, for each group and metric that some row has.

    Args:
        rows: rows of any data sets.
        metrics: the first one leads; None takes each group's own.
        tuned: name of the tuned row to take instead of the best.

    Raises:
        UserError: as `samis.reporting.analysis.gap.gap_closed`; or no tuned row has the name `tuned`.
    """
    names = sorted({row.name for row in rows if row.kind == "tuned"})
    if tuned is not None and tuned not in names:
        hint = did_you_mean(tuned, names) or f"; there are: {', '.join(names) or 'none'}"
        raise UserError(f"no tuned row has the name {tuned!r}{hint}", code="E-ROW-TUNED-NAME")
    groups = group_rows(rows)
    titles = _titles(groups)
    by_group: dict[TableKey, list[Answer]] = {}
    for key, group in groups.items():
        for metric in group_metrics(group, metrics):
            chosen = choose(group, metric, tuned=tuned)
            if not chosen.present:
                continue
            answer = Answer(titles[key], metric, chosen, repeats=repeats_of(chosen.best, group))
            answer.missing = missing_comparators(chosen, group)
            if chosen.tuned and chosen.best:
                answer.lead = difference(chosen.best, chosen.tuned, metric=metric)
            if chosen.zero_shot and chosen.tuned:
                answer.gain = difference(chosen.zero_shot, chosen.tuned, metric=metric)
                if chosen.best:
                    answer.gap = gap_closed(chosen.zero_shot, chosen.tuned, chosen.best, metric=metric)
            by_group.setdefault(key, []).append(answer)
    return by_group


def _titles(groups: dict[TableKey, list[ScoreRow]]) -> dict[TableKey, str]:
    shared = [key[:2] for key in groups]
    return {key: title(key, rows, ambiguous=shared.count(key[:2]) > 1) for key, rows in groups.items()}


def titles(rows: Sequence[ScoreRow]) -> dict[TableKey, str]:
    """Return a title for every group of rows, a longer one where groups share data set and split."""
    return _titles(group_rows(rows))


def tested(by_group: dict[TableKey, list[Answer]]) -> dict[TableKey, list[Answer]]:
    """Keep the groups of test splits; all groups if none is of a test split."""
    return {key: group for key, group in by_group.items() if key[1] == "test"} or by_group
