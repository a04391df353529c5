"""From images to sets: means, curves, bootstrap, batches and processes, kept ground truths, maps on a device."""

import multiprocessing
import pickle

import numpy as np
import pytest
import torch

from samis.errors import UserError
from samis.metrics import (
    PROTOCOLS,
    Pair,
    TruthCache,
    TruthFields,
    find_metrics,
    score_image,
    stack_scores,
    summarise,
    summarise_stack,
)
from samis.metrics.accumulate import ProtocolMetric
from samis.metrics.base import score_pair
from samis.metrics.float_pair import make_pair
from samis.metrics.on_device import DevicePair, device_pair


def drawn_images(number: int, seed: int = 0) -> list[tuple[np.ndarray, np.ndarray]]:
    """Return maps and truths of varying sizes; every third truth is empty."""
    rng = np.random.default_rng(seed)
    images = []
    for index in range(number):
        height, width = int(rng.integers(20, 50)), int(rng.integers(20, 50))
        truth = np.zeros((height, width), bool)
        if index % 3:
            truth[4 : 4 + int(rng.integers(2, 14)), 3 : 3 + int(rng.integers(2, 14))] = True
            truth[-3:, -4:] = True
        noise = rng.integers(0, 120, truth.shape)
        images.append(((noise + 130 * np.roll(truth, 1, axis=1)).astype(np.uint8), truth))
    return images


IMAGES = drawn_images(11)


def close(first: dict[str, float], second: dict[str, float]) -> None:
    assert list(first) == list(second)
    assert list(first.values()) == pytest.approx(list(second.values()), abs=1e-12)


@pytest.mark.parametrize("protocol", PROTOCOLS)
def test_summary_is_mean_and_maximum_of_the_mean_curve(protocol):
    scores = [score_image(image, truth, protocol=protocol) for image, truth in IMAGES]
    numbers = summarise(scores)
    for name in scores[0].values | scores[1].values:
        own = [score.values[name] for score in scores if name in score.values]
        assert numbers[name] == pytest.approx(np.mean(own), abs=1e-12), name
    if protocol == "pysod":
        for key, curve in (("f", "f_measure"), ("e", "e_measure"), ("iou", "iou")):
            mean = np.mean([score.curves[curve] for score in scores], axis=0)
            assert numbers[f"{key}_max"] == pytest.approx(mean.max(), abs=1e-12)
            assert numbers[f"{key}_mean"] == pytest.approx(mean.mean(), abs=1e-12)


@pytest.mark.parametrize("protocol", PROTOCOLS)
def test_bootstrap_sample_equals_scoring_the_repeats(protocol):
    scores = [score_image(image, truth, protocol=protocol) for image, truth in IMAGES]
    stack = stack_scores(scores)
    index = np.random.default_rng(1).integers(0, len(scores), len(scores))
    close(summarise_stack(stack, index), summarise([scores[i] for i in index]))
    close(summarise_stack(stack), summarise(scores))


def test_scores_of_different_kinds_do_not_mix():
    image, truth = IMAGES[1]
    with pytest.raises(UserError, match="E-METRIC-MIXTURE"):
        summarise([score_image(image, truth), score_image(image, truth, protocol="published")])
    with pytest.raises(UserError, match="E-METRIC-NO-IMAGES"):
        summarise([])


def test_a_number_selects_its_family():
    assert find_metrics(["f_max", "mae"]) == find_metrics(["mae", "f_measure"])
    image, truth = IMAGES[1]
    assert set(summarise([score_image(image, truth, ["f_max"])])) == {"f_adaptive", "f_mean", "f_max"}


def test_numbers_no_image_has_are_left_out():
    clean = [score_image(image, truth, protocol="inspection") for image, truth in IMAGES if not truth.any()]
    numbers = summarise(clean)
    assert {"false_positive_area", "kept_clean", "false_alarms_10"} <= set(numbers)
    assert not {"iou", "boundary_f", "image_auroc", "aupro", "object_recall_10"} & set(numbers)


def test_pooled_numbers_count_the_clean_images():
    numbers = summarise([score_image(image, truth, protocol="inspection") for image, truth in IMAGES])
    image, truth = (np.concatenate([pair[i].ravel() for pair in IMAGES]) for i in (0, 1))
    detected = image >= 128
    assert numbers["iou_pooled"] == pytest.approx((detected & truth).sum() / (detected | truth).sum(), abs=1e-12)


@pytest.mark.parametrize("protocol", PROTOCOLS)
@pytest.mark.parametrize("batch", [1, 2, 7, 11])
def test_any_batch_size(protocol, batch):
    metric = ProtocolMetric(protocol=protocol, keep_rows=True)
    for start in range(0, len(IMAGES), batch):
        maps, truths = zip(*IMAGES[start : start + batch], strict=True)
        metric.update([torch.from_numpy(image) for image in maps], [torch.from_numpy(truth) for truth in truths])
    expected = [score_image(image, truth, protocol=protocol) for image, truth in IMAGES]
    close(metric.compute(), summarise(expected))
    assert metric.rows == [score.values for score in expected]
    metric.reset()
    assert metric.rows == []
    with pytest.warns(UserWarning, match="before the ``update``"):
        assert metric.compute() == {}


def test_metric_takes_batched_float_tensors_and_pickles():
    maps = torch.rand(3, 1, 16, 16)
    truths = torch.rand(3, 1, 16, 16) > 0.7
    metric = pickle.loads(pickle.dumps(ProtocolMetric(["mae", "s_measure"])))
    metric.update(maps, truths)
    parts = find_metrics(["mae", "s_measure"])
    pairs = [make_pair(m[0].numpy(), TruthFields(t[0].numpy())) for m, t in zip(maps, truths, strict=True)]
    close(metric.compute(), summarise([score_pair(pair, parts) for pair in pairs]))
    with pytest.raises(UserError, match=r"3 maps and 2 truths.*E-METRIC-COUNT"):
        metric.update(maps, truths[:2])


def _score_share(rank: int, folder: str, protocol: str) -> None:
    torch.set_num_threads(1)  # a fork must not wait for its parent's threads
    torch.distributed.init_process_group("gloo", init_method=f"file://{folder}/meet", rank=rank, world_size=2)
    metric = ProtocolMetric(protocol=protocol)
    for image, truth in IMAGES[:4] if rank == 0 else IMAGES[4:]:  # an uneven split
        metric.update([image], [truth])
    numbers = metric.compute()
    torch.save(numbers, f"{folder}/{rank}.pt")
    torch.distributed.destroy_process_group()


@pytest.mark.parametrize("protocol", ["pysod", "inspection"])
def test_two_processes_equal_one(tmp_path, protocol):
    if "fork" not in multiprocessing.get_all_start_methods() or not torch.distributed.is_gloo_available():
        pytest.skip("needs fork and gloo")
    context = multiprocessing.get_context("fork")
    workers = [context.Process(target=_score_share, args=(rank, str(tmp_path), protocol)) for rank in (0, 1)]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join(3600)  # against a hang; no limit on the pace
        assert worker.exitcode == 0
    alone = summarise([score_image(image, truth, protocol=protocol) for image, truth in IMAGES])
    for rank in (0, 1):
        close(torch.load(tmp_path / f"{rank}.pt"), alone)


DEVICES = [
    "cpu",
    pytest.param("cuda", marks=[pytest.mark.gpu, pytest.mark.skipif(not torch.cuda.is_available(), reason="no GPU")]),
]


@pytest.mark.parametrize("protocol", PROTOCOLS)
@pytest.mark.parametrize("device", DEVICES)
def test_device_path_equals_the_cpu_path(protocol, device):
    for image, truth in IMAGES:
        fields = TruthFields(truth)
        near = score_pair(Pair(image, fields, protocol=protocol), find_metrics(None, protocol))
        tensor = torch.from_numpy(image).to(device)
        far = score_pair(DevicePair(tensor, fields, protocol=protocol), find_metrics(None, protocol))
        close(far.values, near.values)
        for name, curve in near.curves.items():
            assert np.allclose(far.curves[name], curve, rtol=0, atol=1e-12)


@pytest.mark.parametrize("dtype", [torch.float64, torch.float32, torch.float16, torch.bfloat16])
@pytest.mark.parametrize("device", DEVICES)
def test_a_faint_map_of_floats_is_stretched_in_floats(device, dtype):
    """The same map times 0.004: stretched in floats it scores as it did, rounded to bytes first it would have two levels."""
    rng = np.random.default_rng(1)
    truth = np.zeros((24, 31), bool)
    truth[5:15, 8:22] = True
    values = torch.from_numpy(np.clip(0.6 * truth + 0.4 * rng.random(truth.shape), 0, 1) * 0.004).to(dtype)
    low, high = values.double().min(), values.double().max()
    stretched = ((values.double() - low) / (high - low)).numpy()
    expected = np.abs(stretched - truth).mean()
    pair = device_pair(values.to(device), TruthFields(truth))
    assert score_pair(pair, find_metrics(["mae"])).values["mae"] == pytest.approx(expected, abs=1e-12)
    metric = ProtocolMetric(["mae"]).to(device)
    metric.update(values[None].to(device), torch.from_numpy(truth)[None])
    assert metric.compute()["mae"] == pytest.approx(expected, abs=1e-12)


@pytest.mark.parametrize("device", DEVICES)
def test_floats_that_are_bytes_stay_on_the_device(device):
    image, truth = IMAGES[4]
    pair = device_pair((torch.from_numpy(image) / 255).to(device), TruthFields(truth))
    assert isinstance(pair, DevicePair) and torch.equal(pair.tensor.cpu(), torch.from_numpy(image))
    with pytest.raises(UserError, match="E-METRIC-MAP-FLOATS"):
        DevicePair(torch.from_numpy(image / 300), TruthFields(truth))


@pytest.mark.parametrize("device", DEVICES)
def test_maps_stay_on_the_device_under_pysod(device):
    """Pratt's figure needs the map's own distances; the others bring only counts over."""
    image, truth = IMAGES[4]
    pair = DevicePair(torch.from_numpy(image).to(device), TruthFields(truth))
    score_pair(pair, find_metrics(["mae", "f_measure", "weighted_f", "s_measure", "e_measure", "iou", "overlap_ratio"]))
    assert pair._fetched is None


def test_device_path_refuses_bad_maps():
    fields = TruthFields(np.zeros((4, 4), bool))
    for bad in (torch.full((4, 4), 1.5), torch.full((4, 4), torch.nan), torch.zeros(3, 4), torch.zeros(4, 4).long()):
        with pytest.raises(UserError, match=r"^map: .*E-METRIC-MAP-(TYPE|SIZE|RANGE)"):
            DevicePair(bad, fields)


def test_cache_gives_the_same_numbers_and_stays_within_its_bytes():
    cache = TruthCache(max_bytes=100_000)
    for _ in range(2):
        for index, (image, truth) in enumerate(IMAGES):
            fields = cache.get(str(index), truth)
            assert score_image(image, truth, truth_fields=fields).values == score_image(image, truth).values
    assert 1 <= len(cache) < len(IMAGES)
    wide = TruthCache()
    first = wide.get("a", IMAGES[1][1])
    wide.get("b", IMAGES[2][1])
    assert wide.get("a", IMAGES[1][1]) is first


def test_nothing_grows_with_the_number_of_images_but_the_rows():
    metric = ProtocolMetric()
    states = [metric.value_sums, metric.value_counts, metric.curve_sums, metric.curve_counts, metric.total_sums]
    sizes = [state.numel() for state in states]
    for image, truth in IMAGES:
        metric.update([image], [truth])
    assert [getattr(metric, name).numel() for name in metric._defaults] == sizes
    assert metric.rows is None
