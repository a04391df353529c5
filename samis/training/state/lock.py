"""One run folder, one run: filelock's lock, which the system releases when its process ends, and a file that names the holder."""

from __future__ import annotations

import errno
import json
import os
import socket
from datetime import datetime, timezone
from pathlib import Path
from typing import Any

from filelock import BaseFileLock, FileLock, SoftFileLock, Timeout

from samis.errors import UserError

NO_LOCKS = {errno.ENOLCK, errno.ENOSYS, errno.EOPNOTSUPP, errno.ENOTSUP}
NAME, HOLDER, SOFT = ".lock", ".lock.json", ".lock.soft"
"""The locked file; who holds it; the lock on a file system without locks."""


class RunLock:
    """Locks a run folder for this process, also against other hosts that share its file system.

    A killed run needs no clean-up. On a file system without locks filelock's marker file decides: its owner's
    process id where that ran on this host; the marker of another host stays until it is deleted.

    Args:
        folder: the run folder; it exists.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = Path(folder).resolve()
        self._lock: BaseFileLock | None = None

    def acquire(self) -> str | None:
        """Take the lock; return a line about a dead run that held it before, or None.

        Raises:
            UserError: another run holds it; the message names host, process and since when.
        """
        lock: BaseFileLock = FileLock(self.folder / NAME, thread_local=False)
        try:
            try:
                lock.acquire(timeout=0)
            except OSError as error:
                if error.errno not in NO_LOCKS:
                    raise
                lock = SoftFileLock(self.folder / SOFT, thread_local=False)
                lock.acquire(timeout=0)
        except Timeout:
            raise self._in_use(Path(lock.lock_file)) from None
        former = self._holder()
        self._lock = lock
        since = datetime.now(timezone.utc).isoformat(timespec="seconds")
        own = {"pid": os.getpid(), "host": socket.gethostname(), "since": since}
        (self.folder / HOLDER).write_text(json.dumps(own) + "\n", encoding="utf-8")
        if not former:
            return None
        return (
            f"{self.folder}: taking over from process {former.get('pid')} on {former.get('host')}, "
            f"which held it since {former.get('since')} and is gone"
        )

    def release(self) -> None:
        """Release the lock, if it is held."""
        if self._lock is not None:
            (self.folder / HOLDER).unlink(missing_ok=True)
            self._lock.release()
            self._lock = None

    def _holder(self) -> dict[str, Any]:
        """Return what the holder wrote of itself; an empty dict where it cannot be read."""
        try:
            content = json.loads((self.folder / HOLDER).read_text(encoding="utf-8"))
        except (OSError, ValueError):
            return {}
        return content if isinstance(content, dict) else {}

    def _in_use(self, path: Path) -> UserError:
        holder = self._holder()
        since = f" since {holder['since']}" if holder.get("since") else ""
        return UserError(
            f"{self.folder}: expected a run folder that no other run uses, but process {holder.get('pid', 'unknown')} on "
            f"{holder.get('host', 'an unknown host')} holds it{since}; wait for it, stop it, or choose another training.out "
            f"(if that process is gone, delete {path})",
            code="E-TRAIN-LOCKED",
        )
