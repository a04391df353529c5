"""The error classes, and proposals for mistyped names; imports nothing of samis and no library."""

from __future__ import annotations

import argparse
import difflib
from collections.abc import Iterable
from typing import NoReturn


class SamisError(Exception):
    """All that samis raises on purpose.

    Args:
        message: what is wrong, where, and what to do.
        code: stable name of this kind of error, such as ``E-DATA-UNPAIRED``; `docs/errors.md` lists them all. Tests and
            scripts match the code, so that the wording can improve.

    >>> str(UserError("a.jpg: no mask found; add masks/a.png", code="E-DATA-UNPAIRED"))
    'a.jpg: no mask found; add masks/a.png [E-DATA-UNPAIRED]'
    """

    def __init__(self, message: str = "", *, code: str = "") -> None:
        super().__init__(message)
        self.message = message
        self.code = code

    def __str__(self) -> str:
        return f"{self.message} [{self.code}]" if self.code else self.message


class UserError(SamisError):
    """A mistake of the user's, in one line: what is wrong, where (file, key, value), what to do.

    Commands print the message without a traceback and exit with code 2.
    """


class ConfigError(UserError, ValueError):
    """Mistakes in a config file, in overrides or in a command line, each in one line."""


class RowError(UserError, ValueError):
    """A score row, or the table of its images, cannot be read, or rows cannot be compared."""


class NotFiniteError(UserError):
    """A map holds NaN or infinity."""


class PeerError(UserError):
    """Another process of the run has failed and prints why; this one ends without a message."""


class Interrupted(SamisError):
    """The run was stopped by a signal and has saved itself; scripts exit with 128 + `signal`, as shells expect.

    Args:
        signal: number of the signal, 15 for SIGTERM, 2 for SIGINT.
        message: what was saved, and how to go on.
    """

    def __init__(self, signal: int, message: str = "") -> None:
        super().__init__(message)
        self.signal = signal


def code_of(error: BaseException | None, default: str = "") -> str:
    """Return the code of an error that is handed on in another one.

    >>> code_of(UserError("a", code="E-DATA-UNPAIRED")), code_of(OSError("full"), "E-FILE-WRITE")
    ('E-DATA-UNPAIRED', 'E-FILE-WRITE')
    """
    return (isinstance(error, SamisError) and error.code) or default


def text_of(error: BaseException | None) -> str:
    """Return an error's message without its code, for an error that hands it on.

    >>> text_of(UserError("a.jpg: no mask", code="E-DATA-UNPAIRED"))
    'a.jpg: no mask'
    """
    return error.message if isinstance(error, SamisError) else str(error)


def near_name(word: str, known: Iterable[str]) -> str | None:
    """Return the known name nearest to a mistyped one; case, dashes, underscores and spaces do not count.

    >>> near_name("vit-b", ["vit_h", "vit_b"]), near_name("zzz", ["vit_b"])
    ('vit_b', None)
    """
    names = {_plain(name): name for name in known}
    near = difflib.get_close_matches(_plain(word[:80]), names, n=1, cutoff=0.6)
    return names[near[0]] if near else None


def did_you_mean(word: str, known: Iterable[str]) -> str:
    """Return a proposal for a mistyped word, for the end of a message, or nothing.

    >>> did_you_mean("tset", ["train", "test"])
    '; did you mean test?'
    """
    near = near_name(word, known)
    return f"; did you mean {near}?" if near else ""


def _plain(name: str) -> str:
    return name.lower().replace("_", "").replace("-", "").replace(" ", "")


class Parser(argparse.ArgumentParser):
    """A command line whose errors are one line, as all others are, and exit with code 2; usage is left to ``--help``."""

    def error(self, message: str) -> NoReturn:
        """Print the line and exit."""
        self.exit(2, f"error: {' '.join(message.split())}; --help lists the options [E-CONFIG-OPTION]\n")
