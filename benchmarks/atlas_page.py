"""Writes ``docs/peft-atlas.md`` from the rows of ``benchmarks/peft_atlas.py``; its advice follows a rule that the page states."""

from __future__ import annotations

from pathlib import Path
from statistics import mean, median, stdev
from typing import Any

import numpy as np

from benchmarks.atlas_jobs import METHODS, SURFACES
from samis.core.files import write_atomic
from samis.evaluation.intervals import percentiles, resampled_means

Row = dict[str, Any]
NAMES = {"steel": "SD-saliency-900", "tile": "magnetic tile", "rail": "RSDDs"}


class Atlas:
    """What the rows say.

    Attributes:
        methods: those that have the same surfaces and seeds as all, in the table's order.
        surfaces: that every method was trained on.
        seeds: likewise.
        of: method -> (surface, seed) -> row; where several learning rates were tried, the one that validated best.
        lrs: method -> learning rate that was chosen.
        tuned_on: surface on which it was.
    """

    def __init__(self, rows: list[Row]) -> None:
        trained = [row for row in rows if row["kind"] == "training"]
        self.rows = rows
        self.surfaces = [name for name in SURFACES if any(row["surface"] == name for row in trained)]
        self.seeds = sorted({row["seed"] for row in trained})
        tried: dict[str, dict[tuple[str, int], list[Row]]] = {}
        for row in trained:
            tried.setdefault(row["method"], {}).setdefault((row["surface"], row["seed"]), []).append(row)
        self.of: dict[str, dict[tuple[str, int], Row]] = {}
        for method in METHODS:
            cells = tried.get(method, {})
            if len(cells) == len(self.surfaces) * len(self.seeds):
                self.of[method] = {
                    cell: max(result, key=lambda row: row["validation"]["s_measure"]) for cell, result in cells.items()
                }
        self.methods = list(self.of)
        self.lrs = {method: next(iter(cells.values()))["lr"] for method, cells in self.of.items()}
        several = [cell for cells in tried.values() for cell, result in cells.items() if len(result) > 1]
        self.tuned_on = several[0][0] if several else self.surfaces[0]

    def mean_of(self, method: str, surface: str, key: str = "s_measure") -> float:
        """Return the mean over the seeds of a test score."""
        return mean(self.of[method][surface, seed]["test"][key] for seed in self.seeds)

    def spread(self, method: str) -> float:
        """Return the standard deviation over seeds of the mean over surfaces; 0 of one seed."""
        means = [
            mean(self.of[method][surface, seed]["test"]["s_measure"] for surface in self.surfaces)
            for seed in self.seeds
        ]
        return stdev(means) if len(means) > 1 else 0.0

    def resampled(self) -> np.ndarray:
        """Return (resamples, methods, surfaces) means of S, the same resamples of a surface's images for all methods."""
        result = []
        for surface in self.surfaces:
            ids = sorted(self.of[self.methods[0]][surface, self.seeds[0]]["test"]["images"])
            values = [
                [mean(self.of[method][surface, seed]["test"]["images"][name] for seed in self.seeds) for name in ids]
                for method in self.methods
            ]
            result.append(resampled_means(np.array(values)))
        return np.stack(result, axis=2)

    def step_ms(self, method: str) -> float:
        """Return the median time of a step, ms, over a method's trainings, which ran beside others."""
        return float(median(row["step_ms"] for row in self.of[method].values()))

    def at_the_edge(self) -> int:
        """Return how many methods chose the largest of the learning rates that were tried."""
        return sum(self.lrs[method] == max(METHODS[method].lrs) for method in self.methods)

    def fact(self, kind: str, **where: Any) -> Row | None:
        """Return the row of a kind, or None."""
        return next(
            (row for row in self.rows if row["kind"] == kind and all(row[k] == v for k, v in where.items())), None
        )


WHOLE = "full"
"""The method that has no base to go back to: it stores all that it tunes."""


def advice(atlas: Atlas) -> list[str]:
    """Return which method to take, in two sentences, by the rule that the page states."""
    means = {method: mean(atlas.mean_of(method, surface) for surface in atlas.surfaces) for method in atlas.methods}
    sizes = {method: next(iter(atlas.of[method].values()))["parameters"] for method in atlas.methods}
    best, quick, small = _choose(atlas, atlas.methods, means, sizes)
    first = f"Take **{METHODS[quick].label}**: mean S {means[quick]:.4f}"
    first += (
        ", the largest of all." if quick == best else
        f", which the images cannot tell from the largest, {METHODS[best].label}'s {means[best]:.4f}, in the shortest step "
        "of those."
    )  # fmt: skip
    adapters = [method for method in atlas.methods if method != WHOLE]
    if small != quick:
        second = "Where the adapter's file must be small"
    elif quick == WHOLE and adapters:
        second = "Where SAM itself must stay as it is, with a small file for each surface"
        best, _, small = _choose(atlas, adapters, means, sizes)
    else:
        return [first, f"No method with fewer parameters than its {sizes[quick]:,} is as good."]
    second += f", take **{METHODS[small].label}**: {sizes[small]:,} parameters in place of {sizes[quick]:,}, "
    second += f"mean S {means[small]:.4f}"
    if best not in (small, quick):
        second += f", which the images cannot tell from {METHODS[best].label}'s {means[best]:.4f}"
    return [first, f"{second}."]


def _choose(atlas: Atlas, methods: list[str], means: dict[str, float], sizes: dict[str, int]) -> tuple[str, str, str]:
    """Return the best of some methods; and of those that the images cannot tell from it the quickest and the smallest."""
    draws = atlas.resampled().mean(axis=2)
    best = max(methods, key=lambda method: means[method])
    ahead = {method: draws[:, atlas.methods.index(best)] - draws[:, atlas.methods.index(method)] for method in methods}
    equal = [method for method in methods if percentiles(ahead[method])[0] <= 0]
    return (
        best,
        min(equal, key=lambda method: (atlas.step_ms(method), -means[method])),
        min(equal, key=lambda method: sizes[method]),
    )


def write_page(rows: list[Row], path: Path) -> None:
    """Write the page.

    Args:
        rows: of one number of steps, frame and batch.
        path: of the page.
    """
    atlas = Atlas(rows)
    if not atlas.methods:
        raise SystemExit(f"{path}: not written; no method has a row on every surface and seed yet")
    write_atomic(path, "\n".join(_lines(atlas)) + "\n")
    print(f"{path}: {len(atlas.methods)} methods, {', '.join(atlas.surfaces)}, seeds {atlas.seeds}")


def _lines(atlas: Atlas) -> list[str]:
    example = next(iter(atlas.of[atlas.methods[0]].values()))
    names = {name: NAMES.get(name, name.replace("_", " ")) for name in atlas.surfaces}
    devices = sorted({row["device"] for row in atlas.rows})
    head = [
        "method",
        "parameters",
        "ms a step",
        "learning rate",
        *(f"S, {name}" for name in names.values()),
        "S, mean",
        "std of seeds",
    ]
    lines = [
        "# Which adapter: an atlas of methods", "",
        "<!-- written by benchmarks/peft_atlas.py --page; change that, not this file -->", "",
        *advice(atlas), "",
        f"The embedded SAM, {example['steps']} steps of {example['batch_size']} images at {example['frame_px']} px for every "
        f"method, {len(atlas.seeds)} seed{'s' if len(atlas.seeds) > 1 else ''}, the same batches for "
        f"all; empty prompt, test split, mean over the seeds [95 % interval over "
        f"images]. Measured on {', '.join(devices)}, torch {example['torch']}.", "",
        f"| {' | '.join(head)} |", "|---|" + "---:|" * (len(head) - 1),
    ]  # fmt: skip
    draws = atlas.resampled()
    zero = [atlas.fact("zero_shot", surface=surface) for surface in atlas.surfaces]
    if all(zero):
        values = [row["test"]["s_measure"] for row in zero if row]
        lines.append(f"| zero-shot | 0 | | | {' | '.join(f'{v:.4f}' for v in values)} | {mean(values):.4f} | |")
    for number, method in enumerate(atlas.methods):
        cells = []
        for place, surface in enumerate(atlas.surfaces):
            low, high = percentiles(draws[:, number, place])
            cells.append(f"{atlas.mean_of(method, surface):.4f} [{low:.4f}, {high:.4f}]")
        overall = mean(atlas.mean_of(method, surface) for surface in atlas.surfaces)
        low, high = percentiles(draws[:, number].mean(axis=1))
        ms = f"{atlas.step_ms(method):.0f}"
        size = next(iter(atlas.of[method].values()))["parameters"]
        lines.append(
            f"| {METHODS[method].label} | {size:,} | {ms} | {atlas.lrs[method]:g} | {' | '.join(cells)} | "
            f"{overall:.4f} [{low:.4f}, {high:.4f}] | {atlas.spread(method):.4f} |"
        )
    exact = [row["off_exact"] for cells in atlas.of.values() for row in cells.values()]
    return [*lines, "", *_rules(atlas, exact)]


def _rules(atlas: Atlas, exact: list[bool]) -> list[str]:
    first = NAMES.get(atlas.tuned_on, atlas.tuned_on.replace("_", " "))
    steps = next(iter(atlas.of[atlas.methods[0]].values()))["steps"]
    tried = "; ".join(f"{METHODS[m].label} {', '.join(f'{lr:g}' for lr in METHODS[m].lrs)}" for m in atlas.methods)
    return [
        "- Layers: the encoder's qkv, proj and MLP, the decoder's attention and MLP; LayerNorm: the norms of both; full: the "
        "encoder and the decoder's path to mask 0; bottleneck: behind attention and MLP, 32 wide. Rank 16, alpha 32 where a "
        "method has them; all else as `adapter.name=peft` sets it.",
        f"- Learning rate: of three, the one with the largest S on the validation split of {first} and the first seed; the test "
        f"split chose nothing. Tried: {tried}.",
        "- Time of a step: median over the method's trainings, each one process among others on the same device; AdamW "
        "included, drawing of batches not. It compares methods; alone a step takes less.",
        f"- {atlas.at_the_edge()} of {len(atlas.methods)} methods chose the largest learning rate that was tried: with a larger "
        "one, and with more steps, they may do better. The budget is short on purpose, and equal.",
        f"- Switched off, the trained SAM gave zero-shot SAM's logits bit for bit in {sum(exact)} of {len(exact)} trainings.",
        "- Rule of the advice: the method with the largest mean over the surfaces, and those whose distance to it has a 95 % "
        "interval (paired, over images) that reaches 0; of these the one with the shortest step, and the one with the fewest "
        "parameters. Where that is full tuning, the same among the others, which leave SAM as it is.",
        f"- Again: `python benchmarks/peft_atlas.py --steps {steps} --seeds {' '.join(map(str, atlas.seeds))} --page "
        "docs/peft-atlas.md`; rows in `benchmarks/results/peft_atlas.jsonl`.",
    ]
