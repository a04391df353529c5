"""What a config writes, and that what earlier versions wrote into run folders is still read.

``config_written.json`` was stored before the schema moved to pydantic: the YAML text of the two schemas' defaults, and for each
file the values in which it differs from them. A new key changes the text of the defaults only.
"""

import copy
import json
from pathlib import Path

import pytest
import yaml

from samis.config import Experiment, Pretraining, load_config, to_dict, to_yaml

ROOT = Path(__file__).resolve().parents[2]
STORED = json.loads(Path(__file__).with_name("config_written.json").read_text(encoding="utf-8"))
SCHEMAS = {"Experiment": Experiment, "Pretraining": Pretraining}


@pytest.mark.parametrize("name", SCHEMAS)
def test_defaults_are_written_as_before(name):
    assert to_yaml(SCHEMAS[name]()) == "\n".join(STORED["defaults"][name])


@pytest.mark.parametrize("file", STORED["files"])
def test_each_file_resolves_to_what_was_stored(file):
    stored = STORED["files"][file]
    config = load_config(ROOT / file, schema=SCHEMAS[stored["schema"]])
    expected = copy.deepcopy(yaml.safe_load("\n".join(STORED["defaults"][stored["schema"]])))
    for key, value in stored["values"].items():
        section, _, last = key.rpartition(".")
        (expected[section] if section else expected)[last] = value
    assert to_dict(config) == expected
    assert to_yaml(config) == yaml.safe_dump(expected, sort_keys=False, allow_unicode=True)
    assert type(config)(**vars(config)) == config  # sections are objects, no dicts


def test_all_shipped_configs_are_stored():
    files = {
        path.relative_to(ROOT).as_posix()
        for path in (ROOT / "configs").rglob("*.yaml")
        if path.parent.name != "accelerate"
    }
    assert len(files) > 20
    assert files <= set(STORED["files"])
