"""``log.txt`` of a run folder: what a run printed."""

from __future__ import annotations

from datetime import datetime, timezone
from pathlib import Path

NAME = "log.txt"


class RunLog:
    """Collects lines until the run has locked its folder, then writes them there; a resumed run appends.

    Args:
        active: False, on other processes than the first, writes and prints nothing.
    """

    def __init__(self, *, active: bool = True) -> None:
        self.active = active
        self._waiting: list[str] = []
        self._path: Path | None = None

    def open(self, folder: Path) -> None:
        """Write the collected lines to `folder`, and later ones too."""
        if self.active:
            self._path = folder / NAME
            header = f"# {datetime.now(timezone.utc).isoformat(timespec='seconds')}"
            self.write("\n".join([header, *self._waiting]))

    def say(self, line: str) -> None:
        """Print a line, unless it is empty, and log it."""
        if self.active and line:
            print(line, flush=True)
            self.write(line)

    def write(self, line: str) -> None:
        """Log a line."""
        if self._path is None:
            self._waiting.append(line)
            return
        with self._path.open("a", encoding="utf-8") as file:
            file.write(line + "\n")
