"""Exports of a run: peft folder, merged checkpoint, ONNX, transformers folder and model card, each tried before it is kept.

Whatever is written goes into a hidden folder first, is read back by the tool it is meant for, compared with the tuned model's
own masks, and only then renamed to its name.
"""

from __future__ import annotations

import os
import shutil
import sys
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import torch
from peft import PeftModel

from samis.adapters.lora import LoraSam
from samis.adapters.methods import METHODS
from samis.adapters.stock import save_for_stock
from samis.baselines import BASELINES
from samis.config import Experiment
from samis.core.files import write_atomic
from samis.core.shipped import find_run
from samis.core.weight_files import check_finite, usual_rights
from samis.data.configured import label_of
from samis.errors import UserError
from samis.evaluation.score_row import rows_of_training
from samis.export.card import model_card
from samis.export.families import LEVELS, FamilyProbe, merged_model, write_family_onnx, write_folder
from samis.export.merged import Probe, merged_sam, registry_takes, write_checkpoint, write_own
from samis.export.onnx import write_onnx
from samis.export.photo_onnx import add_metadata
from samis.export.transformers import write_transformers
from samis.jobs.calibrate import stated_calibration
from samis.jobs.load import load_run
from samis.sam.architectures import ARCHITECTURES
from samis.sam.families import family_named
from samis.sam.families.transformers_models import TransformersFamily
from samis.sam.framing import build_framing
from samis.sam.interface import family_of, mark
from samis.sam.weights import load_sam

FORMATS = {
    "peft": "folder for peft's PeftModel.from_pretrained on a stock Sam",
    "merged": "one checkpoint: .pth for sam_model_registry, or .safetensors for this project alone",
    "onnx": "encoder.onnx and decoder.onnx, with the inputs of segment_anything's own",
    "transformers": "folder for transformers' SamModel and SamProcessor",
}
NO_MERGE = (
    "a bottleneck adapter has layers of its own and cannot be merged; tune with adapter.name=lora or unfreeze to export"
)


@dataclass
class Exported:
    """One thing written: its format, where it is, and how far its masks were from the tuned model's."""

    format: str
    path: str
    difference: float


def reasons_against(config: Experiment) -> dict[str, str]:
    """Return, for each format that a run cannot be written in, why.

    Raises:
        UserError: the run is not a tuned SAM.
    """
    s = config.segmenter
    if s.name in BASELINES or s.name != "sam":
        raise UserError(
            f"segmenter.name: expected the run of a tuned SAM to export, got one of {s.name}", code="E-EXPORT-NETWORK"
        )
    against = {}
    adapter = config.adapter
    if adapter.name == "bottleneck":
        return dict.fromkeys(FORMATS, NO_MERGE)
    if adapter.name == "peft":
        if not METHODS[adapter.method].merges:
            return dict.fromkeys(
                FORMATS, f"peft cannot merge {adapter.method} into SAM's weights; tune with lora to export"
            )
        if METHODS[adapter.method].flat or {"q", "k", "v"} & set(adapter.encoder):
            against["peft"] = (
                "it was tuned on layers that a stock SAM lacks (q, k, v apart, or 3-D windows); export merged"
            )
    elif adapter.name != "lora":
        against["peft"] = f"adapter {adapter.name} has no low-rank factors; export merged instead"
    family = family_named(s.architecture)
    if isinstance(family, TransformersFamily):
        against["merged"] = f"{family.name} is merged into a folder for transformers; export transformers"
        possible = {"peft", "merged", "transformers", *(["onnx"] if family.name in LEVELS else [])}
        against |= {
            name: f"{family.name} has no {name} export; export transformers" for name in set(FORMATS) - possible
        }
    elif not family.class_name:
        against["transformers"] = f"transformers has no class for {family.name}; export merged"
    elif ARCHITECTURES[s.architecture].trunk:
        against["transformers"] = f"{s.architecture} reads images through a trunk that transformers' SamModel lacks"
    return against


def export(
    run_folder: Path, out: Path, formats: Sequence[str] = (), *, rows: Path | Sequence[Path] | None = None
) -> tuple[list[Exported], dict[str, str]]:
    """Write a run's best epoch in the given formats, with a model card.

    Args:
        run_folder: as samis train writes.
        out: folder for what is written; made if missing.
        formats: keys of ``FORMATS``; none takes all that are possible.
        rows: folders of score rows; those of this run go into the card.

    Returns:
        what was written, and why the other formats were left out.

    Raises:
        UserError: a format that is unknown or impossible for this run, or an export that gives other masks when it is read back.
    """
    run = load_run(run_folder)
    against = reasons_against(run.config)
    for name in formats:
        if name not in FORMATS:
            raise UserError(f"formats: expected some of {', '.join(FORMATS)}, got '{name}'", code="E-EXPORT-FORMAT")
        if name in against:
            raise UserError(f"{name}: {against[name]}", code="E-EXPORT-IMPOSSIBLE")
    wanted = list(formats) or [name for name in FORMATS if name not in against]
    if not wanted:
        raise UserError(f"{run_folder}: {next(iter(against.values()))}", code="E-EXPORT-IMPOSSIBLE")
    adapted = run.learner.to("cpu").adapted
    family = family_of(adapted.sam)
    if family.licence.notice:
        print(family.licence.notice, file=sys.stderr)
    probe = (FamilyProbe if isinstance(family, TransformersFamily) else Probe).of(adapted.sam)
    state = adapted.merged()
    check_finite(state, f"{run_folder}, merged")
    writers = _writers(run.config, adapted, state, probe, run.threshold)
    out.mkdir(parents=True, exist_ok=True)
    written = []
    for name in wanted:
        target, write = writers[name]
        written.append(Exported(name, str(out / target), _kept_if_good(out, target, write)))
    config = asdict(run.config)
    config["data"]["label"] = label_of(run.config.data)
    stated = {**run.provenance, **stated_calibration(find_run(run_folder))}
    card = model_card(
        config=config, provenance=stated, base=adapted.base, rows=rows_of_training(rows, run.provenance),
        files={Path(each.path).name: each.format for each in written}, official=_official(run.config),
        licence=family.licence, class_name=family.class_name,
    )  # fmt: skip
    write_atomic(out / "README.md", card)
    return written, {name: why for name, why in against.items() if name not in formats}


def _official(config: Experiment) -> bool:
    return registry_takes(
        config.segmenter.architecture,
        build_framing(config.frame, config.segmenter.architecture, config.segmenter.weights).frame_px,
    )


def _writers(
    config: Experiment, adapted: Any, state: dict[str, torch.Tensor], probe: Probe, threshold: float
) -> dict[str, tuple[str, Callable[[Path], float]]]:
    """Return format -> (file or folder name, what writes and tries it at a path)."""
    if isinstance(probe, FamilyProbe):
        return _family_writers(config, adapted, state, probe, threshold)
    architecture, frame_px = (
        config.segmenter.architecture,
        build_framing(config.frame, config.segmenter.architecture, config.segmenter.weights).frame_px,
    )
    sizes: dict[str, Any] = {"architecture": architecture, "frame_px": frame_px, "probe": probe}

    def peft_folder(path: Path) -> float:
        assert isinstance(adapted, LoraSam)
        save_for_stock(adapted, path)
        torch.manual_seed(config.seed)  # a run from random weights starts from these
        base = stock()
        PeftModel.from_pretrained(base, str(path))  # puts its layers into `base`
        return probe.check(probe.masks_of(base), "peft")

    def stock() -> Any:
        if architecture in ARCHITECTURES:
            return load_sam(architecture, weights=config.segmenter.weights, frame_px=frame_px, fused_attention=False)
        return family_named(architecture).load(architecture, weights=config.segmenter.weights, frame_px=frame_px)[0]

    def onnx_folder(path: Path) -> float:
        path.mkdir()
        difference = write_onnx(merged_sam(state, architecture=architecture, frame_px=frame_px), path, probe=probe)
        add_metadata(path / "decoder.onnx", {"threshold": repr(threshold)})
        return difference

    merged: tuple[str, Callable[[Path], float]]
    if registry_takes(architecture, frame_px):
        merged = (
            f"sam_{architecture}_{config.experiment}.pth",
            lambda path: write_checkpoint(state, path, architecture=architecture, probe=probe),
        )
    else:
        merged = (f"{architecture}_{config.experiment}.safetensors", lambda path: write_own(state, path, **sizes))
    return {
        "peft": ("peft", peft_folder),
        "merged": merged,
        "onnx": ("onnx", onnx_folder),
        "transformers": ("transformers", lambda path: write_transformers(state, path, **sizes)),
    }


def _family_writers(
    config: Experiment, adapted: Any, state: dict[str, torch.Tensor], probe: FamilyProbe, threshold: float
) -> dict[str, tuple[str, Callable[[Path], float]]]:
    """Return the writers of a family of transformers, as ``_writers``."""
    s, family = config.segmenter, family_of(adapted.sam)
    assert isinstance(family, TransformersFamily)

    def peft_folder(path: Path) -> float:
        save_for_stock(adapted, path)
        torch.manual_seed(config.seed)  # a run from random weights starts from these
        base = family.load(s.architecture, weights=s.weights, frame_px=None)[0]
        mark(base, family)
        PeftModel.from_pretrained(base, str(path))  # puts its layers into `base`
        return probe.check(probe.masks_of(base), "peft")

    def onnx_folder(path: Path) -> float:
        path.mkdir()
        difference = write_family_onnx(merged_model(adapted.sam, state, family), path, probe=probe)
        add_metadata(path / "decoder.onnx", {"threshold": repr(threshold)})
        return difference

    def folder(path: Path) -> float:
        return write_folder(merged_model(adapted.sam, state, family), path, probe=probe)

    return {"peft": ("peft", peft_folder), "onnx": ("onnx", onnx_folder), "transformers": ("transformers", folder)}


def _kept_if_good(out: Path, target: str, write: Callable[[Path], float]) -> float:
    """Write next to the target, and rename only what was read back and gave the same masks."""
    workshop = out / f".{os.getpid()}.export"
    shutil.rmtree(workshop, ignore_errors=True)
    workshop.mkdir()
    try:
        difference = write(workshop / target)
        for path in workshop.rglob("*"):
            if path.is_file():
                usual_rights(path)  # transformers and safetensors allow their owner only
        final = out / target
        if final.is_dir():
            os.replace(final, workshop / "before")
        os.replace(workshop / target, final)
        return difference
    finally:
        shutil.rmtree(workshop, ignore_errors=True)
