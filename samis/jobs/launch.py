"""Starts a verb of the ``samis`` command in a process of its own, so that it leaves nothing in this one's memory."""

from __future__ import annotations

import os
import sys
from collections.abc import Sequence

from samis.core.shipped import PACKAGE


def command(words: Sequence[str]) -> list[str]:
    """Return the process's command of ``samis VERB ...``."""
    return [sys.executable, "-m", "samis", *words]


def environment() -> dict[str, str]:
    """Return the environment in which ``command`` finds this very samis, also where it is not installed."""
    path = os.pathsep.join(filter(None, [str(PACKAGE.parent), os.environ.get("PYTHONPATH")]))
    return {**os.environ, "PYTHONPATH": path}
