"""Every config under configs/ loads, resolves, and names things that exist."""

import dataclasses
import json
from pathlib import Path

import jsonschema
import pytest
import yaml

from samis.adapters import ADAPTERS
from samis.baselines import BASELINES
from samis.config import Experiment, Pretraining, from_dict, load_config
from samis.config.editor_schema import FILES as FILES_FOR_EDITORS
from samis.config.fields import flat, properties
from samis.data import DATASETS
from samis.errors import ConfigError
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


@pytest.mark.parametrize("name", FILES_FOR_EDITORS)
def test_the_schemas_for_editors_are_up_to_date(name):
    stored = json.loads((ROOT / "configs" / name).read_text(encoding="utf-8"))
    assert flat(stored) == properties(FILES_FOR_EDITORS[name]), "run `make schema`"
    assert stored["additionalProperties"] is False
    jsonschema.Draft202012Validator.check_schema(stored)


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.stem)
def test_an_editor_finds_each_files_schema_and_no_mistake(path):
    head, _, name = path.read_text(encoding="utf-8").splitlines()[0].partition("$schema=")
    assert head == "# yaml-language-server: "
    schema = (path.parent / name).resolve()
    assert FILES_FOR_EDITORS[schema.name] is (Pretraining if path.stem.startswith("pretrain") else Experiment)
    validator = jsonschema.Draft202012Validator(json.loads(schema.read_text(encoding="utf-8")))
    content = yaml.safe_load(path.read_text(encoding="utf-8"))
    assert [error.message for error in validator.iter_errors(content)] == []


@pytest.mark.parametrize(
    "text",
    [
        "seeed: 1", "seed: -1", "training: {epochs: 0}", "training: {epoch: 1}", "optim: {lr: 0}", "prompt: {kind: gird}",
        "adapter: {encoder: [w]}", "adapter: {encoder: q}", "training: {minutes: 0}", "data: {check: 1}",
    ],
)  # fmt: skip
def test_an_editor_sees_the_mistakes_that_the_reader_sees(text):
    validator = jsonschema.Draft202012Validator(json.loads((ROOT / "configs/schema.json").read_text(encoding="utf-8")))
    assert not validator.is_valid(yaml.safe_load(text))
    with pytest.raises(ConfigError):
        from_dict(Experiment, yaml.safe_load(text))


@pytest.mark.parametrize("path", sorted((ROOT / "configs/accelerate").glob("*.yaml")), ids=lambda path: path.stem)
def test_accelerate_files_are_read_by_accelerate(path):
    from accelerate.commands.config.config_args import load_config_from_file

    loaded = load_config_from_file(str(path))
    assert loaded.num_processes == yaml.safe_load(path.read_text())["num_processes"]
    assert dataclasses.is_dataclass(loaded)
