"""Divides ids into splits by a seeded hash, class by class, never separating images of one group (such as duplicates).

Nothing depends on the order of files or on a random generator: adding an image moves few others.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence


def carve(
    ids: Sequence[str],
    class_names: Sequence[str],
    counts: Mapping[str, int],
    *,
    groups: Sequence[int] | None = None,
    seed: int = 0,
) -> list[str]:
    """Choose ids to hold out, a given number of each class.

    Args:
        ids: all ids.
        class_names: their classes, same order.
        counts: how many to hold out of each class; none of a class that is not named.
        groups: group number of each id, same order; a group is held out completely or not at all. None: no groups.
        seed: another seed gives another choice.

    Returns:
        The chosen ids, in the order of `ids`. A class may fall short of its count where its groups do not fit.

    >>> carve(["a", "b", "c", "d"], ["x", "x", "y", "y"], {"x": 1, "y": 1})
    ['a', 'd']
    """
    members: dict[int, list[int]] = {}
    for index in range(len(ids)):
        members.setdefault(index if groups is None else groups[index], []).append(index)
    order = sorted(members.values(), key=lambda group: _hash(min(ids[i] for i in group), seed))
    left = dict(counts)
    chosen: set[int] = set()
    for group in order:
        need: dict[str, int] = {}
        for index in group:
            need[class_names[index]] = need.get(class_names[index], 0) + 1
        if all(count <= left.get(name, 0) for name, count in need.items()):
            chosen.update(group)
            for name, count in need.items():
                left[name] -= count
    return [ids[index] for index in sorted(chosen)]


def shares(class_names: Sequence[str], share: float) -> dict[str, int]:
    """Return how many images of each class make up `share` of it, at least one of a class of three or more.

    >>> shares(["x"] * 10 + ["y"] * 4, 0.2)
    {'x': 2, 'y': 1}
    """
    totals: dict[str, int] = {}
    for name in class_names:
        totals[name] = totals.get(name, 0) + 1
    return {name: max(round(total * share), int(total >= 3 and share > 0)) for name, total in totals.items()}


def _hash(text: str, seed: int) -> bytes:
    return hashlib.sha256(f"{seed}:{text}".encode("utf-8", "surrogateescape")).digest()
