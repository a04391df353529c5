"""Which photos are called unlike those of training: drawn photos, unchanged, darkened, blurred, of another surface."""

import json
import math

import cv2
import numpy as np
import pytest
import torch
from torch import nn

from samis.core.contracts import Batch
from samis.core.geometry import Framing, frame_image
from samis.data import load_dataset
from samis.drift.features import EmbeddingRecorder, measure_photo, pooled
from samis.drift.fingerprint import Fingerprint, drift_lines
from samis.errors import UserError


def drawn(split, count, surface="steel"):
    dataset = load_dataset("procedural", split=split, surface=surface, count=count)
    rng = np.random.default_rng(count)
    return [evenly_lit(dataset[number].image, *rng.normal([120, 20], [6, 1.5])) for number in range(count)]


def evenly_lit(image, mean, std):
    """Give a photo the light of a line, where it hardly changes; the drawn surfaces have any."""
    values = (image.astype(np.float32) - image.mean()) / max(image.std(), 1) * std + mean
    return np.clip(values, 0, 255).astype(np.uint8)


def embedding_of(image):
    """A stand-in for a network: mean colours and edge energies of a 4 x 4 grid."""
    small = cv2.resize(image, (32, 32), interpolation=cv2.INTER_AREA).astype(np.float32)
    edges = np.abs(np.diff(small.mean(-1), axis=0)).mean(1)
    return np.concatenate([small.reshape(4, 8, 4, 8, 3).mean((1, 3)).ravel(), edges])


@pytest.fixture(scope="module")
def fingerprint():
    photos = drawn("train", 160)
    return Fingerprint.of([measure_photo(photo) for photo in photos], [embedding_of(photo) for photo in photos])


def compared(fingerprint, photos):
    return [fingerprint.compare(measure_photo(photo), embedding_of(photo)) for photo in photos]


def test_measures_by_hand():
    image = np.zeros((4, 32, 3), np.uint8)
    image[:, 16:] = 200
    measures = measure_photo(image)
    assert measures["brightness"] == 100 and measures["contrast"] == 100 and measures["size"] == 5
    # the Laplacian is 200 and -200 in the two columns at the edge of 32, else 0
    assert measures["sharpness"] == pytest.approx(math.log2(2 * 200**2 / 32))
    assert measure_photo(cv2.blur(image, (9, 1)))["sharpness"] < measures["sharpness"] - 2


def test_unchanged_photos_are_seldom_unlike(fingerprint):
    records = compared(fingerprint, drawn("test", 160))
    summary = fingerprint.summary(records)
    assert summary["photos"] == 160 and summary["false_alarms"] == pytest.approx(5 / 161, abs=1e-4)
    # five limits, each passed by a photo of the same source with probability at most 1 / 161: about 5 of 160; 14 has p < 0.001
    assert summary["unlike"] < 14 and not summary["more_than_chance"] and summary["shifted"] == {}


CHANGES = {
    "darker": lambda image: (image * 0.35).astype(np.uint8),
    "brighter": lambda image: np.clip(image * 0.5 + 140, 0, 255).astype(np.uint8),
    "less sharp": lambda image: cv2.GaussianBlur(image, (0, 0), 4),
    "less contrast": lambda image: np.clip((image - image.mean()) * 0.15 + image.mean(), 0, 255).astype(np.uint8),
    "larger": lambda image: cv2.resize(image, None, fx=3, fy=3, interpolation=cv2.INTER_CUBIC),
}


@pytest.mark.parametrize("word", CHANGES)
def test_changed_photos_are_unlike_and_the_reason_is_named(fingerprint, word):
    records = compared(fingerprint, [CHANGES[word](photo) for photo in drawn("test", 40)])
    assert np.mean([each["unlike"] for each in records]) > 0.9
    assert np.mean([word in each["reasons"] for each in records]) > 0.8
    summary = fingerprint.summary(records)
    assert summary["more_than_chance"] and summary["shifted"]
    text = "\n".join(drift_lines(summary))
    assert f"{summary['unlike']} of 40 photos are unlike what the model was tuned on" in text and word in text


@pytest.mark.parametrize("surface", ["tile", "rail"])
def test_another_surface_is_unlike(fingerprint, surface):
    records = compared(fingerprint, drawn("test", 40, surface))
    assert np.mean([each["unlike"] for each in records]) > 0.5
    assert fingerprint.summary(records)["more_than_chance"]


def test_a_small_shift_of_all_photos_is_seen_where_no_single_photo_is_unlike():
    rng = np.random.default_rng(0)

    def photos(count, brightness):
        return [
            {"brightness": float(b), "contrast": 20.0 + c, "sharpness": 5.0 + s, "size": 8.0}
            for b, c, s in zip(
                rng.normal(brightness, 10, count), rng.normal(0, 3, count), rng.normal(0, 1, count), strict=True
            )
        ]

    fingerprint = Fingerprint.of(photos(200, 120), [None] * 200)
    records = [fingerprint.compare(each, None) for each in photos(60, 112)]
    summary = fingerprint.summary(records)
    assert not summary["more_than_chance"] and list(summary["shifted"]) == ["brightness"]
    assert summary["shifted"]["brightness"]["here"] < summary["shifted"]["brightness"]["training"]


@pytest.mark.parametrize("photos", [10, 47, 200])
def test_the_rate_of_false_alarms_is_bounded_on_simulated_photos(photos):
    """1,000 fresh photos for each of 30 fingerprints: the mean share that is called unlike is at most 5 / (n + 1)."""
    rng = np.random.default_rng(photos)
    shares = []
    for _ in range(30):

        def draw(count):
            values = rng.normal(0, 1, (count, 4)) * [20, 5, 1, 0.3] + [120, 20, 5, 8]
            return [
                dict(zip(("brightness", "contrast", "sharpness", "size"), map(float, row), strict=True))
                for row in values
            ]

        fingerprint = Fingerprint.of(draw(photos), list(rng.standard_t(4, (photos, 12))))
        fresh = zip(draw(200), rng.standard_t(4, (200, 12)), strict=True)
        shares.append(np.mean([fingerprint.compare(measures, vector)["unlike"] for measures, vector in fresh]))
    assert np.mean(shares) <= 5 / (photos + 1)


def test_it_comes_back_from_its_file(fingerprint, tmp_path):
    fingerprint.save(tmp_path / "training_photos.json")
    read = Fingerprint.load(tmp_path / "training_photos.json")
    photos = drawn("test", 10) + [CHANGES["darker"](photo) for photo in drawn("test", 10)]
    before, after = compared(fingerprint, photos), compared(read, photos)
    assert [each["unlike"] for each in before] == [each["unlike"] for each in after]
    assert [each["embedding"] for each in after] == pytest.approx([each["embedding"] for each in before], rel=1e-3)
    assert Fingerprint.load(tmp_path / "none.json") is None
    (tmp_path / "training_photos.json").write_text(json.dumps({"photos": 3}))
    with pytest.raises(UserError, match="E-PREDICT-FINGERPRINT-DAMAGED"):
        Fingerprint.load(tmp_path / "training_photos.json")
    with pytest.raises(UserError, match="E-PREDICT-FINGERPRINT"):
        Fingerprint.of([measure_photo(photos[0])] * 9, [None] * 9)


def test_embeddings_are_recorded_in_the_same_pass_without_padding():
    class Network(nn.Module):
        def __init__(self):
            super().__init__()
            self.encoder = nn.AvgPool2d(8)
            self.passes = 0

        def forward(self, images):
            self.passes += 1
            return self.encoder(images)

    class OfNetwork:
        def __init__(self):
            self.network = Network()

        def predict(self, batch):
            self.network(batch.images)
            return [torch.zeros(placement.file_hw) for placement in batch.placements]

    photos = {"flat": np.full((32, 16, 3), 90, np.uint8), "wide": np.full((8, 32, 3), 200, np.uint8)}
    framing = Framing(32)
    placements = [framing.placements(p.shape[:2], sample=n)[0] for n, p in enumerate(photos.values())]
    images = torch.stack([frame_image(p, place) for p, place in zip(photos.values(), placements, strict=True)])
    recorder = EmbeddingRecorder(OfNetwork())
    recorder.predict(Batch(list(photos), images, placements))
    for number, name in enumerate(photos):
        np.testing.assert_allclose(recorder.take(name), images[number, :, 0, 0].numpy(), rtol=1e-5)
        assert recorder.take(name) is None
    assert recorder.inner.network.passes == 1 and not recorder.inner.network.encoder._forward_hooks
    assert pooled({"last": 1}, placements) is None


def test_sentences_have_size_in_pixels_and_no_logarithms():
    """2 ** 7.644 = 200 px, 2 ** 8.644 = 400 px; the Laplacian's variance 2 ** 1 = 2 and 2 ** 5 = 32."""
    shifted = {"size": {"here": 8.6439, "training": 7.6439}, "sharpness": {"here": 1.0, "training": 5.0}}
    summary = {"unlike": 1, "photos": 2, "false_alarms": 0.0139, "more_than_chance": True, "shifted": shifted}
    first, size, sharpness = drift_lines(summary, where="there")
    assert first.endswith("(by chance: at most 1.4%); there")
    assert "larger (size: median 400 px, in training 200 px)" in size
    assert "less sharp (sharpness: median 2, in training 32)" in sharpness
