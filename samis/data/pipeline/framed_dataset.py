"""Turns samples into framed views with their prompt: reading, change, crop, frame, prompt.

A sample's change, crop and prompt depend on (seed, epoch, index of the sample) alone: the number of workers and
processes and the batch size do not change them, and a resumed run gets what an uninterrupted one would get.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import replace

import numpy as np
import torch
from torch.utils.data import Dataset as TorchDataset

from samis.core.contracts import Dataset, Placement, Prompt, Sample
from samis.core.geometry import Framing, frame_image, frame_mask, view_key
from samis.data.pipeline.augment import Augment, variants
from samis.data.pipeline.batching import FramedSample
from samis.errors import UserError

Prompter = Callable[[Sample, list[Placement], np.random.Generator], Prompt]
"""Returns a prompt with one row for each of the sample's placements."""
Read = Callable[[torch.Tensor], "torch.Tensor | None"]
"""Returns the stored (V, C, g, g) embeddings of a sample's (V, 32) keys, or None where one is missing; picklable."""
DEFECT_SHARE = 0.7
"""Probability that a training crop contains a randomly drawn defect pixel, if there is one."""


class LoadingError(UserError):
    """A user's mistake in a worker process: torch puts the message into a traceback, this class keeps its one line and its code.

    Args:
        message: of the mistake, or torch's traceback that ends with it.
        code: of the mistake.
    """

    def __init__(self, message: str = "", *, code: str = "") -> None:
        if message.startswith("Caught "):
            line = message.rstrip().splitlines()[-1].split(f"{type(self).__name__}: ", 1)[-1]
            coded = re.fullmatch(r"(.*) \[(E-[A-Z0-9-]+)\]", line)
            message, code = coded.groups() if coded else (line, "")
        super().__init__(message, code=code)


class FramedDataset(TorchDataset[FramedSample]):
    """A data set whose items are framed views with their prompt.

    Args:
        dataset: the samples.
        framing: how images enter the frame; where it cuts tiles, a training item shows one random crop of a tile's side, and
            evaluation all tiles.
        prompter: makes the prompt of a sample; None takes SAM's empty prompt.
        augment: changes image and mask first; see ``samis.data.pipeline.augment``.
        training: whether to crop at random; needs truth.
        seed: another seed gives other changes, crops and prompts.

    Attributes:
        keyed: whether views are repeated in later epochs, and have a key under which their embeddings can be stored.
        read: returns the stored embeddings of a sample's views; the sample is then not framed.
    """

    def __init__(
        self,
        dataset: Dataset,
        framing: Framing,
        prompter: Prompter | None = None,
        *,
        augment: Augment | None = None,
        training: bool = False,
        seed: int = 0,
    ) -> None:
        self.dataset = dataset
        self.framing = framing
        self.prompter = prompter
        self.augment = augment
        self.crop_px = framing.tile_px
        self.training = training
        self.keyed = not training or (not self.crop_px and variants(augment) is not None)
        self.read: Read | None = None
        self.seed = seed
        self._epoch = torch.zeros((), dtype=torch.int64)
        self._epoch.share_memory_()  # type: ignore[no-untyped-call]  # running workers see it change

    @property
    def epoch(self) -> int:
        """The epoch that the random changes belong to."""
        return int(self._epoch)

    def set_epoch(self, epoch: int) -> None:
        """Choose the epoch, before the loader is iterated; also for workers that are running."""
        self._epoch.fill_(epoch)

    def __len__(self) -> int:
        return len(self.dataset)

    def __getitem__(self, index: int) -> FramedSample:
        """Read, change and frame one sample.

        Raises:
            LoadingError: the data set raises a `UserError`, or training lacks the truth.
        """
        try:
            return self._framed(index)
        except UserError as error:
            raise LoadingError(" ".join(error.message.split()), code=error.code) from None

    def _framed(self, index: int) -> FramedSample:
        rng = np.random.default_rng((self.seed, self.epoch, index))
        sample = self.dataset[index]
        if self.training and sample.mask is None:
            raise UserError(
                f"{sample.image_path or sample.id}: expected a mask to train on, got none; add it or leave it out",
                code="E-DATA-NO-MASK",
            )
        if self.augment is not None:
            sample = _augmented(sample, self.augment, rng)
        hw = (sample.image.shape[0], sample.image.shape[1])
        if self.training and self.crop_px:
            placements = [self.framing.place(hw, random_crop(sample.mask, hw, self.crop_px, rng))]
        else:
            placements = self.framing.placements(hw)
        prompt = Prompt() if self.prompter is None else self.prompter(sample, placements, rng)
        keys = torch.stack([view_key(sample.image, placement) for placement in placements]) if self.keyed else None
        embeddings = None if keys is None or self.read is None else self.read(keys)
        if embeddings is None:
            images = torch.stack([frame_image(sample.image, placement) for placement in placements])
        else:
            images = torch.empty(len(placements), 3, self.framing.frame_px, self.framing.frame_px, device="meta")
        masks = None
        if sample.mask is not None:
            masks = torch.stack([frame_mask(sample.mask, placement) for placement in placements])
        return FramedSample(
            sample.id,
            sample.class_name,
            images,
            placements,
            prompt,
            masks,
            sample.mask,
            keys,
            embeddings,
            may_read=self.read is not None,
        )


def _augmented(sample: Sample, augment: Augment, rng: np.random.Generator) -> Sample:
    mask = np.zeros(sample.image.shape[:2], np.uint8) if sample.mask is None else sample.mask.astype(np.uint8)
    image, changed = augment(np.ascontiguousarray(sample.image), mask, rng)
    return replace(sample, image=image, mask=None if sample.mask is None else changed.astype(bool))


def random_crop(
    mask: np.ndarray | None, hw: tuple[int, int], crop_px: int, rng: np.random.Generator
) -> tuple[int, int, int, int]:
    """Return a random crop (x0, y0, x1, y1) of at most `crop_px` a side, in 7 of 10 cases one with a random defect pixel.

    Args:
        mask: (H, W) bool, or None.
        hw: size of the file.
        crop_px: side of the crop; a shorter side of the file is taken completely.
        rng: the generator.

    >>> random_crop(None, (4, 9), 10, np.random.default_rng(0))
    (0, 0, 9, 4)
    """
    height, width = min(crop_px, hw[0]), min(crop_px, hw[1])
    y_range, x_range = (0, hw[0] - height), (0, hw[1] - width)
    on_defect = rng.random() < DEFECT_SHARE
    if on_defect and mask is not None and mask.any():
        defects = np.flatnonzero(mask)
        y, x = divmod(int(defects[rng.integers(len(defects))]), hw[1])
        y_range = (max(0, y - height + 1), min(y, hw[0] - height))
        x_range = (max(0, x - width + 1), min(x, hw[1] - width))
    y0 = int(rng.integers(y_range[0], y_range[1] + 1))
    x0 = int(rng.integers(x_range[0], x_range[1] + 1))
    return x0, y0, x0 + width, y0 + height
