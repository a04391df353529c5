"""Score rows as a list that can choose the best one, for notebooks."""

from __future__ import annotations

from collections.abc import Iterable

from samis.errors import UserError
from samis.evaluation.rows import SPECIALISED, best_row, has
from samis.evaluation.score_row import KINDS, ScoreRow


class Rows(list[ScoreRow]):
    """Score rows."""

    def __repr__(self) -> str:
        return f"<Rows: {len(self)}>" + "".join(f"\n  {row!r}" for row in self)

    def best(
        self,
        metric: str,
        *,
        dataset: str | None = None,
        split: str | None = None,
        protocol: str | None = None,
        kinds: Iterable[str] = SPECIALISED,
    ) -> ScoreRow | None:
        """Return the best row of some kinds by one metric, chosen as the report chooses it; None if no row has the metric.

        Args:
            metric: what decides.
            dataset: of the rows; None takes any, if all rows that have the metric share it.
            split: likewise.
            protocol: likewise.
            kinds: of the rows, see ``samis.evaluation.score_row.KINDS``.

        Raises:
            UserError: a data set, split, protocol or kind that no row has; or rows of several data sets, splits, protocols or
                images are left to choose from.
        """
        wanted = {"dataset": dataset, "split": split, "protocol": protocol}
        kinds = [kinds] if isinstance(kinds, str) else list(kinds)
        for key, value in wanted.items():
            there = dict.fromkeys(str(getattr(row, key)) for row in self)
            if value not in (None, *there):
                raise UserError(
                    f"best: expected {key} out of {', '.join(there) or 'no rows'}, got {value!r}", code="E-ROW-CHOICE"
                )
        for kind in set(kinds) - set(KINDS):
            raise UserError(f"best: expected kinds out of {', '.join(KINDS)}, got {kind!r}", code="E-ROW-CHOICE")
        fitting = [row for row in self if all(value in (None, getattr(row, key)) for key, value in wanted.items())]
        fitting = [row for row in fitting if row.kind in set(kinds) and not row.oracle and has(row, metric)]
        keys = dict.fromkeys(row.table for row in fitting)
        if len(keys) > 1:
            several = ", ".join(f"{key[0]} ({key[1]}, {key[2]}, data {key[4][:8] or 'unknown'})" for key in keys)
            raise UserError(
                f"best: expected rows of one data set, split and protocol to choose from, got {several}; name one with dataset=, "
                "split= or protocol=",
                code="E-ROW-SEVERAL",
            )
        return best_row(fitting, metric, kinds)
