"""Where weights are, and the tuned adapters that come with the project: a name such as ``steel`` in place of a run folder."""

from __future__ import annotations

import os
from pathlib import Path

from samis.errors import ConfigError

CONFIG = "config.yaml"
_REPOSITORY = Path(__file__).resolve().parents[2] / "checkpoints"


def checkpoints_folder() -> Path:
    """Return where weights lie: ``$SAMIS_CHECKPOINTS``, else ``checkpoints/`` of the repository or working folder."""
    if variable := os.environ.get("SAMIS_CHECKPOINTS"):
        return Path(variable)
    return _REPOSITORY if _REPOSITORY.is_dir() else Path("checkpoints")


def shipped_runs() -> dict[str, Path]:
    """Return name -> folder of every shipped adapter: of ``checkpoints/tuned``, or of that folder's place elsewhere."""
    found: dict[str, Path] = {}
    for folder in (checkpoints_folder() / "tuned", _REPOSITORY / "tuned"):
        for config in sorted(folder.glob(f"*/{CONFIG}")):
            found.setdefault(config.parent.name, config.parent)
    return dict(sorted(found.items()))


def find_run(model: str | Path) -> Path:
    """Return the run folder that a path or the name of a shipped adapter means.

    Args:
        model: folder, relative to the working folder; where there is none, the name of a shipped adapter.

    Raises:
        ConfigError: neither; the names of the shipped adapters are listed.
    """
    path, known = Path(model), shipped_runs()
    if not path.is_dir() and str(model) in known:
        return known[str(model)]
    if (path / CONFIG).is_file() and (path / "best").is_dir():
        return path
    also = f"; adapters that come with the project: {', '.join(known)}" if known else ""
    raise ConfigError(f"{model}: expected a run folder, with {CONFIG} and best/ as train/adapt.py writes it{also}")
