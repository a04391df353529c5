"""``log.txt`` of a run folder: what a run printed, also where nobody redirected it."""

from __future__ import annotations

from datetime import datetime, timezone
from pathlib import Path

NAME = "log.txt"


class RunLog:
    """Keeps lines until the folder belongs to the run, and writes them there from then on; a resumed run adds to it.

    Args:
        active: False, on other processes than the first, keeps and prints nothing.
    """

    def __init__(self, *, active: bool = True) -> None:
        self.active = active
        self._waiting: list[str] = []
        self._path: Path | None = None

    def open(self, folder: Path) -> None:
        """Write to `folder` from now on, what has waited first."""
        if self.active:
            self._path = folder / NAME
            began = f"# {datetime.now(timezone.utc).isoformat(timespec='seconds')}"
            self.write("\n".join([began, *self._waiting]))

    def say(self, line: str) -> None:
        """Print a line, unless it is empty, and keep it."""
        if self.active and line:
            print(line, flush=True)
            self.write(line)

    def write(self, line: str) -> None:
        """Keep a line."""
        if self._path is None:
            self._waiting.append(line)
            return
        with self._path.open("a", encoding="utf-8") as file:
            file.write(line + "\n")
