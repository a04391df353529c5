"""The committed weights: small enough, what their card says they are, and as good as it says on fixed drawn scenes."""

import hashlib
import json
from pathlib import Path

import pytest
import torch

from pretraining.learner import PromptablePretraining, PromptValidation
from pretraining.promptable import PromptedScenes, PromptMix
from pretraining.scenes import NO_SMALL
from samis.config import LossConfig
from samis.sam.weights import load_sam

FOLDER = Path(__file__).resolve().parents[3] / "checkpoints" / "samis_lite"
WEIGHTS = FOLDER / "model.safetensors"


def test_the_file_is_small_and_the_cards_own():
    assert WEIGHTS.stat().st_size <= 12 * 2**20
    card = (FOLDER / "README.md").read_text(encoding="utf-8")
    assert hashlib.sha256(WEIGHTS.read_bytes()).hexdigest() in card


def test_stages_have_their_recipes_and_curves():
    for stage in (1, 2):
        assert (FOLDER / f"stage_{stage}_config.yaml").exists()
        curve = [json.loads(line)["metrics"]["iou"] for line in (FOLDER / f"stage_{stage}_validation.jsonl").open()]
        assert len(curve) >= 2
        assert max(curve) > curve[0]


def test_reaches_its_score_on_fixed_scenes():
    """Scenes of the validation seed, which pretraining never drew; the card states the values of the whole set."""
    mix = PromptMix(boxes=2, points=1, grid_px=4)
    scenes = PromptedScenes(side=256, batch_size=16, batches=2, seed=10_000, mix=mix, small=NO_SMALL)
    validation = PromptValidation([scenes.batch(0), scenes.batch(1)])
    torch.set_grad_enabled(False)
    try:
        metrics = validation(
            PromptablePretraining(load_sam("samis_lite"), LossConfig(bce=0, iou=0, dice=1, focal=20))
        ).metrics
    finally:
        torch.set_grad_enabled(True)
    assert metrics["iou_box"] > 0.6
    assert metrics["iou_point"] > 0.55
    assert metrics["iou_empty"] > 0.7
    untrained = load_sam("samis_lite", weights="random")
    assert validation(PromptablePretraining(untrained, LossConfig(dice=1))).metrics["iou"] == pytest.approx(0, abs=0.1)
