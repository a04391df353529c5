"""What a person watching sees: tqdm's bar on a terminal or in a notebook, plain lines at intervals in a log file."""

from __future__ import annotations

import sys
from collections.abc import Callable
from typing import Any, TextIO

LOG_S = 30.0
"""Seconds between the lines of a log file; what is over sooner writes none."""


class _Lines:
    """Writes each state of a bar as a line of its own: a log file has no carriage return."""

    def __init__(self, stream: TextIO) -> None:
        self.stream = stream

    def write(self, text: str) -> None:
        if text.strip():
            print(text.strip(), file=self.stream, flush=True)

    def flush(self) -> None:
        self.stream.flush()


class Progress:
    """How far a long job is.

    Args:
        total: of the whole job.
        unit: what is counted, in the plural.
        done: how many were done before.
        active: False shows nothing.
        log_s: seconds between lines in a log file; infinity leaves them to ``note``.
        record: also gets every line of ``say`` and ``note``.
    """

    def __init__(
        self, total: int, *, unit: str, done: int = 0, active: bool = True, log_s: float = LOG_S,
        record: Callable[[str], None] | None = None,
    ) -> None:  # fmt: skip
        from tqdm.auto import tqdm  # slow to import

        self.shown = active and (sys.stderr.isatty() or "ipykernel" in sys.modules)
        self.active, self.record = active, record
        how: dict[str, Any] = {"dynamic_ncols": True}
        if not self.shown:
            layout = "{n_fmt}/{total_fmt} {unit}, {elapsed} so far, {remaining} left{postfix}"
            how = {
                "file": _Lines(sys.stderr),
                "mininterval": log_s,
                "delay": log_s,
                "leave": False,
                "bar_format": layout,
            }
            how |= {"miniters": 1}
        # Its monitor thread would run while loader processes are forked.
        bar_of = type("Bar", (tqdm,), {"monitor_interval": 0})
        self.bar = bar_of(
            total=total, initial=done, unit=unit if not self.shown else f" {unit}", disable=not active, **how
        )

    def advance(self, count: int = 1, *, about: str = "") -> None:
        """Count what was done; `about` is shown next to the bar."""
        if about:
            self.bar.set_postfix_str(about, refresh=False)
        self.bar.update(count)

    def left(self, limit_s: float) -> str:
        """Return the time left by the mean pace so far, at most `limit_s`, as ``[h:]mm:ss``; ? before the first step."""
        now = self.bar.format_dict
        made = now["n"] - now["initial"] if self.active else 0
        seconds = min((now["total"] - now["n"]) * now["elapsed"] / made if made else float("inf"), max(0.0, limit_s))
        return str(self.bar.format_interval(seconds)) if seconds < float("inf") else "?"

    def say(self, line: str) -> None:
        """Print a line, above the bar where there is one."""
        if self.active:
            self.bar.write(line) if self.shown else print(line, flush=True)
            self._keep(line)

    def note(self, line: str) -> None:
        """Print a line where there is no bar that says the same."""
        if self.active and not self.shown:
            print(line, flush=True)
        self._keep(line)

    def close(self) -> None:
        """End the bar."""
        self.bar.close()

    def _keep(self, line: str) -> None:
        if self.active and self.record:
            self.record(line)
