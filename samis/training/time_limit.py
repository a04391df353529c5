"""``training.minutes``: a run ends, with a finished schedule and its last validation, after that much wall-clock time.

Time counts while the run runs, validations and saves included; a run that was cut goes on with the time that is left. Of several
processes the first one's clock counts for all.
"""

from __future__ import annotations

import math
import time
from typing import Any

from samis.errors import UserError

FIRST_RESERVE = 0.1
"""Share of the time that is kept for the last validation as long as none has been measured."""


class TimeLimit:
    """How much of a run's time is used.

    Args:
        minutes: wall-clock time of the whole run; None sets no limit.

    Raises:
        UserError: not a positive, finite number.

    Attributes:
        used_s: seconds used at the last ``update``.
        reserve_s: seconds kept for what follows the last step.
    """

    def __init__(self, minutes: float | None) -> None:
        if minutes is not None and not (math.isfinite(minutes) and minutes > 0):
            raise UserError(
                f"training.minutes: expected a number above 0, got {minutes}; leave it out (null) for a run by epochs",
                code="E-TRAIN-RANGE",
            )
        self.minutes = minutes
        self.limit_s = 60 * (minutes or 0.0)
        self.used_s, self.reserve_s = 0.0, FIRST_RESERVE * self.limit_s
        self._before_s, self._start = 0.0, self.now()

    @staticmethod
    def now() -> float:
        """Return the clock's seconds; only differences mean something."""
        return time.monotonic()

    def start(self) -> None:
        """Start the clock, from what an earlier process of the run has used."""
        self._start = self.now()

    def clock(self) -> tuple[int, int]:
        """Return this process's count: milliseconds used, and to be kept; (0, 0) without a limit."""
        if not self.limit_s:
            return 0, 0
        return round(1000 * (self._before_s + self.now() - self._start)), round(1000 * self.reserve_s)

    def update(self, used_ms: int, reserve_ms: int) -> None:
        """Set the count to that of the first process."""
        self.used_s, self.reserve_s = used_ms / 1000, reserve_ms / 1000

    def reserve(self, seconds: float) -> None:
        """Keep twice the longest validation: one follows, and its images are predicted again for the threshold."""
        known = 0.0 if self.reserve_s == FIRST_RESERVE * self.limit_s else self.reserve_s
        self.reserve_s = max(known, 2 * seconds)

    @property
    def progress(self) -> float:
        """Share of the time for steps that is used, in [0, 1]; 0 without a limit."""
        if not self.limit_s:
            return 0.0
        return min(1.0, self.used_s / max(1e-9, self.limit_s - self.reserve_s))

    @property
    def over(self) -> bool:
        """Return whether there is no time for another step."""
        return self.limit_s > 0 and self.progress >= 1

    @property
    def left_s(self) -> float:
        """Seconds left for steps; infinite without a limit."""
        return self.limit_s - self.reserve_s - self.used_s if self.limit_s else math.inf

    def state(self) -> dict[str, Any] | None:
        """Return what ``restore`` takes; None without a limit, since two equal runs never take the same time."""
        used, reserve = self.clock()
        return {"used_s": used / 1000, "reserve_s": reserve / 1000} if self.limit_s else None

    def restore(self, state: dict[str, Any] | None) -> None:
        """Continue from what ``state`` returned."""
        if state and self.limit_s:
            self._before_s = self.used_s = float(state["used_s"])
            self.reserve_s = float(state["reserve_s"])
            self.start()
