"""What a person watching a prediction sees: a bar on a terminal, a few plain lines in a log file."""

from __future__ import annotations

import sys
import time


class Progress:
    """A bar on a terminal; in a log a line for each tenth, and one a minute."""

    def __init__(self, total: int, *, done: int = 0, active: bool = True) -> None:
        self.total, self.first, self.active = max(1, total), done, active
        self.told, self.start = done, time.monotonic()
        self.last, self.bar = self.start, active and sys.stderr.isatty()
        if active and done:
            print(f"{done} of {total} photos are done already", file=sys.stderr)

    def at(self, done: int, *, failed: int = 0) -> None:
        """Tell that `done` photos are through."""
        now = time.monotonic()
        pace = (now - self.start) / max(1, done - self.first)
        line = (
            f"{done}/{self.total} photos, {failed} failed, {pace:.2f} s each, {pace * (self.total - done):.0f} s left"
        )
        if self.bar:
            print(f"\r{line:78s}", end="", file=sys.stderr, flush=True)
        elif self.active and (10 * done // self.total > 10 * self.told // self.total or now - self.last > 60):
            self.told, self.last = done, now
            print(line, file=sys.stderr, flush=True)

    def close(self) -> None:
        """End the bar's line."""
        if self.bar:
            print(file=sys.stderr)
