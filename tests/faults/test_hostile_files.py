"""Files made to run code, or to fill the memory, are refused in one line at each door; the payload's canary stays alive."""

from __future__ import annotations

import os
import pickle
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch

from samis.config import Experiment, apply_overrides, load_config, to_yaml
from samis.errors import ConfigError, UserError
from samis.factory import build_learner
from samis.jobs.load import load_run
from samis.metrics.grey import read_grey
from samis.sam import embeddings
from samis.sam.weights import load_sam
from samis.training.state.checkpoint import read_state

DEAD = "canary_dead"


class Payload:
    """Unpickling it makes a folder of that name in the working folder."""

    def __reduce__(self) -> tuple[Callable[..., object], tuple[str]]:
        return os.mkdir, (DEAD,)


@pytest.fixture(autouse=True)
def canary(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    """Work in an empty folder, and look afterwards that no payload has run."""
    monkeypatch.chdir(tmp_path)
    yield
    assert not (tmp_path / DEAD).exists()


def plant(path: Path, *, kind: str) -> Path:
    """Write a payload as torch's zip file, as torch's old format, as a bare pickle or as a numpy array of objects."""
    content = {"model": {"image_encoder.pos_embed": torch.zeros(1)}, "extra": Payload()}
    path.parent.mkdir(parents=True, exist_ok=True)
    if kind in ("zip", "old"):
        torch.save(content, path, _use_new_zipfile_serialization=kind == "zip")
    elif kind == "bare":
        path.write_bytes(pickle.dumps(content, protocol=2))
    else:
        with path.open("wb") as file:
            np.save(file, np.array([[Payload()]], dtype=object), allow_pickle=True)
    return path


def refused(read: Callable[[], object], path: Path) -> str:
    with pytest.raises(UserError) as caught:
        read()
    message = str(caught.value)
    assert str(path) in message and "\n" not in message
    return message


def test_the_canary_would_die(tmp_path: Path) -> None:
    for kind in ("zip", "old", "bare", "numpy"):
        path = plant(tmp_path / "a.pth", kind=kind)
        if kind == "bare":
            pickle.loads(path.read_bytes())
        elif kind == "numpy":
            np.load(path, allow_pickle=True)
        else:
            torch.load(path, weights_only=False)
        (tmp_path / DEAD).rmdir()


@pytest.mark.parametrize("ending", [".pth", ".pt", ".bin", ".ckpt", ".safetensors"])
@pytest.mark.parametrize("kind", ["zip", "old", "bare"])
def test_weights_of_a_segmenter(tmp_path: Path, kind: str, ending: str) -> None:
    path = plant(tmp_path / f"sam{ending}", kind=kind)
    refused(lambda: load_sam("samis_lite", weights=path, frame_px=64), path)


@pytest.mark.parametrize("kind", ["zip", "old", "bare"])
def test_weights_of_a_folder(tmp_path: Path, kind: str) -> None:
    path = plant(tmp_path / "best" / "model.safetensors", kind=kind)
    refused(lambda: load_sam("samis_lite", weights=tmp_path, frame_px=64), path)


RUNS = {
    "zip": [],
    "old": ["adapter.name=bottleneck", "adapter.encoder=[mlp]", "adapter.decoder=[]"],
    "bare": ["segmenter.name=unet"],
}


@pytest.mark.parametrize("kind", RUNS)
def test_a_run_folder(tmp_path: Path, kind: str) -> None:
    config = apply_overrides(Experiment(), ["segmenter.weights=random", "frame.frame_px=64", *RUNS[kind]])
    run = tmp_path / "run"
    build_learner(config).save(run / "best")
    (run / "config.yaml").write_text(to_yaml(config), encoding="utf-8")
    for name in ("adapter_model.bin", "pytorch_model.bin", "model.pth"):  # what other libraries would rather read
        plant(run / "best" / name, kind=kind)
    load_run(run)
    weights = next((run / "best").glob("*.safetensors"))
    refused(lambda: load_run(run), plant(weights, kind=kind))


@pytest.mark.parametrize("kind", ["zip", "old", "bare"])
def test_a_resume_point(tmp_path: Path, kind: str) -> None:
    path = plant(tmp_path / "run" / "resume" / "state.pt", kind=kind)
    refused(lambda: read_state(path), path)


@pytest.mark.parametrize("kind", ["zip", "old", "bare", "numpy"])
def test_maps_as_arrays(tmp_path: Path, kind: str) -> None:
    path = plant(tmp_path / "a.npy", kind=kind)
    refused(lambda: read_grey(path), path)


@pytest.mark.parametrize("kind", ["zip", "old", "bare", "numpy"])
def test_a_cached_embedding(tmp_path: Path, kind: str) -> None:
    path = plant(tmp_path / "a.npy", kind=kind)
    assert embeddings._read(path, (1,)) is None, "what cannot be used is computed again"


TAGS = [
    f"!!python/object/apply:os.mkdir [{DEAD}]",
    f"!!python/object/new:os.mkdir [{DEAD}]",
    f"!!python/object/apply:subprocess.check_output [[mkdir, {DEAD}]]",
    "!!python/name:os.system",
    "!!python/module:os",
    "!!python/tuple [1, 2]",
    "!made_up {a: 1}",
]
LAUGHS = "a: &a [lol, lol]\n" + "".join(
    f"{name}: &{name} [{', '.join([f'*{before}'] * 9)}]\n" for before, name in zip("abcdefgh", "bcdefghi", strict=True)
)
BOMBS = {
    "aliases": LAUGHS,
    "one alias": "data: {options: &x {a: 1}}\nprompt: *x\n",
    "an alias of itself": "data: &x {options: *x}\n",
    "depth": "data: {options: " + "[" * 20_000 + "]" * 20_000 + "}\n",
    "depth of a list": "data:\n  options: \n    " + "- " * 20_000 + "\n",
    "length": "experiment: " + "x" * 2_000_000 + "\n",
    "a number of many digits": "seed: " + "9" * 20_000 + "\n",
    "a date that is none": "experiment: 2026-99-99\nseed: x\n",
    "bytes that are no text": "\x00\x01",
    "a key twice": "seed: 1\nseed: 2\n",
}


@pytest.mark.parametrize("tag", TAGS)
def test_a_config_makes_no_objects(tmp_path: Path, tag: str) -> None:
    path = tmp_path / "config.yaml"
    path.write_text(f"experiment: {tag}\n", encoding="utf-8")
    refused(lambda: load_config(path), path)
    with pytest.raises(ConfigError):
        apply_overrides(Experiment(), [f"data.options.x={tag}"])


@pytest.mark.parametrize("name", BOMBS)
def test_a_config_cannot_grow(tmp_path: Path, name: str) -> None:
    path = tmp_path / "config.yaml"
    path.write_text(BOMBS[name], encoding="utf-8")
    start = time.process_time()
    message = refused(lambda: load_config(path), path)
    assert len(message) < 400 + len(str(path))
    assert time.process_time() - start < 5


def test_a_config_that_is_no_utf_8_or_no_file(tmp_path: Path) -> None:
    path = tmp_path / "config.yaml"
    path.write_bytes("experiment: größe\n".encode("latin-1"))
    assert "expected UTF-8" in refused(lambda: load_config(path), path)
    refused(lambda: load_config(tmp_path), tmp_path)
