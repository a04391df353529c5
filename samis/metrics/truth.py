"""What a ground truth contributes to the metrics, computed once per mask and kept: areas, centroid, distances, edges.

Scoring the same images again and again (every validation of a training) then costs only what depends on the map.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable, Sequence
from functools import cached_property
from typing import TYPE_CHECKING, Any

import cv2
import numpy as np

from samis.errors import UserError
from samis.metrics.surround import Surround, surround_of

if TYPE_CHECKING:
    import torch
    from torch import Tensor

cv2.setNumThreads(0)  # no thread pool of its own: images are spread over processes, and a forked pool would hang

RULES = ("above_128", "above_tenth", "above_tenth_rounded", "nonzero")


class MaskFields:
    """A boolean mask and everything the metrics derive from it alone; each piece is computed when first used.

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
        """Return a copy of an array on a device, sent there once.

        Args:
            device: where the copy is kept.
            name: key of the copy.
            make: returns the array, on the first call.
        """
        import torch

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
        sums = cv2.moments(self.mask_u8)  # whole numbers
        return sums["m01"] / self.area, sums["m10"] / self.area

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
        return surround_of(self.mask_u8)

    @cached_property
    def components(self) -> tuple[np.ndarray, np.ndarray]:
        """Connected defects, 8 neighbours: (H, W) int32 labels from 1 on, and the (n,) areas in px."""
        _, labels, stats, _ = cv2.connectedComponentsWithStats(self.mask_u8, connectivity=8)
        return labels, stats[1:, cv2.CC_STAT_AREA].astype(np.int64)

    @cached_property
    def edges(self) -> np.ndarray:
        """(H, W) bool: where the mask's central-difference gradient is not zero (see `samis.metrics.pratt`)."""
        return gradient_edges(self.mask)

    @cached_property
    def edge_places(self) -> tuple[np.ndarray, np.ndarray]:
        """Rows and columns of the pixels of `edges`, (n,) int64 each."""
        rows, cols = np.divmod(np.flatnonzero(self.edges), self.hw[1])
        return rows, cols

    @cached_property
    def edge_box(self) -> tuple[int, int, int, int]:
        """Left, top, right and bottom (exclusive) of the pixels of `edges`, of which there is one at least."""
        x, y, width, height = cv2.boundingRect(self.edges.view(np.uint8))
        return x, y, x + width, y + height

    @property
    def nbytes(self) -> int:
        """Bytes held at present."""
        held: list[Any] = [self.mask, *self._codes.values(), *self._on_device.values()]
        for name in ("surround", "components", "edges", "edge_places"):
            value = self.__dict__.get(name)
            pieces = vars(value).values() if isinstance(value, Surround) else value
            held += [pieces] if isinstance(pieces, np.ndarray) else list(pieces or ())
        return sum(int(array.nbytes) for array in held if hasattr(array, "nbytes"))


class TruthFields:
    """One image's ground truth, read as each metric's rule wants it.

    Args:
        truth: (H, W) bool; or uint8, the file's raw values: 0/255 with or without greys between, or labels 0/1.
        source: name of the file, for error messages.
        classes: the values that are defects, all others being none, in a mask of class numbers; None: see `truth`.
        ignore_value: the value of pixels that are left out, such as 255 in masks of VOC: they are no defect, and the map
            takes its lowest value there, so that they give neither hits nor false alarms.

    Attributes:
        ignored: (H, W) bool, the pixels left out; None if there are none.

    Raises:
        UserError: not one grey channel of bool or uint8; no value above 128 although some above 1 (the usual rule
            "> 128" would read such a mask as empty); or class numbers without `classes`.
    """

    def __init__(
        self,
        truth: np.ndarray,
        *,
        source: str = "truth",
        classes: Sequence[int] | None = None,
        ignore_value: int | None = None,
    ) -> None:
        truth = np.asarray(truth)
        if truth.ndim != 2 or truth.size == 0 or truth.dtype not in (np.bool_, np.uint8):
            raise UserError(
                f"{source}: expected an (H, W) mask, bool or uint8, got {truth.dtype} of shape {truth.shape}; save it as 8-bit "
                "grey",
                code="E-METRIC-MASK-TYPE",
            )
        self.ignored: np.ndarray | None = None
        if truth.dtype == np.uint8:
            if ignore_value is not None and (truth == ignore_value).any():
                self.ignored = truth == ignore_value
                truth = np.where(self.ignored, np.uint8(0), truth)
            truth = _two_valued(truth, source) if classes is None else np.isin(truth, np.array(classes, np.int64))
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
        levels = levels / 255  # the scripts stretch value / 255, which rounds other values than stretching bytes
        stretched = (levels - low / 255) / (high / 255 - low / 255)
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
        """Return the fields kept under a key, made the first time.

        Args:
            key: an image id, one mask per key.
            truth: (H, W) mask, read the first time only.
        """
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


def _two_valued(truth: np.ndarray, source: str) -> np.ndarray:
    """Return a mask of 0/1 as bool, and one of 0/255 with or without greys as it is; refuse class numbers.

    Class numbers are few values that make up flat areas: small ones next to 255 (VOC's "void"), or greys such as 64 and 192.
    The soft edges of a drawn mask have many values, or few pixels.
    """
    if np.count_nonzero(truth == 255) == np.count_nonzero(truth):
        return truth
    if truth.size < 2**24:  # OpenCV counts bytes many times faster, in float32, which holds these counts exactly
        counts = cv2.calcHist([np.ascontiguousarray(truth)], [0], None, [256], [0, 256]).ravel()
    else:
        counts = np.bincount(truth.ravel(), minlength=256)
    values = np.flatnonzero(counts)
    highest = int(values[-1])
    if highest == 1:
        return truth.astype(bool)
    if 1 < highest <= 128:
        advice = "save defects as 255 (or label them 0/1), or name the values that are defects (--classes)"
        raise UserError(
            f"{source}: expected a 0/255 or 0/1 mask, got values up to {highest}; {advice}", code="E-METRIC-MASK-VALUES"
        )
    void = highest == 255 and bool(counts[1:33].any()) and not counts[33:255].any()
    share = counts[17:239].sum() / counts[1:].sum() if highest else 0.0
    grey = len(values) <= 8 and np.count_nonzero(values) > 1 and (share >= 1 / 3 or (share > 0 and highest < 250))
    if void or grey:
        shown = ", ".join(map(str, values[:8]))
        raise UserError(
            f"{source}: expected a 0/255 or 0/1 mask, got class numbers ({shown}); name the values that are defects "
            "(--classes 1 2) and the one that is left out (--ignore-value 255)",
            code="E-METRIC-MASK-CLASSES",
        )
    return truth


def gradient_edges(mask: np.ndarray) -> np.ndarray:
    """Mark where a binary image's central difference (one-sided at the border) is not zero, along rows or columns.

    Args:
        mask: (H, W) bool.

    Returns:
        (H, W) bool: a band two pixels wide along each outline.
    """
    framed = cv2.copyMakeBorder(mask.view(np.uint8), 1, 1, 1, 1, cv2.BORDER_REPLICATE)
    along_rows = cv2.bitwise_xor(framed[1:-1, 2:], framed[1:-1, :-2])
    along_columns = cv2.bitwise_xor(framed[2:, 1:-1], framed[:-2, 1:-1])
    return np.asarray(cv2.bitwise_or(along_rows, along_columns)).view(np.bool_)
