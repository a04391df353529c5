"""What samis score does: one segmenter, one split, rows and maps on disk, a table on the terminal."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from datetime import datetime, timezone
from pathlib import Path
from typing import Any

import numpy as np

from samis.baselines.saved_maps import SavedMaps
from samis.config import Experiment, MetricsConfig, to_dict
from samis.core.contracts import Dataset
from samis.core.provenance import provenance
from samis.data.configured import load_split, row_label, row_split, with_clean
from samis.data.pipeline.loading import BatchMaker
from samis.decision.image_search import chosen_image_threshold
from samis.evaluation.cost import IMAGES, measure
from samis.evaluation.evaluator import Evaluator
from samis.evaluation.row_files import RowNames, identity, map_writer, refuse_existing
from samis.evaluation.score_row import ScoreRow
from samis.factory import build_batch_maker, build_segmenter
from samis.jobs.calibrate import stated_calibration
from samis.jobs.load import Run, open_run
from samis.metrics import FEW_LEVELS
from samis.reporting.render.terminal import table
from samis.sam.caching import cache_embeddings
from samis.training.processes import Processes, open_processes, report_dead_process
from samis.training.sync import collective_guard


@dataclass
class Scoring:
    """What one scoring needs; a job builds it once.

    Attributes:
        segmenter: what predicts (``samis.core.contracts.Segmenter``); with `every_rule`, also ``predict_all_rules``.
        make_batches: turns data sets into batches, in the segmenter's frame and with its prompt.
        dataset: the images that the metrics are about.
        whole: `dataset` with defect-free images, which are judged apart; `dataset` itself where there are none.
        names: of the rows.
        metrics: which metrics, and how.
        config: the experiment as plain values, for the rows.
        every_rule: whether to score each mask rule, from the same pass.
        threshold: map value at which clean images are judged and defective ones detected.
        image_threshold: score above which an image is called defective; None follows from `threshold`.
        on_map: called with (rule, id, (H, W) uint8 map), or None.
        cost: of one image, for the rows.
        budget: of the training, for the rows.
        training: provenance of the training, for the rows; empty for what is not trained.
    """

    segmenter: Any
    make_batches: BatchMaker
    dataset: Dataset
    whole: Dataset
    names: RowNames
    metrics: MetricsConfig
    config: dict[str, Any]
    every_rule: bool = False
    threshold: float = 0.5
    image_threshold: float | None = None
    on_map: Callable[[str, str, np.ndarray], None] | None = None
    cost: dict[str, Any] = field(default_factory=dict)
    budget: str = ""
    training: dict[str, Any] = field(default_factory=dict)


def score_and_save(
    config: Experiment,
    *,
    split: str | None,
    out: Path,
    name: str | None,
    maps: Path | None = None,
    budget: str = "",
    overwrite: bool = False,
) -> dict[Path, ScoreRow]:
    """Score what the config names, write ``out/<row>.json``; return file -> row (on the main process, if several share the images).

    A run that was trained with several prompts (``prompt.mix``) is scored with each of them.

    Args:
        config: the experiment; for a run, its own config with ``segmenter.name=run``.
        split: the split; None takes ``data.test``.
        out: folder of the rows.
        name: of the row; None makes one.
        maps: folder for 8-bit maps, or None.
        budget: one of ``samis.evaluation.score_row.BUDGETS``, for the rows.
        overwrite: replace a row, or maps, of the same name.

    Raises:
        UserError: there is such a row or folder of maps already; or as ``score``.
    """
    processes = open_processes()
    saved: dict[Path, ScoreRow] = {}
    with report_dead_process(processes):
        with collective_guard(processes):
            runs = open_run(config).by_prompt()
        for run in runs:
            own = name if run.own_prompt or not name else f"{name}, {run.config.prompt.kind} prompt"
            saved |= _score_run(run, config, processes, split, out, own, maps, budget, overwrite)
    return saved


def _score_run(
    run: Run, config: Experiment, processes: Processes, split: str | None, out: Path, name: str | None, maps: Path | None,
    budget: str, overwrite: bool,
) -> dict[Path, ScoreRow]:  # fmt: skip
    """Score a run with one prompt, as ``score_and_save`` does."""
    with collective_guard(processes):
        training = {**run.provenance, **stated_calibration(run.folder)} if run.provenance else {}
        make_batches = build_batch_maker(run.config)
        dataset = load_split(config.data, split or config.data.test)  # before the weights: most mistakes are here
        label, of_split = row_label(config.data, dataset), row_split(config.data, dataset)
        segmenter = build_segmenter(run.config, best=run.best)
        if isinstance(segmenter, SavedMaps):
            segmenter.check(dataset.ids)  # which also says whether several folders are one set or several methods
        about, written = {**segmenter.describe(), "data_fingerprint": dataset.fingerprint()}, to_dict(run.config)
        names = RowNames.build(name or run.name or about["name"], label, of_split, config.metrics.protocol, about)
        if not overwrite:
            refuse_existing(names, run.rules, out, maps, identity(about, written))
        on_map, cost = map_writer(maps, names), {}
        if processes.is_main_process:  # before embeddings are cached, which would hide the encoder
            few = make_batches(dataset, batch_size=1, limit=IMAGES)
            cost = measure(segmenter, few, device=processes.device, latency=config.metrics.latency)
        image_threshold = chosen_image_threshold(run.provenance if run.own_prompt else {}, config.metrics.image_rule)
        # A prompt made from the truth is empty on a clean image, and published maps seldom cover them.
        whole = dataset if about["oracle"] else with_clean(config.data, dataset)
        if isinstance(segmenter, SavedMaps) and not segmenter.covers(whole.ids):
            whole = dataset
        processes.note(cache_embeddings(config.cache, segmenter, make_batches(whole)))
    scoring = Scoring(
        segmenter, make_batches, dataset, whole, names, config.metrics, written, every_rule=len(run.rules) > 1,
        threshold=run.threshold, image_threshold=image_threshold, on_map=on_map, cost=cost, budget=budget,
        training=training,
    )  # fmt: skip
    rows = score(scoring, processes)
    with collective_guard(processes):
        saved = rows if processes.is_main_process else []
        return {row.save(out / f"{replace(names, name=row.name).stem()}.json"): row for row in saved}


def score(scoring: Scoring, processes: Processes) -> list[ScoreRow]:
    """Score a segmenter on a data set; one row, or one for each mask rule from the same pass.

    Args:
        scoring: the segmenter, the data set and how.
        processes: those that share the images.

    Raises:
        UserError: as ``samis.evaluation.evaluator.Evaluator.many``.
    """
    segmenter, dataset, whole, names = scoring.segmenter, scoring.dataset, scoring.whole, scoring.names
    metrics, apart = scoring.metrics, set(whole.ids) - set(dataset.ids)
    with collective_guard(processes):
        batches = scoring.make_batches(whole, rank=processes.process_index, world=processes.num_processes)
        evaluator = Evaluator(
            batches, whole.ids, protocol=metrics.protocol, names=metrics.names, bootstrap=metrics.bootstrap,
            device=processes.device, on_map=scoring.on_map, truth_cache=0, threshold=scoring.threshold, apart=apart,
            progress=processes.is_main_process, image_rule=metrics.image_rule, image_threshold=scoring.image_threshold,
        )  # fmt: skip
    every = segmenter.predict_all_rules if scoring.every_rule else lambda batch: {"": segmenter.predict(batch)}
    rows = []
    for rule, evaluation in evaluator.many(every).items():
        about = segmenter.describe(rule) if rule else segmenter.describe()
        kind, prompt, oracle, mask_rule = (about.pop(key, None) for key in ("kind", "prompt", "oracle", "mask_rule"))
        made = provenance() | about
        made["data_fingerprint"] = dataset.fingerprint()
        made["created"] = datetime.now(timezone.utc).isoformat(timespec="seconds")
        made["seconds_per_image"] = evaluation.seconds / max(1, len(whole))
        made |= {"config": scoring.config, **({"clean_fingerprint": whole.fingerprint()} if apart else {})}
        made |= {"training": scoring.training} if scoring.training else {}
        rows.append(ScoreRow(
            name=names.of(rule), kind=kind, dataset=names.dataset, split=names.split, n_images=len(dataset), prompt=prompt,
            mask_rule=mask_rule, oracle=bool(oracle), protocol=names.protocol, budget=scoring.budget,
            cost=scoring.cost, provenance=made,
            **evaluation.of_row(),
        ))  # fmt: skip
        if evaluation.few_levels and names.protocol != "inspection":
            processes.note(
                f"warning: {evaluation.few_levels} of {len(dataset)} maps{f' of {rule}' if rule else ''} span fewer than "
                f"{FEW_LEVELS} of 256 levels: stretching makes coarse steps of them; metrics.protocol=inspection does not "
                "stretch"
            )
    return rows


def show(rows: Mapping[Path, ScoreRow], maps: Path | None, *, as_json: bool = False) -> None:
    """Print what was scored, and where it is.

    Args:
        rows: file -> row; nothing is printed without one.
        maps: folder of the maps, or None.
        as_json: print one JSON line a row in place of the table.
    """
    if not rows:
        return
    if as_json:
        for path, row in rows.items():
            print(json.dumps({"name": row.name, "file": str(path), **row.metrics}))
    else:
        print(table(list(rows.values())))
    first = next(iter(rows))
    places = [str(first) if len(rows) == 1 else f"{first.parent}/ ({len(rows)} rows)"]
    if maps:
        places.append(f"maps: {maps / first.stem if len(rows) == 1 else maps}/")
    print(f"written: {'; '.join(places)}", file=sys.stderr if as_json else sys.stdout)
    if not as_json:
        print(f"compare it with other rows: samis compare {first.parent}")
