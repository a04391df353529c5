"""What may go wrong, as classes; imports nothing, so that the command line can tell them apart at no cost."""

from __future__ import annotations


class UserError(Exception):
    """A mistake of the user's, told in one line: what was expected, what came, in which file, what to do.

    Scripts print the message without a traceback and exit with code 2.
    """


class PeerError(UserError):
    """Another process of the run has failed and says why; this one ends without a word of its own."""


class Interrupted(Exception):
    """The run was asked to stop and has saved itself; scripts exit with 128 + `signal`, as shells expect.

    Args:
        signal: number of the signal, 15 for SIGTERM, 2 for SIGINT. message: what was saved, and how to go on.
    """

    def __init__(self, signal: int, message: str = "") -> None:
        super().__init__(message)
        self.signal = signal
