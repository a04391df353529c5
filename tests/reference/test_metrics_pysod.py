"""The ``pysod`` protocol against PySODMetrics 1.6.2, image by image, curve by curve."""

import os
import warnings
from pathlib import Path

import cv2
import numpy as np
import pytest

from samis.metrics import TruthCache, TruthFields, mean_curves, score_image, summarise

pysod = pytest.importorskip("py_sod_metrics", reason="pip install pysodmetrics==1.6.2")

DATA = Path(os.environ.get("SAMIS_DATA", Path(__file__).resolve().parents[2] / ".." / "shared" / "data"))
MAPS = DATA / "saliency-maps" / "SD-saliency-900"
TRUTHS = DATA / "SD-saliency-900" / "Ground truth"
METHODS = ("2LSG", "BC", "CSEPNet", "DSC", "MCITF", "MIL", "SMD", "TSERNet", "WMR")
needs_maps = pytest.mark.skipif(not MAPS.is_dir(), reason=f"no saved maps at {MAPS}; set SAMIS_DATA")
needs_tiles = pytest.mark.skipif(
    not (DATA / "MT").is_dir(), reason=f"no magnetic tiles at {DATA / 'MT'}; set SAMIS_DATA"
)


def reference(image: np.ndarray, truth: np.ndarray) -> tuple[dict[str, float], dict[str, np.ndarray]]:
    """Score one image with PySODMetrics; its truth is raw uint8."""
    handlers = {
        "iou": pysod.IOUHandler,
        "dice": pysod.DICEHandler,
        "precision": pysod.PrecisionHandler,
        "recall": pysod.RecallHandler,
    }
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        mae, weighted, structure = pysod.MAE(), pysod.WeightedFmeasure(), pysod.Smeasure()
        f, e = pysod.Fmeasure(), pysod.Emeasure()
        counts = pysod.FmeasureV2(
            {name: kind(with_dynamic=True, with_adaptive=True, with_binary=True) for name, kind in handlers.items()}
        )
        for metric in (mae, weighted, structure, f, e, counts):
            metric.step(image, truth)
    f_results, e_results = f.get_results(), e.get_results()["em"]
    values = {
        "mae": mae.get_results()["mae"],
        "weighted_f": weighted.get_results()["wfm"],
        "s_measure": structure.get_results()["sm"],
        "f_adaptive": f_results["fm"]["adp"],
        "e_adaptive": e_results["adp"],
        "f_mean": f_results["fm"]["curve"].mean(),
        "e_mean": e_results["curve"].mean(),
    }
    curves = {"f_measure": f_results["fm"]["curve"], "e_measure": e_results["curve"]}
    for name, result in counts.get_results().items():
        values |= {
            name: result["binary"],
            f"{name}_adaptive": result["adaptive"],
            f"{name}_mean": result["dynamic"].mean(),
        }
        curves[name] = result["dynamic"]
    values["overlap_ratio"] = values["iou_adaptive"]
    return {name: float(value) for name, value in values.items()}, curves


def assert_equal(image: np.ndarray, truth: np.ndarray, fields: TruthFields | None = None, *, where: str = "") -> None:
    """Hold one image to the reference: 1e-12, weighted F 1e-9; S may be a number where the reference has none."""
    values, curves = reference(image, truth)
    ours = score_image(image, truth, truth_fields=fields)
    for name, value in values.items():
        if name == "s_measure" and np.isnan(value):
            assert 0 <= ours.values[name] <= 1, where
        else:
            tolerance = 1e-9 if name == "weighted_f" else 1e-12
            assert ours.values[name] == pytest.approx(value, rel=0, abs=tolerance * max(1, abs(value))), (where, name)
    assert set(ours.values) == {*values, "pratt"}
    for name, curve in curves.items():
        assert np.abs(ours.curves[name] - curve).max() <= 1e-12 * max(1, np.abs(curve).max()), (where, name)


def read_grey(path: Path) -> np.ndarray:
    image = cv2.imread(str(path), cv2.IMREAD_GRAYSCALE)
    assert image is not None, path
    return image


def find(folder: Path, name: str) -> Path:
    return next(path for suffix in (".png", ".jpg", ".bmp") if (path := folder / f"{name}{suffix}").exists())


def truths(hw: tuple[int, int]) -> dict[str, np.ndarray]:
    """Masks of every awkward shape."""
    height, width = hw
    y, x = np.mgrid[:height, :width]
    masks = {
        name: np.zeros(hw, bool) for name in ("empty", "pixel", "corner", "line", "last_row", "last_column", "two")
    }
    masks["pixel"][height // 3, width // 2] = True
    masks["corner"][-1, -1] = True
    masks["line"][height // 2] = True
    masks["last_row"][-1] = True
    masks["last_column"][:, -1] = True
    masks["two"][2:5, 3:9] = masks["two"][-8:-3, -20:-2] = True
    masks["disc"] = (y - height * 0.4) ** 2 + (x - width * 0.6) ** 2 < (min(hw) / 4) ** 2
    masks["all_but_one"] = ~masks["pixel"]
    masks["full"] = np.ones(hw, bool)
    masks["half"] = x < width // 2
    masks["checks"] = (y // 3 + x // 4) % 2 == 0
    return {name: mask.astype(np.uint8) * 255 for name, mask in masks.items()}


def maps(truth: np.ndarray) -> dict[str, np.ndarray]:
    """Maps of every awkward range, some near the truth."""
    rng = np.random.default_rng(3)
    blurred = cv2.GaussianBlur(truth, (0, 0), 3)
    noise = rng.integers(0, 256, truth.shape, dtype=np.uint8)
    one_zero = np.full_like(truth, 250)
    one_zero[0, 0] = 0
    return {
        "zero": np.zeros_like(truth),
        "one": np.ones_like(truth),
        "constant_100": np.full_like(truth, 100),
        "constant_77": np.full_like(truth, 77),
        "white": np.full_like(truth, 255),
        "truth": truth,
        "inverted": 255 - truth,
        "blurred": blurred,
        "range_40_180": (40 + blurred / 255 * 140).astype(np.uint8),
        "range_7_12": (7 + blurred / 255 * 5).astype(np.uint8),
        "noise": noise,
        "faint_noise": noise // 100,
        "noisy": np.clip(blurred * 0.7 + noise * 0.3, 0, 254).astype(np.uint8),
        "bright_but_one": one_zero,
        "half_grey": np.where(np.arange(truth.shape[1]) % 2 == 0, 0, 128).astype(np.uint8) * np.ones_like(truth),
    }


@pytest.mark.parametrize("hw", [(61, 83), (20, 20), (17, 64)])
def test_synthetic_corner_cases(hw):
    for truth_name, truth in truths(hw).items():
        for map_name, image in maps(truth).items():
            assert_equal(image, truth, where=f"{truth_name}/{map_name}/{hw}")


def test_truth_with_greys_is_above_128():
    truth = cv2.GaussianBlur(truths((61, 83))["disc"], (0, 0), 4)
    for name, image in maps(truth).items():
        assert_equal(image, truth, where=name)


def test_random_ranges_where_rounding_decides():
    """Maps that do not span 0..255: the floor of 255 times the stretched map depends on the order of operations."""
    rng = np.random.default_rng(5)
    truth = truths((30, 40))["disc"]
    for _ in range(150):
        low, high = sorted(rng.choice(256, 2, replace=False))
        assert_equal(rng.integers(low, high, truth.shape, dtype=np.uint8, endpoint=True), truth, where=f"{low}..{high}")


def test_ties_at_the_adaptive_threshold():
    """Few values, so that twice the mean often hits one of them exactly."""
    rng = np.random.default_rng(6)
    for _ in range(200):
        levels = rng.choice(256, int(rng.integers(2, 4)), replace=False)
        truth = (rng.random((4, 6)) < 0.4).astype(np.uint8) * 255
        assert_equal(rng.choice(levels, truth.shape).astype(np.uint8), truth)


@needs_maps
@pytest.mark.parametrize("method", METHODS)
def test_saved_maps_sample(method):
    compare_saved(method, step=24)


@needs_maps
@pytest.mark.slow
@pytest.mark.parametrize("method", METHODS)
def test_saved_maps_all(method):
    compare_saved(method, step=1)


def compare_saved(method: str, *, step: int) -> None:
    names = sorted(path.stem for path in (MAPS / method).iterdir())
    assert len(names) == 360
    for name in names[METHODS.index(method) % step :: step]:
        assert_equal(read_grey(find(MAPS / method, name)), read_grey(find(TRUTHS, name)), where=f"{method}/{name}")


@needs_tiles
def test_magnetic_tiles_odd_sizes():
    """MT has no saved maps; the photograph itself is as good a map as any for comparing."""
    masks = sorted((DATA / "MT").glob("MT_*/Imgs/*.png"))
    assert len(masks) > 400
    sizes = set()
    for path in masks[::40]:
        truth = read_grey(path)
        sizes.add(truth.shape)
        assert_equal(255 - read_grey(path.with_suffix(".jpg")), truth, where=path.name)
    assert len(sizes) > 5


@needs_maps
@pytest.mark.parametrize(
    ("method", "iou", "f_max", "iou_pooled"), [("CSEPNet", 0.7794, 0.8821, 0.8195), ("TSERNet", 0.7861, 0.8877, 0.8160)]
)
@pytest.mark.slow
def test_known_numbers_of_the_held_out_360(method, iou, f_max, iou_pooled):
    names = sorted(path.stem for path in (MAPS / method).iterdir())
    pairs = [(read_grey(find(MAPS / method, name)), read_grey(find(TRUTHS, name))) for name in names]
    scores = [score_image(image, truth) for image, truth in pairs]
    numbers = summarise(scores)
    assert (round(numbers["iou"], 4), round(numbers["f_max"], 4)) == (iou, f_max)
    pooled = summarise([score_image(image, truth, ["fixed_threshold"], "inspection") for image, truth in pairs])
    assert round(pooled["iou_pooled"], 4) == iou_pooled
    if method == "CSEPNet":  # another number that papers call max F: of mean precision and mean recall
        curves = mean_curves(scores)
        precision, recall = curves["precision"], curves["recall"]
        assert round(float((1.3 * precision * recall / (0.3 * precision + recall)).max()), 4) == 0.8874


@needs_maps
def test_kept_truths_change_nothing():
    cache = TruthCache()
    name = sorted(path.stem for path in (MAPS / "BC").iterdir())[7]
    truth = read_grey(find(TRUTHS, name))
    for method in METHODS:
        assert_equal(read_grey(find(MAPS / method, name)), truth, cache.get(name, truth), where=method)
