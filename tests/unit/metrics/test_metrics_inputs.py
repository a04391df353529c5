"""Maps and masks as they come: floats, few levels, class numbers, JPEG, odd names. Each input scored wrongly once, in silence."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import py_sod_metrics
import pytest
from PIL import Image

from samis.errors import UserError
from samis.metrics import TruthFields, score_image, summarise
from samis.metrics.__main__ import main
from samis.metrics.base import score_pair
from samis.metrics.float_pair import FloatPair, make_pair
from samis.metrics.pair import Pair

HW = (31, 42)
TRUTH = np.zeros(HW, bool)
TRUTH[8:20, 10:25] = True
NOISE = np.random.default_rng(0).random(HW)
SOFT = 0.15 + 0.35 * NOISE + 0.45 * np.roll(TRUTH, 2, 1)


def folders(
    root: Path, image: np.ndarray, mask: np.ndarray, *, suffix: str = ".npy", mask_suffix: str = ".png"
) -> Path:
    for name in ("maps", "masks"):
        (root / name).mkdir(parents=True, exist_ok=True)
    if suffix == ".npy":
        np.save(root / "maps" / "a.npy", image)
    else:
        Image.fromarray(image).save(root / "maps" / f"a{suffix}")
    Image.fromarray(mask).save(root / "masks" / f"a{mask_suffix}")
    return root


def run(root: Path, capsys: pytest.CaptureFixture[str], *options: str) -> tuple[dict, str]:
    code = main([str(root / "maps"), str(root / "masks"), "--json", *options])
    out, err = capsys.readouterr()
    assert code == 0, err
    return json.loads(out), err


def refused(root: Path, capsys: pytest.CaptureFixture[str], *options: str) -> str:
    assert main([str(root / "maps"), str(root / "masks"), "--json", *options]) == 2
    err = capsys.readouterr().err
    assert err.startswith("error: ") and err.count("\n") == 1
    return err


WHITE = TRUTH.astype(np.uint8) * 255


@pytest.mark.parametrize("suffix", [".npy", ".tif"])
@pytest.mark.parametrize("protocol", ["pysod", "published"])
def test_a_faint_float_map_scores_as_the_same_map_bright(tmp_path: Path, capsys, suffix: str, protocol: str) -> None:
    numbers = {}
    for factor in (1.0, 0.004, 1e-7):
        root = folders(tmp_path / str(factor), (SOFT * factor).astype(np.float32), WHITE, suffix=suffix)
        numbers[factor], err = run(root, capsys, "--protocol", protocol)
        assert not err
    changing = (
        {"pratt", "iou", "dice", "precision", "recall"} if protocol == "published" else {"pratt"}
    )  # absolute ones
    for name in set(numbers[1.0]) - changing - {"protocol"}:
        assert numbers[0.004][name] == pytest.approx(numbers[1.0][name], abs=2e-3), name
        assert numbers[1e-7][name] == pytest.approx(numbers[1.0][name], abs=2e-3), name


@pytest.mark.parametrize("dtype", [np.float16, np.float32, np.float64])
def test_floats_are_scored_as_pysodmetrics_scores_them(dtype: type) -> None:
    values = (SOFT * 0.004).astype(dtype)
    ours = score_pair(make_pair(values, TruthFields(TRUTH)), score_image(WHITE, TRUTH).parts)
    stretched = values.astype(np.float64)
    stretched = (stretched - stretched.min()) / (stretched.max() - stretched.min())
    measures = {
        "s_measure": (py_sod_metrics.Smeasure(), "sm"),
        "weighted_f": (py_sod_metrics.WeightedFmeasure(), "wfm"),
        "mae": (py_sod_metrics.MAE(), "mae"),
    }
    for name, (metric, key) in measures.items():
        metric.step(pred=stretched, gt=TRUTH, normalize=False)
        assert ours.values[name] == pytest.approx(metric.get_results()[key], abs=1e-9), name
    fm, em = py_sod_metrics.Fmeasure(), py_sod_metrics.Emeasure()
    for metric in (fm, em):
        metric.step(pred=stretched, gt=TRUTH, normalize=False)
    assert ours.values["f_adaptive"] == pytest.approx(fm.get_results()["fm"]["adp"], abs=1e-9)
    assert ours.values["e_adaptive"] == pytest.approx(em.get_results()["em"]["adp"], abs=1e-9)
    np.testing.assert_allclose(ours.curves["f_measure"], fm.get_results()["fm"]["curve"], atol=1e-9)
    np.testing.assert_allclose(ours.curves["e_measure"], em.get_results()["em"]["curve"], atol=1e-9)


@pytest.mark.parametrize("protocol", ["pysod", "published", "inspection"])
def test_floats_that_are_bytes_score_as_those_bytes(protocol: str) -> None:
    image = (NOISE * 255).astype(np.uint8)
    floats = (image / 255).astype(np.float32)
    parts = score_image(image, TRUTH, protocol=protocol).parts
    assert type(make_pair(floats, TruthFields(TRUTH))) is Pair
    wanted = score_image(image, TRUTH, protocol=protocol)
    levels = FloatPair(image / 255, image, TruthFields(TRUTH), protocol=protocol)
    for scores in (
        score_pair(make_pair(floats, TruthFields(TRUTH), protocol=protocol), parts),
        score_pair(levels, parts),
    ):
        for name, value in summarise([wanted]).items():
            assert summarise([scores])[name] == pytest.approx(value, abs=1e-12), name


def test_inspection_cuts_the_floats_themselves() -> None:
    values = np.where(TRUTH, 0.4989, 0.2)  # as bytes 127: 0.498
    for threshold, iou in ((0.4985, 1.0), (0.4995, 0.0)):
        pair = make_pair(values, TruthFields(TRUTH), protocol="inspection", threshold=threshold)
        assert score_pair(pair, score_image(WHITE, TRUTH, protocol="inspection").parts).values["iou"] == iou


@pytest.mark.parametrize("bad", [np.nan, np.inf, -0.1, 1.5])
def test_floats_that_are_no_map_are_refused(bad: float) -> None:
    values = SOFT.copy()
    values[3, 4] = bad
    with pytest.raises(UserError, match=r"^map: .*E-METRIC-(MAP-RANGE|NOT-FINITE)"):
        make_pair(values, TruthFields(TRUTH))


def test_a_map_of_few_levels_is_warned_about(tmp_path: Path, capsys) -> None:
    image = (SOFT * 8).astype(np.uint8)
    root = folders(tmp_path, image, WHITE, suffix=".png")
    assert "fewer than 16 of 256 levels (a)" in run(root, capsys)[1]
    assert not run(root, capsys, "--protocol", "inspection")[1]
    folders(tmp_path, WHITE, WHITE, suffix=".png")
    assert not run(root, capsys)[1], "a two-valued map of full range is sharp, not faint"


def test_aupro_where_the_limit_is_reached_at_several_thresholds() -> None:
    image, truth = np.zeros((10, 11), np.uint8), np.zeros((10, 11), bool)
    truth[:, 10] = True
    image[:3, :10], image[:5, 10], image[5:9, 10] = 200, 200, 100
    scores = [score_image(image, truth, ["aupro"], "inspection")]
    # All of the area below a rate of 0.3 is a triangle: from nothing to half of the region at 0.3.
    assert summarise(scores)["aupro"] == pytest.approx(0.25, abs=1e-12)


def test_aupro_of_a_map_of_zeros_is_what_its_docstring_says() -> None:
    import samis.metrics.aupro as module

    scores = [score_image(np.zeros(HW, np.uint8), TRUTH, ["aupro"], "inspection")]
    assert summarise(scores)["aupro"] == pytest.approx(0.15, abs=1e-12) and "0.15" in str(module.__doc__)


def test_published_stretches_value_over_255_in_every_range() -> None:
    differ = ranges = 0
    levels = np.arange(256)
    truth = TruthFields(np.eye(16, dtype=bool))
    for low in range(256):
        for high in range(low + 1, 256):
            pair = Pair(np.zeros((16, 16), np.uint8), truth, protocol="published")
            pair.__dict__["low_high"] = (low, high)
            q = levels / 255
            script = np.floor((q - q[low]) / (q[high] - q[low]) * 255 + 0.5)[low : high + 1]
            bytes_first = np.floor((levels - low) / (high - low) * 255 + 0.5)[low : high + 1]
            assert (pair.restretched[low : high + 1] == script).all(), (low, high)
            differ += bool((script != bytes_first).any())
            ranges += 1
    assert (ranges, differ) == (32_640, 7_551)


CLASSES = np.where(TRUTH, 1, 0).astype(np.uint8)
VOID = CLASSES.copy()
VOID[0], VOID[7, 9:26], VOID[20, 9:26] = 255, 255, 255
GREY = np.where(TRUTH, 64, 0).astype(np.uint8)
GREY[25:30, 2:40] = 192


@pytest.mark.parametrize(
    "mask",
    [VOID, GREY, np.where(VOID == 1, 4, VOID).astype(np.uint8), np.where(GREY == 192, 255, GREY).astype(np.uint8)],
)
@pytest.mark.parametrize("protocol", ["pysod", "published", "inspection"])
def test_class_numbers_are_refused_unless_they_are_declared(
    tmp_path: Path, capsys, mask: np.ndarray, protocol: str
) -> None:
    root = folders(tmp_path, WHITE, mask, suffix=".png")
    err = refused(root, capsys, "--protocol", protocol)
    assert "E-METRIC-MASK-CLASSES" in err and "--classes" in err and "--ignore-value" in err and "a.png" in err


def test_classes_and_ignored_pixels(tmp_path: Path, capsys) -> None:
    perfect = TRUTH.astype(np.uint8) * 255
    perfect[0] = 255  # a false alarm where nothing counts
    root = folders(tmp_path / "voc", perfect, VOID, suffix=".png")
    for protocol in ("pysod", "published", "inspection"):
        numbers, _ = run(root, capsys, "--classes", "1", "--ignore-value", "255", "--protocol", protocol)
        assert numbers["iou"] == pytest.approx(1, abs=1e-6)
        clean, _ = run(folders(tmp_path / "plain", WHITE, WHITE, suffix=".png"), capsys, "--protocol", protocol)
        for name in set(clean) - {"protocol"}:
            assert numbers[name] == pytest.approx(clean[name], abs=1e-12), name
    root = folders(tmp_path / "grey", (GREY > 0).astype(np.uint8) * 255, GREY, suffix=".png")
    assert run(root, capsys, "--classes", "64", "192")[0]["iou"] == 1
    assert run(root, capsys, "--classes", "64")[0]["iou"] < 1


@pytest.mark.parametrize(
    "options",
    [
        ["--classes", "256"],
        ["--ignore-value", "-1"],
        ["--classes", "1", "--ignore-value", "1"],
        ["--workers", "0"],
        ["--workers", "-2"],
    ],
)
def test_options_that_make_no_sense(tmp_path: Path, capsys, options: list[str]) -> None:
    error = refused(folders(tmp_path, WHITE, WHITE, suffix=".png"), capsys, *options)
    assert options[0] in error and "E-METRIC-OPTION" in error


@pytest.mark.parametrize("ending", [".jpg", ".JPEG"])
def test_jpeg_masks_are_warned_about_under_published(tmp_path: Path, capsys, ending: str) -> None:
    root = folders(tmp_path, WHITE, WHITE, suffix=".png", mask_suffix=ending)
    assert "1 masks are JPEG files (a)" in run(root, capsys, "--protocol", "published")[1]
    assert not run(root, capsys)[1]


def test_names_with_suffix_byte_order_mark_and_windows_lines(tmp_path: Path, capsys) -> None:
    root = folders(tmp_path, WHITE, WHITE, suffix=".png")
    for text in ("\ufeffa.png\r\n", "a\r\n", "a.PNG\n\n", "\ufeffa"):
        (root / "names.txt").write_bytes(text.encode())
        assert run(root, capsys, "--names", str(root / "names.txt"))[0]["images"] == 1


def test_suffixes_match_in_any_case(tmp_path: Path, capsys) -> None:
    root = folders(tmp_path, WHITE, WHITE, suffix=".png")
    (root / "maps" / "a.png").rename(root / "maps" / "a_MAP.PNG")
    assert run(root, capsys, "--map-suffix", "_map.png")[0]["images"] == 1


def test_exif_rotation_is_applied_to_maps_and_masks(tmp_path: Path, capsys) -> None:
    root = folders(tmp_path, WHITE, WHITE, suffix=".png")
    exif = Image.Exif()
    exif[0x0112] = 6
    stored = Image.fromarray(WHITE).transpose(Image.Transpose.ROTATE_90)
    for folder in ("maps", "masks"):
        stored.save(root / folder / "a.png", exif=exif)
        assert run(root, capsys)[0]["iou"] == 1


@pytest.mark.parametrize("hw", [(1, 1), (1, 2), (1, 9), (9, 1)])
@pytest.mark.parametrize("protocol", ["pysod", "published", "inspection"])
def test_the_smallest_images_score_from_0_to_1(hw: tuple[int, int], protocol: str) -> None:
    for value in (0, 255):
        for first in (False, True):
            truth = np.zeros(hw, bool)
            truth[0, 0] = first
            scores = score_image(np.full(hw, value, np.uint8), truth, protocol=protocol)
            for name, number in scores.values.items():
                bound = hw[0] * hw[1] / max(1, hw[0] * hw[1] - 1)  # the E-measure's N / (N - 1)
                assert 0 <= number <= bound + 1e-6, (name, number)
