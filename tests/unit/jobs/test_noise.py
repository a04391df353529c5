"""data.salt_pepper: the same noise for the same seed, as much as asked for, and told in the row."""

import pytest
import torch

from samis.config import Experiment, apply_overrides, to_dict
from samis.core.geometry import inside
from samis.data import load_dataset
from samis.data.configured import row_label, row_split
from samis.errors import ConfigError, UserError
from samis.evaluation.row_files import RowNames
from samis.factory import build_batch_maker, build_segmenter
from samis.jobs.score import Scoring, score, table
from samis.training.processes import Processes

OPTIONS = {"surface": "steel", "count": 2}


def noisy(share, seed=0):
    overrides = [f"data.salt_pepper={share}", f"seed={seed}", "frame.frame_px=64", "data.name=procedural"]
    return apply_overrides(Experiment(), overrides)


def pixels(config):
    dataset = load_dataset("procedural", split="test", **OPTIONS)
    (batch,) = build_batch_maker(config)(dataset)
    return batch


def test_noise_is_reproducible_by_seed():
    once, twice, other = (pixels(noisy(0.2, seed)).images for seed in (0, 0, 1))
    assert torch.equal(once, twice) and not torch.equal(once, other)
    clean = pixels(noisy(0.0))
    shown = inside(clean.placements).expand_as(clean.images)
    assert not torch.equal(once, clean.images) and torch.equal(once[~shown], clean.images[~shown])


def test_a_share_that_is_none_is_told():
    with pytest.raises(ConfigError, match=r"data\.salt_pepper: .*1\.5.*E-CONFIG-RANGE"):
        noisy(1.5)
    config = noisy(0.0)
    config.data.salt_pepper = 1.5
    with pytest.raises(UserError, match=r"salt_pepper: expected a share in \[0, 1\], got 1\.5"):
        pixels(config)


class Half:
    """Answers one half everywhere, and describes itself as resized maps."""

    def predict(self, batch):
        return [torch.full(truth.shape, 0.5) for truth in batch.truths]

    def describe(self):
        return {"kind": "saved_maps", "prompt": "none", "oracle": False, "resized": 2}


def test_the_row_tells_the_noise_and_what_was_resized():
    dataset = load_dataset("procedural", split="test", **OPTIONS)

    def row_of(config):
        names = RowNames("a", row_label(config.data, dataset), row_split(config.data, dataset), "pysod")
        scoring = Scoring(
            Half(), build_batch_maker(config), dataset, dataset, names, config.metrics, to_dict(config)
        )  # fmt: skip
        return score(scoring, Processes(0, 1, torch.device("cpu")))[0]

    row = row_of(noisy(0.1))
    assert row.split == "test +10% salt-and-pepper" and row.provenance["config"]["data"]["salt_pepper"] == 0.1
    assert "2 of 2 maps were resized" in table([row])
    assert row_of(noisy(0.0)).split == "test"


def test_saved_maps_never_saw_the_noise(tmp_path):
    (tmp_path / "a.png").write_bytes(b"")
    config = apply_overrides(noisy(0.1), ["segmenter.name=saved_maps", f"segmenter.maps={tmp_path}"])
    with pytest.raises(UserError, match="E-CONFIG-NOISE"):
        build_segmenter(config)
