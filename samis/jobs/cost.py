"""The cost of a row: measured when it is scored, or added to a row that was written without one, nothing scored again.

Parameters, multiply-adds and latency depend on a network's structure, frame and prompts, not on what its weights have learnt: the
cost of a tuned or trained row needs its config alone, not its run folder.
"""

from __future__ import annotations

import json
import tempfile
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

from samis.baselines.published_costs import stated_cost
from samis.baselines.references import REFERENCES
from samis.baselines.saved_maps import folders_of
from samis.config import Experiment, load_config
from samis.core.provenance import provenance
from samis.data.configured import load_split
from samis.errors import ConfigError, UserError, text_of
from samis.evaluation.cost import IMAGES, measure
from samis.evaluation.score_row import ScoreRow, read_row
from samis.factory import build_batch_maker, build_learner, build_segmenter
from samis.training.precision import default_device
from samis.tta import build_tta

OF_COST = ("segmenter", "frame", "prompt", "adapter", "data")
"""Sections of the config that a cost depends on."""


def add_costs(paths: Iterable[Path], *, latency: bool = True, overwrite: bool = False) -> Iterator[str]:
    """Add the cost to rows on disk, each by rename; yield a line for each: what it got, or why it was left as it is.

    Args:
        paths: of rows.
        latency: whether to time.
        overwrite: also rows that have a cost.

    Raises:
        ValueError: a file is no row.
    """
    measured: dict[str, dict[str, Any]] = {}
    for path in paths:
        row = read_row(path)
        if row.cost and not overwrite:
            yield f"{path}: has a cost already (--overwrite replaces it)"
            continue
        config: Any = row.provenance.get("config") or {}
        key = json.dumps([row.kind, row.split, {name: config.get(name) for name in OF_COST}], sort_keys=True)
        try:
            if key not in measured:
                measured[key] = _cost_of(row, latency=latency)
        except UserError as error:
            yield f"{path}: left as it is: {error}"
            continue
        if not measured[key]:
            yield f"{path}: left as it is: nothing is stated about {row.name}"
            continue
        row.cost = dict(measured[key])
        row.save(path)  # its per-image CSV stays: nothing was scored
        yield f"{path}: {row.cost.get('parameters', 0) / 1e6:.2f} M parameters"


def _cost_of(row: ScoreRow, *, latency: bool) -> dict[str, Any]:
    """Measure one row by its config, with untrained weights.

    Raises:
        UserError, ConfigError: the config is of another version, a file that it names is missing, or the images are others.
    """
    config = _config_of(row)
    if row.kind in ("saved_maps", "ceiling"):
        return stated_cost([folder.name for folder in folders_of(config.segmenter.maps or "")])
    dataset = load_split(config.data, row.split.partition(" +")[0])
    if dataset.fingerprint() != row.provenance.get("data_fingerprint"):
        raise UserError(
            "the images here are not those it was scored on (another data fingerprint)", code="E-ROW-OTHER-DATA"
        )
    if row.kind == "zero_shot" or config.segmenter.name in REFERENCES:
        segmenter = build_segmenter(config)
    else:
        learner = build_learner(config)
        learner.to(default_device()).eval()
        segmenter = build_tta(learner.segmenter(), config.segmenter.tta)
    versions = provenance()
    added = f"commit {versions['commit']}, torch {versions['versions'].get('torch', 'unknown')}"
    batches = build_batch_maker(config)(dataset, batch_size=1, limit=IMAGES)
    return measure(segmenter, batches, device=default_device(), latency=latency) | {"added": added}


def _config_of(row: ScoreRow) -> Experiment:
    """Return a row's config; the file or package that a trained network began with is not needed."""
    config: Any = row.provenance.get("config")
    if not isinstance(config, dict):
        raise UserError("it does not hold the config it was scored with", code="E-ROW-NO-CONFIG")
    s = config.get("segmenter") or {}
    overrides = ["segmenter.pretrained=false"]
    overrides += ["segmenter.weights=null"] if row.kind == "baseline" else []
    root = (config.get("data") or {}).get("root")
    overrides += ["data.root=null"] if root and not Path(root).exists() else []
    if s.get("name") != "sam" and (config.get("frame") or {}).get("frame_px"):
        overrides.append("segmenter.architecture=samis_lite")  # says nothing here but the frame's side
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "config.yaml"
        path.write_text(json.dumps(config), encoding="utf-8")  # JSON is YAML
        try:
            return load_config(path, overrides)
        except ConfigError as error:
            raise UserError(
                f"its config is of another version ({text_of(error).replace(f'{path}: ', '')})", code="E-ROW-NO-CONFIG"
            ) from error
