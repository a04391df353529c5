"""What samis train and samis baseline do: one training, its best epoch chosen by validation, its provenance."""

from __future__ import annotations

import json
import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from accelerate import Accelerator

from samis.config import Experiment, to_yaml
from samis.core.contracts import Dataset, Evaluation
from samis.core.files import write_atomic
from samis.core.provenance import provenance
from samis.data.calibration import set_aside, without, write_seen
from samis.data.checks.doctor import usual_side
from samis.data.checks.findings import shared_ids
from samis.data.configured import label_of, load_split, load_training, with_clean
from samis.data.pipeline.loading import BatchMaker
from samis.decision.image_search import CHOSEN, ImageSearch
from samis.errors import UserError
from samis.evaluation.evaluator import Evaluator
from samis.evaluation.rows import read_measured
from samis.factory import build_batch_maker, build_learner
from samis.jobs.calibrate import calibrate_at_the_end
from samis.jobs.check import check_data, check_experiment, check_selection, chosen_by_clean
from samis.jobs.fingerprint import write_fingerprint
from samis.jobs.gallery import gallery, gallery_batch
from samis.metrics import CLEAN_NUMBERS, directions_of
from samis.metrics.best_threshold import search_threshold
from samis.reporting.analysis.references import reference_lines
from samis.sam.caching import cache_embeddings
from samis.training.precision import default_device, open_accelerator, resolve_precision
from samis.training.signals import StopRequest
from samis.training.state.run_log import RunLog
from samis.training.sync import collective_guard
from samis.training.trainer import Selection, Trainer
from samis.tta import build_tta


def with_clean_numbers(config: Experiment, evaluation: Evaluation) -> Evaluation:
    """Let a validation's metrics hold the numbers of its clean images, where one of them chooses the best epoch."""
    if config.keep_best in CLEAN_NUMBERS and evaluation.clean:
        evaluation.metrics = {name: evaluation.clean[name] for name in CLEAN_NUMBERS} | evaluation.metrics
    return evaluation


def train(config: Experiment, *, dry_run: bool = False) -> Path:
    """Train what the config names and keep the best epoch by validation; return the run folder.

    Raises:
        ConfigError, UserError: as ``check_experiment``, and what the data, the weights and the run folder are refused for.
    """
    check_experiment(config)
    resolve_precision(config.training.mixed_precision)  # a mistake is reported before anything is built
    learner = build_learner(config)
    if dry_run:
        print(to_yaml(config))
        print(parameter_table(learner))
        return Path()
    accelerator = open_accelerator(config.training.mixed_precision)
    folder = Path(config.training.out or f"checkpoints/runs/{config.experiment}")
    log = RunLog(active=accelerator.is_main_process)
    data = load_data(config, accelerator, log)
    rank, world = accelerator.process_index, accelerator.num_processes
    stop = StopRequest()
    plain = build_batch_maker(config)
    evaluator = Evaluator(
        plain(data.watched, rank=rank, world=world), data.watched.ids, protocol=config.metrics.protocol, names=config.metrics.names,
        device=accelerator.device, stop=stop,
    )  # fmt: skip
    fixed = gallery_batch(plain, data.validation, config.training.gallery) if config.training.gallery else None
    sizes = f"{len(data.training)} training images, {len(data.validation)} for validation"
    log.say(f"{config.experiment}: {sizes}, run folder {folder}")
    log.say(parameter_table(learner))
    batches = build_batch_maker(config, training=True)(data.training, rank=rank, world=world)
    log.say(cache_embeddings(config.cache, learner, plain(data.judged), training=batches))
    trainer = Trainer(
        learner,
        batches,
        lambda trained: with_clean_numbers(config, evaluator(trained.segmenter())),
        selection=_selection(config),
        optim=config.optim,
        training=config.training,
        folder=folder,
        accelerator=accelerator,
        gallery=(lambda trained: gallery(trained.segmenter(), fixed)) if fixed else None,
        config=config,
        stop=stop,
        references=references(config) if accelerator.is_main_process else None,
        data=data.fingerprints,
        log=log,
    )
    best = trainer.fit()
    if accelerator.is_main_process and not (trainer.finished and (folder / "provenance.json").exists()):
        written = provenance() | trainer.record() | {"validation": best.metrics}
        written |= finish(config, learner, data, plain, folder=folder, device=accelerator.device, log=log)
        write_atomic(folder / "provenance.json", json.dumps(written, indent=1) + "\n")
        log.say(f"best validation: {best_line(config, written)}; score it with: samis score {folder}")
        log.say(f"on new photos: samis predict {folder} PHOTOS")
    trainer.end()
    return folder


@dataclass
class TrainingData:
    """The data of one training.

    Attributes:
        training: what is learnt from.
        validation: as the config names it.
        judged: with its defect-free images.
        watched: which of the two the epochs are validated on.
        calibration: what ``data.calibration_share`` sets aside from both, or None.
        fingerprints: of training and validation, by config key; empty but on the main process.
    """

    training: Dataset
    validation: Dataset
    judged: Dataset
    watched: Dataset
    calibration: Dataset | None
    fingerprints: dict[str, str]


def load_data(config: Experiment, accelerator: Accelerator, log: RunLog) -> TrainingData:
    """Load what is trained and validated on; the main process checks it and prints the result.

    Raises:
        UserError: the splits share images, the data has errors, or it cannot be trained on.
    """
    training = load_training(config)
    validation = load_split(config.data, config.data.val)
    whole = with_clean(config.data, validation)
    judged, calibration = set_aside(whole, config.data.calibration_share)
    validation = without(validation, calibration.ids) if calibration else validation
    watched = judged if config.data.clean_share or chosen_by_clean(config) else validation
    fingerprints: dict[str, str] = {}
    with collective_guard(accelerator):
        for finding in shared_ids({config.data.train: training, config.data.val: whole}):  # also with data.check=false
            raise UserError(finding.message, code="E-DATA-SHARED")
        if accelerator.is_main_process:
            checked = check_data(config.data, training, whole) if config.data.check else ""
            check_selection(config, training, watched)
            log.say(checked)
            fingerprints = {"data.train": training.fingerprint(), "data.val": whole.fingerprint()}
    return TrainingData(training, validation, judged, watched, calibration, fingerprints)


def finish(
    config: Experiment,
    learner: Any,
    data: TrainingData,
    plain: BatchMaker,
    *,
    folder: Path,
    device: torch.device,
    log: RunLog,
) -> dict[str, Any]:
    """Recompute statistics and search the threshold with the best epoch's weights; return what provenance says of them."""
    result: dict[str, Any] = {
        "data_fingerprint": data.fingerprints["data.train"],
        "photo_px": usual_side(data.training),
    }
    if (folder / "best").exists():
        learner.load(folder / "best")
        result |= recompute_statistics(config, learner, data.training, data.watched, folder=folder / "best", log=log)
        segmenter = build_tta(learner.eval().segmenter(), config.segmenter.tta)
        images = ImageSearch()
        result["threshold"] = search_threshold(segmenter, plain(data.judged), device=device, also=images.add)
        result[CHOSEN] = images.best(result["threshold"]["value"]) if result["threshold"] else {}
        write_seen(folder, data.training, data.judged)
        write_fingerprint(folder, segmenter, config, data.training, data.judged, device=device)
        if data.calibration is not None:
            log.say(calibrate_at_the_end(segmenter, plain, config, data.calibration, folder=folder, device=device))
    return result


def best_line(config: Experiment, written: dict[str, Any]) -> str:
    """Return the best epoch's numbers in one line, with what the threshold does to clean images."""
    metrics = written["validation"]
    names = dict.fromkeys((config.keep_best, "s_measure", "weighted_f", "mae", "iou"))
    shown = ", ".join(f"{name} {metrics[name]:.4f}" for name in names if name in metrics)
    at = written.get("threshold") or {}
    if "kept_clean" in at:
        shown += (
            f"; at threshold {at['value']:.3f} {at['kept_clean']:.0%} of {at['clean_images']} clean images are kept clean "
            f"and {at['defect_recall']:.0%} of {at['images']} defective ones detected"
        )
    return shown


def recompute_statistics(
    config: Experiment, learner: Any, training: Dataset, validation: Dataset, *, folder: Path, log: RunLog | None = None
) -> dict[str, Any]:
    """Recompute a learner's statistics (batch norm's) on one epoch of training views; keep what validates better.

    Args:
        config: of the run.
        learner: with the best epoch's weights.
        training: the split that is learnt from.
        validation: the split that is compared on.
        folder: of the best weights, which are replaced if the recomputed ones validate better.
        log: where the result is printed; None prints it alone.

    Returns:
        For provenance: ``batch_norm`` with both validations and which was kept; empty for a learner that has no such
        statistics.
    """
    recompute = getattr(learner, "recompute_statistics", None)
    if recompute is None:
        return {}
    evaluator = Evaluator(
        build_batch_maker(config)(validation), validation.ids, protocol=config.metrics.protocol, names=config.metrics.names,
        device=default_device(), alone=True,
    )  # fmt: skip
    learner.eval()
    before = with_clean_numbers(config, evaluator(learner.segmenter())).metrics
    # Views as in training: the weights learnt under their statistics, plain tiles of mostly clean surface have others.
    if not recompute(build_batch_maker(config, training=True)(training)):
        return {}
    after = with_clean_numbers(config, evaluator(learner.eval().segmenter())).metrics
    old, new = before[config.keep_best], after[config.keep_best]
    kept = _selection(config).better(new, old)
    if kept:
        save_over(learner, folder)
    learner.load(folder)
    (log or RunLog()).say(
        f"batch norm recomputed on the training images: validation {config.keep_best} {old:.4f} -> {new:.4f}; "
        f"{'kept' if kept else 'the running statistics are kept'}"
    )
    record = {"recomputed": kept, "validation_before": before, "validation_after": after}
    return {"batch_norm": record, **({"validation": after} if kept else {})}


def save_over(learner: Any, folder: Path) -> None:
    """Save a learner over the files in a folder, each replaced in one step."""
    with tempfile.TemporaryDirectory(dir=folder.parent, prefix=".saving-") as place:
        learner.save(Path(place))
        for path in sorted(Path(place).iterdir()):
            path.replace(folder / path.name)


def references(config: Experiment) -> dict[str, dict[str, float]]:
    """Return the rows to draw next to the validation: of the validation split if it was scored, else of the test split."""
    place = config.training.reference_rows
    if place is None or not Path(place).is_dir():
        return {}
    try:
        rows = read_measured([place]).values()
    except ValueError as error:  # a training does not fail over a line in a chart
        print(f"no reference lines in TensorBoard: {error}")
        return {}
    splits, protocol = (config.data.val, config.data.test), config.metrics.protocol
    label = label_of(config.data)
    return reference_lines(rows, dataset=label, splits=splits, protocol=protocol, metric=config.keep_best)


def parameter_table(learner: torch.nn.Module) -> str:
    """Return what is trained, of what, by top-level module."""
    counts: dict[str, list[int]] = {}
    for name, parameter in learner.named_parameters():
        parts = ("image_encoder", "vision_encoder", "prompt_encoder", "mask_decoder")
        words = [word for word in name.split(".") if word in parts]
        key = words[0] if words else "network"
        pair = counts.setdefault(key, [0, 0])
        pair[0] += parameter.numel() if parameter.requires_grad else 0
        pair[1] += parameter.numel()
    counts["all"] = [sum(pair[i] for pair in counts.values()) for i in (0, 1)]
    lines = [f"{'module':16s} {'trained':>12s} {'of':>12s} {'share':>8s}"]
    lines += [f"{key:16s} {mine:12,d} {all_:12,d} {mine / max(1, all_):8.2%}" for key, (mine, all_) in counts.items()]
    return "\n".join(lines)


def _selection(config: Experiment) -> Selection:
    """Return how the best epoch is chosen; of a number without a direction, more is better."""
    return Selection(config.keep_best, directions_of([config.keep_best]).get(config.keep_best, 1) > 0)
