"""Every config under configs/ loads, resolves, and names things that exist."""

import dataclasses
from pathlib import Path

import pytest
import yaml

from samis.adapters import ADAPTERS
from samis.baselines import BASELINES
from samis.config import Experiment, Pretraining, load_config
from samis.data import DATASETS
from samis.metrics import DIRECTIONS, PROTOCOLS
from samis.prompts import PROMPTERS
from samis.sam.architectures import ARCHITECTURES
from samis.sam.merge import MASK_RULES

ROOT = Path(__file__).resolve().parents[1]
FILES = sorted(path for path in (ROOT / "configs").rglob("*.yaml") if "accelerate" not in path.parts)


def test_there_are_configs():
    assert len(FILES) >= 10


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.stem)
def test_config_resolves(path):
    if path.stem.startswith("pretrain"):
        config = load_config(path, schema=Pretraining)
        assert config.architecture in ARCHITECTURES
        return
    config = load_config(path)
    assert config.data.name in DATASETS
    assert config.prompt.kind in PROMPTERS
    assert config.segmenter.name in {"sam", "saved_maps", "run", *BASELINES}
    assert config.segmenter.architecture in ARCHITECTURES
    assert config.segmenter.mask_rule in {*MASK_RULES, "all", "single"}
    assert config.adapter.name in ADAPTERS
    assert config.metrics.protocol in PROTOCOLS
    assert config.keep_best in DIRECTIONS


def test_each_key_of_the_schema_is_explained():
    from samis.config import describe_keys

    for schema in (Experiment, Pretraining):
        text = describe_keys(schema)
        explained = [line for line in text.splitlines() if line.strip()]
        assert len(explained) > 20
        for line in explained:
            assert len(line.split(None, 2)) == 3 or "{}" in line, f"key without a meaning: {line}"


@pytest.mark.parametrize("path", sorted((ROOT / "configs/accelerate").glob("*.yaml")), ids=lambda path: path.stem)
def test_accelerate_files_are_read_by_accelerate(path):
    from accelerate.commands.config.config_args import load_config_from_file

    loaded = load_config_from_file(str(path))
    assert loaded.num_processes == yaml.safe_load(path.read_text())["num_processes"]
    assert dataclasses.is_dataclass(loaded)
