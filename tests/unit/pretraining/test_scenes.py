"""Drawn scenes and their prompts: a function of the seed, targets that belong to their objects, compact batches."""

import subprocess
import sys

import numpy as np
import pytest
import torch

from pretraining import textures
from pretraining.promptable import PromptedScenes, PromptMix, SceneLoader, normalised
from pretraining.scene_prompts import _Object, draw_prompts
from pretraining.scenes import draw_scene
from samis.core.geometry import frame_image, place

DIGEST = """
import hashlib, numpy as np
from pretraining.scenes import draw_scene
for number in (5, 3):
    scene = draw_scene(np.random.default_rng(number), 96)
print(hashlib.sha256(scene.image.tobytes() + scene.objects.tobytes()).hexdigest())
"""


def test_scenes_keep_objects_inside_their_union():
    count = 0
    for seed in range(12):
        scene = draw_scene(np.random.default_rng(seed), 96)
        assert scene.image.shape == (96, 96)
        assert scene.image.dtype == np.uint8
        for mask in scene.objects:
            count += 1
            assert mask.sum() >= 2
            assert not (mask & ~scene.salient).any()
    assert count > 12


def test_a_scene_does_not_depend_on_what_the_process_drew_before():
    """Another process with a bank of its own, and this one after other scenes: the same picture."""
    import hashlib

    other = subprocess.run([sys.executable, "-c", DIGEST], capture_output=True, text=True, check=True).stdout.strip()
    for number in (1, 3):
        scene = draw_scene(np.random.default_rng(number), 96)
    assert hashlib.sha256(scene.image.tobytes() + scene.objects.tobytes()).hexdigest() == other


def test_crops_are_copies():
    own = textures.TextureBank(32)
    crop = own.crop(np.random.default_rng(0), "shade", (32, 32))
    crop[:] = 9
    assert all(abs(field).max() < 9 for field in own._kinds["shade"])
    own.surface(np.random.default_rng(1), "shade", (32, 32))


@pytest.mark.parametrize("kind", sorted(textures.COUNTS))
def test_textures_are_normalised(kind):
    for field in textures.TextureBank(64)._kinds[kind]:
        assert field.dtype == np.float32
        assert abs(field.mean()) < 0.06
        assert field.std() == pytest.approx(1, abs=0.05)


def test_batches_do_not_depend_on_workers_and_ask_about_objects():
    mix = PromptMix(grid_px=2)

    def drawn(workers, skip=0):
        loader = SceneLoader(PromptedScenes(side=64, batch_size=2, batches=3, seed=5, mix=mix), workers=workers)
        loader.set_epoch(1, skip=skip)
        return list(loader)

    alone, together = drawn(0), drawn(2)
    assert len(alone) == len(together) == 3
    for one, two in zip(alone, together, strict=True):
        assert one.ids == two.ids
        assert bool((one.images == two.images).all())
        assert all(bool((one.extras[name] == two.extras[name]).all()) for name in one.extras)
    again = drawn(0, skip=2)
    assert [batch.ids for batch in again] == [alone[2].ids]
    assert bool((again[0].images == alone[2].images).all())
    batch = alone[0].to("cpu")
    assert batch.extras["targets"].shape == (2, 6, 32, 32)
    box = batch.extras["boxes_xyxy"]
    assert bool((box[..., 2:] > box[..., :2]).all())
    for view in range(2):
        for prompt in range(2):
            x, y = (batch.extras["points_xy"][view, prompt, 0] / 2).long().tolist()
            assert batch.extras["targets"][view, 3 + prompt, min(y, 31), min(x, 31)] > 0


def test_a_batch_travels_as_bytes_and_arrives_as_drawn():
    mix = PromptMix(boxes=2, points=3, clicks=2, clicks_each=4, grid_px=4)
    scenes = PromptedScenes(side=64, batch_size=8, batches=2, seed=3, mix=mix)
    sent = scenes.batch(1)
    assert sent.images.dtype == sent.extras["targets"].dtype == torch.uint8
    assert sent.images.shape == (8, 1, 64, 64)
    batch = sent.to("cpu")
    assert batch.images.dtype == torch.float32
    tinted = 0
    for k in range(8):
        drawn = draw_prompts(np.random.default_rng([3, 0, 8 + k]), 64, mix)
        for name in ("boxes_xyxy", "points_xy", "clicks_xy", "clicks_labels", "targets", "salient"):
            assert batch.extras[name].shape[1:] == getattr(drawn, name).shape
            assert np.array_equal(batch.extras[name][k].numpy(), getattr(drawn, name)), name
        tinted += bool((drawn.gain != 1).any())
        rgb = np.clip(drawn.image[..., None] * drawn.gain, 0, 255).astype(np.uint8)
        wanted = frame_image(rgb, place((64, 64), (0, 0, 64, 64), 64))
        assert torch.allclose(batch.images[k], wanted, atol=1e-5)
    assert tinted < 8
    assert batch.extras["clicks_labels"].dtype == torch.int64


def test_a_tint_is_applied_as_to_eight_bits():
    grey = torch.tensor([[[[0, 100, 250]]]], dtype=torch.uint8)
    once = normalised(grey, torch.tensor([[1.0, 1.1, 0.85]]))
    back = once * torch.tensor([58.395, 57.12, 57.375]).view(1, 3, 1, 1) + torch.tensor([123.675, 116.28, 103.53]).view(
        1, 3, 1, 1
    )
    assert torch.allclose(back[0, :, 0], torch.tensor([[0.0, 100, 250], [0, 110, 255], [0, 85, 212]]), atol=1e-3)


def test_an_object_smaller_than_a_cell_fills_its_fullest_cell():
    mask = np.zeros((64, 64), bool)
    mask[5:7, 9:11] = True
    target = _Object(mask, 16).target
    assert target[1, 2] == 255
    assert (target > 127).sum() == 1
    mask[0:16, 0:16] = True
    assert (_Object(mask, 16).target == 255).sum() == 16


def test_prompts_of_no_kind_are_empty_arrays():
    scene = draw_prompts(np.random.default_rng(0), 64, PromptMix(boxes=1, points=0, clicks=0))
    assert scene.points_xy.shape == (0, 1, 2)
    assert scene.clicks_labels.shape == (0, 3)
