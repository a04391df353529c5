"""Takes the fingerprint of the photos that a run was tuned on; ``python -m samis.jobs.fingerprint RUN`` adds it to an older run."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import torch

from samis.config import Experiment, load_config
from samis.core.contracts import Dataset
from samis.core.geometry import Framing, frame_image
from samis.core.shipped import find_run
from samis.data.base import subset
from samis.data.configured import load_split, load_training, with_clean
from samis.drift.features import encoder_of, measure_photo, pooled
from samis.drift.fingerprint import FEWEST, FILE, Fingerprint
from samis.jobs.load import load_run
from samis.sam.framing import build_framing

MOST = 300
"""Photos of a split that are used, spread over the classes."""


def write_fingerprint(
    folder: Path, segmenter: Any, config: Experiment, *datasets: Dataset, device: torch.device | str = "cpu"
) -> Path | None:
    """Write ``training_photos.json`` into a run folder.

    Args:
        folder: of the run.
        segmenter: whose encoder embeds the photos; it is on `device`.
        config: whose frame is used.
        datasets: training and validation photos.
        device: of the encoder.

    Returns:
        the file; None where there are fewer photos than a fingerprint needs.
    """
    framing = build_framing(config.frame, config.segmenter.architecture, config.segmenter.weights)
    photos = [pair for dataset in datasets for pair in _photos(subset(dataset, MOST), segmenter, framing, device)]
    if len(photos) < FEWEST:
        return None
    Fingerprint.of([measures for measures, _ in photos], [vector for _, vector in photos]).save(folder / FILE)
    return folder / FILE


def _photos(
    dataset: Dataset, segmenter: Any, framing: Framing, device: torch.device | str
) -> Iterator[tuple[dict[str, float], np.ndarray | None]]:
    """Yield each photo's measures and embedding."""
    encoder = encoder_of(segmenter)
    training = encoder is not None and encoder.training
    for number in range(len(dataset)):
        image = dataset[number].image
        vector = None
        if encoder is not None:
            placements = framing.placements((image.shape[0], image.shape[1]))
            views = torch.stack([frame_image(image, placement) for placement in placements]).to(device)
            encoder.eval()
            with torch.inference_mode():
                rows = pooled(encoder(views), placements)
            encoder.train(training)
            vector = None if rows is None else rows.mean(0)
        yield measure_photo(image), vector


def main(run: str, *overrides: str) -> None:
    """Add the fingerprint to a run folder; overrides say where the data are."""
    folder = find_run(run)
    loaded = load_run(folder)
    config: Experiment = load_config(folder / "config.yaml", overrides)
    device = next(loaded.learner.parameters()).device
    judged = with_clean(config.data, load_split(config.data, config.data.val))
    print(write_fingerprint(folder, loaded.segmenter, config, load_training(config), judged, device=device))


if __name__ == "__main__":
    main(*sys.argv[1:])
