"""Parameters and multiply-adds of every baseline, next to the figures that papers state.

Code: torch.utils.flop_counter counts the operations of matrix products and convolutions; a multiply-add is two of them. Nothing is
allocated or computed: the networks are on torch's meta device.
"""

from __future__ import annotations

import csv
import functools
from pathlib import Path
from typing import NamedTuple

import torch
from torch import nn
from torch.utils.flop_counter import FlopCounterMode

from samis.baselines import BASELINES, build_baseline
from samis.errors import UserError

PATH = Path(__file__).with_name("stated_complexity.csv")
TOLERANCE = 0.05
"""A larger relative difference from a stated figure needs an explanation."""


class Stated(NamedTuple):
    """One figure as printed, with the backbone it was printed for.

    Attributes:
        network: key in ``BASELINES``.
        backbone: timm name of the one that was counted.
        parameters_m: million parameters; None where only multiply-adds are stated.
        multiply_adds_g: billion multiply-adds for one image of ``at_px`` squared; None where not stated.
        source: who states it, the paper itself or another one.
        explanation: why ours differs, where it does by more than ``TOLERANCE``.
    """

    network: str
    backbone: str
    parameters_m: float | None
    multiply_adds_g: float | None
    at_px: int
    source: str
    explanation: str


class Counted(NamedTuple):
    """What a network needs: parameters, and multiply-adds for one square image."""

    parameters: int
    multiply_adds: int


def count_parameters(name: str, *, backbone: str | None = None) -> int:
    """Return the number of a network's trained parameters.

    >>> count_parameters("unet")
    14328081
    """
    return sum(parameter.numel() for parameter in _on_meta(name, backbone).parameters())


@functools.cache
def count(name: str, *, backbone: str | None = None, side: int = 256) -> Counted:
    """Count a network.

    Args:
        name: key in ``BASELINES``.
        backbone: timm name; None takes the paper's.
        side: of the image, px.

    Raises:
        UserError: no such network or backbone, or a side that its strides do not divide.
    """
    network = _on_meta(name, backbone).eval()
    with torch.no_grad(), FlopCounterMode(display=False) as counter:
        network(torch.zeros(1, 3, side, side, device="meta"))
    parameters = sum(parameter.numel() for parameter in network.parameters())
    return Counted(parameters, counter.get_total_flops() // 2)


def read_stated(path: Path = PATH) -> list[Stated]:
    """Read the stated figures.

    Raises:
        UserError: a line is incomplete.
    """
    stated = []
    with path.open(encoding="utf-8", newline="") as file:
        for number, line in enumerate(csv.DictReader(file), start=2):
            try:
                parameters, adds = (float(line[key]) if line[key] else None for key in _FIGURES)
                item = Stated(
                    line["network"], line["backbone"], parameters, adds, int(line["at_px"] or 0),
                    line["source"].strip(), line["explanation"].strip(),
                )  # fmt: skip
            except (KeyError, TypeError, ValueError, AttributeError) as error:
                fields = ", ".join(Stated._fields)
                raise UserError(
                    f"{path}, line {number}: expected {fields}, but {error}; correct the line", code="E-NET-STATED"
                ) from error
            if item.network not in BASELINES or not item.source or (adds and not item.at_px):
                raise UserError(
                    f"{path}, line {number}: expected a known network, a source and at_px; correct the line",
                    code="E-NET-STATED",
                )
            stated.append(item)
    return stated


_FIGURES = ("parameters_m", "multiply_adds_g")


def markdown() -> str:
    """Return the table of all networks, and the one of stated figures, as Markdown."""
    stated = read_stated()
    lines = [
        "| Network | Backbone | Parameters, M | Stated, M | Multiply-adds at 256 × 256, G | Stated, G at px |",
        "|---|---|---:|---:|---:|---:|",
    ]
    for name, baseline in BASELINES.items():
        counted = count(name)
        counts = f"| {name} | {baseline.backbone} | {counted.parameters / 1e6:.2f}"
        of_it = [item for item in stated if item.network == name]
        sizes = ", ".join(_stated_size(item, baseline.backbone) for item in of_it if item.parameters_m) or "-"
        costs = ", ".join(f"{item.multiply_adds_g:g} at {item.at_px}" for item in of_it if item.multiply_adds_g) or "-"
        lines.append(f"{counts} | {sizes} | {counted.multiply_adds / 1e9:.2f} | {costs} |")
    lines += [
        "",
        "| Network | Backbone | Figure | Stated | Counted here | Difference | Stated by | Why it differs |",
        "|---|---|---|---:|---:|---:|---|---|",
    ]
    for item in stated:
        for figure, theirs, ours in _pairs(item):
            away = ours / theirs - 1
            why = item.explanation if abs(away) > TOLERANCE else ""
            if abs(away) > TOLERANCE and not why:
                raise UserError(
                    f"{PATH}: {item.network}: {figure} differs by {away:+.0%}; write the explanation",
                    code="E-NET-STATED",
                )
            lines.append(
                f"| {item.network} | {item.backbone} | {figure} | {theirs:g} | {ours:.2f} | {away:+.1%} | {item.source} | {why} |"
            )
    return "\n".join(lines) + "\n"


def _stated_size(item: Stated, backbone: str) -> str:
    other = "" if item.backbone == backbone else f" ({item.backbone})"
    return f"{item.parameters_m:g}{other}"


def _pairs(item: Stated) -> list[tuple[str, float, float]]:
    """Return (what, stated, counted here) of a stated line's figures, in M and G."""
    counted = count(item.network, backbone=item.backbone, side=item.at_px or 256)
    pairs = []
    if item.parameters_m is not None:
        pairs.append(("parameters, M", item.parameters_m, counted.parameters / 1e6))
    if item.multiply_adds_g is not None:
        pairs.append((f"multiply-adds at {item.at_px}, G", item.multiply_adds_g, counted.multiply_adds / 1e9))
    return pairs


def _on_meta(name: str, backbone: str | None) -> nn.Module:
    with torch.device("meta"):
        return build_baseline(name, backbone=backbone)
