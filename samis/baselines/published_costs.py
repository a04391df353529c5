"""What others state of the networks whose published maps are scored here, ``published_costs.csv``. Standard library only.

A method that is not listed, such as one without learning, has no cost. MINet-TII2024 (strip steel) is not the MINet of
``samis.baselines.minet``.
"""

from __future__ import annotations

import csv
from collections.abc import Sequence
from pathlib import Path
from typing import Any

PATH = Path(__file__).with_name("published_costs.csv")


def stated_cost(methods: Sequence[str], path: Path = PATH) -> dict[str, Any]:
    """Return the ``cost`` of a row of saved maps; of several methods the sum, where all state it.

    Args:
        methods: as in the file's column ``method``.
        path: of the CSV file.

    Returns:
        ``parameters``, ``multiply_adds``, ``frame_px`` (where all have the same) and ``source``, as far as stated.

    Raises:
        ValueError: a line of the file is incomplete; names the line.

    >>> stated_cost(["MINet-TII2024"])
    {'parameters': 280000, 'frame_px': 368, 'source': 'github.com/Kunye-Shen/MINet'}
    >>> stated_cost(["BC"])
    {}
    """
    known = _read(path)
    lines = [known[method] for method in methods if method in known]
    if not lines or len(lines) < len(methods):
        return {}
    cost: dict[str, Any] = {}
    for key, unit in (("parameters", 1e6), ("multiply_adds", 1e9)):
        values = [line[key] for line in lines]
        if None not in values:
            cost[key] = round(unit * sum(values))
    sides = {line["at_px"] for line in lines}
    cost |= {"frame_px": sides.pop()} if len(sides) == 1 else {}
    return cost | {"source": "; ".join(dict.fromkeys(line["source"] for line in lines))}


def _read(path: Path) -> dict[str, dict[str, Any]]:
    costs = {}
    with path.open(encoding="utf-8", newline="") as file:
        for number, line in enumerate(csv.DictReader(file), start=2):
            try:
                parameters, adds = (float(line[k]) if line[k] else None for k in ("parameters_m", "multiply_adds_g"))
                costs[line["method"]] = {
                    "parameters": parameters, "multiply_adds": adds, "at_px": int(line["at_px"]), "source": line["source"],
                }  # fmt: skip
            except (KeyError, TypeError, ValueError) as error:
                raise ValueError(f"{path}, line {number}: not a stated cost ({error}); correct the line") from error
    return costs
