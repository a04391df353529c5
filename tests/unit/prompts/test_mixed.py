"""Prompts of several kinds in one training: the share of each, a mixed batch and its loss, the rows of a run."""

from collections import Counter
from dataclasses import replace

import numpy as np
import pytest
import torch

from samis import train
from samis.adapters import apply_adapter
from samis.config import AdapterConfig, Experiment, LossConfig, PromptConfig, apply_overrides
from samis.core.contracts import MIXED, Prompt, Sample
from samis.core.geometry import Framing
from samis.data.pipeline.batching import collate, concat_prompts
from samis.data.pipeline.framed_dataset import FramedDataset
from samis.errors import UserError
from samis.jobs.check import check_experiment
from samis.jobs.score import score_and_save
from samis.prompts import PROMPTERS, build_prompter
from samis.sam.architectures import build_sam
from samis.sam.tuning import SamTuning

SIDE = 64
MIX = {"empty": 0.7, "box": 0.2, "point": 0.1}


class Drawn:
    """Images with one, two, no or three defects."""

    name, split = "drawn", "train"

    def __len__(self):
        return 4

    def __getitem__(self, index):
        mask = np.zeros((48, 64), bool)
        for number in range((1, 2, 0, 3)[index]):
            mask[4 + 14 * number : 12 + 14 * number, 10 : 20 + 5 * number] = True
        image = np.random.default_rng(index).integers(0, 255, (48, 64, 3), dtype=np.uint8)
        return Sample(str(index), image, mask, "scratch")


def framed(mix, seed=0):
    prompter = build_prompter(PromptConfig(mix=mix), training=True)
    return FramedDataset(Drawn(), Framing(SIDE), prompter, training=True, seed=seed)


def test_kinds_come_as_often_as_their_weights_say():
    counts, data = Counter(), framed({"empty": 7, "box": 2, "point": 1})
    for epoch in range(500):
        data.set_epoch(epoch)
        counts.update(data[0].prompt.view_kinds)
    assert sum(counts.values()) == 500
    for kind, share in MIX.items():  # four standard deviations
        assert abs(counts[kind] / 500 - share) < 4 * np.sqrt(share * (1 - share) / 500)


def test_only_training_mixes_and_a_resumed_epoch_is_the_same():
    assert build_prompter(PromptConfig(mix=MIX)).kind == "empty"
    first, again = framed(MIX), framed(MIX)
    for data in (first, again):
        data.set_epoch(3)
    assert [first[i].prompt.view_kinds for i in range(4)] == [again[i].prompt.view_kinds for i in (0, 1, 2, 3)]
    kinds = {framed(MIX, seed)[1].prompt.view_kinds for seed in range(40)}
    assert len(kinds) == 3


def samples_of(kinds):
    """Return framed samples of the given kinds, each with its prompt as that kind alone makes it."""
    plain = [
        FramedDataset(Drawn(), Framing(SIDE), PROMPTERS[kind](PromptConfig(kind=kind)), training=True) for kind in kinds
    ]
    return [data[index] for index, data in enumerate(plain)]


@pytest.mark.parametrize(
    "kinds",
    [("box", "empty", "point", "box"), ("empty", "empty", "empty", "empty"), ("point", "empty", "empty", "box")],
)
def test_a_mixed_batch_gives_each_view_its_own_prompt_and_loss(kinds):
    samples = samples_of(kinds)
    mixed = collate([replace(s, prompt=replace(s.prompt, kind=MIXED, view_kinds=(s.prompt.kind,))) for s in samples])
    assert mixed.prompt.kind == MIXED and mixed.prompt.view_kinds == kinds
    moved = mixed.to("cpu").prompt
    for views, prompt in moved.by_kind():
        alone = concat_prompts([samples[view].prompt for view in views])
        assert prompt.kind == alone.kind == kinds[views[0]]
        most = alone.prompts_per_view
        for name in ("points_xy", "point_labels", "boxes_xyxy"):
            own, wanted = getattr(prompt, name), getattr(alone, name)
            assert (own is None) == (wanted is None)
            if wanted is not None:
                assert torch.equal(own[:, :most], wanted) and not prompt.present[:, most:].any()
    torch.manual_seed(0)
    sam = build_sam("samis_lite", frame_px=SIDE)
    tuning = SamTuning(apply_adapter(sam, AdapterConfig()), LossConfig(), segmenter=lambda sam: None)
    each = [tuning(collate([sample])).total for sample in samples]
    assert torch.allclose(tuning(mixed).total, torch.stack(each).mean(), atol=1e-5)
    swapped = replace(mixed.prompt, view_kinds=("point", *kinds[1:3], "empty"))
    if mixed.prompt.points_xy is not None:
        assert not torch.allclose(tuning(replace(mixed, prompt=swapped)).total, torch.stack(each).mean(), atol=1e-5)


@pytest.mark.parametrize(
    "mix", [{"grid": 1}, {"boxx": 1}, {"empty": -1}, {"empty": "a"}, {"empty": 0.0}, {"box": True}]
)
def test_a_mix_that_cannot_be_drawn_from_is_refused(mix):
    with pytest.raises(UserError, match="E-PROMPT-MIX"):
        check_experiment(Experiment(prompt=PromptConfig(mix=mix)))


def test_a_network_without_prompts_refuses_a_mix():
    with pytest.raises(UserError, match="E-PROMPT-MIX"):
        check_experiment(apply_overrides(Experiment(), ["segmenter.name=unet", "prompt.mix={box: 1}"]))


def test_a_run_of_several_prompts_is_scored_with_each(tmp_path):
    keys = [
        "experiment=mixed", "data.name=procedural", "data.options={surface: steel, count: 4, clean_share: 0.0}",
        "frame.frame_px=64", "prompt.mix={empty: 0.5, box: 0.5, point: 0.0}", "training.epochs=2", "training.batch_size=4",
        "training.gallery=0", "training.trackers=[none]", f"training.out={tmp_path / 'run'}",
        "metrics.names=[s_measure, mae]", "metrics.latency=false",
    ]  # fmt: skip
    folder = train(apply_overrides(Experiment(), keys))
    config = apply_overrides(Experiment(), [*keys, "segmenter.name=run", f"segmenter.run={tmp_path / 'run'}"])
    rows = list(score_and_save(config, split=None, out=tmp_path / "rows", name=None).values())
    assert [(row.name, row.prompt, row.oracle) for row in rows] == [
        ("mixed", "empty", False),
        ("mixed, box prompt", "box", True),
    ]
    assert len(list((tmp_path / "rows").glob("*.json"))) == 2
    assert folder and rows[0].metrics["s_measure"] != rows[1].metrics["s_measure"]
    assert Prompt().view_kinds == ()
