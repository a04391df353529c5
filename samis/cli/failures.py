"""What ends a command: a user's mistake is one line and exit code 2, a signal its shell code, all else a traceback."""

from __future__ import annotations

import errno
import os
import select
import sys
from collections.abc import Callable
from typing import NoReturn

from samis.errors import Interrupted, PeerError, UserError

DENIED = {
    errno.ENOENT: "check the path",
    errno.EACCES: "check its rights, or name another",
    errno.EPERM: "check its rights, or name another",
    errno.EROFS: "name one on a disk that can be written",
    errno.ENOTDIR: "a part of its path is a file: name another",
    errno.EEXIST: "it is a file where a folder is needed: name another",
    errno.EISDIR: "it is a folder where a file is needed: name another",
    errno.ENAMETOOLONG: "choose a shorter name",
}
"""What to do about the system's refusals of a file or folder."""


def run(main: Callable[[], None]) -> None:
    """Run a script's main; a user's mistake prints one line and exits with code 2, no traceback."""
    try:
        main()
        sys.stdout.flush()
    except KeyboardInterrupt:
        sys.exit(130)
    except Exception as error:
        if isinstance(error, Interrupted):
            print(error, file=sys.stderr)
            sys.exit(128 + error.signal)
        if isinstance(error, PeerError):
            sys.exit(2)
        if isinstance(error, BrokenPipeError) and _reader_gone():
            sys.exit(128 + 13)  # as a program that SIGPIPE ends
        if out_of_memory(error):
            reason = " ".join(str(error).split())[:120]
            fail(
                f"out of memory ({reason}); lower what grows with it: training.batch_size, metrics.batch_size, frame.frame_px, "
                "prompt.points_per_side, adapter.rank or adapter.width",
                code="E-TRAIN-MEMORY",
            )
        if disk_full(error):
            file = getattr(error, "filename", None) or "a file"
            fail(
                f"no space left on the disk while writing {file}; free some and run the same command again",
                code="E-FILE-DISK-FULL",
            )
        if isinstance(error, UserError):
            fail(error)
        if isinstance(error, OSError) and error.errno in DENIED:
            fail(
                f"{error.filename}: expected a file or folder to read or write, got '{error.strerror}'; {DENIED[error.errno]}",
                code="E-FILE-DENIED",
            )
        raise


def _reader_gone() -> bool:
    """Return whether the process that read the output is gone, as in ``samis doctor | head``."""
    if not hasattr(select, "poll"):
        return False
    poller = select.poll()
    poller.register(sys.stdout.fileno(), 0)  # a pipe without a reader is in error, whatever is polled for
    if not poller.poll(0):
        return False
    os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
    return True


def out_of_memory(error: BaseException) -> bool:
    """Return whether memory was refused; torch says so by RuntimeErrors of its own."""
    message_text = str(error)
    return isinstance(error, MemoryError) or "allocate memory" in message_text or "CUDA out of memory" in message_text


def disk_full(error: BaseException) -> bool:
    """Return whether a full disk is behind an error; torch and safetensors wrap the system's own."""
    message_text = str(error)
    wrapped = "No space left" in message_text or "PytorchStreamWriter failed writing" in message_text
    return wrapped or getattr(error, "errno", None) == errno.ENOSPC


def fail(message: object, *, code: str = "") -> NoReturn:
    """Print one line to stderr and exit with code 2.

    Args:
        message: an error, or a text.
        code: of a text, as ``samis.errors.SamisError`` takes it.
    """
    print(f"error: {message} [{code}]" if code else f"error: {message}", file=sys.stderr)
    sys.exit(2)
