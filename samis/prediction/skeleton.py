"""Length and width of a crack along itself, from its skeleton.

Length: the skeleton (Zhang and Suen, A Fast Parallel Algorithm for Thinning Digital Patterns, CACM 1984, by scikit-image) is cut at
its junctions into branches, branches that only lead to a corner of the outline are dropped, and the others are smoothed and
added up; at a free end half the width is added, by which thinning shortens it. Width: the largest one is the diameter of the
largest circle inside, the mean is area / length. On straight and bent strips of 2 to 20 px the length is within 3.5 px.
"""

from __future__ import annotations

from dataclasses import dataclass, field

import cv2
import numpy as np

_SPUR = 1.5
"""A branch with a free end is dropped if it is shorter than this times the half width at its junction, plus a pixel: the branch
to a right-angled corner has 1.41."""
_SMOOTH = 5
"""Pixels of the running mean that takes the steps out of a branch."""
MOST_PX = 1 << 24
"""A region whose box holds more pixels (4096 x 4096) is not measured along itself, which takes the memory of several photos."""
_ENLARGED_PX = 1 << 22
_AROUND = [(-1, -1), (-1, 0), (-1, 1), (0, -1), (0, 1), (1, -1), (1, 0), (1, 1)]


@dataclass(frozen=True)
class CrackMeasures:
    """Measures of one region along itself, in pixels.

    Attributes:
        length: of the skeleton with all its branches.
        max_width: diameter of the largest circle inside.
        mean_width: area / length.
    """

    length: float
    max_width: float
    mean_width: float


@dataclass
class _Branch:
    """Pixels (n, 2) in order from one end to the other; at each end the junction's number, or None where it is free."""

    points: np.ndarray
    ends: list[int | None] = field(default_factory=lambda: [None, None])
    closed: bool = False

    @property
    def length(self) -> float:
        """Length of the smoothed branch."""
        points = self.points.astype(float)
        if len(points) < 2:
            return 0.0
        half = min(_SMOOTH // 2, (len(points) - 1) // 2)
        if self.closed:
            points = (
                np.concatenate([points[-half:], points, points[: half + 1]])
                if half
                else points[[*range(len(points)), 0]]
            )
        if half:
            sums = np.cumsum(np.concatenate([np.zeros((1, 2)), points]), axis=0)
            inner = (sums[2 * half + 1 :] - sums[: -2 * half - 1]) / (2 * half + 1)
            points = inner if self.closed else np.concatenate([points[:1], inner, points[-1:]])
        return float(np.hypot(*np.diff(points, axis=0).T).sum())


def measure_crack(part: np.ndarray) -> CrackMeasures | None:
    """Measure a connected part along itself.

    Args:
        part: (H, W) bool, 8-connected.

    Returns:
        its measures, px; None of a part larger than ``MOST_PX``.

    >>> line = np.zeros((9, 30), bool)
    >>> line[3:6, 4:24] = True
    >>> crack = measure_crack(line)
    >>> round(crack.length, 1), crack.max_width, round(crack.mean_width, 1)
    (20.2, 3.0, 3.0)
    """
    if part.size > MOST_PX:
        return None
    from skimage.morphology import skeletonize

    part = np.pad(part, 1)
    width = _widths(part)
    skeleton = skeletonize(part)
    length = _length(skeleton, width / 2)
    area = int(np.count_nonzero(part))
    length = max(length, 1.0)
    return CrackMeasures(length, float(width.max()), area / length)


def _widths(part: np.ndarray) -> np.ndarray:
    """Return (H, W) at each pixel the diameter of the largest circle inside about it, px.

    Of the picture enlarged twice: there a strip of any width has its axis between two pixels, so that odd and even ones are exact.
    Of a large one as it is, where an even width comes out a pixel too small.
    """
    if part.size > _ENLARGED_PX:
        plain: np.ndarray = cv2.distanceTransform(part.view(np.uint8), cv2.DIST_L2, cv2.DIST_MASK_PRECISE)
        return np.maximum(2 * plain - 1, 0)
    twice = part.view(np.uint8).repeat(2, axis=0).repeat(2, axis=1)
    distance = cv2.distanceTransform(twice, cv2.DIST_L2, cv2.DIST_MASK_PRECISE)
    height, width = part.shape
    result: np.ndarray = distance.reshape(height, 2, width, 2).max(axis=(1, 3))
    return result


def _length(skeleton: np.ndarray, half_width: np.ndarray) -> float:
    """Return the length of a skeleton's branches, without spurs, and with the half widths at free ends."""
    branches, at_junction = _branches(skeleton, half_width)
    while True:
        degrees: dict[int, int] = {}
        for branch in branches:
            for end in branch.ends:
                if end is not None:
                    degrees[end] = degrees.get(end, 0) + 1
        spurs = [branch for branch in branches if _is_spur(branch, degrees, at_junction)]
        if not spurs:
            break
        kept = {id(branch) for branch in spurs}
        branches = [branch for branch in branches if id(branch) not in kept]
    if not branches:
        return 2 * float(half_width[skeleton].max())
    total = 0.0
    for branch in branches:
        total += branch.length
        if not branch.closed:
            for end, point in zip(branch.ends, (branch.points[0], branch.points[-1]), strict=True):
                if end is None or degrees[end] == 1:
                    y, x = np.round(point).astype(int)
                    total += float(half_width[y, x])
    return total


def _is_spur(branch: _Branch, degrees: dict[int, int], at_junction: np.ndarray) -> bool:
    """Return whether a branch leads from a junction to nowhere and is hardly longer than the region is wide there."""
    free = [end is None or degrees[end] == 1 for end in branch.ends]
    if branch.closed or free[0] == free[1]:
        return False
    junction = branch.ends[1 if free[0] else 0]
    return junction is not None and branch.length < _SPUR * float(at_junction[junction]) + 1


def _branches(skeleton: np.ndarray, half_width: np.ndarray) -> tuple[list[_Branch], np.ndarray]:
    """Cut a skeleton at its junctions; return its branches, and the half width at each junction."""
    around = cv2.filter2D(skeleton.astype(np.uint8), -1, np.ones((3, 3), np.uint8), borderType=cv2.BORDER_CONSTANT)
    junctions = skeleton & (around > 3)  # itself and three neighbours
    count, numbers = cv2.connectedComponents(junctions.astype(np.uint8), connectivity=8)
    places = np.argwhere(junctions)
    of_place = numbers[junctions]
    at_junction = np.zeros(count)
    np.maximum.at(at_junction, of_place.astype(np.int64), half_width[junctions])
    sizes = np.maximum(np.bincount(of_place, minlength=count), 1)
    centres = np.stack(
        [np.bincount(of_place, weights=places[:, axis], minlength=count) / sizes for axis in (0, 1)], axis=1
    )
    order = [(int(y), int(x)) for y, x in np.argwhere(skeleton & ~junctions)]
    left = set(order)
    branches = []
    for start in order:
        if start in left:
            left.discard(start)
            forward, backward = _walk(start, left), _walk(start, left)
            branches.append(_branch(start, forward, backward, numbers, centres))
    return branches, at_junction


def _walk(start: tuple[int, int], left: set[tuple[int, int]]) -> list[tuple[int, int]]:
    """Return the pixels of a branch from a pixel on, in order, and take them out of those that are left."""
    path: list[tuple[int, int]] = []
    while True:
        y, x = path[-1] if path else start
        following = next((place for dy, dx in _AROUND if (place := (y + dy, x + dx)) in left), None)
        if following is None:
            return path
        left.discard(following)
        path.append(following)


def _branch(
    start: tuple[int, int],
    forward: list[tuple[int, int]],
    backward: list[tuple[int, int]],
    numbers: np.ndarray,
    centres: np.ndarray,
) -> _Branch:
    """Join both ways from a pixel, and lead each end to the junction that it touches."""
    path = [*reversed(backward), start, *forward]
    first, last = _touched(path[0], numbers), _touched(path[-1], numbers)
    last = first[1:] if len(path) == 1 else last
    ends = [touched[0] if touched else None for touched in (first, last)]
    (y0, x0), (y1, x1) = path[0], path[-1]
    closed = len(path) > 3 and ends == [None, None] and max(abs(y0 - y1), abs(x0 - x1)) <= 1
    lead = [[] if end is None else [centres[end]] for end in ends]
    points = [*lead[0], *(np.array(place, float) for place in path), *lead[1]]
    return _Branch(np.array(points), ends, closed)


def _touched(place: tuple[int, int], numbers: np.ndarray) -> list[int]:
    """Return the junctions that a pixel touches, each once."""
    y, x = place
    result = [int(numbers[y + dy, x + dx]) for dy, dx in _AROUND]
    return list(dict.fromkeys(number for number in result if number))
