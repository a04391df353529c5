import numpy as np
import pytest

from samis.contracts import Dataset, UserError
from samis.data.procedural import SURFACES, ProceduralDataset
from samis.data.promptable import PromptedScenes, PromptMix, SceneLoader
from samis.data.scenes import draw_scene


@pytest.mark.parametrize("surface", sorted(SURFACES))
def test_surfaces_have_defects_and_clean_images(surface):
    dataset = ProceduralDataset("test", surface=surface, count=24)
    assert isinstance(dataset, Dataset)
    clean = 0
    for index in range(len(dataset)):
        sample = dataset[index]
        assert sample.image.dtype == np.uint8
        assert sample.image.shape[:2] == sample.mask.shape
        assert bool(sample.mask.any()) == (sample.class_name != "clean")
        clean += sample.class_name == "clean"
    assert 0 < clean < 12
    assert set(dataset.class_names) - {"clean"} == set(SURFACES[surface][1])


def test_a_seed_draws_the_same_picture_and_splits_share_none():
    first, again = ProceduralDataset("val", count=6), ProceduralDataset("val", count=6)
    assert first.fingerprint() == again.fingerprint()
    assert ProceduralDataset("val", count=6, seed=1).fingerprint() != first.fingerprint()
    other = ProceduralDataset("test", count=6)
    pictures = {other[i].image.tobytes() for i in range(6)} | {first[i].image.tobytes() for i in range(6)}
    assert len(pictures) == 12
    both = ProceduralDataset("trainval")
    assert len(both) == 192
    assert len(set(both.ids)) == 192


def test_unknown_names_are_refused():
    with pytest.raises(UserError, match="unknown split"):
        ProceduralDataset("tset")
    with pytest.raises(UserError, match="unknown surface"):
        ProceduralDataset("test", surface="wood")


def test_scenes_keep_objects_inside_their_union():
    found = 0
    for seed in range(12):
        scene = draw_scene(np.random.default_rng(seed), 96)
        assert scene.image.shape == (96, 96)
        for mask in scene.objects:
            found += 1
            assert mask.sum() >= 8
            assert not (mask & ~scene.salient).any()
    assert found > 12


def test_prompted_scenes_do_not_depend_on_workers_and_ask_about_objects():
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
    assert [batch.ids for batch in drawn(0, skip=2)] == [alone[2].ids]
    batch = alone[0]
    assert batch.extras["answers"].shape == (2, 6, 32, 32)
    box = batch.extras["boxes_xyxy"]
    assert bool((box[..., 2:] > box[..., :2]).all())
    for view in range(2):
        for prompt in range(2):
            x, y = (batch.extras["points_xy"][view, prompt, 0] / 2).long().tolist()
            assert batch.extras["answers"][view, 3 + prompt, min(y, 31), min(x, 31)] > 0
