"""What a ground truth contributes to the metrics, computed once per mask and kept: areas, centroid, distances, edges.

Scoring the same images again and again (every validation of a training) then costs only what depends on the map. The
distance field is exact; the nearest truth pixel of a background pixel is scipy's choice among equally near ones, which
the weighted F of PySODMetrics takes too.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property

import cv2
import numpy as np
import torch
from scipy.ndimage import distance_transform_edt
from torch import Tensor

from samis.contracts import UserError

cv2.setNumThreads(0)  # no thread pool of its own: images are spread over processes, and a forked pool would hang

RULES = ("above_128", "above_tenth", "above_tenth_rounded", "nonzero")


@dataclass(frozen=True)
class Surround:
    """How far each background pixel is from the truth, and which truth pixel is its nearest.

    Attributes:
        weights: (H, W) float64, 2 - 0.5^(d/5) on the background, d the Euclidean distance to the truth in px; 0 inside.
        window: rows and columns of the truth's bounding box, 3 px wider where the image allows.
        nearest: (h, w) int32 over that window: flat index, within the window, of the nearest truth pixel.
    """

    weights: np.ndarray
    window: tuple[slice, slice]
    nearest: np.ndarray


class MaskFields:
    """A boolean mask and everything the metrics derive from it alone; each piece is computed when first asked for.

    Args:
        mask: (H, W) bool, True on defects.
    """

    def __init__(self, mask: np.ndarray) -> None:
        self.mask = np.ascontiguousarray(mask, dtype=bool)
        self.hw: tuple[int, int] = (int(mask.shape[0]), int(mask.shape[1]))
        self.size = int(mask.size)
        self._codes: dict[tuple[int, int], np.ndarray] = {}
        self._on_device: dict[tuple[str, object], Tensor] = {}

    def kept_on(self, device: torch.device, name: object, make: Callable[[], np.ndarray]) -> Tensor:
        """Return a copy of an array on a device, sent there once."""
        key = (str(device), name)
        if key not in self._on_device:
            self._on_device[key] = torch.from_numpy(np.ascontiguousarray(make())).to(device)
        return self._on_device[key]

    @property
    def mask_u8(self) -> np.ndarray:
        """The mask as 0/1 bytes (a view, no copy)."""
        return self.mask.view(np.uint8)

    @cached_property
    def area(self) -> int:
        """Number of defect pixels."""
        return int(np.count_nonzero(self.mask))

    @cached_property
    def centroid_yx(self) -> tuple[float, float]:
        """Mean row and column of the defect pixels, 0-based; the image's middle if there are none."""
        if self.area == 0:
            return self.hw[0] / 2, self.hw[1] / 2
        rows = cv2.reduce(self.mask_u8, 1, cv2.REDUCE_SUM, dtype=cv2.CV_64F).ravel()
        cols = cv2.reduce(self.mask_u8, 0, cv2.REDUCE_SUM, dtype=cv2.CV_64F).ravel()
        return float(np.arange(self.hw[0]) @ rows) / self.area, float(np.arange(self.hw[1]) @ cols) / self.area

    def codes(self, split_yx: tuple[int, int]) -> np.ndarray:
        """Label the pixels by quadrant and truth: 2 * quadrant + truth, quadrants in reading order.

        Args:
            split_yx: first row of the lower and first column of the right quadrants.

        Returns:
            (H, W) uint8 in 0..7.
        """
        if split_yx not in self._codes:
            below = (np.arange(self.hw[0]) >= split_yx[0]).astype(np.uint8) * np.uint8(4)
            right = (np.arange(self.hw[1]) >= split_yx[1]).astype(np.uint8) * np.uint8(2)
            self._codes[split_yx] = self.mask_u8 + (below[:, None] + right[None, :])
        return self._codes[split_yx]

    @cached_property
    def surround(self) -> Surround:
        """Distances and nearest pixels (see `Surround`); needs a mask with at least one pixel."""
        outside = 1 - self.mask_u8
        if self.size < 2**22:
            # float32 distances below 2000 px give back the exact squared distance, an integer
            squared = np.rint(
                np.square(cv2.distanceTransform(outside, cv2.DIST_L2, cv2.DIST_MASK_PRECISE), dtype=float)
            )
            distance = np.sqrt(squared)
        else:
            distance = distance_transform_edt(outside)
        weights = (2.0 - np.exp(np.log(0.5) / 5.0 * distance)) * outside
        window = self._window(margin=3)
        indices = distance_transform_edt(outside[window], return_distances=False, return_indices=True)
        width = window[1].stop - window[1].start
        return Surround(weights, window, (indices[0] * np.int32(width) + indices[1]).astype(np.int32))

    def _window(self, *, margin: int) -> tuple[slice, slice]:
        x, y, width, height = cv2.boundingRect(self.mask_u8)
        return (
            slice(max(y - margin, 0), min(y + height + margin, self.hw[0])),
            slice(max(x - margin, 0), min(x + width + margin, self.hw[1])),
        )

    @cached_property
    def components(self) -> tuple[np.ndarray, np.ndarray]:
        """Connected defects, 8 neighbours: (H, W) int32 labels from 1 on, and the (n,) areas in px."""
        _, labels, stats, _ = cv2.connectedComponentsWithStats(self.mask_u8, connectivity=8)
        return labels, stats[1:, cv2.CC_STAT_AREA].astype(np.int64)

    @cached_property
    def edges(self) -> np.ndarray:
        """(H, W) bool: where the mask's central-difference gradient is not zero (see `samis.metrics.pratt`)."""
        return gradient_edges(self.mask)

    @property
    def nbytes(self) -> int:
        """Bytes held at present."""
        held: list[object] = [self.mask, *self._codes.values(), *self._on_device.values()]
        for name in ("surround", "components", "edges"):
            value = self.__dict__.get(name)
            pieces = vars(value).values() if isinstance(value, Surround) else value
            held += [pieces] if isinstance(pieces, np.ndarray) else list(pieces or ())
        return sum(array.nbytes for array in held if isinstance(array, np.ndarray | Tensor))


class TruthFields:
    """One image's ground truth, read as each metric's rule wants it.

    Args:
        truth: (H, W) bool; or uint8, the file's raw values: 0/255 with or without greys between, or labels 0/1.
        source: name of the file, for error messages.

    Raises:
        UserError: not one grey channel of bool or uint8, or no value above 128 although some above 1 (the usual rule
            "> 128" would read such a mask as empty).
    """

    def __init__(self, truth: np.ndarray, *, source: str = "truth") -> None:
        truth = np.asarray(truth)
        if truth.ndim != 2 or truth.size == 0 or truth.dtype not in (np.bool_, np.uint8):
            came = f"{truth.dtype} of shape {truth.shape}"
            raise UserError(f"{source}: expected an (H, W) mask, bool or uint8, got {came}; save it as 8-bit grey")
        if truth.dtype == np.uint8:
            highest = int(truth.max())
            if highest == 1:
                truth = truth.astype(bool)
            elif 1 < highest <= 128:
                advice = "save defects as 255 (or label them 0/1)"
                raise UserError(f"{source}: expected a 0/255 or 0/1 mask, got values up to {highest}; {advice}")
        self.raw = truth
        self.hw: tuple[int, int] = (int(truth.shape[0]), int(truth.shape[1]))
        self._fields: dict[str, MaskFields] = {}

    def fields(self, rule: str = "above_128") -> MaskFields:
        """Return the mask's fields under a rule of `RULES`; rules that give the same mask share them.

        Args:
            rule: ``above_128`` (PySODMetrics); ``nonzero``; ``above_tenth``: above 0.1 once stretched to [0, 1], so
                that a mask of one value is empty; ``above_tenth_rounded``: the same, 8-bit values above 25.
        """
        if rule not in self._fields:
            mask = self._mask(rule)
            twins = (known for known in self._fields.values() if np.array_equal(known.mask, mask))
            self._fields[rule] = next(twins, None) or MaskFields(mask)
        return self._fields[rule]

    def _mask(self, rule: str) -> np.ndarray:
        if rule == "nonzero":
            return self.raw != 0
        if rule == "above_128":
            return self.raw if self.raw.dtype == np.bool_ else self.raw > 128
        levels = np.arange(256, dtype=np.float64)
        raw = self.raw.view(np.uint8)
        low, high = int(raw.min()), int(raw.max())
        if low == high:
            return np.zeros(self.hw, dtype=bool)
        stretched = (levels - low) / (high - low)
        positive = np.floor(stretched * 255 + 0.5) > 25 if rule == "above_tenth_rounded" else stretched > 0.1
        return positive[raw]

    @property
    def nbytes(self) -> int:
        """Bytes held at present, the shared fields once."""
        return int(self.raw.nbytes) + sum(
            fields.nbytes for fields in {id(f): f for f in self._fields.values()}.values()
        )


class TruthCache:
    """Keep the fields of the ground truths scored last, up to a number of bytes.

    Args:
        max_bytes: memory to keep at most; the image in hand is always kept.
    """

    def __init__(self, max_bytes: int = 1 << 30) -> None:
        self.max_bytes = max_bytes
        self._held: OrderedDict[str, TruthFields] = OrderedDict()
        self._bytes: dict[str, int] = {}
        self._total = 0

    def __len__(self) -> int:
        return len(self._held)

    def get(self, key: str, truth: np.ndarray) -> TruthFields:
        """Return the fields kept under `key` (an image id, one mask per key), made from `truth` the first time."""
        if self._held:
            self._weigh(next(reversed(self._held)))  # its fields have grown while it was in use
        if key not in self._held:
            self._held[key] = TruthFields(truth, source=key)
        self._held.move_to_end(key)
        self._weigh(key)
        while len(self._held) > 1 and self._total > self.max_bytes:
            oldest, _ = self._held.popitem(last=False)
            self._total -= self._bytes.pop(oldest)
        return self._held[key]

    def _weigh(self, key: str) -> None:
        size = self._held[key].nbytes
        self._total += size - self._bytes.get(key, 0)
        self._bytes[key] = size


def gradient_edges(mask: np.ndarray) -> np.ndarray:
    """Mark where a binary image's central difference (one-sided at the border) is not zero, along rows or columns.

    Args:
        mask: (H, W) bool.

    Returns:
        (H, W) bool: a band two pixels wide along each outline.
    """
    edges = np.zeros(mask.shape, dtype=bool)
    if mask.shape[0] > 1:
        edges[1:-1] |= mask[2:] != mask[:-2]
        edges[0] |= mask[1] != mask[0]
        edges[-1] |= mask[-1] != mask[-2]
    if mask.shape[1] > 1:
        edges[:, 1:-1] |= mask[:, 2:] != mask[:, :-2]
        edges[:, 0] |= mask[:, 1] != mask[:, 0]
        edges[:, -1] |= mask[:, -1] != mask[:, -2]
    return edges
