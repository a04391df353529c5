"""Four flips averaged, against mirroring the pictures themselves in a loop; prompts, tiles, kept embeddings, any network."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch
from torch import nn

from samis.baselines.learner import BaselineSegmenter
from samis.config import PromptConfig, SegmenterConfig
from samis.core.contracts import Batch, Prompt, Sample
from samis.core.geometry import Framing, boxes_to_frame, frame_image, points_to_frame, view_key
from samis.data.pipeline.loading import FramedSample, collate
from samis.errors import UserError
from samis.prediction.predictor import Predictor
from samis.prompts.empty import EmptyPrompter
from samis.sam.architectures import build_sam
from samis.sam.candidates import MaskGeneration
from samis.sam.embeddings import EmbeddingCache
from samis.sam.segmenter import SamSegmenter
from samis.tta import FlippedSegmenter, build_tta, mirror_batch

BOX, CLICK = np.array([[6.0, 9, 31, 22]]), np.array([[[17.0, 30]]])


@pytest.fixture(scope="module")
def sam():
    torch.manual_seed(0)
    result = build_sam(SegmenterConfig().architecture, frame_px=64)
    for mlp in result.mask_decoder.output_hypernetworks_mlps:
        mlp.layers[-1].weight.data *= 100  # so that logits spread, as those of a trained network do
    return result.requires_grad_(False)


class Net(nn.Module):
    """A network that answers otherwise at each place of the frame, as positional encodings do."""

    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(1)
        self.encoder = nn.Identity()
        self.encoder.backbone, self.encoder.pretrained = "none", False
        self.conv = nn.Conv2d(3, 1, 5, padding=2)

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        ramp = torch.linspace(-1, 1, images.shape[-1])
        return self.conv(images) + ramp + 0.5 * ramp[:, None]


def picture(hw: tuple[int, int], seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).integers(0, 256, (*hw, 3), dtype=np.uint8)


def batch_of(image: np.ndarray, kind: str, *, x: bool = False, y: bool = False, tile_px: int = 0) -> Batch:
    """Frame an image that was mirrored on disk already; its prompt in file pixels is mirrored with it here."""
    height, width = image.shape[:2]
    box, click = BOX[0].copy(), CLICK.copy()
    if x:
        box[[0, 2]], click[..., 0] = width - box[[2, 0]], width - click[..., 0]
    if y:
        box[[1, 3]], click[..., 1] = height - box[[3, 1]], height - click[..., 1]
    placements = Framing(64, tile_px=tile_px).placements((height, width))
    boxes = torch.from_numpy(np.stack([boxes_to_frame(box[None], p) for p in placements]))
    points = torch.from_numpy(np.stack([points_to_frame(click, p) for p in placements]))
    prompt = {
        "empty": Prompt("empty"),
        "box": Prompt("box", boxes_xyxy=boxes),
        "point": Prompt("point", points_xy=points, point_labels=torch.ones(points.shape[:3], dtype=torch.int64)),
    }[kind]
    views = torch.stack([frame_image(image, p) for p in placements])
    keys = torch.stack([view_key(image, p) for p in placements])
    return collate([FramedSample("a", "defect", views, placements, prompt, None, None, keys)])


def by_hand(segmenter, image: np.ndarray, kind: str, tile_px: int = 0) -> np.ndarray:
    total = np.zeros(image.shape[:2])
    for x in (False, True):
        for y in (False, True):
            turned = image[:: -1 if y else 1, :: -1 if x else 1]
            (result,) = segmenter.predict(batch_of(np.ascontiguousarray(turned), kind, x=x, y=y, tile_px=tile_px))
            total += result.numpy()[:: -1 if y else 1, :: -1 if x else 1]
    return total / 4


@pytest.mark.parametrize("kind", ["empty", "box", "point"])
@pytest.mark.parametrize(("hw", "tile_px"), [((48, 64), 0), ((64, 112), 64)])
def test_equals_mirroring_the_pictures_by_hand(sam, kind, hw, tile_px):
    plain = SamSegmenter(sam, prompt=PromptConfig(kind=kind))
    image = picture(hw)
    (result,) = FlippedSegmenter(plain).predict(batch_of(image, kind, tile_px=tile_px))
    assert result.numpy() == pytest.approx(by_hand(plain, image, kind, tile_px), abs=2e-5)
    (alone,) = plain.predict(batch_of(image, kind, tile_px=tile_px))
    assert np.abs(result.numpy() - alone.numpy()).max() > 0.02  # or it would prove nothing


@pytest.mark.parametrize(("hw", "tile_px"), [((64, 40), 0), ((112, 64), 64)])
def test_serves_any_network(hw, tile_px):
    plain = BaselineSegmenter(Net(), name="net")
    image = picture(hw, 1)
    (result,) = FlippedSegmenter(plain).predict(batch_of(image, "empty", tile_px=tile_px))
    assert result.numpy() == pytest.approx(by_hand(plain, image, "empty", tile_px), abs=2e-5)


def test_where_a_file_is_resized_only_rounding_differs():
    """Pillow rounds a resized picture to bytes, not the same way from both sides."""
    plain = BaselineSegmenter(Net(), name="net")
    image = np.repeat(np.repeat(picture((20, 26), 2), 8, 0), 8, 1)
    (result,) = FlippedSegmenter(plain).predict(batch_of(image, "empty"))
    assert np.abs(result.numpy() - by_hand(plain, image, "empty")).max() < 0.02


def test_every_rule_is_averaged(sam):
    plain = SamSegmenter(sam, prompt=PromptConfig(kind="box"), mask_generation=MaskGeneration(min_iou=-100.0))
    image = picture((48, 64))
    result = FlippedSegmenter(plain).predict_all_rules(batch_of(image, "box"))
    assert set(result) == set(plain.predict_all_rules(batch_of(image, "box"))) and len(result) > 3
    one = SamSegmenter(sam, prompt=PromptConfig(kind="box"), mask_rule="single")
    assert result["single"][0].numpy() == pytest.approx(by_hand(one, image, "box"), abs=2e-5)


def test_mirroring_twice_changes_nothing():
    batch = batch_of(picture((48, 64)), "box")
    batch = replace(
        batch, masks=(batch.images[:, :1] > 0).float(), prompt=replace(batch.prompt, points_xy=torch.ones(1, 2, 3, 2))
    )
    for x, y in ((True, False), (False, True), (True, True)):
        once = mirror_batch(batch, x=x, y=y)
        assert not torch.equal(once.images, batch.images) and not torch.equal(
            once.prompt.boxes_xyxy, batch.prompt.boxes_xyxy
        )
        assert (once.images[..., 48:, :] == batch.images[..., 48:, :]).all()  # padding stays where it is
        twice = mirror_batch(once, x=x, y=y)
        assert torch.equal(twice.images, batch.images) and torch.equal(twice.masks, batch.masks)
        assert torch.allclose(twice.prompt.boxes_xyxy, batch.prompt.boxes_xyxy)
        assert torch.allclose(twice.prompt.points_xy, batch.prompt.points_xy)
        assert twice.placements == batch.placements


def test_kept_embeddings_stay_right(sam, tmp_path):
    """A mirrored view has a file of its own; taken from the view's own file it would be another picture's."""
    cache = EmbeddingCache(tmp_path)
    kept = FlippedSegmenter(SamSegmenter(sam, embed=cache))
    batch = batch_of(picture((48, 64)), "empty")
    (first,), (second,) = kept.predict(batch), kept.predict(batch)
    assert (cache.computed, cache.read) == (4, 4)
    assert torch.equal(first, second)
    fresh = by_hand(SamSegmenter(sam), picture((48, 64)), "empty")
    assert first.numpy() == pytest.approx(fresh, abs=5e-3)  # half precision
    SamSegmenter(sam, embed=cache).predict(batch)
    assert (cache.computed, cache.read) == (4, 5)  # the view itself is shared with a segmenter without flips


def test_predicts_photos_in_parts():
    plain = BaselineSegmenter(Net(), name="net")
    image = picture((64, 208), 3)
    predictor = Predictor(
        FlippedSegmenter(plain), Framing(64, tile_px=64), EmptyPrompter(PromptConfig()), views_at_once=2
    )
    (result,) = predictor.maps([Sample("a", image)])
    assert result == pytest.approx(by_hand(plain, image, "empty", 64), abs=2e-5)


def test_what_is_said_of_it(sam):
    plain = SamSegmenter(sam)
    assert build_tta(plain, "none") is plain and "tta" not in plain.describe()
    assert build_tta(plain, "flips").describe() == plain.describe() | {"tta": "flips"}
    with pytest.raises(UserError, match=r"'flip'.*E-CONFIG-TTA"):
        build_tta(plain, "flip")
