"""The types that all packages share: Sample, Prompt, Placement, Batch, and the protocols Segmenter and Learner.

Data pass through them in this order: image file -> Sample -> Batch (framed views + prompt) -> logits -> map at the file's own
size -> metric -> ScoreRow -> report.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol, runtime_checkable

import numpy as np

if TYPE_CHECKING:  # scoring saved maps needs no torch, whose import takes longer than many a set of images
    import torch
    from torch import Tensor


@dataclass(frozen=True)
class Sample:
    """One image with its truth, as read from disk.

    Attributes:
        id: unique within its data set, e.g. ``"In_100"``.
        image: (H, W, 3) uint8, RGB; a grey file is repeated over the channels.
        mask: (H, W) bool, True on defects; None where no truth is known (prediction on new photos).
        class_name: kind of defect, e.g. ``"scratch"``; ``"clean"`` marks an image meant to hold no defect.
        image_path: the file the image came from; None for drawn images.
        mask_path: the file the mask came from; None where there is none.
    """

    id: str
    image: np.ndarray
    mask: np.ndarray | None = None
    class_name: str = "defect"
    image_path: Path | None = None
    mask_path: Path | None = None

    def __repr__(self) -> str:
        height, width = self.image.shape[:2]
        truth = "no mask" if self.mask is None else f"{self.mask.mean():.2%} defective"
        return f"<Sample {self.id!r}: {width} x {height} px, {self.class_name}, {truth}>"


@runtime_checkable
class Dataset(Protocol):
    """An ordered, named collection of samples of one split.

    ``fingerprint`` is a sha256 over ids and file contents, so that two scores can prove that they saw the same data.
    """

    name: str
    split: str
    ids: list[str]
    class_names: list[str]

    def __len__(self) -> int: ...

    def __getitem__(self, index: int) -> Sample: ...

    def fingerprint(self) -> str: ...


@dataclass(frozen=True)
class Placement:
    """Where one view (a whole image or a tile of it) sits in SAM's square frame.

    Attributes:
        sample: index of the view's image in ``Batch.ids``.
        file_hw: height and width of the file, px.
        crop_xyxy: the part of the file this view shows, px, end exclusive; the whole file is ``(0, 0, W, H)``.
        scaled_hw: height and width of that part inside the frame; the rest, right and below, is padding.
        frame_px: side of the square frame.
        preprocessing: key in ``samis.core.preprocessing.PREPROCESSING``: how the view was scaled and normalised.
    """

    sample: int
    file_hw: tuple[int, int]
    crop_xyxy: tuple[int, int, int, int]
    scaled_hw: tuple[int, int]
    frame_px: int
    preprocessing: str = "sam"


MIXED = "mixed"
"""Kind of a prompt whose views have prompts of several kinds."""


@dataclass
class Prompt:
    """The prompts of a batch, P for each of V views, in frame pixels.

    Attributes:
        kind: key in ``samis.prompts.PROMPTERS``, or ``MIXED``.
        points_xy: (V, P, N, 2) float32, or None.
        point_labels: (V, P, N) int64, 1 on the object, 0 off it, -1 padding; goes with ``points_xy``.
        boxes_xyxy: (V, P, 4) float32, or None.
        present: (V, P) bool; False where a view has fewer prompts than P. None: all present.
        sees_truth: True if the prompt was made from the ground truth (an oracle).
        objects: (V, P, S, S) uint8 in {0, 1}, the framed truth of each prompt, where training needs it; or None.
        view_kinds: of a ``MIXED`` prompt: V keys; a view uses the tensors of its own kind alone (``by_kind``).

    With neither points nor boxes, SAM is given its empty prompt (P = 1).
    """

    kind: str = "empty"
    points_xy: Tensor | None = None
    point_labels: Tensor | None = None
    boxes_xyxy: Tensor | None = None
    present: Tensor | None = None
    sees_truth: bool = False
    objects: Tensor | None = None
    view_kinds: tuple[str, ...] = ()

    def by_kind(self) -> Iterator[tuple[list[int], Prompt]]:
        """Yield (indices of views, their prompt) for each kind in a ``MIXED`` prompt."""
        for kind in dict.fromkeys(self.view_kinds):
            views = [view for view, own in enumerate(self.view_kinds) if own == kind]
            names = _OF_KIND.get(kind, ("boxes_xyxy", "present", "objects"))
            tensors = {name: tensor[views] for name, tensor in _tensors(self).items() if name in names}
            yield views, Prompt(kind, **tensors, sees_truth=self.sees_truth)

    @property
    def prompts_per_view(self) -> int:
        """P, the number of prompts of each view."""
        for tensor in (self.points_xy, self.boxes_xyxy):
            if tensor is not None:
                return int(tensor.shape[1])
        return 1

    def to(self, device: torch.device | str) -> Prompt:
        """Return the prompt with its tensors on `device`."""
        return replace(self, **_moved(self, device))


_OF_KIND = {"empty": (), "point": ("points_xy", "point_labels", "present", "objects")}
"""Tensors that the views of a kind use in a ``MIXED`` prompt; others use boxes."""


@dataclass
class Batch:
    """Framed views of a few samples, ready for a network.

    Attributes:
        ids: B sample ids.
        images: (V, 3, S, S) float32: SAM-normalised (ImageNet mean and standard deviation), zero-padded; V >= B views. On the meta
            device, without values, where each view's embedding came along instead (``samis.data.pipeline.batching.collate``).
        placements: V placements; ``samis.core.geometry.to_file_size`` takes maps back through them.
        prompt: of each view.
        masks: (V, 1, S, S) float32 in {0, 1}, the framed truth; None without truth.
        class_names: B names.
        truths: B masks (H, W) bool at the file's own size, which is where maps are scored; None where unknown.
        extras: what a special learner needs besides (such as the object masks of promptable pretraining), by name.
        scaled_hw: (V, 2) int64, the placements' ``scaled_hw`` as a tensor that travels with the batch; None where nobody made
            it (``samis.core.geometry.shown_inside`` then does).
        filler: whether it only lets this process make as many steps as the others: its images are another process's, and
            count nothing in loss and gradient.
    """

    ids: list[str]
    images: Tensor
    placements: list[Placement]
    prompt: Prompt = field(default_factory=Prompt)
    masks: Tensor | None = None
    class_names: list[str] = field(default_factory=list)
    truths: list[np.ndarray | None] = field(default_factory=list)
    extras: dict[str, Tensor] = field(default_factory=dict)
    scaled_hw: Tensor | None = None
    filler: bool = False

    def __len__(self) -> int:
        return len(self.ids)

    @property
    def counted(self) -> int:
        """How many images count in loss and gradient."""
        return 0 if self.filler else len(self.ids)

    def to(self, device: torch.device | str) -> Batch:
        """Return the batch with its tensors on `device`."""
        extras = {name: tensor.to(device, non_blocking=True) for name, tensor in self.extras.items()}
        return replace(self, **_moved(self, device), prompt=self.prompt.to(device), extras=extras)

    def pin_memory(self) -> Batch:
        """Return the batch in page-locked memory (called by torch's DataLoader)."""
        extras = {name: tensor.pin_memory() for name, tensor in self.extras.items()}
        return replace(self, **_pinned(self), prompt=replace(self.prompt, **_pinned(self.prompt)), extras=extras)


def _moved(record: Any, device: torch.device | str) -> dict[str, Any]:
    return {name: tensor.to(device, non_blocking=True) for name, tensor in _tensors(record).items()}


def _pinned(record: Any) -> dict[str, Any]:
    return {name: tensor.pin_memory() for name, tensor in _tensors(record).items()}


def _tensors(record: Any) -> dict[str, Any]:
    """Return a record's tensors that hold values."""
    from torch import Tensor

    return {name: value for name, value in vars(record).items() if isinstance(value, Tensor) and not value.is_meta}


@runtime_checkable
class Segmenter(Protocol):
    """Whatever turns a batch into one map per image can be scored: SAM, a baseline, a folder of published maps.

    ``predict`` returns, for each of the batch's B samples in order, an (H, W) float32 tensor in [0, 1] at the file's own
    size. ``describe`` returns what a score row must say of it (``kind``, ``prompt``, ``mask_rule``, ``oracle``,
    ``weights_sha256`` ...).
    """

    def predict(self, batch: Batch) -> list[Tensor]: ...

    def describe(self) -> dict[str, Any]: ...


@dataclass
class Evaluation:
    """What scoring one segmenter on one data set gives.

    Attributes:
        metrics: name -> value over the defective images.
        directions: name -> 1 if more is better, -1 if less is, of ``metrics`` and of ``clean``.
        curves: name -> 256 means over images.
        per_class: class name -> metrics, and ``n_images``.
        images: one dict an image: id, class_name, metrics.
        intervals: name -> (low, high), 95 % bootstrap.
        clean: defect-free images apart, or None.
        empty_maps: how many maps were all zero.
        full_maps: how many had one value above zero everywhere.
        seconds: time spent predicting, s.
        flat_on_defects: whether the map of each defective image has one value everywhere.
        few_levels: how many maps, not flat, span few of the 256 values, see ``samis.metrics.FEW_LEVELS``.
        nothing, everything: share of the defective images whose map has no pixel, or no other pixel, above one half;
            None where no maps were looked at.
        verdicts: what the images' verdicts come to, as ``samis.decision.verdicts.summarise_verdicts`` says.
    """

    metrics: dict[str, float]
    directions: dict[str, int] = field(default_factory=dict)
    curves: dict[str, list[float]] = field(default_factory=dict)
    per_class: dict[str, dict[str, float]] = field(default_factory=dict)
    images: list[dict[str, Any]] = field(default_factory=list)
    intervals: dict[str, list[float]] = field(default_factory=dict)
    clean: dict[str, float] | None = None
    empty_maps: int = 0
    full_maps: int = 0
    seconds: float = 0.0
    flat_on_defects: bool = False
    few_levels: int = 0
    nothing: float | None = None
    everything: float | None = None
    verdicts: dict[str, Any] = field(default_factory=dict)

    def of_row(self) -> dict[str, Any]:
        """Return what a score row records of it, by the names of the row's fields."""
        names = (
            "metrics", "directions", "intervals", "per_class", "curves", "clean", "verdicts", "empty_maps", "full_maps",
            "flat_on_defects", "images",
        )  # fmt: skip
        return {name: getattr(self, name) for name in names}


@dataclass
class Loss:
    """What a learner's forward returns.

    Attributes:
        total: scalar tensor to minimise, a mean over the batch's images.
        parts: named scalar tensors, detached, for the log.
        later: returns further such parts, which cost kernels and are therefore computed only for a step that is logged.
    """

    total: Tensor
    parts: dict[str, Tensor]
    later: Callable[[], dict[str, Tensor]] = dict

    def all_parts(self) -> dict[str, Tensor]:
        """Return all parts, those of ``later`` among them."""
        return self.parts | self.later()


@runtime_checkable
class Learner(Protocol):
    """A torch module the trainer can train without knowing what it is.

    Calling it with a batch returns a ``Loss`` (every training forward goes through ``__call__`` of the wrapped module, so
    that gradients are synchronised between processes). ``segmenter`` is the view of the same weights that the evaluator
    scores; ``parameter_groups`` lists optimizer groups as dicts with ``params``, ``lr_scale`` and ``decay`` (bool);
    ``save`` writes what a later ``load_run`` needs into a folder; ``load`` reads it back. One whose weights need a pass over
    the training images when training is over, such as batch norm's statistics, may also have
    ``recompute_statistics(batches) -> bool``.
    """

    def __call__(self, batch: Batch) -> Loss: ...

    def segmenter(self) -> Segmenter: ...

    def parameter_groups(self) -> list[dict[str, Any]]: ...

    def save(self, folder: Path) -> None: ...

    def load(self, folder: Path) -> None: ...
