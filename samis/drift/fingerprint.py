"""The fingerprint of the photos that a model was tuned on, and what is unlike it.

A photo is unlike them where a measure, or the distance of its embedding, is further out than that of any photo of the fingerprint
that was held out while the others were described. A photo from the same source is as likely as any of the n + 1 to be the furthest
out, so that each of the five has a false alarm rate of at most 1 / (n + 1).

Paper: Vovk et al., Algorithmic Learning in a Random World, 2005 (ranks among exchangeable photos); Lee et al., A Simple Unified
Framework for Detecting Out-of-Distribution Samples, NeurIPS 2018 (Mahalanobis distance of embeddings).
Differs: the distance is taken in the leading principal components, and what is left over counts as one component more.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from scipy.stats import binomtest, ks_2samp

from samis.drift.features import MEASURES
from samis.errors import UserError

FILE = "training_photos.json"
"""File of a run folder that holds the fingerprint."""
FOLDS = 5
COMPONENTS = 16
FLOORS = {"brightness": 4.0, "contrast": 2.0, "sharpness": 0.25, "size": 0.1}
"""Smallest spread of a measure: photos that all have one size are not unlike another photo of nearly that size."""
LEAST = 2.0
"""A measure within so many spreads of the median is never unlike."""
FEWEST = 10
"""Photos that a fingerprint needs."""
WORDS = {
    "brightness": ("darker", "brighter"),
    "contrast": ("less contrast", "more contrast"),
    "sharpness": ("less sharp", "sharper"),
    "size": ("smaller", "larger"),
    "embedding": ("", "another surface"),
}
LINEAR: dict[str, Callable[[float], str]] = {
    "size": lambda value: f"{2**value:.0f} px", "sharpness": lambda value: f"{2**value:.3g}",
}  # fmt: skip
"""How a measure that is kept as a logarithm is written in a sentence."""
SHIFT, SIGNIFICANT = 0.3, 0.001
"""A set of photos is shifted if a measure's Kolmogorov-Smirnov distance is above the first, at a p-value below the second."""


@dataclass
class Description:
    """Where photos are: medians and spreads of the measures, and the principal components of their embeddings.

    Attributes:
        centre: measure -> median.
        spread: measure -> (below, above), half the distance to the 2.5 % and 97.5 % quantiles.
        mean: (C,) of the embeddings; empty where there are none.
        components: (k, C), each over its standard deviation.
        left_over: standard deviation of what the components leave.
    """

    centre: dict[str, float]
    spread: dict[str, tuple[float, float]]
    mean: np.ndarray
    components: np.ndarray
    left_over: float

    @classmethod
    def of(cls, measures: np.ndarray, embeddings: np.ndarray) -> Description:
        """Describe n photos.

        Args:
            measures: (n, 4) in the order of ``MEASURES``.
            embeddings: (n, C); C is 0 where there are none.
        """
        low, middle, high = np.quantile(measures, [0.025, 0.5, 0.975], axis=0)
        spread = {
            name: (max((middle[i] - low[i]) / 2, FLOORS[name]), max((high[i] - middle[i]) / 2, FLOORS[name]))
            for i, name in enumerate(MEASURES)
        }
        mean = embeddings.mean(0) if embeddings.size else np.zeros(0)
        components, left_over = np.zeros((0, len(mean))), 1.0
        if embeddings.size:
            _, values, directions = np.linalg.svd(embeddings - mean, full_matrices=False)
            count = max(1, min(COMPONENTS, len(embeddings) // 5))
            spreads = values / np.sqrt(len(embeddings))
            least = max(float(spreads[0]) / 100, 1e-9)  # directions that hardly vary hold rounding, not surfaces
            scales = np.maximum(spreads[:count], least)
            components = directions[:count] / scales[:, None]
            left_over = max(float(np.sqrt((spreads[count:] ** 2).sum())), least)
        return cls(dict(zip(MEASURES, map(float, middle), strict=True)), spread, mean, components, left_over)

    def outness(self, measures: Mapping[str, float], embedding: np.ndarray | None) -> dict[str, float]:
        """Return how far out a photo is: signed spreads of each measure, and ``embedding``, its distance."""
        result = {}
        for name in MEASURES:
            away = measures[name] - self.centre[name]
            result[name] = away / self.spread[name][1 if away > 0 else 0]
        if embedding is not None and len(embedding) == len(self.mean) > 0:
            away = embedding - self.mean
            along = self.components @ away
            directions = self.components / np.linalg.norm(self.components, axis=1, keepdims=True)
            rest = away - directions.T @ (directions @ away)
            result["embedding"] = float(np.sqrt((along**2).sum() + (rest**2).sum() / self.left_over**2))
        return result


@dataclass
class Fingerprint:
    """The photos that a model was tuned on.

    Attributes:
        described: all of them.
        limits: measure or ``embedding`` -> the furthest that a held-out photo was out.
        values: measure or ``embedding`` -> its values over the photos, the embedding's as distances.
        photos: their number n.
    """

    described: Description
    limits: dict[str, float]
    values: dict[str, list[float]]
    photos: int

    @classmethod
    def of(cls, measures: Sequence[Mapping[str, float]], embeddings: Sequence[np.ndarray | None]) -> Fingerprint:
        """Take the fingerprint of photos.

        Args:
            measures: of each, from ``measure_photo``.
            embeddings: (C,) of each; None where one is missing leaves embeddings out.

        Raises:
            UserError: fewer photos than ``FEWEST``.
        """
        if len(measures) < FEWEST:
            raise UserError(
                f"fingerprint: expected at least {FEWEST} photos to compare others with, got {len(measures)}; add photos",
                code="E-PREDICT-FINGERPRINT",
            )
        table = np.array([[each[name] for name in MEASURES] for each in measures])
        known = [each for each in embeddings if each is not None]
        vectors = np.stack(known) if len(known) == len(measures) else np.zeros((len(measures), 0))
        order = np.random.default_rng(0).permutation(len(measures))
        held_out: list[dict[str, float]] = [{} for _ in measures]
        for fold in range(FOLDS):
            out = order[fold::FOLDS]
            others = Description.of(np.delete(table, out, axis=0), np.delete(vectors, out, axis=0))
            for index in out:
                held_out[index] = others.outness(measures[index], vectors[index] if vectors.shape[1] else None)
        names = list(held_out[0])
        limits = {name: max(LEAST, *(abs(each[name]) for each in held_out)) for name in names}
        values = {name: [float(each[name]) for each in measures] for name in MEASURES}
        if "embedding" in names:
            values["embedding"] = [each["embedding"] for each in held_out]
        return cls(Description.of(table, vectors), limits, values, len(measures))

    @property
    def false_alarms(self) -> float:
        """Bound on the share of photos of the same source that are called unlike."""
        return len(self.limits) / (self.photos + 1)

    def compare(self, measures: Mapping[str, float], embedding: np.ndarray | None) -> dict[str, Any]:
        """Compare a photo.

        Args:
            measures: from ``measure_photo``.
            embedding: (C,) of the same network, or None.

        Returns:
            ``unlike`` (bool), ``reasons`` (words, the furthest out first), the measures, and ``embedding``, the distance.
        """
        result = self.described.outness(measures, embedding)
        far = sorted(
            (n for n in result if abs(result[n]) > self.limits[n]), key=lambda n: -abs(result[n]) / self.limits[n]
        )
        record = {name: round(float(value), 4) for name, value in measures.items()}
        if "embedding" in result:
            record["embedding"] = round(result["embedding"], 4)
        return {"unlike": bool(far), "reasons": [WORDS[n][int(result[n] > 0)] for n in far], **record}

    def summary(self, records: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
        """Compare a set of photos as a whole.

        Args:
            records: of ``compare``.

        Returns:
            ``photos``, ``unlike`` (their number), ``false_alarms`` (expected share of photos of the same source, at most),
            ``more_than_chance`` (whether there are more than that explains, one-sided binomial test), and ``shifted``: measure ->
            median here and in training, where the whole set is shifted.
        """
        unlike = sum(bool(each["unlike"]) for each in records)
        shifted = {}
        for name, reference in self.values.items():
            here = [each[name] for each in records if name in each]
            if len(here) < FEWEST:
                continue
            test = ks_2samp(np.round(here, 3), np.round(reference, 3))
            if test.statistic > SHIFT and test.pvalue < SIGNIFICANT:
                shifted[name] = {"here": float(np.median(here)), "training": float(np.median(reference))}
        rate = min(1.0, self.false_alarms)
        chance = binomtest(unlike, len(records), rate, alternative="greater").pvalue if records else 1.0
        return {
            "photos": len(records), "unlike": unlike, "false_alarms": round(rate, 4),
            "more_than_chance": bool(chance < SIGNIFICANT), "shifted": shifted,
        }  # fmt: skip

    def save(self, path: Path) -> None:
        """Write the fingerprint; numbers have six digits."""
        from samis.core.files import write_atomic

        d = self.described
        content = {
            "photos": self.photos, "limits": _short(self.limits), "values": {k: _short(v) for k, v in self.values.items()},
            "centre": _short(d.centre), "spread": {k: _short(v) for k, v in d.spread.items()},
            "mean": _short(d.mean.tolist()), "components": [_short(row) for row in d.components.tolist()],
            "left_over": d.left_over,
        }  # fmt: skip
        write_atomic(path, json.dumps(content) + "\n")

    @classmethod
    def load(cls, path: Path) -> Fingerprint | None:
        """Read a fingerprint; None if there is no such file.

        Raises:
            UserError: the file is damaged.
        """
        if not path.is_file():
            return None
        try:
            read = json.loads(path.read_text(encoding="utf-8"))
            mean = np.array(read["mean"], dtype=np.float64)
            described = Description(
                read["centre"], {k: (v[0], v[1]) for k, v in read["spread"].items()}, mean,
                np.array(read["components"], dtype=np.float64).reshape(-1, len(mean)), float(read["left_over"]),
            )  # fmt: skip
            return cls(described, read["limits"], read["values"], int(read["photos"]))
        except (OSError, ValueError, KeyError, TypeError, IndexError) as error:
            raise UserError(
                f"{path}: expected the fingerprint of the training photos, but it is damaged ({error}); copy the run again, or "
                "delete the file to predict without it",
                code="E-PREDICT-FINGERPRINT-DAMAGED",
            ) from error


def _short(values: Any) -> Any:
    if isinstance(values, dict):
        return {key: float(f"{value:.6g}") for key, value in values.items()}
    return [float(f"{value:.6g}") for value in values]


def drift_lines(
    summary: Mapping[str, Any], where: str = "index.html and predictions.json say which and why"
) -> list[str]:
    """Return the sentences on a set of photos, for the terminal and the page; size and sharpness are not logarithms there.

    Args:
        summary: from ``Fingerprint.summary``.
        where: where the reader sees which photos are unlike.
    """
    lines = []
    if summary["unlike"]:
        share = f"{summary['false_alarms']:.1%}"
        chance = "" if summary["more_than_chance"] else "; chance alone may explain that"
        lines.append(
            f"{summary['unlike']} of {summary['photos']} photos are unlike what the model was tuned on (by chance: at most "
            f"{share}{chance}); {where}"
        )
    for name, each in summary["shifted"].items():
        word = WORDS[name][int(each["here"] > each["training"])]
        here, training = (LINEAR.get(name, "{:.3g}".format)(each[key]) for key in ("here", "training"))
        lines.append(
            f"as a whole the photos are unlike the training photos: {word} ({name}: median {here}, in training {training})"
        )
    return lines
