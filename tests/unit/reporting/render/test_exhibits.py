"""Which images the gallery shows, in which order, and that its pictures show what they should."""

import base64
import io

import numpy as np
import pytest
from PIL import Image

from samis.evaluation.rows import choose
from samis.reporting.render.exhibits import pack, rank, spread
from samis.reporting.render.layers import LONG_SIDE_PX, SIDE_PX
from samis.reporting.render.overlay import TRUTH_RGB


@pytest.fixture
def chosen(make_row):
    """Gains +0.5, -0.1, +0.2, +0.3 on i0 to i3; tuned is worst on i1, then on i3."""
    rows = [
        make_row("zero_shot", {"s_measure": [0.4, 0.3, 0.6, 0.1]}),
        make_row("tuned", {"s_measure": [0.9, 0.2, 0.8, 0.4]}),
    ]
    return choose(rows, "s_measure")


def decoded(uri: str, mode: str = "RGB") -> np.ndarray:
    head, _, content = uri.partition(",")
    assert head == "data:image/webp;base64"
    return np.asarray(Image.open(io.BytesIO(base64.b64decode(content))).convert(mode)).astype(int)


def test_best_gains_and_worst_failures_take_turns(chosen):
    ranked = rank(chosen, "s_measure")
    assert [one.id for one in ranked] == ["i0", "i1", "i3", "i2"]
    assert [round(one.gain, 3) for one in ranked] == [0.5, -0.1, 0.3, 0.2]


def test_for_an_error_a_gain_is_a_fall(make_row):
    rows = [make_row("zero_shot", {"mae": [0.5, 0.2]}), make_row("tuned", {"mae": [0.1, 0.3]})]
    assert [(one.id, round(one.gain, 3)) for one in rank(choose(rows, "mae"), "mae")] == [("i0", 0.4), ("i1", -0.1)]


def test_images_without_the_metric_are_left_out(chosen):
    del chosen.tuned.images[0]["s_measure"]
    assert "i0" not in [one.id for one in rank(chosen, "s_measure")]


def test_every_class_has_its_share(chosen):
    ranked = rank(chosen, "s_measure")
    ranked[-1].class_name = "pit"
    assert [one.class_name for one in spread(ranked, 3)] == ["scratch", "scratch", "pit"]


def test_pictures_show_map_and_truth(chosen):
    mask = np.zeros((60, 90), bool)
    mask[20:40, 30:60] = True
    image = np.full((60, 90, 3), 100, np.uint8)
    maps = {
        "tuned": lambda image_id, hw: np.where(np.arange(hw[1]) < 15, 255, 0).astype(np.uint8) * np.ones(hw, np.uint8)
    }
    first, *rest = pack(chosen, "s_measure", "steel", lambda image_id: (image, mask), maps, count=3)
    assert len(rest) == 2 and first.hw == (60, 90) and first.area == pytest.approx(600 / 5400)
    assert set(first.layers) == {"truth", "tuned"} and first.scores == {"tuned": "S 0.900"}
    assert first.gain_text == "S +0.500"
    assert np.abs(decoded(first.photo) - 100).max() < 8
    layers = {role: {kind: decoded(uri, "RGBA") for kind, uri in kinds.items()} for role, kinds in first.layers.items()}
    truth = layers["truth"]
    assert np.array_equal(truth["fill"][..., 3] > 0, mask) and np.abs(truth["fill"][30, 45, :3] - TRUTH_RGB).max() < 4
    outline = truth["outline"][..., 3] > 0  # the pixels just outside the truth
    assert outline.sum() == 2 * (20 + 30) and not (outline & mask).any() and outline[19, 30] and outline[40, 59]
    tuned = layers["tuned"]
    assert np.array_equal(tuned["fill"][..., 3] > 0, np.broadcast_to(np.arange(90) < 15, (60, 90)))
    red, green, blue, opacity = tuned["fill"][50, 5]
    assert red > 240 and 100 < green < 120 and blue < 12 and opacity == round(0.65 * 255)
    assert np.array_equal(np.unique(np.nonzero(tuned["outline"][..., 3])[1]), [15])  # beside the last column at 255
    assert first.middle == pytest.approx(100 * 44.5 / 90, abs=0.1)


def test_large_and_long_pictures_are_shrunk_and_laid_down(chosen):
    def one(height, width):
        image = np.zeros((height, width, 3), np.uint8)
        return pack(chosen, "s_measure", "rail", lambda image_id: (image, None), {}, count=1)[0]

    assert one(2 * SIDE_PX, SIDE_PX).hw == (SIDE_PX, SIDE_PX // 2)
    assert one(2 * LONG_SIDE_PX, 200).hw == (100, LONG_SIDE_PX)


def test_the_page_stays_below_its_size(chosen):
    noise = np.random.default_rng(0).integers(0, 256, (200, 200, 3), np.uint8)
    everything = pack(chosen, "s_measure", "steel", lambda image_id: (noise, None), {}, count=4)
    one = everything[0].size
    some = pack(chosen, "s_measure", "steel", lambda image_id: (noise, None), {}, count=4, most_bytes=int(2.5 * one))
    assert len(everything) == 4 and len(some) == 2
