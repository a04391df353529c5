"""Conformal risk control: the threshold that keeps a promise about photos like the calibration images.

Paper: Angelopoulos, Bates, Fisch, Lei and Schuster, Conformal Risk Control, ICLR 2024, arXiv 2208.02814, theorem 1: with n
exchangeable images, losses in [0, B] that never grow with lambda, and

    lambda-hat = inf {lambda: n / (n + 1) * mean loss(lambda) + B / (n + 1) <= alpha},

the expected loss of the next image is at most alpha. Here B is 1 and lambda runs over ``LEVELS``: downwards for what is
missed, upwards for false alarms.

The promise is a mean over calibration sets and photos, for photos from the same line as the calibration images. One set of
photos can come out above alpha.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import numpy as np

from samis.decision.calibration import Calibration
from samis.decision.risks import LEVELS, MISSED, WORDS
from samis.errors import UserError, did_you_mean

MOST_MARKED = 0.2
"""A threshold that marks more than this share of the sound surface keeps no promise worth the name: it is not used."""
MOST_ESCAPED = 0.5
"""A threshold at which more than this share of the defective calibration images is called OK is not used either."""
_SHOWN = (0.01, 0.02, 0.05, 0.1, 0.2)
"""Shares that ``promises`` lists."""


@dataclass(frozen=True)
class Promise:
    """What the user wants to hold.

    Attributes:
        miss_at_most: mean share of what is missed on defective images, in (0, 1); None: no such promise.
        miss_of: key of ``samis.decision.risks.MISSED``.
        false_alarms_at_most: share of the clean images called defective, in (0, 1); None: no such promise.
    """

    miss_at_most: float | None = None
    miss_of: str = "pixels"
    false_alarms_at_most: float | None = None

    def __post_init__(self) -> None:
        if self.miss_of not in MISSED:
            raise UserError(
                f"--miss-of: expected one of {', '.join(MISSED)}, got {self.miss_of!r}{did_you_mean(self.miss_of, MISSED)}",
                code="E-DECIDE-MISS-OF",
            )
        for name, alpha in (
            ("--miss-at-most", self.miss_at_most),
            ("--false-alarms-at-most", self.false_alarms_at_most),
        ):
            if alpha is not None and not 0 < alpha < 1:  # also NaN
                raise UserError(
                    f"{name}: expected a share above 0 and below 1, got {alpha:g}; 0.1 stands for 10 %",
                    code="E-DECIDE-ALPHA",
                )

    def __bool__(self) -> bool:
        return self.miss_at_most is not None or self.false_alarms_at_most is not None


@dataclass(frozen=True)
class Kept:
    """A promise with the threshold that keeps it.

    Attributes:
        threshold: of the pixels; a pixel above it is defect.
        words: what is promised, on which calibration images.
        expected: mean losses of the calibration images at the threshold, by name.
    """

    threshold: float
    words: str
    expected: dict[str, float]

    def as_dict(self) -> dict[str, Any]:
        """Return the fields, for JSON."""
        return {"threshold": self.threshold, "promise": self.words, "on_calibration_images": self.expected}


def bound(mean: np.ndarray, count: int) -> np.ndarray:
    """Return what the mean loss of a next image is at most: n / (n + 1) * mean + 1 / (n + 1).

    Args:
        mean: mean loss of the calibration images, in [0, 1].
        count: number of calibration images, n.

    >>> bound(np.array([0.0, 0.5]), 9).tolist()
    [0.1, 0.55]
    """
    return (count * mean + 1) / (count + 1)


def images_needed(alpha: float) -> int:
    """Return the smallest number of calibration images for which a loss of 0 on all of them is enough: 1 / (n + 1) <= alpha.

    >>> images_needed(0.1), images_needed(0.02), images_needed(0.05)
    (9, 49, 19)
    """
    return max(1, math.ceil(1 / alpha - 1e-9) - 1)


def keep_promise(promise: Promise, calibration: Calibration) -> Kept:
    """Return the threshold that keeps a promise.

    Of what is missed the highest threshold that keeps it, so that as little as possible is marked; of false alarms alone the
    lowest, so that as little as possible is missed; of both the highest that keeps both.

    Args:
        promise: what is wanted.
        calibration: of the model.

    Raises:
        UserError: too few calibration images for the share, or no threshold that keeps the promise: not attainable.
    """
    allowed = _usable(calibration)
    if promise.false_alarms_at_most is not None:
        allowed = _narrowed(allowed, "false_alarms", promise.false_alarms_at_most, calibration)
    if promise.miss_at_most is not None:
        allowed = _narrowed(allowed, f"missed_{promise.miss_of}", promise.miss_at_most, calibration)
    at = int(np.flatnonzero(allowed)[-1 if promise.miss_at_most is not None else 0])
    expected = {name: float(curve[at]) for name, curve in calibration.curves.items()}
    return Kept(float(LEVELS[at]), f"{promise_words(promise)}; calibrated on {calibration.images}", expected)


def promise_words(promise: Promise) -> str:
    """Say a promise in words.

    >>> promise_words(Promise(miss_at_most=0.1, false_alarms_at_most=0.02))
    'at most 10 % of the defect pixels missed, at most 2 % of the clean images called defective'
    """
    words = []
    if promise.miss_at_most is not None:
        words.append(f"at most {_percent(promise.miss_at_most)} of the {WORDS[promise.miss_of]} missed")
    if promise.false_alarms_at_most is not None:
        words.append(f"at most {_percent(promise.false_alarms_at_most)} of the clean images called defective")
    return ", ".join(words)


def promises(calibration: Calibration) -> list[dict[str, Any]]:
    """Return which promises a model can keep, for cards and reports.

    Args:
        calibration: of the model.

    Returns:
        ``promise`` in words, and ``threshold``, or ``reason`` why it is not attainable, of some usual shares.
    """
    wanted = (
        [Promise(miss_at_most=alpha, miss_of=name) for name in MISSED for alpha in _SHOWN]
        if calibration.defective
        else []
    )
    wanted += [Promise(false_alarms_at_most=alpha) for alpha in _SHOWN] if calibration.clean else []
    result: list[dict[str, Any]] = []
    for promise in wanted:
        try:
            kept = keep_promise(promise, calibration)
        except UserError as error:
            result.append({"promise": promise_words(promise), "threshold": None, "reason": error.message})
        else:
            result.append({"promise": promise_words(promise), "threshold": kept.threshold, "expected": kept.expected})
    return result


RECORD = "calibration"
"""Key of a row's ``provenance["training"]`` that holds ``calibration_record``."""


def calibration_record(calibration: Calibration) -> dict[str, Any]:
    """Return what rows, cards and reports state of a calibration.

    Args:
        calibration: of the model.

    Returns:
        ``images`` in words with their date, and ``promises``: each in words with its ``threshold`` (None: it cannot be kept), and
        ``marked`` and ``missed_images`` of the calibration images there.
    """
    lines = []
    for each in promises(calibration):
        expected = each.get("expected", {})
        costs = {name: expected[name] for name in ("marked", "missed_images") if name in expected}
        lines.append({"promise": each["promise"], "threshold": each["threshold"], **costs})
    return {"images": calibration.images, "promises": lines}


def _usable(calibration: Calibration) -> np.ndarray:
    """Return the (levels,) bool of the thresholds that are of use at all, see ``MOST_MARKED`` and ``MOST_ESCAPED``."""
    usable = np.ones(len(LEVELS), bool)
    for name, most in (("marked", MOST_MARKED), ("missed_images", MOST_ESCAPED)):
        if name in calibration.curves:
            usable &= calibration.curve(name) <= most
    return usable


def _narrowed(allowed: np.ndarray, name: str, alpha: float, calibration: Calibration) -> np.ndarray:
    """Return which of the allowed thresholds also keep one loss at most at alpha.

    Raises:
        UserError: too few images, or none of the thresholds does.
    """
    alarms = name == "false_alarms"
    option = "--false-alarms-at-most" if alarms else "--miss-at-most"
    count, kind = (calibration.clean, "clean") if alarms else (calibration.defective, "defective")
    if count < images_needed(alpha):
        allow = f", or allow at least {math.ceil(1000 / (count + 1)) / 1000:g}" if count else ""
        raise UserError(
            f"{option} {alpha:g}: expected at least {images_needed(alpha)} {kind} calibration images for this share, got {count} "
            f"({calibration.images}); calibrate on more with samis calibrate{allow}",
            code="E-DECIDE-FEW",
        )
    bounds = bound(calibration.curve(name), count)
    keeps = allowed & (bounds <= alpha + 1e-12)
    if not keeps.any():
        raise UserError(
            f"{option} {alpha:g}: not attainable: {_why(allowed, bounds, calibration, alarms=alarms)}",
            code="E-DECIDE-UNATTAINABLE",
        )
    return keeps


def _why(allowed: np.ndarray, bounds: np.ndarray, calibration: Calibration, *, alarms: bool) -> str:
    """Say why none of the allowed thresholds keeps a promise, and what the best of them does."""
    if not allowed.any():
        return (
            f"every threshold marks more than {MOST_MARKED:.0%} of the sound surface or lets more than {MOST_ESCAPED:.0%} of the "
            f"defective images pass ({calibration.images}); tune the model further"
        )
    at = int(np.flatnonzero(allowed)[-1 if alarms else 0])  # bounds fall with the threshold for alarms, else they rise
    costs = {"marked": "{} of the sound surface marked", "missed_images": "{} of the defective images called OK"}
    cost = [
        words.format(_percent(calibration.curves[name][at]))
        for name, words in costs.items()
        if name in calibration.curves
    ]
    best = math.ceil(bounds[at] * 1000) / 1000
    allow = f"allow {best:.3f}, " if best < 1 else ""  # a promise of 1 is none
    return (
        f"the best is {best:.3f}, at threshold {LEVELS[at]:.6g} with {' and '.join(cost)}; {_end(at, calibration, alarms=alarms)} "
        f"({calibration.images}); {allow}calibrate on more images, or tune the model further"
    )


def _end(at: int, calibration: Calibration, *, alarms: bool) -> str:
    """Say why no threshold beyond one is taken."""
    word, beyond = ("higher", at + 1) if alarms else ("lower", at - 1)
    if not 0 <= beyond < len(LEVELS):
        return f"there is no {word} threshold"
    if _usable(calibration)[beyond]:
        return f"a {word} threshold breaks the other promise"
    if alarms:
        return f"a {word} threshold lets more than {MOST_ESCAPED:.0%} of the defective images pass"
    return f"a {word} threshold marks more than {MOST_MARKED:.0%} of the sound surface"


def _percent(share: float) -> str:
    return f"{100 * share:.3g} %"
