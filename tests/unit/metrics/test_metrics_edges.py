"""Empty, full and odd masks and maps: the values that each protocol's rules prescribe, on 61 x 83 pixels."""

import numpy as np
import pytest

from samis.errors import UserError
from samis.metrics import PROTOCOLS, TruthFields, quantise, score_clean, score_image

HW = (61, 83)
N = HW[0] * HW[1]
ZERO, WHITE = np.zeros(HW, np.uint8), np.full(HW, 255, np.uint8)
EMPTY, FULL = np.zeros(HW, bool), np.ones(HW, bool)
BOX = np.zeros(HW, bool)
BOX[20:41, 27:56] = True
SHARE = BOX.sum() / N  # 0.1203


def soft_map() -> np.ndarray:
    """A smooth blob over the box, 0..255."""
    y, x = np.mgrid[: HW[0], : HW[1]]
    blob = np.exp(-(((y - 31) / 14) ** 2 + ((x - 40) / 18) ** 2))
    return np.round(255 * (blob - blob.min()) / (blob.max() - blob.min())).astype(np.uint8)


SOFT = soft_map()
MEAN = SOFT.mean() / 255
FOUND = (SOFT / 255 >= 2 * MEAN).sum()


@pytest.mark.parametrize(
    ("truth", "image", "pysod", "published"),
    [
        # mae, weighted_f, s_measure, overlap_ratio, e_adaptive, f_adaptive | mae, weighted_f, s_measure, overlap_ratio
        (EMPTY, SOFT, (MEAN, 0, 1 - MEAN, 0, (N - FOUND) / (N - 1), 0), (MEAN, 1, 1 - MEAN, 0)),
        (EMPTY, ZERO, (0, 0, 1, 0, 0, 0), (0, 1, 1, 0)),
        (EMPTY, WHITE, (1, 0, 0, 0, 0, 0), (0, 1, 0, 0)),
        (FULL, SOFT, (1 - MEAN, None, MEAN, FOUND / N, FOUND / (N - 1), None), (MEAN, 1, MEAN, 0)),
        (FULL, WHITE, (0, 1, 1, 1, N / (N - 1), 1), (0, 1, 1, 0)),
        (
            BOX,
            ZERO,
            (SHARE, 0, None, SHARE, 0.25 * N / (N - 1), 1.3 * SHARE / (0.3 * SHARE + 1)),
            (SHARE, 0, None, SHARE),
        ),
        (
            BOX,
            np.full(HW, 100, np.uint8),
            (SHARE * 155 / 255 + (1 - SHARE) * 100 / 255, None, None, 0, 0.25 * N / (N - 1), 0),
            (SHARE, 0, None, SHARE),
        ),
    ],
    ids=["empty-soft", "empty-zero", "empty-white", "full-soft", "full-white", "box-zero", "box-constant"],
)
def test_table_of_edge_cases(truth, image, pysod, published):
    names = ("mae", "weighted_f", "s_measure", "overlap_ratio", "e_adaptive", "f_adaptive")
    for protocol, expected in (("pysod", pysod), ("published", published)):
        values = score_image(image, truth, protocol=protocol).values
        for name, value in zip(names, expected, strict=False):
            if value is not None:
                assert values[name] == pytest.approx(value, abs=1e-9), (protocol, name)


def test_the_printed_numbers_of_the_box_cases():
    zero, grey = score_image(ZERO, BOX).values, score_image(np.full(HW, 100, np.uint8), BOX).values
    assert round(zero["mae"], 4) == round(zero["overlap_ratio"], 4) == 0.1203
    assert round(zero["e_adaptive"], 3) == 0.25
    assert round(zero["f_adaptive"], 3) == 0.151
    assert round(grey["mae"], 4) == 0.4181
    assert round(score_image(WHITE, FULL).values["e_adaptive"], 4) == 1.0002
    assert round(score_image(ZERO, FULL).values["weighted_f"], 3) == 0.088
    perfect = score_image(BOX.astype(np.uint8) * 255, BOX).values
    assert round(perfect["e_mean"], 3) == 0.997
    assert round(score_image(ZERO, BOX).values["pratt"], 3) == pytest.approx(0.004, abs=0.002)


def test_mean_above_half_is_capped_only_by_pysod():
    bright = np.full(HW, 250, np.uint8)
    bright[0, 0], bright[30, 40] = 0, 255
    assert score_image(bright, BOX).values["overlap_ratio"] == 1 / BOX.sum()
    assert score_image(bright, BOX, protocol="published").values["overlap_ratio"] == 0


@pytest.mark.parametrize("line", [np.s_[-1:, :], np.s_[:, -1:], np.s_[-1:, -1:]])
@pytest.mark.parametrize("protocol", ["pysod", "published"])
def test_truth_in_the_last_row_or_column_is_a_number(line, protocol):
    truth = EMPTY.copy()
    truth[line] = True
    value = score_image(SOFT, truth, protocol=protocol).values["s_measure"]
    assert 0 <= value <= 1
    perfect = score_image(truth.astype(np.uint8) * 255, truth, protocol=protocol).values["s_measure"]
    assert perfect == pytest.approx(1, abs=1e-5)  # the references add eps to a denominator


def test_grey_ring_is_read_by_each_metrics_own_rule():
    ring = np.zeros(HW, np.uint8)
    ring[18:43, 25:58] = 60
    ring[20:41, 27:56] = 255
    fields = TruthFields(ring)
    wide = 25 * 33
    assert fields.fields("above_128").area == 21 * 29
    assert fields.fields("nonzero").area == fields.fields("above_tenth").area == wide
    assert fields.fields("above_tenth_rounded") is fields.fields("nonzero")  # one mask, one set of fields
    assert score_image(SOFT, ring, protocol="published").values["mae"] != score_image(SOFT, ring).values["mae"]


def test_labels_0_1_are_understood():
    for protocol in PROTOCOLS:
        labels = score_image(SOFT, BOX.astype(np.uint8), protocol=protocol)
        assert labels.values == score_image(SOFT, BOX, protocol=protocol).values


def test_clean_image_has_its_own_numbers_under_inspection():
    faint = np.zeros(HW, np.uint8)
    faint[0, 0] = 3
    values = score_image(faint, EMPTY, protocol="inspection").values
    assert values["false_positive_area"] == 0
    assert values["kept_clean"] == 1
    assert "iou" not in values
    assert score_image(faint, EMPTY).values["s_measure"] < 1  # stretched, one faint pixel is a full alarm


def test_score_clean_counts_at_or_above_the_threshold():
    image = np.zeros((10, 10), np.uint8)
    image[0, :3] = (127, 128, 255)
    assert score_clean(image).false_positive_area == 0.02
    assert score_clean(image / 255).false_positive_area == 0.02
    assert score_clean(image, threshold=1.0).false_positive_area == 0.01
    assert score_clean(np.zeros((3, 3))).kept_clean
    with pytest.raises(UserError, match="E-METRIC-MAP-RANGE"):
        score_clean(np.array([[np.nan, 0.0]]))


@pytest.mark.parametrize("protocol", PROTOCOLS)
@pytest.mark.parametrize("hw", [(1, 1), (1, 7), (7, 1), (2, 2)])
@pytest.mark.parametrize("truth_value", [0, 1])
def test_tiny_images_give_finite_numbers(protocol, hw, truth_value):
    truth = np.zeros(hw, bool)
    truth[0, 0] = bool(truth_value)
    # the E-measure divides by N - 1 + eps, as its reference does: a 1 x 1 image makes it huge
    for image in (np.zeros(hw, np.uint8), np.full(hw, 77, np.uint8), truth.astype(np.uint8) * 255):
        scores = score_image(image, truth, protocol=protocol)
        finite = {name: value for name, value in scores.values.items() if not name.startswith("e_")}
        assert all(np.isfinite(value) for value in finite.values()), finite


@pytest.mark.parametrize(
    ("image", "truth", "message"),
    [
        (SOFT / 255, BOX, "float64.*E-METRIC-MAP-TYPE"),
        (SOFT[:-1], BOX, "61x83.*60x83.*E-METRIC-MAP-SIZE"),
        (np.stack([SOFT] * 3, -1), BOX, "uint8 of shape.*E-METRIC-MAP-TYPE"),
        (SOFT, BOX.astype(np.float32), "float32.*E-METRIC-MASK-TYPE"),
        (SOFT, BOX.astype(np.uint16) * 65535, "uint16.*E-METRIC-MASK-TYPE"),
        (SOFT, np.stack([BOX] * 3, -1), "bool of shape.*E-METRIC-MASK-TYPE"),
        (SOFT, BOX.astype(np.uint8) * 3, "up to 3;.*E-METRIC-MASK-VALUES"),
        (SOFT, BOX.astype(np.uint8) * 128, "up to 128;.*E-METRIC-MASK-VALUES"),
    ],
)
def test_bad_arrays_are_refused_in_one_line(image, truth, message):
    with pytest.raises(UserError, match=message) as caught:
        score_image(image, truth)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("values", [[[0.0, np.nan]], [[0.0, np.inf]], [[-0.1, 0.5]], [[0.0, 1.01]], [[0.0, 255.0]]])
def test_quantise_refuses_what_is_no_probability(values):
    with pytest.raises(UserError, match=r"E-METRIC-(MAP-RANGE|NOT-FINITE)"):
        quantise(np.array(values))


def test_quantise_rounds_half_up_or_truncates():
    values = np.array([[0.0, 0.5, 254.9 / 255, 1.0]])
    assert quantise(values).tolist() == [[0, 128, 255, 255]]
    assert quantise(values, rounding="truncate").tolist() == [[0, 127, 254, 255]]
    bytes_ = np.arange(256, dtype=np.uint8)[None]
    assert np.array_equal(quantise((bytes_ / 255).astype(np.float32)), bytes_)


@pytest.mark.parametrize(
    ("metrics", "protocol", "message"),
    [
        (["s_mesure"], "pysod", "s_measure.*E-METRIC-NAME"),
        (None, "pysodd", "E-METRIC-PROTOCOL"),
        (["aupro"], "pysod", "aupro.*E-METRIC-NAME"),
    ],
)
def test_unknown_names_are_refused(metrics, protocol, message):
    with pytest.raises(UserError, match=message):
        score_image(SOFT, BOX, metrics, protocol)
