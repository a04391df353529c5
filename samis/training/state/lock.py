"""One run folder, one run: a lock that dies with its process, and says who holds it."""

from __future__ import annotations

import errno
import json
import os
import socket
from datetime import datetime, timezone
from pathlib import Path
from typing import IO, Any

from samis.errors import UserError

try:
    import fcntl
except ImportError:  # not on Windows; there the process id alone decides
    fcntl = None  # type: ignore[assignment]

NAME = ".lock"
_HELD: set[Path] = set()
"""Folders locked by this process: the system's lock keeps out other processes only."""


class RunLock:
    """Locks a run folder for this process.

    The lock is the system's (``lockf``): it is released when the process ends, however it ends, and worker processes do not
    inherit it, so that a killed run leaves nothing to clean up. On file systems without locks the process id in the file decides.

    Args:
        folder: the run folder; it exists.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = Path(folder).resolve()
        self.path = self.folder / NAME
        self._file: IO[str] | None = None

    def acquire(self) -> str | None:
        """Take the lock; return a line about the stale one that was taken over, or None.

        Raises:
            UserError: another run holds it; the message names host, process and since when.
        """
        if self.folder in _HELD:
            raise self._in_use({"pid": os.getpid(), "host": socket.gethostname()})
        file = open(self.path, "a+", encoding="utf-8")  # noqa: SIM115 - the open file is the lock
        file.seek(0)
        left = _parsed(file.read())
        if not _locked(file) or (left and not _system_locks(file) and _alive(left)):
            file.close()
            raise self._in_use(left)
        self._file = file
        _HELD.add(self.folder)
        mine = {"pid": os.getpid(), "host": socket.gethostname(), "since": _now()}
        file.seek(0)
        file.truncate()
        file.write(json.dumps(mine) + "\n")
        file.flush()
        if not left:
            return None
        return (
            f"{self.folder}: taking over from process {left.get('pid')} on {left.get('host')}, "
            f"which held it since {left.get('since')} and is gone"
        )

    def release(self) -> None:
        """Give the lock back, if it is held."""
        if self._file is None:
            return
        self._file.seek(0)
        self._file.truncate()
        self._file.close()
        self._file = None
        _HELD.discard(self.folder)

    def _in_use(self, holder: dict[str, Any]) -> UserError:
        since = f" since {holder['since']}" if holder.get("since") else ""
        return UserError(
            f"{self.folder}: expected a run folder that no other run uses, but process {holder.get('pid', 'unknown')} on "
            f"{holder.get('host', 'an unknown host')} holds it{since}; wait for it, stop it, or choose another training.out "
            f"(if it is surely gone, delete {self.path})"
        )


def _parsed(text: str) -> dict[str, Any]:
    try:
        content = json.loads(text)
    except ValueError:
        return {}
    return content if isinstance(content, dict) else {}


def _locked(file: IO[str]) -> bool:
    """Take the system's lock; True where there is none to take."""
    if fcntl is None:
        return True
    try:
        fcntl.lockf(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError as error:
        return error.errno not in (errno.EACCES, errno.EAGAIN)
    return True


def _system_locks(file: IO[str]) -> bool:
    """Return whether the file system knows locks at all."""
    if fcntl is None:
        return False
    try:
        fcntl.lockf(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        return False
    return True


def _alive(holder: dict[str, Any]) -> bool:
    """Return whether the holder may still run; of another host nothing can be known, so yes."""
    if holder.get("host") != socket.gethostname() or not isinstance(holder.get("pid"), int):
        return True
    if holder["pid"] == os.getpid():
        return False
    try:
        os.kill(holder["pid"], 0)
    except ProcessLookupError:
        return False
    except OSError:
        pass
    return True


def _now() -> str:
    return datetime.now(timezone.utc).isoformat(timespec="seconds")
