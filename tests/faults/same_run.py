"""Compares two run folders, bit for bit."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import torch


def differences(one: Path, two: Path) -> list[str]:
    """Return how two run folders differ: weights and validations byte for byte, the resume point value by value."""
    problems = []
    compared = 0
    for name in ("best", "last", "validation.jsonl"):
        files = sorted(p.relative_to(one) for p in (one / name).rglob("*")) if (one / name).is_dir() else [Path(name)]
        others = sorted(p.relative_to(two) for p in (two / name).rglob("*")) if (two / name).is_dir() else [Path(name)]
        if files != others:
            problems.append(f"{name}: {files} and {others}")
            continue
        for path in files:
            compared += 1
            if (one / path).read_bytes() != (two / path).read_bytes():
                problems.append(f"{path} differs")
    if compared < 3:
        problems.append(f"only {compared} files to compare")
    states = [torch.load(run / "resume" / "state.pt", weights_only=True) for run in (one, two)]
    problems += _unequal(*states, "state")
    strays = [str(p.relative_to(two)) for p in two.rglob(".*") if not p.name.startswith(".lock")]
    return problems + [f"left behind: {stray}" for stray in strays]


def _unequal(one: Any, two: Any, where: str) -> list[str]:
    if type(one) is not type(two):
        return [f"{where}: {type(one)} and {type(two)}"]
    if isinstance(one, dict):
        if one.keys() != two.keys():
            return [f"{where}: keys {sorted(map(str, one.keys() ^ two.keys()))}"]
        return [text for key in one for text in _unequal(one[key], two[key], f"{where}.{key}")]
    if isinstance(one, list | tuple):
        if len(one) != len(two):
            return [f"{where}: {len(one)} and {len(two)} long"]
        return [text for i, (a, b) in enumerate(zip(one, two, strict=True)) for text in _unequal(a, b, f"{where}[{i}]")]
    if isinstance(one, torch.Tensor):
        same = one.dtype == two.dtype and torch.equal(one, two)
    else:
        same = one == two or (isinstance(one, float) and math.isnan(one) and math.isnan(two))
    return [] if same else [f"{where}: {one} and {two}"[:200]]
