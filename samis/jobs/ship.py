"""A run folder becomes an adapter that ships: half precision, the embedded base, a threshold, a card; read back before it is kept.

Shipping a shipped folder again is allowed: it changes the card where rows have come, and the weights not at all.
"""

from __future__ import annotations

import copy
import json
import os
import shutil
from collections.abc import Sequence
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

from safetensors.torch import load_file, save_file

from samis.adapters import read_record
from samis.adapters.adapted import WEIGHTS
from samis.config import Experiment, load_config, to_yaml
from samis.core.files import file_sha256, write_atomic
from samis.core.shipped import CONFIG, find_run
from samis.data.calibration import FILE as SEEN
from samis.data.configured import load_split, load_training, with_clean
from samis.drift.fingerprint import FILE as FINGERPRINT
from samis.errors import UserError
from samis.evaluation.score_row import rows_of_training
from samis.export.card import shipped_card
from samis.factory import build_batch_maker, build_learner
from samis.jobs.calibrate import seen_images
from samis.metrics.best_threshold import search_threshold
from samis.sam.architectures import EMBEDDED
from samis.sam.weights import find_weights
from samis.training.precision import default_device
from samis.tta import build_tta

LIMIT_MB = 5.0
"""What an adapter that ships may take, in MB of 10^6 bytes."""
_FILES = (WEIGHTS, "adapter_config.json", "samis_adapter.json")


def ship(
    run: str | Path,
    name: str,
    out: Path,
    *,
    rows: Path | Sequence[Path] | None = None,
    made: dict[str, str] | None = None,
) -> Path:
    """Write a run's best epoch as ``out/name``; return that folder.

    Args:
        run: run folder, or the name of a shipped adapter.
        name: of the folder, which ``load_run`` then understands.
        out: folder of the adapters that ship.
        rows: folders of score rows; those of this run go into the card.
        made: what the run's provenance does not say, such as ``{"hardware": "one H200", "code": "commit ..."}``.

    Raises:
        UserError: no adapter of the embedded SAM, one that is too large, or data that the threshold needs and that is not here.
    """
    if not name.isidentifier():
        raise UserError(f"--name: expected a word of letters, digits and _, got {name!r}", code="E-EXPORT-NAME")
    folder = find_run(run)
    config = _config(folder, name)
    provenance = _provenance(folder, config)
    if made:
        provenance["made"] = {**provenance.get("made", {}), **made}
    workshop = out / f".{name}.{os.getpid()}.tmp"
    shutil.rmtree(workshop, ignore_errors=True)
    try:
        _copy(folder / "best", workshop / "best")
        (workshop / CONFIG).write_text(to_yaml(config), encoding="utf-8")
        learner = build_learner(config)
        learner.load(workshop / "best")
        if not provenance.get("threshold"):
            judged = with_clean(config.data, load_split(config.data, config.data.val))
            segmenter = build_tta(learner.to(default_device()).eval().segmenter(), config.segmenter.tta)
            provenance["threshold"] = search_threshold(
                segmenter, build_batch_maker(config)(judged), device=default_device()
            )
        write_atomic(workshop / "provenance.json", json.dumps(provenance, indent=1) + "\n")
        try:
            write_atomic(workshop / SEEN, json.dumps({k: sorted(v) for k, v in seen_images(folder).items()}) + "\n")
        except UserError as error:  # samis calibrate says so, too
            print(f"shipped without the list of images that it has seen: {error}")
        if (folder / FINGERPRINT).is_file():
            shutil.copyfile(folder / FINGERPRINT, workshop / FINGERPRINT)
        base = read_record(workshop / "best")[1]
        size = (workshop / "best" / WEIGHTS).stat().st_size / 1e6
        card = shipped_card(name, asdict(config), provenance, base, rows_of_training(rows, provenance), size_mb=size)
        write_atomic(workshop / "README.md", card)
        _replace(workshop, out / name)
    finally:
        shutil.rmtree(workshop, ignore_errors=True)
    return out / name


def _config(folder: Path, name: str) -> Experiment:
    """Return the run's config for other machines: the embedded base, no paths, no loader processes.

    Raises:
        UserError: the run is no adapter of the embedded SAM, or was tuned from other weights.
    """
    config: Experiment = copy.deepcopy(load_config(folder / CONFIG))
    s, adapter = config.segmenter, folder / "best" / "samis_adapter.json"
    if s.name != "sam" or not adapter.is_file():
        raise UserError(
            f"{folder}: expected the run of a tuned SAM to ship, got one of {s.name}", code="E-EXPORT-NETWORK"
        )
    base = read_record(folder / "best")[1]
    own = file_sha256(find_weights(EMBEDDED) or "")
    if (base.get("architecture"), base.get("weights_sha256")) != (EMBEDDED, own):
        raise UserError(
            f"{adapter}: expected an adapter of the embedded {EMBEDDED} (sha256 {own[:12]}...), got one of "
            f"{base.get('architecture')} ({str(base.get('weights_sha256'))[:12]}...); tune again with segmenter.weights=null",
            code="E-EXPORT-OTHER-BASE",
        )
    config.experiment = name
    config.segmenter = replace(s, weights=None)
    config.data = replace(config.data, root=None)
    config.training = replace(config.training, out=None, workers=0)
    config.cache = replace(config.cache, folder=None)
    return config


def _provenance(folder: Path, config: Experiment) -> dict[str, Any]:
    """Return the run's provenance; of a run that was cut before it wrote one, what its validation file says."""
    path = folder / "provenance.json"
    if path.is_file():
        provenance: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
        return provenance
    curve = folder / "validation.jsonl"
    epochs = [json.loads(line) for line in curve.read_text(encoding="utf-8").splitlines()] if curve.is_file() else []
    best = [epoch for epoch in epochs if epoch.get("best")]
    if not best:
        raise UserError(
            f"{folder}: expected provenance.json, or validation.jsonl with a best epoch, got neither",
            code="E-EXPORT-NO-PROVENANCE",
        )
    fingerprint = load_training(config).fingerprint()
    cut = f"ended before its time, last validated at epoch {epochs[-1]['epoch']} of {config.training.epochs}"
    return {
        "cut": cut,
        "best_epoch": best[-1]["epoch"],
        "validation": best[-1]["metrics"],
        "data_fingerprint": fingerprint,
    }


def _copy(best: Path, target: Path) -> None:
    """Copy an adapter, its weights in half precision.

    Raises:
        UserError: it is larger than an adapter that ships may be.
    """
    target.mkdir(parents=True)
    for name in _FILES:
        if (best / name).is_file() and name != WEIGHTS:
            shutil.copyfile(best / name, target / name)
    weights = load_file(best / WEIGHTS)
    save_file({k: t.half() if t.is_floating_point() else t for k, t in weights.items()}, target / WEIGHTS)
    (target / WEIGHTS).chmod(0o644)  # safetensors writes files that only their owner may read
    size = (target / WEIGHTS).stat().st_size / 1e6
    if size > LIMIT_MB:
        raise UserError(
            f"{best / WEIGHTS}: expected at most {LIMIT_MB:g} MB in half precision, got {size:.1f}; tune with a lower "
            "adapter.rank or fewer modules in adapter.encoder",
            code="E-EXPORT-TOO-LARGE",
        )


def _replace(made: Path, final: Path) -> None:
    """Put a folder in the place of another one, which is whole until the new one is there."""
    before = made.with_name(f"{made.name}.before")
    if final.is_dir():
        os.replace(final, before)
    os.replace(made, final)
    shutil.rmtree(before, ignore_errors=True)
