"""What decides on new photos: the threshold of the pixels, or the promise it has to keep; the rule and threshold of the image."""

from __future__ import annotations

from dataclasses import dataclass

from samis.decision.image_rules import image_threshold
from samis.decision.promise import Kept, keep_promise
from samis.errors import UserError
from samis.prediction.model import LoadedModel
from samis.prediction.options import Options


@dataclass(frozen=True)
class ImageDecider:
    """How an image gets its verdict.

    Attributes:
        rule: key of ``samis.decision.image_rules.IMAGE_RULES``.
        threshold: a score above it is defective.
    """

    rule: str
    threshold: float


def kept_promise(model: LoadedModel, options: Options) -> Kept:
    """Return the promise of the options with the threshold that keeps it.

    Args:
        model: what predicts.
        options: with a promise.

    Raises:
        UserError: options that the promise does not hold with, no fitting calibration, or a promise that cannot be kept.
    """
    rule = options.image_rule or model.config.metrics.image_rule
    wrong = {
        "--threshold": options.threshold is not None,
        "boxes and clicks": bool(options.boxes or options.points or options.prompts),
        "--min-area": options.miss_at_most is not None and options.min_area_px > 1,
        "--image-threshold": options.image_threshold is not None,
        f"--image-rule {rule}": rule != "max",
    }
    for name, given in wrong.items():
        if given:
            fix = "give --image-rule max" if name.startswith("--image-rule") else f"leave out {name}"
            raise UserError(
                f"{name} and a promise (--miss-at-most, --false-alarms-at-most) exclude each other: calibration chooses the "
                f"threshold for maps and masks as they are; {fix}, or the promise",
                code="E-DECIDE-OPTIONS",
            )
    return keep_promise(options.promise, model.decisions.calibration(model.config, options.calibration))


def image_decider(model: LoadedModel, options: Options, threshold: float, *, own: bool) -> ImageDecider:
    """Return how images get their verdicts.

    Args:
        model: what predicts.
        options: whose rule and image threshold, if given, replace the model's.
        threshold: of the pixels.
        own: whether it is the one that the run chose on validation, to which its image thresholds belong.
    """
    rule = options.image_rule or model.config.metrics.image_rule
    if options.image_threshold is not None:
        return ImageDecider(rule, options.image_threshold)
    return ImageDecider(
        rule, image_threshold(rule, threshold, model.decisions.image_thresholds.get(rule) if own else None)
    )
