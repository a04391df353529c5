"""SIGTERM (preemption, ``scancel``) and SIGINT (Ctrl-C) request a stop; the run stops between two steps, after it has saved."""

from __future__ import annotations

import os
import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType


class StopRequest:
    """Remembers the signal that requested a stop; calling it returns the signal's number, 0 while there is none.

    >>> StopRequest()()
    0
    """

    def __init__(self) -> None:
        self.signal = 0

    def __call__(self) -> int:
        return self.signal

    @contextmanager
    def listening(self) -> Iterator[None]:
        """Take both signals inside the block; elsewhere than in the main thread, where Python allows none, take nothing."""
        if threading.current_thread() is not threading.main_thread():
            yield
            return
        before = {number: signal.signal(number, self._note) for number in (signal.SIGTERM, signal.SIGINT)}
        try:
            yield
        finally:
            for number, handler in before.items():
                signal.signal(number, handler)

    def _note(self, number: int, frame: FrameType | None) -> None:
        if self.signal == signal.SIGINT == number:
            raise KeyboardInterrupt  # the second Ctrl-C: end now, without saving
        self.signal = number
        # print is not safe here: the handler may have cut into another print.
        os.write(2, f"\n{signal.Signals(number).name}: saving after this step\n".encode())
