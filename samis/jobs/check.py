"""What is refused before anything is trained or scored: an experiment's settings, its splits, its data."""

from __future__ import annotations

import contextlib
from pathlib import Path

import numpy as np

from samis.config import DataConfig, Experiment, check
from samis.core.contracts import Dataset
from samis.core.losses import PARTS
from samis.data import check_options, check_split_names
from samis.data.checks.findings import equal_splits
from samis.data.checks.kinds import has_clean, has_defect
from samis.data.checks.quick_check import quick_check
from samis.data.configured import label_of, load_split
from samis.errors import UserError, near_name
from samis.metrics import CLEAN_NUMBERS, SCORES_CLEAN, find_metrics, numbers_on, score_image, summarise
from samis.prompts import build_prompter
from samis.sam.framing import build_framing
from samis.training.tracking import check_trackers


def check_experiment(config: Experiment, *, training: bool = True) -> None:
    """Refuse what the schema's ranges and choices do not see, before anything is loaded.

    Args:
        config: the experiment.
        training: whether ``keep_best`` is needed.

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
    build_framing(config.frame, config.segmenter.architecture, config.segmenter.weights)
    for finding in equal_splits(roles):
        raise UserError(finding.message, code="E-DATA-SHARED")
    if training and not any(getattr(config.loss, part) for part in PARTS):
        raise UserError(
            f"loss: expected a weight above 0 of {', '.join(PARTS)}, got 0 for all; set one, e.g. loss.bce=1",
            code="E-CONFIG-LOSS",
        )
    if training:
        check_mix(config)
        check_folder(Path(config.training.out or "."), key="training.out")
        check_trackers(config.training.trackers)
    computed = find_metrics(config.metrics.names or None, config.metrics.protocol)
    computes = [number for metric in computed for number in (*metric.values, *metric.finished)]
    some = numbers_on(
        defective=True, clean=True, metrics=config.metrics.names or None, protocol=config.metrics.protocol
    )
    numbers = [number for number in dict.fromkeys([*computes, *CLEAN_NUMBERS]) if number in some]
    if training and config.keep_best not in numbers:
        near = near_name(config.keep_best, numbers)
        proposal = f"; did you mean {near}?" if near else ""
        raise UserError(
            f"keep_best: expected one of {', '.join(numbers)}, got {config.keep_best!r}{proposal}",
            code="E-CONFIG-KEEP-BEST",
        )


def check_mix(config: Experiment) -> None:
    """Refuse a ``prompt.mix`` that cannot be drawn from, or that belongs to a network without prompts.

    Args:
        config: the experiment.

    Raises:
        UserError: names the key.
    """
    build_prompter(config.prompt, training=True)
    if config.prompt.mix and config.segmenter.name != "sam":
        raise UserError(
            f"prompt.mix: expected {{}} for {config.segmenter.name}, which takes no prompt, got {config.prompt.mix}; leave it out",
            code="E-PROMPT-MIX",
        )


def check_folder(path: Path, *, key: str) -> None:
    """Refuse a folder that cannot be made, since it or a part of its path is a file.

    Raises:
        UserError: names the file.
    """
    for place in (path, *path.parents):
        if place.is_dir():
            return
        if place.exists():
            raise UserError(
                f"{key}={path}: expected a folder, got a file at {place}; name another", code="E-FILE-NOT-A-FOLDER"
            )


def chosen_by_clean(config: Experiment) -> bool:
    """Return whether ``keep_best`` is a number that a split without a defect-free image does not have."""
    m = config.metrics
    return config.keep_best not in numbers_on(defective=True, clean=False, metrics=m.names or None, protocol=m.protocol)


def check_selection(config: Experiment, training: Dataset, watched: Dataset) -> None:
    """See that there is something to learn, and that the validation split has the number that chooses the best epoch.

    Args:
        config: of the experiment.
        training: what it learns from.
        watched: what it validates on.

    Raises:
        UserError: no training image has a defect, or no validation image is of the kind that ``keep_best`` is a number of.
    """
    data, m = config.data, config.metrics
    other = "iou" if m.protocol == "inspection" else "s_measure"
    if not has_defect(training):
        raise UserError(
            f"data.train={data.train}: expected a defect to learn from in some image, got none in {len(training)}; add images "
            "with masks (docs/your-own-data.md says how)",
            code="E-TRAIN-NO-DEFECT",
        )
    place = f"data.val={data.val}"
    if chosen_by_clean(config) and not has_clean(watched):
        raise UserError(
            f"{place}: expected a defect-free image for keep_best={config.keep_best}, got none in {len(watched)}; add some "
            f"(docs/your-own-data.md says how), or choose another number, such as keep_best={other}",
            code="E-TRAIN-NO-VALIDATION",
        )
    on_clean = numbers_on(defective=False, clean=True, metrics=m.names or None, protocol=m.protocol)
    if config.keep_best not in on_clean and not has_defect(watched):
        raise UserError(
            f"{place}: expected a defect in some image for keep_best={config.keep_best}, got {len(watched)} clean images only; "
            f"add defective ones with masks, or choose by what clean images have: keep_best={' or '.join(sorted(on_clean))}",
            code="E-TRAIN-NO-VALIDATION",
        )
    if config.keep_best not in CLEAN_NUMBERS and not _has_number(config, watched):
        raise UserError(
            f"{place}: expected images that have keep_best={config.keep_best}, got none in {len(watched)}: it is not defined on "
            "such truths (all of an image a defect, or none of the kind it counts); choose another number, such as "
            f"keep_best={other}",
            code="E-TRAIN-NO-VALIDATION",
        )


def _has_number(config: Experiment, watched: Dataset) -> bool:
    """Return whether a validation on these images has the number ``keep_best``, by the truths alone.

    Images are read until they have it, those of each class in turn; ``aupro`` needs surface next to defects,
    ``small_recall_10`` a small defect.
    """
    rounds: dict[str, int] = {}
    ranked = []
    for index, name in enumerate(watched.class_names):
        rounds[name] = rounds.get(name, 0) + 1
        ranked.append((rounds[name], index))
    scores, protocol = [], config.metrics.protocol
    for number, (_, index) in enumerate(sorted(ranked), 1):
        truth = watched[index].mask
        if truth is not None and (truth.any() or protocol in SCORES_CLEAN):
            scores.append(score_image(truth.astype(np.uint8) * 255, truth, [config.keep_best], protocol))
        at_check = number == len(ranked) or number & (number - 1) == 0  # at 1, 2, 4 ... images and at the last
        if scores and at_check and config.keep_best in summarise(scores):
            return True
    return False


def check_data(config: DataConfig, training: Dataset, validation: Dataset) -> str:
    """Check a training's data, with the test split if there is one; return the result in one line.

    Raises:
        UserError: something in it makes a training fail or its numbers wrong.
    """
    splits = {config.train: training, config.val: validation}
    with contextlib.suppress(UserError):  # a training needs no test split
        splits.setdefault(config.test, load_split(config, config.test, clean=config.clean_share > 0))
    report = quick_check(splits)
    sizes = ", ".join(f"{name} {len(dataset)}" for name, dataset in splits.items())
    counts = report.as_dict()["counts"]
    if not report.findings:
        return f"data check: {sizes}: nothing wrong"
    first = f"{report.findings[0].message}; see all with samis check"
    if counts["error"]:
        raise UserError(
            f"data check: {counts['error']} errors, the first: {first}, or pass data.check=false to go on",
            code="E-DATA-CHECK",
        )
    return f"data check: {sizes}: {counts['warning']} warnings, the first: {first}"
