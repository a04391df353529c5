"""Time an epoch of decoder tuning: the frozen encoder run again for every image, against embeddings kept on disk.

  python benchmarks/embeddings.py            vit_b at 1024, 4 images
  python benchmarks/embeddings.py --quick    vit_b at 512, 2 images
  python benchmarks/embeddings.py --device cuda    128 images in batches of 8, loader processes on both sides

The same learner (LoRA on the mask decoder), images and batches; the first side always encodes, the second reads what a
first epoch left, in the loader's processes, and frames nothing. A step is change, framing or reading, loss, backward and
AdamW on both sides; images are drawn before. Losses must agree within what half precision leaves. Weights are random:
time does not depend on them. Float32 unless ``--dtype bf16`` (then the encoder alone is several times as fast).
"""

from __future__ import annotations

import argparse
import os
import sys
import tempfile
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

import torch

from benchmarks.automatic_masks import Held
from benchmarks.sides import finish, measure, parse, report, spread
from samis.adapters import apply_adapter
from samis.config import AdapterConfig, LossConfig
from samis.core.geometry import Framing
from samis.data import load_dataset
from samis.data.pipeline.augment import build_augment
from samis.data.pipeline.loading import build_loader
from samis.sam.embeddings import EmbeddingCache
from samis.sam.forward import Embed, embed
from samis.sam.tuning import SamTuning
from samis.sam.weights import load_sam

NAMES = ("encoder run every epoch", "embeddings kept")


def extend(parser: argparse.ArgumentParser) -> None:
    """Add the script's own options."""
    parser.add_argument("--architecture", default="vit_b")
    parser.add_argument("--images", type=int, help="of the epoch (default: 4, with --quick 2, on CUDA 128)")
    parser.add_argument("--batch", type=int, help="images at once (default: 2, on CUDA 8)")
    parser.add_argument("--workers", type=int, help="loader processes (default: 0, on CUDA as many as cores, up to 12)")
    parser.add_argument("--dtype", choices=["fp32", "bf16"], default="fp32", help="of autocast (default: %(default)s)")


def epoch(learner: SamTuning, loader: Any, embeds: Embed, options: argparse.Namespace) -> Any:
    """Return a function that trains one epoch from the same weights and returns the losses."""
    groups = [group["params"] for group in learner.parameter_groups()]
    trained = [parameter for group in groups for parameter in group]
    start = [parameter.detach().clone() for parameter in trained]
    half = options.dtype == "bf16"

    def run() -> list[float]:
        with torch.no_grad():
            for parameter, value in zip(trained, start, strict=True):
                parameter.copy_(value)
        optimizer = torch.optim.AdamW(trained, lr=1e-3)
        learner.embed = embeds
        losses = []
        loader.set_epoch(0)
        for batch in loader:
            with torch.autocast(options.device, torch.bfloat16, enabled=half):
                loss = learner(batch.to(options.device))
            optimizer.zero_grad()
            loss.total.backward()
            optimizer.step()
            losses.append(loss.total.detach())
        return [float(loss) for loss in losses]  # read once, so that no step waits for the host

    return run


def main() -> None:
    """Measure and report."""
    options = parse(__doc__, extend)
    cuda, frame_px = options.device == "cuda", 512 if options.quick else 1024
    images = options.images or (128 if cuda else 2 if options.quick else 4)
    options.workers = options.workers if options.workers is not None else min(12, os.cpu_count() or 1) if cuda else 0
    sam = load_sam(options.architecture, weights="random", frame_px=frame_px)
    spread(sam.mask_decoder)  # so that losses depend on the embeddings, as those of a trained decoder do
    adapted = apply_adapter(sam, AdapterConfig(encoder=[], decoder=["attention", "mlp"]))
    learner = SamTuning(adapted, LossConfig(), segmenter=lambda tuned: tuned).to(options.device).train()
    drawn = load_dataset("procedural", split="train", surface="steel", count=images)
    dataset = Held([drawn[index] for index in range(images)])
    loaders = [
        build_loader(
            dataset, Framing(frame_px), batch_size=options.batch or (8 if cuda else 2), augment=build_augment("light"),
            training=True, workers=options.workers,
        )
        for _ in range(2)
    ]  # fmt: skip
    with tempfile.TemporaryDirectory() as folder:
        cache = EmbeddingCache(folder)
        loaders[1].read_embeddings(cache.reader)
        runs = [epoch(learner, loaders[0], embed, options), epoch(learner, loaders[1], cache, options)]
        runs[1]()  # the first epoch fills the cache
        if cuda:
            runs[0]()  # kernels are loaded, loader processes started
        computed, kept = measure(*runs, rounds=1 if options.quick else 2, device=options.device)
        assert cache.computed == images, f"expected {images} views encoded once, got {cache.computed}"
    equal = all(abs(one - other) < 2e-3 * abs(one) for one, other in zip(computed.result, kept.result, strict=True))
    print(f"losses {computed.result[:4]} and {kept.result[:4]}")
    name = f"embeddings: decoder tuning, {options.architecture} at {frame_px}, {options.dtype}, {options.device}"
    name += f", {options.workers} loader processes"
    finish(options, report(name, computed, kept, equal=equal, per=images, unit="s/image", names=NAMES))


if __name__ == "__main__":
    main()
