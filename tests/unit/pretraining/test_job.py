"""Pretraining from its config: its initial weights, its messages, what it embeds. The nets are tiny frames of the default."""

import json
import shutil
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save_file

from pretraining.job import _sam, _scenes, drawing_note, embed, embedded_note, pretrain
from pretraining.promptable import PromptedScenes
from pretraining.textures import bank
from samis.config import Pretraining, SegmenterConfig, apply_overrides, load_config
from samis.errors import UserError
from samis.sam.weights import find_weights, load_sam

ARCHITECTURE = SegmenterConfig().architecture
SMALL = [
    "frame_px=64", "pretrained=random", "scenes.batches=2", "scenes.validation_images=16", "scenes.boxes=1",
    "scenes.points=1", "scenes.clicks=1", "scenes.grid_px=4", "training.epochs=1", "training.batch_size=2",
    "training.mixed_precision=no",
]  # fmt: skip


def configured(*overrides):
    return apply_overrides(Pretraining(), [*SMALL, *overrides])


def test_goes_on_from_the_committed_weights(tmp_path):
    """``init`` is the folder of the embedded weights; one step changes the trunk, the blocks and the decoder."""
    folder = find_weights(ARCHITECTURE).parent
    config = configured(f"init={folder}", f"training.out={tmp_path / 'run'}")
    before = load_sam(ARCHITECTURE, frame_px=64).state_dict()
    started = _sam(config)
    assert all(torch.equal(tensor, before[name]) for name, tensor in started.state_dict().items())
    run = pretrain(config)
    after = load_file(run / "best" / "model.safetensors")
    for part in ("image_encoder.patch_embed.inner.conv_stem.weight", "image_encoder.blocks.0.attn.qkv.weight",
                 "mask_decoder.mask_tokens.weight"):  # fmt: skip
        assert not torch.equal(after[part], before[part]), part
    assert json.loads((run / "provenance.json").read_text())["validation"]["iou"] >= 0
    # A stage that starts from this run's folder takes its best weights.
    assert torch.equal(_sam(configured(f"init={run}")).state_dict()[part], after[part])
    # Embedded beside the stages before, since it started from them.
    embedded = tmp_path / folder.name
    shutil.copytree(folder, embedded)
    text = (run / "config.yaml").read_text().replace(str(folder), str(embedded))
    (run / "config.yaml").write_text(text)
    stages = len(list(folder.glob("stage_*_config.yaml")))
    path = embed([run], embedded)
    assert len(list(embedded.glob("stage_*_config.yaml"))) == stages + 1
    assert load_file(path)[part].dtype == torch.float16
    assert "sha256" in embedded_note(path)
    # Made again: the old stages are removed.
    (run / "config.yaml").write_text(text.replace(str(embedded), str(tmp_path / "elsewhere")))
    embed([run], embedded)
    assert sorted(p.name for p in embedded.glob("stage_*")) == ["stage_1_config.yaml", "stage_1_validation.jsonl"]
    assert (embedded / "README.md").exists()


def test_a_missing_stage_and_foreign_weights_are_named(tmp_path):
    with pytest.raises(UserError, match=r"init: .*none: .*E-TRAIN-STAGE"):
        _sam(configured(f"init={tmp_path / 'none'}"))
    save_file({"layer.weight": torch.zeros(2)}, tmp_path / "model.safetensors")
    with pytest.raises(UserError, match=r"model.safetensors"):
        _sam(configured(f"init={tmp_path}"))


def test_says_what_an_hour_draws():
    scenes = _scenes(configured(), seed=1, batch_size=2, batches=2)
    note = drawing_note(scenes, workers=0, seconds=0.05)
    rate = int(note.split(" scenes/s per core")[0].split()[-1].replace(",", ""))
    assert rate > 0
    assert "1 loader process: at most" in note
    assert np.isclose(float(note.split("at most ")[1].split()[0]), rate * 3600 / 1e6, atol=0.06)


def test_the_stages_of_make_pretrain_follow_each_other():
    root = Path(__file__).resolve().parents[3]
    first, second = (
        load_config(root / "configs" / f"{name}.yaml", schema=Pretraining) for name in ("pretrain", "pretrain_focal")
    )
    assert first.init is None
    assert first.pretrained == "imagenet"
    assert Path(second.init).name == first.experiment
    assert (first.architecture, first.frame_px) == (second.architecture, second.frame_px)
    assert first.loss.balance > 0
    assert first.loss.focal == 0 < second.loss.focal
    assert first.seed != second.seed
    assert (first.training.minutes, second.training.minutes) == (20, 40)
    makefile = (root / "Makefile").read_text()
    lines = [line for line in makefile.splitlines() if "train/pretrain.py" in line]
    assert [line.split("train/pretrain.py ")[1].split()[0] for line in lines] == [
        "configs/pretrain.yaml", "configs/pretrain_focal.yaml", "configs/pretrain.yaml",
    ]  # fmt: skip
    assert lines[2].endswith(f"--embed $(RUNS)/{first.experiment} $(RUNS)/{second.experiment}")


def test_a_cut_run_ends_as_an_uninterrupted_one(tmp_path, monkeypatch):
    """Cut inside the second epoch; another process would draw its bank of textures again, and so does this one."""
    settings = ("training.epochs=2", "scenes.batches=3", "training.save_every_steps=1")
    whole = pretrain(configured(*settings, f"training.out={tmp_path / 'whole'}"))
    cut = configured(*settings, f"training.out={tmp_path / 'cut'}")
    drawn = PromptedScenes.batch

    def stopped(self, index):
        if self.epoch == 1 and index == 2:
            raise KeyboardInterrupt
        return drawn(self, index)

    with monkeypatch.context() as broken:
        broken.setattr(PromptedScenes, "batch", stopped)
        with pytest.raises(KeyboardInterrupt):
            pretrain(cut)
    bank.cache_clear()
    numbers = []

    def counted(self, index):
        numbers.append((self.epoch, index))
        return drawn(self, index)

    monkeypatch.setattr(PromptedScenes, "batch", counted)
    resumed = pretrain(cut)
    assert numbers[1] == (1, 1)  # after the validation's one batch, the first one that no saved step had seen
    assert len(numbers) == 3
    curves = [
        [json.loads(line)["metrics"] for line in (folder / "validation.jsonl").open()] for folder in (whole, resumed)
    ]
    assert len(curves[0]) == 2
    assert curves[0] == curves[1]
