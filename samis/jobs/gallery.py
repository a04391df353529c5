"""The pictures of a training in TensorBoard: a fixed batch of validation images, with truth and map."""

from __future__ import annotations

import numpy as np

from samis.core.contracts import Batch, Dataset, Segmenter
from samis.data.base import subset
from samis.data.pipeline.loading import BatchMaker
from samis.reporting.render.gallery import gallery_picture


def gallery_batch(
    make_batches: BatchMaker, dataset: Dataset, count: int
) -> tuple[Batch, list[np.ndarray], list[np.ndarray | None]]:
    """Return a fixed batch of `count` validation images, spread over the split, with images and truths for drawing."""
    chosen = subset(dataset, count, seed=0) if count < len(dataset) else dataset
    batch = next(iter(make_batches(chosen, batch_size=max(1, len(chosen)))))
    samples = [chosen[i] for i in range(len(chosen))]
    return batch, [sample.image for sample in samples], [sample.mask for sample in samples]


def gallery(
    segmenter: Segmenter, fixed: tuple[Batch, list[np.ndarray], list[np.ndarray | None]]
) -> list[tuple[str, np.ndarray]]:
    """Draw image, truth and map of the fixed batch side by side."""
    batch, images, truths = fixed
    maps = segmenter.predict(batch)
    return [
        (sample_id, gallery_picture(image, truth, values.cpu().numpy()))
        for sample_id, image, truth, values in zip(batch.ids, images, truths, maps, strict=True)
    ]
