"""What a person watching a run sees: a bar on a terminal, plain lines in a log file."""

from __future__ import annotations

import math
import sys
import time


class Progress:
    """Progress of a run in optimizer steps.

    Args:
        total: steps of the whole run. done: steps made before a resume. active: False shows nothing.
    """

    def __init__(self, total: int, *, done: int = 0, active: bool = True) -> None:
        self.total, self.done, self.first, self.active = total, done, done, active
        self.start = self.window_start = time.monotonic()
        self.window_steps = 0
        self.loss: float | None = None
        self.limit_s = math.inf
        self.bar = active and sys.stderr.isatty()

    def saw(self, loss: float) -> None:
        """Take a step's loss into the running mean; it may come a few steps late."""
        if math.isfinite(loss):
            self.loss = loss if self.loss is None else 0.95 * self.loss + 0.05 * loss

    def advance(self, rate: float, *, left_s: float = math.inf) -> None:
        """Count one step, made at a learning rate; `left_s` seconds of a limited time are left."""
        self.done += 1
        self.window_steps += 1
        self.limit_s = left_s
        if self.bar:
            filled = round(30 * self.done / self.total)
            done = f"[{'=' * filled}{' ' * (30 - filled)}] {self.done}/{self.total}"
            line = f"{done} loss {self.shown_loss()} rate {rate:.1e} {self.left()} left"
            print(f"\r{line:100s}", end="", file=sys.stderr, flush=True)

    def images_per_s(self, images_per_step: int) -> float:
        """Return the images trained a second since the last log line."""
        return images_per_step * self.window_steps / max(1e-9, time.monotonic() - self.window_start)

    def log(self, epoch: int, parts: dict[str, float]) -> None:
        """Write a log line where there is no bar, and begin a new window."""
        if self.active and not self.bar:
            shown = " ".join(f"{name} {value:.4g}" for name, value in parts.items() if name != "loss")
            print(
                f"epoch {epoch} step {self.done}/{self.total} loss {self.shown_loss()} {shown} {self.left()} left",
                flush=True,
            )
        self.window_start, self.window_steps = time.monotonic(), 0

    def validation(self, epoch: int, metric: str, metrics: dict[str, float], gained: bool) -> None:
        """Tell a validation's outcome in one line."""
        if self.active:
            others = [name for name in metrics if name != metric][:5]
            shown = " ".join(f"{name} {metrics[name]:.4f}" for name in others)
            end = "\n" if self.bar else ""
            print(
                f"{end}validation after epoch {epoch}: {metric} {metrics[metric]:.4f}{' (best so far)' if gained else ''} {shown}",
                flush=True,
            )
        self.window_start, self.window_steps = time.monotonic(), 0

    def say(self, line: str) -> None:
        """Print a line of its own."""
        if self.active:
            print(f"\n{line}" if self.bar else line, flush=True)

    def shown_loss(self) -> str:
        """Return the running mean of the loss, "nan" before a first finite one."""
        return "nan" if self.loss is None else f"{self.loss:.4f}"

    def left(self) -> str:
        """Return the time left as h:mm:ss, from the mean pace so far."""
        pace = (time.monotonic() - self.start) / max(1, self.done - self.first)
        seconds = round(min(pace * (self.total - self.done), max(0.0, self.limit_s)))
        return f"{seconds // 3600}:{seconds // 60 % 60:02d}:{seconds % 60:02d}"

    def close(self) -> None:
        """End the bar's line."""
        if self.bar:
            print(file=sys.stderr)
