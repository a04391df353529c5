"""What comes with the project, in a checkout or in the wheel: configs, weights, tuned adapters; and where one's own weights are.

A checkout has ``configs/`` and ``checkpoints/`` at its root; the wheel has copies of both in ``samis/assets``, where nothing is
written: downloads and caches go to ``checkpoints_folder()``.
"""

from __future__ import annotations

import os
from collections.abc import Iterable
from pathlib import Path

from samis.errors import ConfigError, did_you_mean

CONFIG = "config.yaml"
PACKAGE = Path(__file__).resolve().parents[1]
_OF_THE_WHEEL = PACKAGE / "assets"
_YAML = (".yaml", ".yml")
_NO_EXPERIMENTS = "accelerate"
"""Folder of ``configs`` with launch files."""


def checkout() -> Path | None:
    """Return the root of the checkout that samis is run from; None for an installed wheel."""
    return None if _OF_THE_WHEEL.is_dir() else PACKAGE.parent


def assets() -> Path:
    """Return the folder that holds the ``configs`` and ``checkpoints`` that come with the project; read only."""
    return checkout() or _OF_THE_WHEEL


def checkpoints_folder() -> Path:
    """Return where weights are written: ``$SAMIS_CHECKPOINTS``, else ``checkpoints`` of the checkout or working folder."""
    if variable := os.environ.get("SAMIS_CHECKPOINTS"):
        return Path(variable)
    root = checkout()
    return root / "checkpoints" if root and (root / "checkpoints").is_dir() else Path("checkpoints")


def find_checkpoint(relative: str) -> Path:
    """Return a file or folder of weights: one's own if it exists, else the one that comes with the project.

    Args:
        relative: path below ``checkpoints``, such as ``samis_lite/model.safetensors``.

    Returns:
        the path; where neither exists, the place for one's own.
    """
    own, shipped = checkpoints_folder() / relative, assets() / "checkpoints" / relative
    return shipped if shipped.exists() and not own.exists() else own


def shipped_runs() -> dict[str, Path]:
    """Return name -> folder of every tuned adapter: of ``checkpoints_folder()``, and of those that come with the project."""
    runs: dict[str, Path] = {}
    for folder in (checkpoints_folder() / "tuned", assets() / "checkpoints" / "tuned"):
        for config in sorted(folder.glob(f"*/{CONFIG}")):
            runs.setdefault(config.parent.name, config.parent)
    return dict(sorted(runs.items()))


def find_run(model: str | Path) -> Path:
    """Return the run folder that a path or the name of a shipped adapter means.

    Args:
        model: folder, relative to the working folder; where no run folder is, the name of a shipped adapter.

    Raises:
        ConfigError: neither; the names of the shipped adapters are listed, and the near one is proposed.
    """
    return _find_run(model, ())


def _find_run(model: str | Path, others: Iterable[str]) -> Path:
    """Return a run folder as ``find_run``; `others` are more names that may have been meant."""
    path, known = Path(model), shipped_runs()
    if (path / CONFIG).is_file() and (path / "best").is_dir():
        return path
    if str(model) in known:
        return known[str(model)]
    also = f"; adapters that come with the project: {', '.join(known)}" if known else ""
    near = did_you_mean(str(model), [*known, *others])
    raise ConfigError(
        f"{model}: expected a run folder, with {CONFIG} and best/ as samis train writes it{also}{near}",
        code="E-TRAIN-NO-RUN",
    )


def find_model(model: str | Path) -> Path:
    """Return the run folder, or the config file of a zero-shot SAM, that a path or a name means.

    Args:
        model: as for ``find_run``, or for ``find_config``.

    Raises:
        ConfigError: none of them.
    """
    path = Path(model)
    if path.suffix in _YAML and not path.is_dir():
        return find_config(path)
    configs = shipped_configs()
    is_run = (path / CONFIG).is_file() or str(model) in shipped_runs()
    return configs[str(model)] if str(model) in configs and not is_run else _find_run(model, configs)


def shipped_configs() -> dict[str, Path]:
    """Return short name -> file of every config that comes with the project, such as ``steel_lora``."""
    folder = assets() / "configs"
    files = sorted(folder.rglob("*.yaml"))
    return {file.stem: file for file in files if file.relative_to(folder).parts[0] != _NO_EXPERIMENTS}


def find_config(config: str | Path) -> Path:
    """Return the file that a path or a short name means.

    Args:
        config: file, relative to the working folder or as the checkout names it (``configs/adapt/steel_lora.yaml``); or the
            name of a config that comes with the project (``steel_lora``).

    Raises:
        ConfigError: neither; the near name is proposed.
    """
    path = Path(config)
    if path.is_file():
        return path
    if path.suffix in _YAML:
        if not path.is_absolute() and ".." not in path.parts and (assets() / path).is_file():
            return assets() / path
        if path.exists():
            raise ConfigError(
                f"{path}: expected a config file, but it is a folder; name a file in it", code="E-CONFIG-MISSING"
            )
    known = shipped_configs()
    if str(config) in known:
        return known[str(config)]
    proposal = did_you_mean(path.stem, known) or f"; names that come with the project: {', '.join(known)}"
    raise ConfigError(
        f"{config}: expected a config file, or the name of one, got no such file{proposal}", code="E-CONFIG-MISSING"
    )
