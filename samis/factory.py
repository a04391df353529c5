"""Config -> objects; the only file that knows every room."""

from __future__ import annotations

import contextlib
import dataclasses
import json
import sys
import tempfile
from pathlib import Path
from typing import Any

import numpy as np
import torch
from accelerate import Accelerator

from samis.adapters import apply_adapter
from samis.baselines import BASELINES, build_baseline
from samis.baselines.learner import BaselineLearner
from samis.baselines.references import REFERENCES, BoxReference
from samis.baselines.saved_maps import SavedMaps
from samis.config import ConfigError, DataConfig, Experiment, check, load_config, near_name, to_yaml
from samis.core.contracts import Batch, Dataset, Evaluation, Segmenter
from samis.core.geometry import Framing
from samis.core.losses import PARTS
from samis.core.provenance import file_sha256, provenance
from samis.core.shipped import find_run
from samis.data import check_options, check_split_names, dataset_label, has_clean_lists, load_dataset, loader_options
from samis.data.base import CLEAN, subset
from samis.data.checks.doctor import quick_check, usual_side
from samis.data.checks.findings import equal_splits, shared_ids
from samis.data.checks.kinds import has_clean, has_defect
from samis.data.pipeline.augment import build_augment
from samis.data.pipeline.loading import EpochLoader, build_loader
from samis.errors import UserError
from samis.evaluation.evaluator import Evaluator, higher_is_better
from samis.evaluation.score_row import read_rows, write_atomic
from samis.metrics import CLEAN_NUMBERS, find_metrics, numbers_on
from samis.metrics.best_threshold import search_threshold
from samis.prompts import build_prompter
from samis.reporting.analysis.references import reference_lines
from samis.reporting.render.gallery import gallery_picture
from samis.sam.architectures import ARCHITECTURES, check_architecture
from samis.sam.candidates import Everything
from samis.sam.embeddings import EmbeddingCache, learns, open_cache
from samis.sam.encoder_options import checkpoint_blocks, compile_encoder
from samis.sam.segmenter import SamSegmenter
from samis.sam.tuning import SamTuning
from samis.sam.weights import find_weights, load_sam
from samis.training.agree import together
from samis.training.precision import device_type, open_accelerator, resolve_precision
from samis.training.processes import Processes
from samis.training.signals import StopRequest
from samis.training.trainer import Selection, Trainer
from samis.tta import FLIPS, FlippedSegmenter, build_tta


def load_split(config: DataConfig, split: str, *, clean: bool = False) -> Dataset:
    """Load one split.

    Args:
        config: which data set.
        split: its name.
        clean: whether to add the split's defect-free images, where the data set keeps them apart.
    """
    options = loader_options(config.name, config.options)
    if clean and has_clean_lists(config.name) and not split.startswith(CLEAN):
        options["clean"] = True
    return load_dataset(config.name, root=config.root, split=split, **options)


def load_training(config: Experiment) -> Dataset:
    """Load the training split, with defect-free images for ``data.clean_share``; with ``data.limit``, some of its images.

    Those are drawn by seed and spread over the classes; with a clean share they are so many defective ones.
    """
    share, limit = config.data.clean_share, config.data.limit
    dataset = load_split(config.data, config.data.train, clean=share > 0)
    return subset(dataset, limit, seed=config.seed, besides=CLEAN if share else None) if limit else dataset


def with_clean(config: DataConfig, dataset: Dataset) -> Dataset:
    """Return a split together with its defect-free images, or itself where it has them already or there are none."""
    if not has_clean_lists(config.name):
        return dataset
    try:
        whole = load_split(config, dataset.split, clean=True)
    except UserError as error:
        print(f"defect-free images are left out: {error}", file=sys.stderr)
        return dataset
    return whole if len(whole) > len(dataset) else dataset


def build_framing(config: Experiment) -> Framing:
    """Return the framing; 0 for ``frame.frame_px`` means the architecture's own side."""
    f = config.frame
    check_architecture(config.segmenter.architecture, key="segmenter.architecture")
    try:
        return Framing(f.frame_px or ARCHITECTURES[config.segmenter.architecture].frame_px, f.tile_px, f.overlap)
    except ValueError as error:
        raise UserError(f"frame.{error}") from error


def build_batches(
    config: Experiment,
    dataset: Dataset,
    *,
    training: bool = False,
    rank: int = 0,
    world: int = 1,
    batch_size: int | None = None,
) -> EpochLoader:
    """Build one process's share of a data set's batches: augmented and shuffled for training, plain and in order else.

    ``batch_size`` None takes the config's, of training or of metrics.
    """
    augment = build_augment(config.data.augment) if training else None
    if config.data.salt_pepper and not training:
        augment = build_augment({"salt_pepper": config.data.salt_pepper})
    return build_loader(
        dataset,
        build_framing(config),
        build_prompter(config.prompt),
        batch_size=batch_size or (config.training.batch_size if training else config.metrics.batch_size),
        shuffle=training,
        augment=augment,
        workers=config.training.workers,
        prefetch=config.training.prefetch,
        seed=config.seed,
        training=training,
        rank=rank,
        world=world,
        clean_share=config.data.clean_share if training else 0.0,
    )


def build_evaluator(
    config: Experiment, dataset: Dataset, *, accelerator: Accelerator | Processes | None = None, **options: Any
) -> Evaluator:
    """Build the evaluator of one data set, or of this process's share of it."""
    rank, world = (accelerator.process_index, accelerator.num_processes) if accelerator else (0, 1)
    m = config.metrics
    return Evaluator(
        build_batches(config, dataset, rank=rank, world=world),
        dataset.ids,
        protocol=m.protocol,
        names=m.names,
        device=accelerator.device if accelerator else default_device(),
        **{"bootstrap": m.bootstrap, **options},
    )


def cache_embeddings(config: Experiment, user: Any, scored: Dataset, *, training: EpochLoader | None = None) -> str:
    """Let a SAM encode each view only once, where its encoder is frozen; return a line about it, "" where it is not.

    Args:
        config: ``cache`` says whether and where.
        user: a learner or a segmenter; only SAM's is changed.
        scored: what it scores. training: its training batches, if it trains.

    Raises:
        UserError: as ``samis.sam.embeddings.open_cache``; or ``always``, but training never shows a view twice.
    """
    passes = 1
    if isinstance(user, FlippedSegmenter):
        user, passes = user.inner, len(FLIPS)
    if not isinstance(user, SamTuning | SamSegmenter):
        return ""
    sam = user.adapted.sam if isinstance(user, SamTuning) else user.sam
    views = (
        passes * len(scored) * (len(build_framing(config).placements(scored[0].image.shape[:2])) if len(scored) else 0)
    )
    again = training.views_an_image if training else 1
    if training and again is not None:
        views += again * training.images
    if again is None and config.cache.embeddings == "always" and not learns(sam):
        raise UserError(
            f"cache.embeddings: expected training views that come again, but data.augment={config.data.augment} or the crops "
            "of frame.tile_px make each anew; set data.augment=light and frame.tile_px=0, or cache.embeddings=auto"
        )
    user.embed, said = open_cache(config.cache, sam, views=views)
    if training is not None and again is not None and isinstance(user.embed, EmbeddingCache):
        training.read_embeddings(user.embed.reader)
    hint = "; training's are not, its views never come again (data.augment=light would)"
    return said + hint if said and again is None else said


def default_device() -> torch.device:
    """Return the GPU if there is one and ACCELERATE_USE_CPU does not forbid it."""
    return torch.device("cuda" if device_type() == "cuda" else "cpu")


def load_config_sam(config: Experiment) -> Any:
    """Load the SAM that a config names, at its frame, with the encoder's options."""
    s = config.segmenter
    sam = load_sam(s.architecture, weights=s.weights, frame_px=build_framing(config).frame_px)
    if s.checkpoint_activations:
        checkpoint_blocks(sam.image_encoder)
    if s.compile:
        compile_encoder(sam.image_encoder)
    return sam


def build_learner(config: Experiment) -> Any:
    """Build what is trained: SAM with an adapter, or a baseline network; what starts at random starts by ``seed``."""
    torch.manual_seed(config.seed)
    s = config.segmenter
    if s.name in BASELINES:
        given = s.weights if s.weights != "random" else None
        network = build_baseline(s.name, backbone=s.backbone, pretrained=given or s.pretrained)
        return BaselineLearner(network, config.loss, name=s.name, pretrained_lr_scale=config.optim.pretrained_lr_scale)
    if s.name != "sam":
        raise UserError(f"segmenter.name: expected something to train (sam, {', '.join(BASELINES)}), got {s.name!r}")
    sam = load_config_sam(config)
    path = find_weights(s.architecture, s.weights)
    base = file_sha256(path) if path else "random"
    adapted = apply_adapter(sam, config.adapter, architecture=s.architecture, weights_sha256=base)

    def segmenter(tuned: Any) -> Segmenter:
        return SamSegmenter(
            tuned, kind="tuned", prompt=config.prompt, mask_rule="single", architecture=s.architecture, weights_sha256=base,
            details={"adapter": dataclasses.asdict(config.adapter)}, embed=learner.embed,
        )  # fmt: skip

    learner = SamTuning(adapted, config.loss, segmenter=segmenter, pretrained_lr_scale=config.optim.pretrained_lr_scale)
    return learner


def build_segmenter(config: Experiment) -> Segmenter:
    """Build what is scored: zero-shot SAM, a run, or a folder of saved maps; with test-time augmentation if asked for.

    Raises:
        UserError: a name that cannot be scored, or test-time augmentation of what is no network.
    """
    s = config.segmenter
    if s.name == "run":
        return load_run(s.run or "", tta=s.tta).segmenter
    if s.tta != "none" and (s.name == "saved_maps" or s.name in REFERENCES):
        raise UserError(
            f"segmenter.tta: expected none for {s.name}, which computes nothing, got {s.tta!r}; leave it out"
        )
    return build_tta(_segmenter(config), s.tta)


def _segmenter(config: Experiment) -> Segmenter:
    s = config.segmenter
    if s.name == "saved_maps":
        if not s.maps:
            raise UserError("segmenter.maps: expected a folder of 8-bit maps for saved_maps, got null")
        return SavedMaps(s.maps)
    if s.name in REFERENCES:
        return BoxReference(s.name)
    if s.name != "sam":
        raise UserError(
            f"segmenter.name: expected sam, saved_maps, {', '.join(REFERENCES)} or run, got {s.name!r}; train a baseline "
            "with train/baseline.py, then score its run folder"
        )
    sam = load_config_sam(config).to(default_device())
    sam.requires_grad_(False)  # nothing learns here, which is what makes its embeddings worth keeping
    path = find_weights(s.architecture, s.weights)
    rule = "single" if s.mask_rule == "all" and config.prompt.kind != "grid" else s.mask_rule
    return SamSegmenter(
        sam,
        prompt=config.prompt,
        mask_rule="top_iou" if rule == "all" else rule,
        everything=Everything(min_iou=s.min_iou, min_stability=s.min_stability),
        architecture=s.architecture,
        weights_sha256=file_sha256(path) if path else None,
    )


@dataclasses.dataclass
class Run:
    """A run folder brought back: its config, the segmenter (and learner) of its best epoch, and how it was trained."""

    config: Experiment
    segmenter: Segmenter
    folder: Path
    birth: dict[str, Any]
    learner: Any = None


def load_run(folder: str | Path, *, tta: str | None = None) -> Run:
    """Load the best weights of a run folder, or of a shipped adapter by its name.

    Args:
        folder: of the run. tta: test-time augmentation in place of the config's ``segmenter.tta``.

    Raises:
        UserError: no run folder, or its base weights are not those it was tuned from.
    """
    try:
        folder = find_run(folder)
    except ConfigError as error:
        raise UserError(str(error)) from error
    config: Experiment = load_config(folder / "config.yaml")
    s = config.segmenter
    if (
        s.name in BASELINES
    ):  # the run's own weights follow, so that the file or package it began with is not needed again
        s = dataclasses.replace(s, pretrained=False, weights=None)
    learner = build_learner(dataclasses.replace(config, segmenter=s))
    learner.load(folder / "best")
    learner.to(default_device()).eval()
    provenance_file = folder / "provenance.json"
    birth = json.loads(provenance_file.read_text(encoding="utf-8")) if provenance_file.exists() else {}
    config.segmenter.tta = tta if tta is not None else config.segmenter.tta
    return Run(config, build_tta(learner.segmenter(), config.segmenter.tta), folder, birth, learner)


def check_experiment(config: Experiment, *, training: bool = True) -> None:
    """Refuse what the schema's ranges and choices do not see, before anything is loaded.

    Args:
        config: the experiment. training: whether ``keep_best`` is needed.

    Raises:
        ConfigError: a value outside its range or choices (for configs made in Python; files are checked on reading).
        UserError: an option that the data set lacks, one split in two roles, an unknown metric, or a ``keep_best`` that is
            not computed.
    """
    check(config)
    check_options(config.data.name, config.data.options)
    label_of(config.data)
    data = config.data
    roles = {"data.train": data.train, "data.val": data.val, "data.test": data.test}
    check_split_names(data.name, roles)
    build_framing(config)
    for finding in equal_splits(roles):
        raise UserError(finding.message)
    if training and not any(getattr(config.loss, part) for part in PARTS):
        raise UserError(
            f"loss: expected a weight above 0 of {', '.join(PARTS)}, got 0 for all; set one, e.g. loss.bce=1"
        )
    if training:
        check_folder(Path(config.training.out or "."), key="training.out")
    computed = find_metrics(config.metrics.names or None, config.metrics.protocol)
    computes = [number for metric in computed for number in (*metric.values, *metric.finished)]
    some = numbers_on(
        defective=True, clean=True, metrics=config.metrics.names or None, protocol=config.metrics.protocol
    )
    numbers = [number for number in dict.fromkeys([*computes, *CLEAN_NUMBERS]) if number in some]
    if training and config.keep_best not in numbers:
        near = near_name(config.keep_best, numbers)
        proposal = f"; did you mean {near}?" if near else ""
        raise UserError(f"keep_best: expected one of {', '.join(numbers)}, got {config.keep_best!r}{proposal}")


def check_folder(path: Path, *, key: str) -> None:
    """Refuse a folder that cannot be made, since it or a part of its path is a file.

    Raises:
        UserError: names the file.
    """
    for place in (path, *path.parents):
        if place.is_dir():
            return
        if place.exists():
            raise UserError(f"{key}={path}: expected a folder, got a file at {place}; name another")


def chosen_by_clean(config: Experiment) -> bool:
    """Return whether ``keep_best`` is a number that a split without a defect-free image does not have."""
    m = config.metrics
    return config.keep_best not in numbers_on(defective=True, clean=False, metrics=m.names or None, protocol=m.protocol)


def check_selection(config: Experiment, training: Dataset, watched: Dataset) -> None:
    """See that there is something to learn, and that the validation split has the number that chooses the best epoch.

    Args:
        config: of the experiment. training: what it learns from. watched: what it validates on.

    Raises:
        UserError: no training image has a defect, or no validation image is of the kind that ``keep_best`` is a number of.
    """
    data, m = config.data, config.metrics
    if not has_defect(training):
        raise UserError(
            f"data.train={data.train}: expected a defect to learn from in some image, got none in {len(training)}; add images "
            "with masks (docs/your-own-data.md says how)"
        )
    place = f"data.val={data.val}"
    if chosen_by_clean(config) and not has_clean(watched):
        raise UserError(
            f"{place}: expected a defect-free image for keep_best={config.keep_best}, got none in {len(watched)}; add some "
            "(docs/your-own-data.md says how), or choose another number, such as keep_best=s_measure"
        )
    on_clean = numbers_on(defective=False, clean=True, metrics=m.names or None, protocol=m.protocol)
    if config.keep_best not in on_clean and not has_defect(watched):
        raise UserError(
            f"{place}: expected a defect in some image for keep_best={config.keep_best}, got {len(watched)} clean images only; "
            f"add defective ones with masks, or choose by what clean images have: keep_best={' or '.join(sorted(on_clean))}"
        )


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
    resolve_precision(config.training.mixed_precision)  # a mistake is told before anything is built
    learner = build_learner(config)
    if dry_run:
        print(to_yaml(config))
        print(parameter_table(learner))
        return Path()
    accelerator = open_accelerator(config.training.mixed_precision)
    folder = Path(config.training.out or f"checkpoints/runs/{config.experiment}")
    training = load_training(config)
    validation = load_split(config.data, config.data.val)
    judged = with_clean(config.data, validation)
    watched = judged if config.data.clean_share or chosen_by_clean(config) else validation
    with together(accelerator):
        for finding in shared_ids({config.data.train: training, config.data.val: judged}):  # also with data.check=false
            raise UserError(finding.message)
        if accelerator.is_main_process:
            said = check_data(config.data, training, judged) if config.data.check else ""
            check_selection(config, training, watched)
            print(said, end="\n" if said else "")
        prints = (
            {"data.train": training.fingerprint(), "data.val": judged.fingerprint()}
            if accelerator.is_main_process
            else {}
        )
    rank, world = accelerator.process_index, accelerator.num_processes
    stop = StopRequest()
    evaluator = build_evaluator(config, watched, accelerator=accelerator, bootstrap=0, stop=stop)
    fixed = gallery_batch(config, validation) if config.training.gallery else None
    if accelerator.is_main_process:
        print(
            f"{config.experiment}: {len(training)} training images, {len(validation)} for validation, run folder {folder}"
        )
        print(parameter_table(learner))
    batches = build_batches(config, training, training=True, rank=rank, world=world)
    said = cache_embeddings(config, learner, judged, training=batches)
    if said:
        accelerator.print(said)
    trainer = Trainer(
        learner,
        batches,
        lambda trained: with_clean_numbers(config, evaluator(trained.segmenter())),
        selection=Selection(config.keep_best, higher_is_better(config.keep_best)),
        optim=config.optim,
        training=config.training,
        folder=folder,
        accelerator=accelerator,
        gallery=(lambda trained: gallery(trained.segmenter(), fixed)) if fixed else None,
        config=config,
        stop=stop,
        references=references(config) if accelerator.is_main_process else None,
        data=prints,
    )
    best = trainer.fit()
    if accelerator.is_main_process and not (trainer.finished and (folder / "provenance.json").exists()):
        birth = provenance() | trainer.record()
        birth |= {
            "validation": best.metrics,
            "data_fingerprint": prints["data.train"],
            "photo_px": usual_side(training),
        }
        if (folder / "best").exists():
            learner.load(folder / "best")
            birth |= recompute_statistics(config, learner, training, watched, folder=folder / "best")
            found = search_threshold(
                build_tta(learner.eval().segmenter(), config.segmenter.tta),
                build_batches(config, judged),
                device=accelerator.device,
            )
            birth["threshold"] = found
        write_atomic(folder / "provenance.json", json.dumps(birth, indent=1) + "\n")
        metrics = birth["validation"]
        shown = ", ".join(
            f"{name} {metrics[name]:.4f}"
            for name in dict.fromkeys((config.keep_best, "s_measure", "weighted_f", "mae", "iou"))
            if name in metrics
        )
        if birth.get("threshold") and "kept_clean" in birth["threshold"]:
            at = birth["threshold"]
            shown += (
                f"; at threshold {at['value']:.3f} {at['kept_clean']:.0%} of {at['clean_images']} clean images are kept clean "
                f"and {at['defect_recall']:.0%} of {at['images']} defective ones found"
            )
        print(f"best validation: {shown}; score it with: python evaluate/score.py {folder}")
    return folder


def recompute_statistics(
    config: Experiment, learner: Any, training: Dataset, validation: Dataset, *, folder: Path
) -> dict[str, Any]:
    """Recompute a learner's statistics (batch norm's) on one epoch of training views; keep what validates better.

    Args:
        config: of the run. learner: with the best epoch's weights. training, validation: the splits. folder: where the
            best weights are; they are replaced if the recomputed ones win.

    Returns:
        For provenance: ``batch_norm`` with both validations and which was kept; empty for a learner that has no such
        statistics.
    """
    recompute = getattr(learner, "recompute_statistics", None)
    if recompute is None:
        return {}
    evaluator = build_evaluator(config, validation, bootstrap=0, alone=True)
    learner.eval()
    before = with_clean_numbers(config, evaluator(learner.segmenter())).metrics
    # Views as in training: the weights learnt under their statistics, plain tiles of mostly clean surface have others.
    if not recompute(build_batches(config, training, training=True)):
        return {}
    after = with_clean_numbers(config, evaluator(learner.eval().segmenter())).metrics
    old, new = before[config.keep_best], after[config.keep_best]
    kept = Selection(config.keep_best, higher_is_better(config.keep_best)).better(new, old)
    if kept:
        save_over(learner, folder)
    learner.load(folder)
    print(
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


def check_data(config: DataConfig, training: Dataset, validation: Dataset) -> str:
    """Look a training's data over, with the test split if there is one; return what was found, in one line.

    Raises:
        UserError: something in it makes a training fail or its numbers wrong.
    """
    splits = {config.train: training, config.val: validation}
    with contextlib.suppress(UserError):  # a training needs no test split
        splits.setdefault(config.test, load_split(config, config.test, clean=config.clean_share > 0))
    found = quick_check(splits)
    sizes = ", ".join(f"{name} {len(dataset)}" for name, dataset in splits.items())
    counts = found.as_dict()["counts"]
    if not found.findings:
        return f"data check: {sizes}: nothing wrong"
    first = f"{found.findings[0].message}; see all with evaluate/check_data.py"
    if counts["error"]:
        raise UserError(f"data check: {counts['error']} errors, the first: {first}, or pass data.check=false to go on")
    return f"data check: {sizes}: {counts['warning']} warnings, the first: {first}"


def label_of(config: DataConfig) -> str:
    """Return what rows and cards call a config's data set."""
    return dataset_label(config.name, config.options, root=config.root, label=config.label)


def references(config: Experiment) -> dict[str, dict[str, float]]:
    """Return the rows to draw beside the validation: of the validation split if it was scored, else of the test split."""
    place = config.training.reference_rows
    if place is None or not Path(place).is_dir():
        return {}
    try:
        rows = read_rows(place)
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
        words = [word for word in name.split(".") if word in ("image_encoder", "prompt_encoder", "mask_decoder")]
        key = words[0] if words else "network"
        pair = counts.setdefault(key, [0, 0])
        pair[0] += parameter.numel() if parameter.requires_grad else 0
        pair[1] += parameter.numel()
    counts["all"] = [sum(pair[i] for pair in counts.values()) for i in (0, 1)]
    lines = [f"{'module':16s} {'trained':>12s} {'of':>12s} {'share':>8s}"]
    lines += [f"{key:16s} {mine:12,d} {all_:12,d} {mine / max(1, all_):8.2%}" for key, (mine, all_) in counts.items()]
    return "\n".join(lines)


def gallery_batch(config: Experiment, dataset: Dataset) -> tuple[Batch, list[np.ndarray], list[np.ndarray | None]]:
    """Return a fixed batch of validation images, spread over the split, with images and truths for drawing."""
    count = min(config.training.gallery, len(dataset))
    chosen = subset(dataset, count, seed=0) if count < len(dataset) else dataset
    small = dataclasses.replace(config, metrics=dataclasses.replace(config.metrics, batch_size=max(1, count)))
    batch = next(iter(build_batches(small, chosen)))
    samples = [chosen[i] for i in range(len(chosen))]
    return batch, [sample.image for sample in samples], [sample.mask for sample in samples]


def gallery(
    segmenter: Segmenter, fixed: tuple[Batch, list[np.ndarray], list[np.ndarray | None]]
) -> list[tuple[str, np.ndarray]]:
    """Draw image, truth and map of the fixed batch side by side."""
    batch, images, truths = fixed
    maps = segmenter.predict(batch)
    return [
        (sample_id, gallery_picture(image, truth, values.cpu().numpy()))
        for sample_id, image, truth, values in zip(batch.ids, images, truths, maps, strict=True)
    ]
