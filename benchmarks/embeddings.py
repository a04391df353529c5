"""Time an epoch of decoder tuning: the frozen encoder asked again for every image, against embeddings kept on disk.

  python benchmarks/embeddings.py            vit_b at 1024, 4 images
  python benchmarks/embeddings.py --quick    vit_b at 512, 2 images
  python benchmarks/embeddings.py --workers 8 --images 64    with loader processes, on a GPU

The same learner (LoRA on the mask decoder), images and batches; the first side always encodes, the second reads what a
first epoch left. A step is reading, framing, loss, backward and AdamW on both sides. Losses must agree within what half
precision leaves. Weights are random: time does not depend on them.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

import torch

from benchmarks.sides import finish, measure, parse, report, spread
from samis.adapters import apply_adapter
from samis.config import AdapterConfig, LossConfig
from samis.data import load_dataset
from samis.data.augment import build_augment
from samis.data.frame import Framing
from samis.data.loading import build_loader
from samis.sam.embeddings import EmbeddingCache
from samis.sam.forward import Embed, embed
from samis.sam.tuning import SamTuning
from samis.sam.weights import load_sam

NAMES = ("encoder asked every epoch", "embeddings kept")


def extend(parser: argparse.ArgumentParser) -> None:
    """Add the script's own options."""
    parser.add_argument("--architecture", default="vit_b")
    parser.add_argument("--images", type=int, help="of the epoch (default: 4, with --quick 2)")
    parser.add_argument("--batch", type=int, default=2, help="images at once (default: %(default)s)")
    parser.add_argument("--workers", type=int, default=0, help="loader processes (default: %(default)s)")


def epoch(learner: SamTuning, loader: Any, embeds: Embed, device: str) -> Any:
    """Return a function that trains one epoch from the same weights and returns the losses."""
    groups = [group["params"] for group in learner.parameter_groups()]
    trained = [parameter for group in groups for parameter in group]
    start = [parameter.detach().clone() for parameter in trained]

    def run() -> list[float]:
        with torch.no_grad():
            for parameter, value in zip(trained, start, strict=True):
                parameter.copy_(value)
        optimizer = torch.optim.AdamW(trained, lr=1e-3)
        learner.embed = embeds
        losses = []
        loader.set_epoch(0)
        for batch in loader:
            loss = learner(batch.to(device))
            optimizer.zero_grad()
            loss.total.backward()
            optimizer.step()
            losses.append(float(loss.total.detach()))
        return losses

    return run


def main() -> None:
    """Measure and report."""
    options = parse(__doc__, extend)
    frame_px = 512 if options.quick else 1024
    images = options.images or (2 if options.quick else 4)
    sam = load_sam(options.architecture, weights="random", frame_px=frame_px)
    spread(sam.mask_decoder)  # so that losses depend on the embeddings, as those of a trained decoder do
    adapted = apply_adapter(sam, AdapterConfig(encoder=[], decoder=["attention", "mlp"]))
    learner = SamTuning(adapted, LossConfig(), segmenter=lambda tuned: tuned).to(options.device).train()
    dataset = load_dataset("procedural", split="train", surface="steel", count=images)
    loader = build_loader(
        dataset,
        Framing(frame_px),
        batch_size=options.batch,
        augment=build_augment("light"),
        training=True,
        workers=options.workers,
    )
    with tempfile.TemporaryDirectory() as folder:
        cache = EmbeddingCache(folder)
        runs = [epoch(learner, loader, embeds, options.device) for embeds in (embed, cache)]
        runs[1]()  # the first epoch fills the cache
        asked, kept = measure(*runs, rounds=1 if options.quick else 2, device=options.device)
        assert cache.computed == images, f"expected {images} views encoded once, got {cache.computed}"
    equal = all(abs(one - other) < 2e-3 * abs(one) for one, other in zip(asked.result, kept.result, strict=True))
    print(f"losses {asked.result} and {kept.result}")
    name = f"embeddings: decoder tuning, {options.architecture} at {frame_px}, {options.device}"
    finish(options, report(name, asked, kept, equal=equal, per=images, unit="s/image", names=NAMES))


if __name__ == "__main__":
    main()
