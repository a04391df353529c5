import numpy as np
import pytest

from samis.core.contracts import Dataset
from samis.data.public.procedural import SURFACES, ProceduralDataset
from samis.errors import UserError


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
    with pytest.raises(UserError, match="E-DATA-SPLIT"):
        ProceduralDataset("tset")
    with pytest.raises(UserError, match="E-DATA-OPTION"):
        ProceduralDataset("test", surface="wood")
