"""Embeddings kept on disk: exact up to half precision, keyed by all that matters, whole files, a limit that holds."""

import os
import time

import numpy as np
import pytest
import torch
from torch import nn

from samis.config import CacheConfig, PromptConfig, SegmenterConfig
from samis.core.contracts import Sample
from samis.core.geometry import Framing
from samis.data.pipeline.augment import build_augment
from samis.data.pipeline.loading import FramedDataset, build_loader, collate
from samis.errors import UserError
from samis.sam import embeddings
from samis.sam.architectures import build_sam
from samis.sam.embeddings import EmbeddingCache, open_cache
from samis.sam.forward import embed
from samis.sam.interface import state_of
from samis.sam.segmenter import SamSegmenter
from samis.sam.weights import load_sam

SIDE = 64
BYTES = 2 * 128 * 4 * 4 + 128
"""One embedding of samis_lite at 64 px, with numpy's header."""


class Drawn:
    """A few random images as a data set."""

    name, split, class_names = "drawn", "train", ["defect"]

    def __init__(self, count):
        self.ids = [f"s{number}" for number in range(count)]

    def __len__(self):
        return len(self.ids)

    def __getitem__(self, index):
        image = np.random.default_rng(index).integers(0, 256, (48, 64, 3), dtype=np.uint8)
        return Sample(self.ids[index], image, np.eye(48, 64, dtype=bool))

    def fingerprint(self):
        return ""


@pytest.fixture(scope="module")
def sam():
    torch.manual_seed(0)
    return build_sam("samis_lite", frame_px=SIDE).requires_grad_(False)


def batch(count=3, **options):
    framed = FramedDataset(Drawn(count), Framing(SIDE), **options)
    return collate([framed[index] for index in range(count)])


def files(folder):
    return sorted(folder.rglob("*.npy"))


def test_gives_the_encoders_values_in_half_precision_and_computes_them_once(sam, tmp_path):
    wanted = embed(sam, batch()).half().float()
    first, second = EmbeddingCache(tmp_path), EmbeddingCache(tmp_path)
    assert torch.equal(first(sam, batch()), wanted)
    assert torch.equal(second(sam, batch()), wanted)
    assert (first.read, first.computed, second.read, second.computed) == (0, 3, 3, 0)
    assert len(files(tmp_path)) == 3
    assert not list(tmp_path.rglob("*.tmp"))


def test_a_batch_of_known_and_new_views_keeps_their_order(sam, tmp_path):
    cache = EmbeddingCache(tmp_path)
    cache(sam, batch(2))
    given = batch(4)
    order = torch.tensor([3, 0, 2, 1])
    given.images, given.extras["view_keys"] = given.images[order], given.extras["view_keys"][order]
    torch.testing.assert_close(cache(sam, given), embed(sam, given), atol=2e-2, rtol=2e-3)
    assert (cache.read, cache.computed) == (2, 4)


def test_flips_and_turns_are_eight_files_an_image_and_other_changes_none(sam, tmp_path):
    cache = EmbeddingCache(tmp_path)
    framed = FramedDataset(Drawn(1), Framing(SIDE), augment=build_augment("light"), training=True)
    shown = set()
    for epoch in range(40):
        framed.set_epoch(epoch)
        given = collate([framed[0]])
        shown.add(given.images.numpy().tobytes())
        cache(sam, given)
    assert len(shown) == len(files(tmp_path)) == 8
    augmented = FramedDataset(Drawn(1), Framing(SIDE), augment=build_augment("default"), training=True)
    crops = FramedDataset(Drawn(1), Framing(SIDE, tile_px=16), training=True)
    for other in (augmented, crops):
        assert not other.keyed and "view_keys" not in collate([other[0]]).extras
        cache(sam, collate([other[0]]))
    assert len(files(tmp_path)) == 8


def test_the_key_tells_pixels_and_places_apart():
    keys = [batch(1).extras["view_keys"], batch(1, augment=build_augment(noise=0.1)).extras["view_keys"]]
    for framing in (Framing(SIDE), Framing(96), Framing(SIDE, tile_px=48)):
        keys.append(collate([FramedDataset(Drawn(1), framing)[0]]).extras["view_keys"])
    assert torch.equal(keys[0], keys[2])
    distinct = {bytes(key.tolist()) for view in keys for key in view}
    assert len(distinct) == sum(len(view) for view in keys) - 1


def test_other_weights_and_another_precision_are_other_files(sam, tmp_path):
    cache = EmbeddingCache(tmp_path)
    cache(sam, batch(1))
    with torch.autocast("cpu", torch.bfloat16):
        cache(sam, batch(1))
    with torch.no_grad():
        sam.image_encoder.pos_embed.add_(0.1)
    cache(sam, batch(1))
    with torch.no_grad():
        sam.image_encoder.pos_embed.sub_(0.1)
    assert (cache.read, cache.computed, len(files(tmp_path))) == (0, 3, 3)


def test_an_encoder_that_learns_is_asked_each_time(sam, tmp_path):
    cache = EmbeddingCache(tmp_path)
    sam.image_encoder.neck.requires_grad_(True)
    try:
        assert cache(sam, batch(1)).requires_grad
        assert open_cache(CacheConfig(embeddings="always", folder=str(tmp_path)), sam, views=1) == (embed, "")
    finally:
        sam.image_encoder.neck.requires_grad_(False)
    assert not files(tmp_path)


@pytest.mark.parametrize("damage", [b"", b"\x93NUMPY", None])
def test_a_damaged_file_is_computed_again(sam, tmp_path, damage):
    EmbeddingCache(tmp_path)(sam, batch(1))
    (path,) = files(tmp_path)
    if damage is None:
        np.save(path, np.zeros((1, 2), np.float16))
    else:
        path.write_bytes(damage)
    cache = EmbeddingCache(tmp_path)
    assert torch.equal(cache(sam, batch(1)), embed(sam, batch(1)).half().float())
    assert cache.computed == 1 and files(tmp_path)[0].stat().st_size == BYTES


@pytest.mark.parametrize("value", [np.nan, np.inf])
def test_a_kept_number_that_is_not_finite_is_computed_again(value, sam, tmp_path):
    EmbeddingCache(tmp_path)(sam, batch(1))
    (path,) = files(tmp_path)
    kept = np.load(path)
    kept.flat[0] = value
    np.save(path, kept)
    cache = EmbeddingCache(tmp_path)
    assert torch.equal(cache(sam, batch(1)), embed(sam, batch(1)).half().float())
    assert cache.computed == 1


def test_the_limit_holds_and_what_was_used_last_stays(sam, tmp_path):
    cache = EmbeddingCache(tmp_path, limit_gb=3.5 * BYTES / 1e9)
    cache(sam, batch(3))
    for number, path in enumerate(files(tmp_path)):
        os.utime(path, (time.time() - 1000 + number,) * 2)
    cache(sam, batch(1))  # the first image is used once more
    given = batch(4)
    given.images, given.extras["view_keys"] = given.images[3:], given.extras["view_keys"][3:]
    cache(sam, given)
    names = {path.stem for path in files(tmp_path)}
    kept = {bytes(key.tolist()).hex() for key in batch(4).extras["view_keys"][[0, 3]]}
    assert kept <= names and len(names) == 3


def test_what_a_dead_process_left_is_removed_and_a_full_disk_ends_the_writing_only(sam, tmp_path, monkeypatch, capsys):
    old, young = tmp_path / ".a.npy.1.tmp", tmp_path / ".b.npy.2.tmp"
    for path in (old, young):
        path.write_bytes(b"half")
    os.utime(old, (time.time() - 2 * embeddings.STALE_S,) * 2)
    cache = EmbeddingCache(tmp_path)
    assert cache.held_bytes() == 0
    assert young.exists() and not old.exists()

    def full(*given, **options):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(np, "save", full)
    assert torch.equal(cache(sam, batch(2)), embed(sam, batch(2)).half().float())
    assert capsys.readouterr().err.count("No space left on device; the run goes on") == 1
    assert not files(tmp_path)


def test_the_estimate_is_what_the_files_take(sam, tmp_path):
    cache, message = open_cache(CacheConfig(folder=str(tmp_path)), sam, views=3)
    assert isinstance(cache, EmbeddingCache) and "3 views" in message
    cache(sam, batch(3))
    assert cache.held_bytes() == 3 * BYTES
    many = 10**9
    embeds, message = open_cache(CacheConfig(folder=str(tmp_path)), sam, views=many)
    assert embeds is embed and "computed again" in message
    with pytest.raises(UserError, match=r"cache\.limit_gb is 20.*E-SAM-CACHE-SPACE"):
        open_cache(CacheConfig(embeddings="always", folder=str(tmp_path)), sam, views=many)
    with pytest.raises(UserError, match=r"'yes'.*E-SAM-CACHE-CHOICE"):
        open_cache(CacheConfig(embeddings="yes"), sam, views=1)
    assert open_cache(CacheConfig(embeddings="never"), sam, views=1) == (embed, "")


def test_maps_are_those_without_a_cache_within_half_precision(tmp_path):
    tiny = load_sam("samis_lite").requires_grad_(False)
    framed = FramedDataset(Drawn(2), Framing(256))
    given = collate([framed[0], framed[1]])
    plain, kept = SamSegmenter(tiny), SamSegmenter(tiny, prompt=PromptConfig("empty"), embed=EmbeddingCache(tmp_path))
    for one, other in zip(plain.predict(given), kept.predict(given), strict=True):
        torch.testing.assert_close(one, other, atol=5e-3, rtol=0)
    assert "embeddings" not in plain.describe() and kept.describe()["embeddings"] == "float16, kept"


@pytest.mark.parametrize("workers", [0, 2])
def test_a_loader_reads_what_is_kept_and_frames_nothing(sam, tmp_path, workers, monkeypatch):
    """Batches of a second epoch have no pixels, also from worker processes; the embeddings are the encoder's."""
    loader = build_loader(Drawn(5), Framing(SIDE), batch_size=2, training=True, workers=workers)
    plain = build_loader(Drawn(5), Framing(SIDE), batch_size=2, training=True)
    cache = EmbeddingCache(tmp_path)
    loader.read_embeddings(cache.reader)
    first = [cache(sam, batch) for batch in loader]
    assert (cache.read, cache.computed) == (0, 5)
    second = []
    for batch, framed, wanted in zip(loader, plain, first, strict=True):
        assert batch.images.is_meta and batch.images.shape == framed.images.shape
        assert torch.equal(batch.masks, framed.masks) and batch.placements == framed.placements
        moved = batch.to("cpu")
        second.append(cache(sam, moved))
        assert second[-1].dtype == torch.float32 and torch.equal(second[-1], wanted)
    assert len(second) == 3 and (cache.read, cache.computed) == (5, 5)


def test_a_view_whose_file_is_gone_is_framed_beside_those_that_are_read(sam, tmp_path):
    loader = build_loader(Drawn(3), Framing(SIDE), batch_size=3, training=True)
    cache = EmbeddingCache(tmp_path)
    loader.read_embeddings(cache.reader)
    (whole,) = [cache(sam, batch) for batch in loader]
    files(tmp_path)[1].unlink()
    (mixed,) = loader
    assert mixed.extras["embedded"].tolist().count(True) == 2 and len(mixed.extras["embeddings"]) == 2
    torch.testing.assert_close(cache(sam, mixed), whole, atol=2e-2, rtol=2e-3)  # one view alone is rounded otherwise
    assert (cache.read, cache.computed) == (2, 4)
    (again,) = loader
    assert again.images.is_meta


def test_embeddings_of_an_encoder_that_has_changed_since_are_refused(tmp_path):
    torch.manual_seed(0)
    own = build_sam(SegmenterConfig().architecture, frame_px=SIDE).requires_grad_(False)
    loader = build_loader(Drawn(2), Framing(SIDE), batch_size=2, training=True)
    cache = EmbeddingCache(tmp_path)
    loader.read_embeddings(cache.reader)
    for batch in loader:
        cache(own, batch)
    (ahead,) = loader
    with torch.no_grad():
        own.image_encoder.pos_embed.add_(0.1)
    with pytest.raises(RuntimeError, match="changed while batches were read"):
        cache(own, ahead)


def test_scoring_in_another_precision_does_not_change_what_training_reads(sam, tmp_path):
    loader = build_loader(Drawn(2), Framing(SIDE), batch_size=2, training=True)
    cache = EmbeddingCache(tmp_path)
    loader.read_embeddings(cache.reader)

    def trained():
        (given,) = loader
        with torch.autocast("cpu", torch.bfloat16):
            return cache(sam, given)

    wanted = trained()
    cache(sam, batch(2))  # a validation, in float32
    assert torch.equal(trained(), wanted)
    assert (cache.read, cache.computed) == (2, 4)


def test_state_of_is_the_state_dict():
    """A buffer that is not kept, a shared module and a parameter that is None included."""
    shared = nn.Linear(2, 2, bias=False)
    module = nn.Sequential(nn.BatchNorm2d(2), shared, nn.Sequential(shared, nn.Conv2d(1, 1, 1)))
    module.register_buffer("passing", torch.zeros(1), persistent=False)
    module.register_parameter("own", nn.Parameter(torch.ones(1), requires_grad=False))
    expected = module.state_dict(keep_vars=True)
    result = state_of(module)
    assert list(result) == list(expected) and "passing" not in result
    assert all(result[name] is tensor for name, tensor in expected.items())
