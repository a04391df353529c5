"""Tuning the decoder on kept embeddings ends where tuning on the encoder's own ends, within half precision."""

import json

import pytest
import torch
from safetensors.torch import load_file

from samis.config import Experiment, apply_overrides
from samis.jobs.train import train


def run(folder, kept, **more):
    config = apply_overrides(
        Experiment(),
        [
            "data.name=procedural", "data.options={surface: steel, count: 6}", "data.augment=light", "frame.frame_px=64",
            "adapter.encoder=[]", "adapter.decoder=[attention, mlp]", "training.batch_size=3", "training.epochs=4",
            "training.gallery=0", "training.validate_every=4", "metrics.names=[s_measure, mae, iou]",
            f"cache.embeddings={kept}", f"cache.folder={folder / 'kept'}", f"training.out={folder / kept}",
            *(f"{key}={value}" for key, value in more.items()),
        ],
    )  # fmt: skip
    train(config)
    line = (folder / kept / "validation.jsonl").read_text().splitlines()[-1]
    return json.loads(line)["metrics"], load_file(folder / kept / "last" / "adapter_model.safetensors")


def test_scores_agree_and_every_view_is_encoded_once(tmp_path, capsys):
    torch.set_num_threads(1)
    plain, _ = run(tmp_path, "never")
    assert not (tmp_path / "kept").exists()
    kept, weights = run(tmp_path, "always")
    assert "embeddings of 54 views are kept" in capsys.readouterr().out  # 6 images in 8 flips and turns, 6 to validate
    files = list((tmp_path / "kept").rglob("*.npy"))
    assert 6 < len(files) <= 54
    for name, value in plain.items():
        assert kept[name] == pytest.approx(value, abs=2e-3)
    stamps = {path: path.read_bytes() for path in files}
    again, same = run(tmp_path, "auto")
    assert again == kept
    assert all(torch.equal(weights[name], same[name]) for name in weights)
    assert {path: path.read_bytes() for path in (tmp_path / "kept").rglob("*.npy")} == stamps
