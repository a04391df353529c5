"""Time automatic mask generation without the encoder: segment_anything's generator against ours, from the same embedding.

  python benchmarks/automatic_masks.py            samis_lite 32 x 32 points; decoder of vit_b's size, 16 x 16 on a 1024 px image
  python benchmarks/automatic_masks.py --quick    12 x 12 and 6 x 6 points

  python benchmarks/automatic_masks.py --device cuda    the same on a GPU, the median of up to three rounds after a first one

Two decoders: that of the embedded samis_lite on a drawn surface (real masks, real thresholds), for one image and for
several at once against segment_anything's loop over them, and one of vit_b's size with random weights (what it costs;
masks are blobs). Both sides get the same points and thresholds; kept masks are compared one to one by IoU. On CUDA
``--seconds`` bounds the whole: a case gets as many rounds, one at least, as its share of the time allows.
"""

from __future__ import annotations

import argparse
import sys
import time
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

import numpy as np
import torch
from segment_anything import SamAutomaticMaskGenerator
from segment_anything.modeling import Sam
from torch import Tensor, nn

from benchmarks.sides import finish, measure, parse, report, spread
from samis.config import PromptConfig, SegmenterConfig
from samis.core.contracts import Batch, Sample
from samis.core.geometry import Framing, inside
from samis.data import load_dataset
from samis.data.pipeline.loading import FramedDataset, collate
from samis.prompts import build_prompter
from samis.sam.architectures import build_sam
from samis.sam.candidates import MaskGeneration, filter_masks
from samis.sam.forward import image_tokens
from samis.sam.segmenter import SamSegmenter
from samis.sam.weights import load_sam

NAMES = ("SamAutomaticMaskGenerator", "ours")


class Remembered(nn.Module):
    """Replaces the encoder: gives out embeddings made before, in turn."""

    def __init__(self, embeddings: Tensor) -> None:
        super().__init__()
        self.embeddings, self.next = embeddings, 0

    def forward(self, images: Tensor) -> Tensor:
        """Return the next embedding."""
        self.next += 1
        return self.embeddings[(self.next - 1) % len(self.embeddings)][None]


def big_sam(images: int, device: str) -> tuple[Sam, Tensor]:
    """Return a decoder of vit_b's size whose random masks are blobs, and smooth random embeddings for it."""
    sam = build_sam("vit_b")
    sam.image_encoder.blocks = nn.ModuleList()  # never run
    spread(sam.mask_decoder, 0.02)
    coarse = torch.randn(images, 256, 6, 6)
    embeddings = nn.functional.interpolate(coarse, (64, 64), mode="bicubic", align_corners=False)
    with torch.no_grad():
        for mlp in sam.mask_decoder.output_hypernetworks_mlps:
            mlp.layers[-1].weight *= 1000
        # The same weight for all four pixels that one becomes: without it a mask is a pattern of 126,000 runs where one of a
        # real object has some hundred, and stock's time is that of copying run lengths.
        for layer in (sam.mask_decoder.output_upscaling[0], sam.mask_decoder.output_upscaling[3]):
            layer.weight.copy_(layer.weight.mean((2, 3), keepdim=True).expand_as(layer.weight))
    return sam.to(device), embeddings.to(device)


def limits_for(sam: Sam, embeddings: Tensor, batch: Batch, share: float) -> MaskGeneration:
    """Return thresholds that about `share` of a random decoder's masks exceed."""
    segmenter = SamSegmenter(sam, prompt=PromptConfig(kind="grid"), prompt_chunk=16)
    with torch.inference_mode():
        seen = image_tokens(sam, embeddings[:1])
        part = type(batch.prompt)("grid", batch.prompt.points_xy[:1, ::7], batch.prompt.point_labels[:1, ::7])  # type: ignore[index]
        ious = torch.cat([output.iou[0, :, 1:].flatten() for output, *_ in segmenter._decode_prompts(seen, part)])
    return MaskGeneration(min_iou=float(ious.quantile(1 - share)), min_stability=0.5, nms_iou=0.95)


def stock_masks(sam: Sam, embeddings: Tensor, images: list[np.ndarray], points: int, limits: MaskGeneration) -> Any:
    """Return a function that runs segment_anything's generator over the images."""
    encoder = sam.image_encoder
    generator = SamAutomaticMaskGenerator(
        sam, points_per_side=points, pred_iou_thresh=limits.min_iou, stability_score_thresh=limits.min_stability,
        stability_score_offset=limits.stability_offset, box_nms_thresh=limits.nms_iou,
    )  # fmt: skip

    def run() -> list[list[dict[str, Any]]]:
        remembered = Remembered(embeddings)
        remembered.img_size = encoder.img_size
        sam.image_encoder = remembered
        try:
            return [generator.generate(image) for image in images]
        finally:
            sam.image_encoder = encoder

    return run


def our_masks(sam: Sam, embeddings: Tensor, batch: Batch, points: int, limits: MaskGeneration) -> Any:
    """Return a function that runs ours over the batch, up to the kept candidates, from which a rule makes one map."""
    config = PromptConfig(kind="grid", points_per_side=points)
    segmenter = SamSegmenter(sam, prompt=config, mask_generation=limits)
    side = 4 * embeddings.shape[-1]
    step = batch.images.shape[-1] // side
    image = inside(batch.placements, embeddings.device)[:, 0, ::step, ::step]

    def run() -> list[tuple[Tensor, Tensor]]:
        with torch.inference_mode():
            seen = image_tokens(sam, embeddings)
            return filter_masks(segmenter.decode_grid(seen, batch.prompt), image, limits)

    return run


def agreement(stock: list[dict[str, Any]], logits: Tensor, hw: tuple[int, int]) -> tuple[int, int, int]:
    """Return how many masks stock kept, how many ours, and how many pairs are the same (IoU of at least 0.99)."""
    if not stock or not len(logits):
        return len(stock), len(logits), 0
    theirs = torch.from_numpy(np.stack([record["segmentation"] for record in stock])).flatten(1).to(logits)
    large = nn.functional.interpolate(logits[None], hw, mode="bilinear", align_corners=False)[0]
    mine = (large > 0).flatten(1).to(logits)
    overlap = theirs @ mine.T
    iou = overlap / (theirs.sum(1)[:, None] + mine.sum(1)[None] - overlap)
    highest, best = iou.max(1)
    pairs = {(mine_index, i) for i, mine_index in enumerate(best.tolist()) if float(highest[i]) >= 0.99}
    return len(theirs), len(mine), len({mine_index for mine_index, _ in pairs})


def compare(
    name: str, sam: Sam, embeddings: Tensor, samples: list[Sample], points: int, limits: MaskGeneration | None,
    *, until: float,
) -> Any:  # fmt: skip
    """Measure one decoder on the samples, which fill the frame."""
    side = sam.image_encoder.img_size
    framed = FramedDataset(Held(samples), Framing(side), build_prompter(PromptConfig("grid", points)))
    device = embeddings.device.type
    batch = collate([framed[index] for index in range(len(samples))]).to(device)
    limits = limits or limits_for(sam, embeddings, batch, 0.3)
    stock = stock_masks(sam, embeddings, [sample.image for sample in samples], points, limits)
    ours = our_masks(sam, embeddings, batch, points, limits)
    if device == "cuda":
        stock(), ours()  # the first calls load kernels
    measured = measure(stock, ours, rounds=3 if device == "cuda" else 1, device=device, until=until)
    theirs = mine = same = 0
    for records, (logits, _) in zip(measured[0].result, measured[1].result, strict=True):
        agreed = agreement(records, logits, samples[0].image.shape[:2])
        theirs, mine, same = theirs + agreed[0], mine + agreed[1], same + agreed[2]
    print(f"{name}: {theirs} masks kept by stock, {mine} by ours, {same} the same (IoU >= 0.99)")
    # Ours takes most boxes from the mask at low resolution: of two whose boxes overlap by 0.9508 (limit 0.95) stock kept one,
    # ours both. So one mask, or one in twenty, may differ.
    equal = same >= 1 and max(theirs, mine) - same <= max(1, 0.05 * max(theirs, mine))
    return report(f"automatic masks: {name}, {device}", *measured, equal=equal, per=len(samples), names=NAMES)


class Held:
    """Samples as a data set."""

    name, split = "held", "test"

    def __init__(self, samples: list[Sample]) -> None:
        self.samples, self.ids, self.class_names = samples, [sample.id for sample in samples], ["defect"]

    def __len__(self) -> int:
        return len(self.samples)

    def __getitem__(self, index: int) -> Sample:
        return self.samples[index]

    def fingerprint(self) -> str:
        """Return nothing: no row is written."""
        return ""


def extend(parser: argparse.ArgumentParser) -> None:
    """Add the script's own options."""
    parser.add_argument(
        "--points", type=int, help="a side of the grid (default: 16, with --quick 6); samis_lite gets twice as many"
    )
    parser.add_argument(
        "--seconds", type=float, default=40, help="end about then, with fewer rounds (default: %(default)s; CUDA only)"
    )
    parser.add_argument("--images", type=int, default=3, help="of the batch (default: %(default)s)")


def main() -> None:
    """Measure and report; the line for machines is that of one image with vit_b's decoder."""
    start = time.monotonic()
    options = parse(__doc__, extend)
    points = options.points or (6 if options.quick else 16)
    ratios, equal = {}, True
    for number, count in enumerate((1, options.images), 1):
        line = light_case(options, count, 2 * points, until=start + options.seconds * number / 4)
        ratios[f"light_ratio_{count}"] = line["ratio"]
        equal &= line["equal"]
    noise = np.random.default_rng(0).integers(0, 256, (1024, 1024, 3), dtype=np.uint8)
    sam, embeddings = big_sam(1, options.device)
    name = f"vit_b's decoder, {points} x {points} points, 1 image"
    line = compare(name, sam, embeddings, [Sample("a", noise)], points, None, until=start + options.seconds)
    finish(options, line | {"equal": equal and line["equal"]} | ratios)


def light_case(options: argparse.Namespace, count: int, points: int, *, until: float) -> Any:
    """Measure the embedded SAM's decoder on `count` drawn surfaces of 256 px."""
    name = SegmenterConfig().architecture
    sam = load_sam(name).to(options.device)
    drawn = load_dataset("procedural", split="test", surface="steel", count=count)
    samples = [Sample(str(index), np.ascontiguousarray(_square(drawn[index].image, 256))) for index in range(count)]
    framed = FramedDataset(Held(samples), Framing(256))
    with torch.no_grad():
        made = sam.image_encoder(collate([framed[index] for index in range(count)]).images.to(options.device))
    what = f"{name}, {points} x {points} points, {count} image{'s' if count > 1 else ''}"
    return compare(what, sam, made, samples, points, MaskGeneration(min_iou=0.3, min_stability=0.5), until=until)


def _square(image: np.ndarray, side: int) -> np.ndarray:
    height, width = image.shape[:2]
    return np.tile(image, (-(-side // height), -(-side // width), 1))[:side, :side]


if __name__ == "__main__":
    main()
