"""What evaluate/score.py does: one segmenter, one split, rows and maps on disk, a table on the terminal."""

from __future__ import annotations

import json
import re
import sys
from collections.abc import Callable
from datetime import datetime, timezone
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from samis.baselines.saved_maps import SavedMaps
from samis.config import Experiment, to_dict
from samis.core.contracts import Dataset, Evaluation, Segmenter
from samis.core.files import replacing
from samis.core.provenance import provenance
from samis.data.configured import label_of, load_split, with_clean
from samis.errors import UserError
from samis.evaluation.evaluator import Evaluator
from samis.evaluation.score_row import ScoreRow, read_row
from samis.factory import build_batch_maker, build_segmenter, load_run
from samis.jobs.cost import measure_cost
from samis.metrics import directions_of
from samis.reporting.render.terminal import table
from samis.sam.caching import cache_embeddings
from samis.sam.merge import MASK_RULES, SINGLE
from samis.sam.segmenter import SamSegmenter
from samis.training.agree import together
from samis.training.precision import default_device
from samis.training.processes import Processes, open_processes, watching
from samis.tta import FLIPS, FlippedSegmenter

PROTOCOL = "pysod"
"""The protocol that file names do not mention."""


def score_and_save(
    config: Experiment,
    *,
    split: str | None,
    out: Path,
    name: str | None,
    maps: Path | None = None,
    as_json: bool = False,
    budget: str = "",
    overwrite: bool = False,
) -> list[ScoreRow]:
    """Score what the config names and write ``out/<row>.json``; return the rows.

    Several processes (``accelerate launch``) share the images; the main one alone writes rows and speaks.

    Args:
        config: the experiment; for a run, its own config with ``segmenter.name=run``.
        split: the split; None takes ``data.test``.
        out: folder of the rows. name: of the row; None makes one.
        maps: folder for 8-bit maps, or None.
        as_json: print JSON lines instead of a table. budget: one of ``samis.evaluation.score_row.BUDGETS``, for the rows.
        overwrite: replace a row, or maps, of the same name.

    Raises:
        UserError: there is such a row or folder of maps already; or as ``score``.
    """
    processes = open_processes()
    with watching(processes):
        with together(processes):
            dataset = load_split(
                config.data, split or config.data.test
            )  # first, since most mistakes are about the data
            segmenter, config, made, birth = _segmenter(config, dataset)
            whole = _with_clean(config, segmenter, dataset)
            name = name or made
            if "tta" in segmenter.describe() and "flip" not in name:
                name += ", flips"  # not the row, nor the file, of the same without
            every_rule = config.segmenter.name == "sam" and config.segmenter.mask_rule == "all"

            def stem(rule: str) -> str:
                return row_stem(_label(name, rule), _dataset_label(config, dataset), _split(config, dataset), config)

            if not overwrite:
                stems = [stem(rule) for rule in ([SINGLE, *MASK_RULES] if every_rule else [""])]
                _refuse_existing(stems, out, maps, identity(segmenter.describe(), config, dataset))
        on_map = _map_writer(maps, stem) if maps else None
        threshold = float((birth.get("threshold") or {}).get("value", 0.5))
        rows = score(
            segmenter, config, dataset, name=name, every_rule=every_rule, on_map=on_map, whole=whole, threshold=threshold,
            processes=processes,
        )  # fmt: skip
        with together(processes):
            if processes.is_main_process:
                for row in rows:
                    row.provenance |= {"training": birth} if birth else {}
                    row.budget = budget
                paths = [row.save(out / f"{row_stem(row.name, row.dataset, row.split, config)}.json") for row in rows]
                _show(rows, paths, maps, as_json=as_json)
    return rows


def _show(rows: list[ScoreRow], paths: list[Path], maps: Path | None, *, as_json: bool) -> None:
    """Print what was scored, and where it is."""
    if as_json:
        for row, path in zip(rows, paths, strict=True):
            print(json.dumps({"name": row.name, "file": str(path), **row.metrics}))
    else:
        print(table(rows))
    places = [str(path) for path in paths] if len(paths) == 1 else [f"{paths[0].parent}/ ({len(paths)} rows)"]
    if maps:
        places.append(f"maps: {maps / paths[0].stem if len(paths) == 1 else maps}/")
    print(f"written: {'; '.join(places)}", file=sys.stderr if as_json else sys.stdout)


def identity(said: dict[str, Any], config: Experiment, dataset: Dataset) -> dict[str, Any]:
    """Return what makes two rows of one name the same row: the data, how it is put into the frame, and the weights."""
    birth = {**said, "data_fingerprint": dataset.fingerprint()}
    return _identity(birth, to_dict(config))


def _identity(birth: dict[str, Any], config: dict[str, Any]) -> dict[str, Any]:
    frame = config.get("frame") or {}
    return {
        "data fingerprint": birth.get("data_fingerprint"), "sha256 of the weights": birth.get("weights_sha256"),
        "frame.frame_px": frame.get("frame_px"), "frame.tile_px": frame.get("tile_px"), "frame.overlap": frame.get("overlap"),
        "segmenter.tta": birth.get("tta", "none"),
    }  # fmt: skip


def _refuse_existing(stems: list[str], out: Path, maps: Path | None, mine: dict[str, Any]) -> None:
    """Refuse to replace rows and maps that nobody asked to replace.

    Raises:
        UserError: says whether what is there is of the same scoring, or what differs.
    """
    advice = "pass --overwrite to replace it, or another --name or --out; data.label names another data set"
    for stem in stems:
        path = out / f"{stem}.json"
        if path.exists():
            try:
                row = read_row(path)
                theirs = _identity(row.provenance, row.provenance.get("config") or {})
            except (ValueError, AttributeError):
                raise UserError(f"{path}: expected no file of this name, found one that is no row; {advice}") from None
            other = [f"{key} is {theirs[key]} there, {mine[key]} here" for key in mine if mine[key] != theirs[key]]
            found = f"another row, {', '.join(other)}" if other else "the row of this very scoring"
            raise UserError(f"{path}: expected no row of this name, found {found}; {advice}")
        if maps and any((maps / stem).rglob("*.png")):
            raise UserError(
                f"{maps / stem}: expected no maps, found some; pass --overwrite, or another --name or --save-maps"
            )


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
        # before embeddings are cached, which would hide the encoder
        make_batches = build_batch_maker(config)
        latency = config.metrics.latency
        cost = measure_cost(segmenter, make_batches, dataset, latency=latency) if processes.is_main_process else {}
        inner, passes = (segmenter.inner, len(FLIPS)) if isinstance(segmenter, FlippedSegmenter) else (segmenter, 1)
        told = cache_embeddings(config.cache, inner, whole, make_batches.framing, passes=passes)
        if told and processes.is_main_process:
            print(told, file=sys.stderr)
        batches = make_batches(whole, rank=processes.process_index, world=processes.num_processes)
        evaluator = Evaluator(
            batches, whole.ids, protocol=config.metrics.protocol, names=config.metrics.names, bootstrap=config.metrics.bootstrap,
            device=processes.device, on_map=on_map, truth_cache=0, threshold=threshold, apart=apart,
        )  # fmt: skip
    if every_rule and isinstance(segmenter, SamSegmenter | FlippedSegmenter):
        found = evaluator.many(segmenter.predict_all_rules)
        said = {rule: segmenter.describe(rule) for rule in found}
    else:
        found, said = {"": evaluator(segmenter)}, {"": segmenter.describe()}
    rows = [build_row(_label(name, rule), found[rule], said[rule], config, dataset) for rule in found]
    for row in rows:
        row.cost = cost
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
    about = {key: value for key, value in said.items() if key not in ("kind", "prompt", "mask_rule", "oracle")}
    birth = provenance() | about
    birth["data_fingerprint"] = dataset.fingerprint()
    birth["created"] = datetime.now(timezone.utc).isoformat(timespec="seconds")
    birth["seconds_per_image"] = evaluation.seconds / max(1, len(dataset))
    birth["config"] = to_dict(config)
    return ScoreRow(
        name=name, kind=said["kind"], dataset=_dataset_label(config, dataset), split=_split(config, dataset), n_images=len(dataset),
        prompt=said["prompt"], mask_rule=said.get("mask_rule"), oracle=bool(said["oracle"]), protocol=config.metrics.protocol,
        metrics=evaluation.metrics, directions=directions_of([*evaluation.metrics, *(evaluation.clean or {})]),
        intervals=evaluation.intervals, per_class=evaluation.per_class, curves=evaluation.curves,
        clean=evaluation.clean, empty_maps=evaluation.empty_maps,
        full_maps=evaluation.full_maps, provenance=birth, images=evaluation.images,
    )  # fmt: skip


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
    return label_of(config.data) if same or config.data.label else dataset.name


def _split(config: Experiment, dataset: Dataset) -> str:
    """Return what rows call a split, with the noise added to its images."""
    noise = f" +{100 * config.data.salt_pepper:g}% salt-and-pepper" if config.data.salt_pepper else ""
    return dataset.split + noise


def _segmenter(config: Experiment, dataset: Dataset) -> tuple[Segmenter, Experiment, str, dict[str, Any]]:
    """Return segmenter, the config whose data, frame and prompt are used, a name for the row, and how it was trained."""
    s = config.segmenter
    if s.name == "run":
        run = load_run(s.run or "", tta=s.tta)
        # The data, and how it is scored, may differ from what the run was tuned on; frame and prompt are part of what was learnt.
        run.config.data, run.config.metrics, run.config.cache = config.data, config.metrics, config.cache
        return run.segmenter, run.config, run.config.experiment, run.birth
    segmenter = build_segmenter(config)
    if isinstance(segmenter, SavedMaps):
        segmenter.check(dataset.ids)  # which also tells whether several folders are one set or several methods
        return segmenter, config, segmenter.name, {}
    if s.name != "sam":
        return segmenter, config, s.name + _framed(config), {}
    weights = ", random weights" if s.weights == "random" else ""
    return segmenter, config, f"{s.architecture} zero-shot, {config.prompt.kind}{weights}{_framed(config)}", {}


def _framed(config: Experiment) -> str:
    """Return how images enter the frame, for a name, where that is not the usual way."""
    frame = config.frame
    text = f", frame {frame.frame_px} px" if frame.frame_px else ""
    return f"{text}, tiles {frame.tile_px} px" if frame.tile_px else text


def _label(name: str, rule: str) -> str:
    return f"{name}, {rule}" if rule else name


def row_stem(name: str, dataset: str, split: str, config: Experiment) -> str:
    """Return a file stem such as ``sd_saliency_900-test-samis_lite_zero-shot_grid_contrast``, or ``...-published``.

    Args:
        name, dataset, split: of the row. config: whose protocol is added if it is not the usual one.
    """
    protocol = [] if config.metrics.protocol == PROTOCOL else [config.metrics.protocol]
    parts = (re.sub(r"[^\w.+-]+", "_", part).strip("_") for part in (dataset, split, name, *protocol))
    return "-".join(parts).lstrip(".-_")  # a hidden file would be passed over


def _map_writer(folder: Path, stem: Callable[[str], str]) -> Callable[[str, str, np.ndarray], None]:
    def write(rule: str, sample_id: str, map_u8: np.ndarray) -> None:
        path = folder / stem(rule) / f"{sample_id}.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        with replacing(path, durable=False) as temporary:
            Image.fromarray(map_u8).save(temporary, format="PNG")

    return write
