"""Provenance: what code, versions and machine made a number."""

from __future__ import annotations

import platform
import subprocess
import sys
from importlib import metadata
from pathlib import Path
from typing import Any

from samis.core.shipped import assets, checkout

PACKAGES = ("samis", "torch", "segment-anything", "peft", "accelerate", "torchmetrics", "numpy", "timm")


def provenance() -> dict[str, Any]:
    """Return commit, versions, python, machine kind and command of the running process."""
    script = Path(sys.argv[0]).name.replace("__main__.py", "samis")  # python -m samis
    return {
        "commit": commit(),
        "versions": {name: _version(name) for name in PACKAGES},
        "python": platform.python_version(),
        "machine": platform.machine(),
        "command": " ".join([script, *sys.argv[1:]]),
    }


def commit() -> str:
    """Return the repository's commit, with ``+changed`` where the tree differs; of a wheel, that which it was built from.

    ``unknown`` where neither is known. An environment may be in the folder of another repository, whose commit this is not.
    """
    here = checkout()
    if here is None:
        built = assets() / "commit.txt"
        return built.read_text(encoding="utf-8").strip() if built.is_file() else "unknown"
    try:
        head = _git(here, "rev-parse", "HEAD")
        changed = _git(here, "status", "--porcelain", "--untracked-files=no")
    except (OSError, subprocess.SubprocessError):
        return "unknown"
    return head + ("+changed" if changed else "")


def _git(folder: Path, *arguments: str) -> str:
    done = subprocess.run(
        ["git", "-C", str(folder), *arguments], capture_output=True, text=True, check=True, timeout=10
    )
    return done.stdout.strip()


def _version(package: str) -> str:
    try:
        return metadata.version(package)
    except metadata.PackageNotFoundError:
        return "not installed"
