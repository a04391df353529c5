"""Puts configs, the embedded weights and the tuned adapters into the wheel, and refuses to build one without them."""

from __future__ import annotations

import shutil
import subprocess
import tempfile
from pathlib import Path
from typing import Any

from hatchling.builders.hooks.plugin.interface import BuildHookInterface

ASSETS = ("configs", "checkpoints/samis_lite", "checkpoints/tuned")
NEEDED = (
    "configs/zero_shot.yaml",
    "checkpoints/samis_lite/model.safetensors",
    *(f"checkpoints/tuned/{name}/best/adapter_model.safetensors" for name in ("rail", "steel", "tile")),
)


class AssetsHook(BuildHookInterface):
    """Adds ``samis/assets`` to a wheel; an editable install reads the checkout's own folders."""

    note: Path | None = None

    def initialize(self, version: str, build_data: dict[str, Any]) -> None:
        """Check the files, then add the folders."""
        if version == "editable":
            return
        check(Path(self.root))
        build_data["force_include"] |= {str(Path(self.root) / folder): f"samis/assets/{folder}" for folder in ASSETS}
        if commit := commit_of(Path(self.root)):
            self.note = Path(tempfile.mkdtemp()) / "commit.txt"
            self.note.write_text(commit + "\n", encoding="utf-8")
            build_data["force_include"][str(self.note)] = "samis/assets/commit.txt"

    def finalize(self, version: str, build_data: dict[str, Any], artifact_path: str) -> None:
        """Delete the note of the commit."""
        if self.note:
            shutil.rmtree(self.note.parent)


def commit_of(root: Path) -> str:
    """Return the commit that the wheel is built from, with ``+changed`` where the tree differs; "" where it is not known."""
    try:
        head, changed = (
            subprocess.run(["git", "-C", root, *words], capture_output=True, text=True, check=True).stdout.strip()
            for words in (["rev-parse", "HEAD"], ["status", "--porcelain", "--untracked-files=no"])
        )
    except (OSError, subprocess.SubprocessError):
        return ""
    return head + ("+changed" if changed else "")


def check(root: Path) -> None:
    """Refuse a checkout whose configs or weights are missing, or are pointers of Git LFS.

    Raises:
        SystemExit: one line that names the file.
    """
    for name in NEEDED:
        path = root / name
        got = "no such file" if not path.is_file() else "a file that is no safetensors, such as a pointer of Git LFS"
        if not path.is_file() or (path.suffix == ".safetensors" and path.read_bytes()[8:9] != b"{"):
            raise SystemExit(
                f"error: {path}: expected it for the wheel, got {got}; restore it with git checkout -- {name}"
            )
