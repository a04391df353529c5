"""What samis score does: one segmenter, one split, rows and maps on disk, a table on the terminal."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable
from dataclasses import replace
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
from samis.data.configured import load_split, row_label, row_split, with_clean
from samis.decision.image_search import chosen_image_threshold
from samis.decision.verdicts import DIRECTIONS as VERDICT_DIRECTIONS
from samis.errors import UserError
from samis.evaluation.evaluator import Evaluator
from samis.evaluation.row_files import RowNames, identity, refuse_existing
from samis.evaluation.score_row import ScoreRow
from samis.factory import build_batch_maker
from samis.jobs.cost import measure_cost
from samis.jobs.load import Run, build_run
from samis.metrics import FEW_LEVELS, directions_of
from samis.reporting.render.terminal import table
from samis.sam.caching import cache_embeddings
from samis.sam.merge import MASK_RULES, SINGLE
from samis.sam.segmenter import SamSegmenter
from samis.training.agree import together
from samis.training.precision import default_device
from samis.training.processes import Processes, open_processes, watching
from samis.tta import FLIPS, FlippedSegmenter


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
            dataset = load_split(config.data, split or config.data.test)  # first: most mistakes are about the data
            label, split = row_label(config.data, dataset), row_split(config.data, dataset)
            fingerprint = dataset.fingerprint()
            run = build_run(config)
            segmenter, config = run.segmenter, run.config
            if isinstance(segmenter, SavedMaps):
                segmenter.check(dataset.ids)  # which also says whether several folders are one set or several methods
            names = RowNames(_named(run, name), label, split, config.metrics.protocol)
            on_map = _map_writer(maps, names) if maps else None
            every_rule = config.segmenter.name == "sam" and config.segmenter.mask_rule == "all"
            about = {**segmenter.describe(), "data_fingerprint": fingerprint}
            if not overwrite:
                rules = [SINGLE, *MASK_RULES] if every_rule else [""]
                refuse_existing(names, rules, out, maps, identity(about, to_dict(config)))
            # A prompt made from the truth asks nothing about a clean image, and published maps seldom cover them.
            whole = dataset if about["oracle"] else with_clean(config.data, dataset)
            if isinstance(segmenter, SavedMaps) and not segmenter.covers(whole.ids):
                whole = dataset
        rows = score(
            segmenter, config, dataset, name=names.name, every_rule=every_rule, whole=whole, processes=processes, on_map=on_map,
            threshold=float((run.birth.get("threshold") or {}).get("value", 0.5)),
            image_threshold=chosen_image_threshold(run.birth, config.metrics.image_rule),
        )  # fmt: skip
        with together(processes):
            if processes.is_main_process:
                for row in rows:
                    row.provenance |= {"training": run.birth} if run.birth else {}
                    row.budget = budget
                paths = [row.save(out / f"{replace(names, name=row.name).stem()}.json") for row in rows]
                _show(rows, paths, maps, as_json=as_json)
    return rows


def _named(run: Run, name: str | None) -> str:
    """Return what the rows are called; with mirrored copies, neither the row nor its file is that of the same without."""
    name = name or run.name
    return f"{name}, flips" if "tta" in run.segmenter.describe() and "flip" not in name else name


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
    if not as_json:
        print(f"compare it with other rows: samis compare {paths[0].parent}")


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
    image_threshold: float | None = None,
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
        image_threshold: at which images get their verdict; None follows from `threshold`.
        processes: those that share the images; None: this one alone.
    """
    whole = whole or dataset
    processes = processes or Processes(0, 1, default_device())
    apart = set(whole.ids) - set(dataset.ids)
    cost: dict[str, Any] = {}
    with together(processes):
        make_batches = build_batch_maker(config)
        if isinstance(segmenter, SavedMaps):
            if config.data.salt_pepper:
                raise UserError(
                    f"data.salt_pepper: expected 0 for saved maps, got {config.data.salt_pepper}: they were made without this "
                    "noise; score maps of noisy images under a name that says so"
                )
            segmenter.check(dataset.ids)
        if processes.is_main_process:  # before embeddings are cached, which would hide the encoder
            cost = measure_cost(segmenter, make_batches, dataset, latency=config.metrics.latency)
        inner, passes = (segmenter.inner, len(FLIPS)) if isinstance(segmenter, FlippedSegmenter) else (segmenter, 1)
        told = cache_embeddings(config.cache, inner, whole, make_batches.framing, passes=passes)
        if told and processes.is_main_process:
            print(told, file=sys.stderr)
        batches = make_batches(whole, rank=processes.process_index, world=processes.num_processes)
        evaluator = Evaluator(
            batches, whole.ids, protocol=config.metrics.protocol, names=config.metrics.names, bootstrap=config.metrics.bootstrap,
            device=processes.device, on_map=on_map, truth_cache=0, threshold=threshold, apart=apart,
            progress=processes.is_main_process, image_rule=config.metrics.image_rule, image_threshold=image_threshold,
        )  # fmt: skip
    if every_rule and isinstance(segmenter, SamSegmenter | FlippedSegmenter):
        found = evaluator.many(segmenter.predict_all_rules)
        said = {rule: segmenter.describe(rule) for rule in found}
    else:
        found, said = {"": evaluator(segmenter)}, {"": segmenter.describe()}
    few = {rule: each.few_levels for rule, each in found.items() if each.few_levels}
    if few and config.metrics.protocol != "inspection" and processes.is_main_process:
        rule, count = next(iter(few.items()))
        print(
            f"warning: {count} of {len(dataset)} maps{f' of {rule}' if rule else ''} span fewer than {FEW_LEVELS} of 256 levels: "
            "stretching makes coarse steps of them; metrics.protocol=inspection does not stretch",
            file=sys.stderr,
        )
    rows = [build_row(f"{name}, {rule}" if rule else name, found[rule], said[rule], config, dataset) for rule in found]
    for row in rows:
        row.cost = cost
        row.provenance["seconds_per_image"] *= len(dataset) / len(whole)
        row.provenance |= {"clean_fingerprint": whole.fingerprint()} if apart else {}
    return rows


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
        name=name, kind=said["kind"], dataset=row_label(config.data, dataset), split=row_split(config.data, dataset),
        n_images=len(dataset),
        prompt=said["prompt"], mask_rule=said.get("mask_rule"), oracle=bool(said["oracle"]), protocol=config.metrics.protocol,
        metrics=evaluation.metrics,
        directions=directions_of([*evaluation.metrics, *(evaluation.clean or {})])
        | {key: sign for key, sign in VERDICT_DIRECTIONS.items() if key in evaluation.verdicts},
        intervals=evaluation.intervals, per_class=evaluation.per_class, curves=evaluation.curves,
        clean=evaluation.clean, verdicts=evaluation.verdicts, empty_maps=evaluation.empty_maps,
        full_maps=evaluation.full_maps, flat_on_defects=evaluation.flat_on_defects, provenance=birth, images=evaluation.images,
    )  # fmt: skip


def _map_writer(folder: Path, names: RowNames) -> Callable[[str, str, np.ndarray], None]:
    def write(rule: str, sample_id: str, map_u8: np.ndarray) -> None:
        path = folder / names.stem(rule) / f"{sample_id}.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        with replacing(path, durable=False) as temporary:
            Image.fromarray(map_u8).save(temporary, format="PNG")

    return write
