"""What evaluate/score.py does: one segmenter, one split, rows and maps on disk, a table on the terminal."""

from __future__ import annotations

import json
import os
import re
import sys
from collections.abc import Callable
from datetime import datetime, timezone
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from samis.baselines.saved_maps import SavedMaps
from samis.build import (
    build_evaluator,
    build_segmenter,
    cache_embeddings,
    default_device,
    load_run,
    load_split,
    with_clean,
)
from samis.config import Experiment, to_dict
from samis.contracts import Dataset, Evaluation, Segmenter, UserError
from samis.data import dataset_label
from samis.provenance import provenance
from samis.sam.segmenter import SamSegmenter
from samis.scores import ScoreRow
from samis.training.agree import together
from samis.training.processes import Processes, open_processes, watching
from samis.tta import FlippedSegmenter

SHOWN = ("s_measure", "weighted_f", "e_mean", "f_max", "iou", "mae", "overlap_ratio", "pratt")


def score_and_save(
    config: Experiment,
    *,
    split: str | None,
    out: Path,
    name: str | None,
    maps: Path | None = None,
    as_json: bool = False,
    budget: str = "",
) -> list[ScoreRow]:
    """Score what the config names and write ``out/<row>.json``; return the rows.

    Several processes (``accelerate launch``) share the images; the main one alone writes rows and speaks.

    Args:
        config: the experiment; for a run, its own config with ``segmenter.name=run``.
        split: the split; None takes ``data.test``.
        out: folder of the rows. name: of the row; None makes one.
        maps: folder for 8-bit maps, or None.
        as_json: print JSON lines instead of a table. budget: one of ``samis.scores.BUDGETS``, for the rows.
    """
    processes = open_processes()
    with watching(processes):
        with together(processes):
            dataset = load_split(
                config.data, split or config.data.test
            )  # first, since most mistakes are about the data
            segmenter, config, made, birth = _segmenter(config)
            whole = _with_clean(config, segmenter, dataset)
        name = name or made
        if "tta" in segmenter.describe() and "flip" not in name:
            name += ", flips"  # not the row, nor the file, of the same without
        every_rule = config.segmenter.name == "sam" and config.segmenter.mask_rule == "all"
        on_map = (
            _map_writer(maps, lambda rule: _stem(_label(name, rule), _dataset_label(config, dataset), dataset.split))
            if maps
            else None
        )
        threshold = float((birth.get("threshold") or {}).get("value", 0.5))
        rows = score(
            segmenter, config, dataset, name=name, every_rule=every_rule, on_map=on_map, whole=whole, threshold=threshold,
            processes=processes,
        )  # fmt: skip
        with together(processes):
            if processes.is_main_process:
                _save(rows, out, birth, as_json=as_json, budget=budget)
    return rows


def _save(rows: list[ScoreRow], out: Path, birth: dict[str, Any], *, as_json: bool, budget: str) -> None:
    """Write the rows and show them."""
    for row in rows:
        row.provenance |= {"training": birth} if birth else {}
        row.budget = budget
        path = row.save(out / f"{_stem(row.name, row.dataset, row.split)}.json")
        if as_json:
            print(json.dumps({"name": row.name, "file": str(path), **row.metrics}))
    if not as_json:
        print(table(rows))


def score(
    segmenter: Segmenter,
    config: Experiment,
    dataset: Dataset,
    *,
    name: str,
    every_rule: bool = False,
    on_map: Any = None,
    whole: Dataset | None = None,
    threshold: float = 0.5,
    processes: Processes | None = None,
) -> list[ScoreRow]:
    """Score a segmenter on a data set; one row, or one for each mask rule from the same pass.

    Args:
        segmenter: who answers.
        config: how.
        dataset: what the metrics are about.
        name: of the row.
        every_rule: whether to score each mask rule.
        on_map: takes (rule, id, map).
        whole: `dataset` with defect-free images beside it, which are judged apart; None: there are none beside it.
        threshold: at which clean images are judged and defective ones found.
        processes: those that share the images; None: this one alone.
    """
    whole = whole or dataset
    processes = processes or Processes(0, 1, default_device())
    apart = set(whole.ids) - set(dataset.ids)
    with together(processes):
        if isinstance(segmenter, SavedMaps):
            _check_maps(segmenter, config, dataset)
        told = cache_embeddings(config, segmenter, whole)
        if told and processes.is_main_process:
            print(told, file=sys.stderr)
        evaluator = build_evaluator(
            config, whole, accelerator=processes, on_map=on_map, truth_cache=0, threshold=threshold, apart=apart
        )
    if every_rule and isinstance(segmenter, SamSegmenter | FlippedSegmenter):
        found = evaluator.many(segmenter.predict_all_rules)
        said = {rule: segmenter.describe(rule) for rule in found}
    else:
        found, said = {"": evaluator(segmenter)}, {"": segmenter.describe()}
    rows = [build_row(_label(name, rule), found[rule], said[rule], config, dataset) for rule in found]
    for row in rows:
        row.provenance["seconds_per_image"] *= len(dataset) / len(whole)
        row.provenance |= {"clean_fingerprint": whole.fingerprint()} if apart else {}
    return rows


def _check_maps(segmenter: SavedMaps, config: Experiment, dataset: Dataset) -> None:
    if config.data.salt_pepper:
        raise UserError(
            f"data.salt_pepper: expected 0 for saved maps, got {config.data.salt_pepper}: they were made without this noise; "
            "score maps of noisy images under a name that says so"
        )
    segmenter.check(dataset.ids)


def build_row(
    name: str, evaluation: Evaluation, said: dict[str, Any], config: Experiment, dataset: Dataset
) -> ScoreRow:
    """Put an evaluation and its provenance into a row."""
    noise = f" +{config.data.salt_pepper:.0%} salt-and-pepper" if config.data.salt_pepper else ""
    about = {key: value for key, value in said.items() if key not in ("kind", "prompt", "mask_rule", "oracle")}
    birth = provenance() | about
    birth["data_fingerprint"] = dataset.fingerprint()
    birth["created"] = datetime.now(timezone.utc).isoformat(timespec="seconds")
    birth["seconds_per_image"] = evaluation.seconds / max(1, len(dataset))
    birth["config"] = to_dict(config)
    return ScoreRow(
        name=name, kind=said["kind"], dataset=_dataset_label(config, dataset), split=dataset.split + noise, n_images=len(dataset),
        prompt=said["prompt"], mask_rule=said.get("mask_rule"), oracle=bool(said["oracle"]), protocol=config.metrics.protocol,
        metrics=evaluation.metrics, intervals=evaluation.intervals, per_class=evaluation.per_class, curves=evaluation.curves,
        clean=evaluation.clean, empty_maps=evaluation.empty_maps, provenance=birth, images=evaluation.images,
    )  # fmt: skip


def table(rows: list[ScoreRow]) -> str:
    """Return rows as aligned text."""
    columns = [metric for metric in SHOWN if metric in rows[0].metrics] or list(rows[0].metrics)[:8]
    width = max(len(row.name) for row in rows) + 9
    lines = [f"{rows[0].dataset}, {rows[0].split}, {rows[0].n_images} images, protocol {rows[0].protocol}"]
    lines.append(" " * width + "".join(f"{column:>14s}" for column in columns))
    for row in rows:
        label = row.name + (" (oracle)" if row.oracle else "")
        lines.append(
            f"{label:{width}s}" + "".join(f"{row.metrics.get(column, float('nan')):14.4f}" for column in columns)
        )
        if row.clean:
            lines.append(f"  {_clean_line(row.clean)}")
        if row.empty_maps:
            lines.append(f"  {row.empty_maps} of {row.n_images} maps were empty")
        if row.provenance.get("resized"):
            lines.append(f"  {row.provenance['resized']} of {row.n_images} maps were resized to their image's size")
    return "\n".join(lines)


def _clean_line(clean: dict[str, float]) -> str:
    """Say in one line how clean images fared, and at what price."""
    text = f"{clean['n_images']:.0f} clean images apart, threshold {clean['threshold']:.3f}: {clean['kept_clean']:.0%} kept clean"
    if "defect_recall" in clean:
        text += f", {clean['defect_recall']:.0%} of the defective images found, image AUROC {clean['image_auroc']:.3f}"
    return f"{text}, false-positive area {clean['false_positive_area']:.2%}"


def _with_clean(config: Experiment, segmenter: Segmenter, dataset: Dataset) -> Dataset:
    """Return the split with its defect-free images, where the segmenter can be judged on them.

    A prompt made from the truth asks nothing about a clean image, and published maps seldom cover them.
    """
    if segmenter.describe()["oracle"]:
        return dataset
    whole = with_clean(config.data, dataset)
    if isinstance(segmenter, SavedMaps):
        try:
            segmenter.check(whole.ids)
        except UserError:
            return dataset
    return whole


def _dataset_label(config: Experiment, dataset: Dataset) -> str:
    """Return what rows call a data set; one that was loaded elsewhere bears its own name."""
    same = dataset.name.split(" ")[0] == config.data.name
    return dataset_label(config.data.name, config.data.options) if same else dataset.name


def _segmenter(config: Experiment) -> tuple[Segmenter, Experiment, str, dict[str, Any]]:
    """Return segmenter, the config whose data, frame and prompt are used, a name for the row, and how it was trained."""
    s = config.segmenter
    if s.name == "run":
        run = load_run(s.run or "", tta=s.tta)
        # The data, and how it is scored, may differ from what the run was tuned on; frame and prompt are part of what was learnt.
        run.config.data, run.config.metrics, run.config.cache = config.data, config.metrics, config.cache
        return run.segmenter, run.config, run.config.experiment, run.birth
    segmenter = build_segmenter(config)
    if s.name == "saved_maps":
        return segmenter, config, Path(s.maps or "").name, {}
    if s.name != "sam":
        return segmenter, config, s.name, {}
    return segmenter, config, f"{s.architecture} zero-shot, {config.prompt.kind}", {}


def _label(name: str, rule: str) -> str:
    return f"{name}, {rule}" if rule else name


def _stem(name: str, dataset: str, split: str) -> str:
    """Return a file stem such as ``sd_saliency_900-test-samis_lite_zero-shot_grid_contrast``."""
    return "-".join(re.sub(r"[^\w.+-]+", "_", part).strip("_") for part in (dataset, split, name))


def _map_writer(folder: Path, stem: Callable[[str], str]) -> Callable[[str, str, np.ndarray], None]:
    def write(rule: str, sample_id: str, map_u8: np.ndarray) -> None:
        path = folder / stem(rule) / f"{sample_id}.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        temporary = path.with_name(f".{path.name}.tmp")
        Image.fromarray(map_u8).save(temporary, format="PNG")
        os.replace(temporary, path)

    return write
