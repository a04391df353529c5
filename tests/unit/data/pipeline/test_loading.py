"""Batches: what they hold, that nothing depends on workers or batch size, and one-line errors out of workers."""

from __future__ import annotations

import pickle
import random
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor

from samis.core.contracts import Batch, Placement, Prompt, Sample
from samis.core.geometry import Framing
from samis.data.own.folder import load_folder
from samis.data.pipeline.augment import build_augment
from samis.data.pipeline.framed_dataset import random_crop
from samis.data.pipeline.loading import FramedDataset, build_loader, collate, concat_prompts
from samis.data.pipeline.workers import seed_worker
from samis.errors import UserError

FRAMING = Framing(frame_px=32)
CROPS = Framing(frame_px=32, tile_px=24)
"""In training: a random crop of 24 px of each image."""


def random_points(sample: Sample, placements: list[Placement], rng: np.random.Generator) -> Prompt:
    """A prompter whose number of prompts and points differs from sample to sample."""
    shape = (len(placements), int(rng.integers(1, 4)), int(rng.integers(1, 3)))
    points = torch.from_numpy(rng.random((*shape, 2), dtype=np.float32))
    return Prompt("point", points, torch.ones(shape, dtype=torch.int64), sees_truth=True)


def batches(root: Path, **options: object) -> list[Batch]:
    settings: dict[str, object] = {"batch_size": 4, "shuffle": True, "training": True, "seed": 5}
    settings |= {"augment": build_augment("default")} | options
    epoch = int(settings.pop("epoch", 0))  # type: ignore[call-overload]
    framing = CROPS if settings["training"] else FRAMING
    loader = build_loader(load_folder(root=root, split="all"), framing, random_points, **settings)  # type: ignore[arg-type]
    loader.set_epoch(epoch)
    return list(loader)


def by_id(collected: list[Batch]) -> dict[str, tuple[Tensor, Tensor]]:
    table = {}
    for batch in collected:
        assert batch.masks is not None
        for number, key in enumerate(batch.ids):
            views = [view for view, placement in enumerate(batch.placements) if placement.sample == number]
            table[key] = (batch.images[views], batch.masks[views])
    return table


def equal(first: dict[str, tuple[Tensor, Tensor]], second: dict[str, tuple[Tensor, Tensor]]) -> bool:
    same_keys = first.keys() == second.keys()
    return same_keys and all(torch.equal(a, b) for key in first for a, b in zip(first[key], second[key], strict=True))


def test_a_batch_holds_what_it_says(two_folders: Path) -> None:
    batch = batches(two_folders)[0]
    assert batch.images.shape == (4, 3, 32, 32)
    assert batch.images.dtype == torch.float32
    assert batch.masks is not None
    assert batch.masks.shape == (4, 1, 32, 32)
    assert set(batch.masks.unique().tolist()) <= {0.0, 1.0}
    assert [placement.sample for placement in batch.placements] == [0, 1, 2, 3]
    assert batch.prompt.points_xy is not None
    assert batch.prompt.points_xy.shape[0] == 4
    assert len(batch.class_names) == len(batch.ids) == 4


def test_all_tiles_in_evaluation(two_folders: Path) -> None:
    data = load_folder(root=two_folders, split="all")
    batch = next(iter(build_loader(data, Framing(32, tile_px=24), None, batch_size=3)))
    views = [placement.sample for placement in batch.placements]
    assert views == sorted(views)
    assert len(set(views)) == 3
    assert len(views) == 3 * len(Framing(32, tile_px=24).placements((40, 48)))
    assert batch.prompt.kind == "empty"
    assert batch.ids == data.ids[:3]


@pytest.mark.filterwarnings("ignore:This DataLoader will create")
def test_nothing_depends_on_workers_or_batch_size(two_folders: Path) -> None:
    reference = by_id(batches(two_folders))
    assert len(reference) == 30
    for options in ({"batch_size": 7}, {"workers": 1}, {"workers": 2}):
        assert equal(by_id(batches(two_folders, **options)), reference), options


@pytest.mark.filterwarnings("ignore:This DataLoader will create")
def test_epochs_and_seeds_differ_and_repeat(two_folders: Path) -> None:
    first, second = batches(two_folders), batches(two_folders, epoch=1)
    assert [batch.ids for batch in first] != [batch.ids for batch in second]
    assert not equal(by_id(first), by_id(second))
    assert not equal(by_id(first), by_id(batches(two_folders, seed=6)))
    assert equal(by_id(second), by_id(batches(two_folders, epoch=1)))
    loader = build_loader(
        load_folder(root=two_folders, split="all"),
        CROPS,
        random_points,
        batch_size=4,
        shuffle=True,
        training=True,
        seed=5,
        augment=build_augment("default"),
        workers=2,
    )
    for epoch, expected in enumerate((first, second)):  # the workers live on, and still see the epoch change
        loader.set_epoch(epoch)
        assert equal(by_id(list(loader)), by_id(expected))


def test_global_random_state_is_left_alone(two_folders: Path) -> None:
    torch.manual_seed(0)
    random.seed(0)
    before = (torch.get_rng_state(), np.random.get_state()[1].tolist(), random.getstate())  # noqa: NPY002
    batches(two_folders)
    after = (torch.get_rng_state(), np.random.get_state()[1].tolist(), random.getstate())  # noqa: NPY002
    assert torch.equal(before[0], after[0])
    assert before[1:] == after[1:]


def test_workers_and_ranks_get_their_own_seed(monkeypatch: pytest.MonkeyPatch) -> None:
    draws = set()
    for rank in ("0", "1"):
        for worker in (0, 1):
            monkeypatch.setenv("RANK", rank)
            torch.manual_seed(100 + worker)  # as torch does in its workers
            seed_worker(worker)
            draws.add((random.random(), float(np.random.rand()), float(torch.rand(()))))  # noqa: NPY002
    assert len({draw[0] for draw in draws}) == len({draw[1] for draw in draws}) == len({draw[2] for draw in draws}) == 4


@pytest.mark.filterwarnings("ignore:This DataLoader will create")
@pytest.mark.parametrize("workers", [0, 1])
def test_a_bad_file_is_one_line_with_its_code(two_folders: Path, workers: int) -> None:
    bad = two_folders / "images" / "photo 3.jpg"
    bad.write_bytes(bad.read_bytes()[:200])
    with pytest.raises(UserError) as caught:
        batches(two_folders, workers=workers)
    assert str(caught.value).startswith(str(bad)) and str(caught.value).endswith(" [E-FILE-DAMAGED]")
    assert caught.value.code == "E-FILE-DAMAGED" and "E-" not in caught.value.message
    assert "\n" not in str(caught.value)


def test_training_needs_truth(two_folders: Path) -> None:
    (two_folders / "masks" / "photo 3.png").unlink()
    data = load_folder(root=two_folders, split="all", unlabelled_ok=True)
    with pytest.raises(UserError, match=r"photo 3.*E-DATA-NO-MASK"):
        list(build_loader(data, FRAMING, None, batch_size=4, training=True))
    assert [batch.masks is None for batch in build_loader(data, FRAMING, None, batch_size=15)].count(True) == 1


def test_incomplete_batches(two_folders: Path) -> None:
    assert [len(batch) for batch in batches(two_folders, batch_size=8)] == [8, 8, 8, 6]
    with pytest.raises(UserError, match=r"0 .*E-DATA-BATCH-SIZE"):
        batches(two_folders, batch_size=0)


def test_processes_share_an_epoch(two_folders: Path) -> None:
    whole = [key for batch in batches(two_folders, batch_size=30, epoch=2) for key in batch.ids]
    shares = [batches(two_folders, batch_size=30, epoch=2, rank=rank, world=4)[0] for rank in range(4)]
    assert [len(share) for share in shares] == [8, 8, 7, 7]
    dealt = [share.ids[place] for place in range(8) for share in shares if place < len(share)]
    assert dealt == whole and not any(share.filler for share in shares)
    alone = [tuple(batch.ids) for batch in batches(two_folders, batch_size=4, training=False)]
    scored = [batches(two_folders, batch_size=4, training=False, rank=rank, world=3) for rank in range(3)]
    dealt_out = [tuple(batch.ids) for share in scored for batch in share]
    assert sorted(dealt_out) == sorted(alone) and len(alone) == 8  # one process's batches, each once
    assert [len(share) for share in scored] == [3, 3, 2]
    reference = by_id(batches(two_folders, epoch=2))
    for share in shares:
        assert equal(by_id([share]), {key: reference[key] for key in share.ids})


@pytest.mark.parametrize(("world", "batch_size"), [(2, 1), (2, 3), (2, 5), (4, 7), (7, 4), (8, 2), (31, 1), (40, 4)])
@pytest.mark.parametrize("skip", [0, 1])
def test_processes_make_equally_many_steps_and_each_image_counts_once(
    two_folders: Path, world: int, batch_size: int, skip: int
) -> None:
    data = load_folder(root=two_folders, split="all")
    counted, lengths, fillers = [], set(), 0
    for rank in range(world):
        loader = build_loader(
            data, FRAMING, None, batch_size=batch_size, shuffle=True, training=True, rank=rank, world=world
        )
        loader.set_epoch(1)
        whole = list(loader)
        assert len(loader) == len(whole)
        loader.set_epoch(1, skip=skip)
        collected = list(loader)
        assert [batch.filler for batch in collected] == [batch.filler for batch in whole[skip:]]
        assert not any(batch.filler for batch in collected[:-1])
        lengths.add(len(collected))
        fillers += sum(batch.filler for batch in whole)
        counted += [key for batch in whole for key in batch.ids[: batch.counted]]
    assert len(lengths) == 1
    assert sorted(counted) == sorted(data.ids)
    first = -(-30 // world)
    assert fillers == (0 if first % batch_size != 1 % batch_size else -30 % world)  # those that have one image fewer


@pytest.mark.filterwarnings("ignore:This DataLoader will create")
@pytest.mark.parametrize("workers", [0, 1])
def test_the_rest_of_an_epoch_that_was_cut(two_folders: Path, workers: int) -> None:
    data = load_folder(root=two_folders, split="all")
    loader = build_loader(data, FRAMING, None, batch_size=4, shuffle=True, training=True, workers=workers)
    loader.set_epoch(3)
    whole = [batch.ids for batch in loader]
    loader.set_epoch(3, skip=5)
    assert [batch.ids for batch in loader] == whole[5:]
    loader.set_epoch(3)
    assert [batch.ids for batch in loader] == whole
    assert len(loader) == len(whole) == 8


def test_a_framed_data_set_can_be_sent_to_a_process(two_folders: Path) -> None:
    framed = FramedDataset(load_folder(root=two_folders, split="all"), FRAMING, augment=build_augment("default"))
    assert torch.equal(pickle.loads(pickle.dumps(framed))[3].images, framed[3].images)


def test_crops_lie_inside_and_often_over_a_defect() -> None:
    mask = np.zeros((50, 200), bool)
    mask[10:12, 150:153] = True
    rng = np.random.default_rng(0)
    hits = 0
    for _ in range(600):
        x0, y0, x1, y1 = random_crop(mask, (50, 200), 40, rng)
        assert (x1 - x0, y1 - y0) == (40, 40)
        assert 0 <= x0 <= 160
        assert 0 <= y0 <= 10
        hits += bool(mask[y0:y1, x0:x1].any())
    by_chance = 0.3 * 42 / 161
    assert abs(hits / 600 - 0.7 - by_chance) < 0.08


@pytest.mark.parametrize("x", [0, 5, 9])
def test_a_defect_at_the_rim_is_reached(x: int) -> None:
    mask = np.zeros((1, 10), bool)
    mask[0, x] = True
    starts = {random_crop(mask, (1, 10), 3, np.random.default_rng(seed))[0] for seed in range(300)}
    assert starts == set(range(8))  # over the defect, and anywhere in the other cases


def box_prompt(views: int, prompts: int, value: float) -> Prompt:
    return Prompt("box", boxes_xyxy=torch.full((views, prompts, 4), value))


def test_prompts_are_padded() -> None:
    joined = concat_prompts([box_prompt(1, 2, 3.0), box_prompt(2, 1, 5.0)])
    assert joined.boxes_xyxy is not None
    assert joined.present is not None
    assert joined.boxes_xyxy.shape == (3, 2, 4)
    assert joined.present.tolist() == [[True, True], [True, False], [True, False]]
    assert joined.boxes_xyxy[1].tolist() == [[5.0] * 4, [0.0] * 4]
    few = Prompt("point", torch.ones(1, 1, 1, 2), torch.ones(1, 1, 1, dtype=torch.int64), sees_truth=True)
    many = Prompt("point", torch.ones(1, 2, 3, 2), torch.zeros(1, 2, 3, dtype=torch.int64))
    points = concat_prompts([few, many])
    assert points.point_labels is not None
    assert points.present is not None
    assert points.point_labels.tolist() == [[[1, -1, -1], [-1, -1, -1]], [[0, 0, 0], [0, 0, 0]]]
    assert points.present.tolist() == [[True, False], [True, True]]
    assert points.sees_truth
    assert concat_prompts([box_prompt(1, 2, 1.0)] * 2).present is None
    assert concat_prompts([Prompt()] * 3) == Prompt()


def test_prompts_that_do_not_join() -> None:
    with pytest.raises(ValueError, match="one kind"):
        concat_prompts([Prompt(), box_prompt(1, 1, 0.0)])
    with pytest.raises(ValueError, match="boxes_xyxy"):
        concat_prompts([Prompt("box"), box_prompt(1, 1, 0.0)])


def test_collate_counts_samples(two_folders: Path) -> None:
    framed = FramedDataset(load_folder(root=two_folders, split="all"), Framing(32, tile_px=24))
    batch = collate([framed[0], framed[1]])
    assert {placement.sample for placement in batch.placements} == {0, 1}
    assert {placement.sample for placement in framed[1].placements} == {0}


KEEPS_A_WORKER = """
from torch.utils.data import DataLoader
from samis.data.pipeline.workers import seed_worker
kept = iter(DataLoader(list(range(8)), num_workers=1, worker_init_fn=seed_worker, persistent_workers=True))
print(next(kept).item())
{end}
"""


@pytest.mark.parametrize(("end", "code"), [("", 0), ("1 / 0", 1), ("raise SystemExit(3)", 3)])
def test_python_ends_though_a_worker_is_left(end: str, code: int) -> None:
    words = [sys.executable, "-c", KEEPS_A_WORKER.format(end=end)]
    done = subprocess.run(words, capture_output=True, text=True, timeout=3600)
    assert (done.returncode, done.stdout) == (code, "0\n"), done.stderr
    assert ("ZeroDivisionError" in done.stderr) if code == 1 else not done.stderr
