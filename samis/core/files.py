"""Files: written whole or not at all, and known by their sha256."""

from __future__ import annotations

import glob
import hashlib
import os
import re
import socket
import stat
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from samis.errors import UserError

_HOST = re.sub(r"[^A-Za-z0-9-]", "_", socket.gethostname()) or "here"
_PIECE = 1 << 20
"""Bytes read at once."""


@contextmanager
def replacing(path: str | Path, *, durable: bool = True) -> Iterator[Path]:
    """Yield a temporary name next to `path` to write to; then rename it: readers see the old file or the new, never half.

    The temporary name starts with a dot and ends in ``.tmp``, so that no reader takes it for a row or a report. If the block
    fails, nothing is left.

    Args:
        path: the file.
        durable: whether to see the file onto the disk itself, and to remove what a killed process left of an earlier write;
            False for pictures and the like, of which a folder holds thousands that can be made again.

    Raises:
        OSError: it cannot be written (a full disk, no rights); `filename` is `path`, which is as it was.
    """
    path = Path(path)
    if durable:
        _remove_leftovers(path)
    temporary = path.with_name(f".{path.name}.{_HOST}.{os.getpid()}.tmp")
    try:
        yield temporary
        if durable:
            sync(temporary)
        os.replace(temporary, path)
    except OSError as error:
        if error.errno is not None:
            error.filename = str(path)
        raise
    finally:
        temporary.unlink(missing_ok=True)


def write_atomic(path: str | Path, text: str) -> None:
    """Write a text file, see ``replacing``; line ends stay as they are."""
    with replacing(path) as temporary, open(temporary, "w", encoding="utf-8", newline="") as file:
        file.write(text)


def sync(path: Path) -> None:
    """Have the system write a file, or a folder's names, to the disk itself."""
    try:
        handle = os.open(path, os.O_RDONLY)
    except OSError:
        return  # folders cannot be opened everywhere
    try:
        os.fsync(handle)
    except OSError as error:
        if path.is_file():
            raise OSError(error.errno, error.strerror, str(path)) from error
    finally:
        os.close(handle)


def file_sha256(path: str | Path) -> str:
    """Return the sha256 of a file's bytes, read in pieces.

    Raises:
        UserError: it is no regular file, or cannot be read.
    """
    digest = hashlib.sha256()
    try:
        if not stat.S_ISREG(os.stat(path).st_mode):  # a pipe would be waited for, a device never ends
            raise UserError(
                f"{path}: expected a file, got a folder, pipe or device; remove it", code="E-FILE-NOT-A-FILE"
            )
        with open(path, "rb") as file:
            while piece := file.read(_PIECE):
                digest.update(piece)
    except OSError as error:
        raise UserError(
            f"{path}: expected a readable file, got '{error.strerror}'; check it", code="E-FILE-UNREADABLE"
        ) from error
    return digest.hexdigest()


def _remove_leftovers(path: Path) -> None:
    """Remove temporary files of `path` whose process, of this machine, is gone; others may be writing theirs."""
    for left in path.parent.glob(f".{glob.escape(path.name)}.{glob.escape(_HOST)}.*.tmp"):
        pid = left.name.removesuffix(".tmp").rpartition(".")[2]
        if pid.isdecimal() and not _runs(int(pid)):
            left.unlink(missing_ok=True)


def _runs(pid: int) -> bool:
    if os.name != "posix":
        return True  # elsewhere signal 0 would end the process
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except (OSError, OverflowError):
        return True
    return True
