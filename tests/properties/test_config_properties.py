"""Configs: what is written is read back, an override changes its key alone, and each mistake is a line of a ConfigError."""

from __future__ import annotations

import dataclasses
import json
import typing
from typing import Any

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from samis.config import (
    Experiment,
    Pretraining,
    apply_overrides,
    describe_keys,
    from_dict,
    load_config,
    to_dict,
    to_yaml,
)
from samis.config.fields import properties
from samis.config.files import read_yaml
from samis.errors import ConfigError

FEW = settings(max_examples=60, deadline=None, derandomize=True)
FOLDER_NAME = st.text(min_size=1, max_size=12).filter(
    lambda name: name.strip() and name.isprintable() and name[0] != "." and not set(name) & set("/\\")
)
NUMBER = st.floats(allow_nan=False, allow_infinity=False)
PLAIN = st.recursive(
    st.none() | st.booleans() | st.integers() | NUMBER | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
    max_leaves=6,
)
JUNK = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=8) | st.binary(max_size=4) | st.dates(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5) | st.integers(), inner, max_size=3),
    max_leaves=8,
)


def values(content: dict[str, Any]) -> st.SearchStrategy[Any]:
    """Return valid values of a key, after its JSON schema."""
    if "anyOf" in content:
        return st.one_of(*(values(each) for each in content["anyOf"]))
    if "enum" in content:
        return st.sampled_from(content["enum"])
    low, high = content.get("minimum"), content.get("maximum")
    above, below = content.get("exclusiveMinimum"), content.get("exclusiveMaximum")
    kinds = {
        "integer": lambda: st.integers(low, high if below is None else below - 1),
        "number": lambda: st.floats(
            low if above is None else above,
            high if below is None else below,
            allow_nan=False,
            allow_infinity=False,
            exclude_min=above is not None,
            exclude_max=below is not None,
        ),
        "string": lambda: st.text(max_size=12),
        "boolean": st.booleans,
        "null": st.none,
        "array": lambda: st.lists(values(content["items"]), max_size=3),
        "object": lambda: st.dictionaries(st.text(max_size=5), PLAIN, max_size=3),
    }
    return kinds[content["type"]]()


def configs(schema: Any) -> st.SearchStrategy[Any]:
    """Return valid configs."""
    sections = {key: hint for key, hint in typing.get_type_hints(schema).items() if dataclasses.is_dataclass(hint)}
    plain = {key: values(content) for key, content in properties(schema).items() if "." not in key}
    if "experiment" in plain:
        plain["experiment"] = FOLDER_NAME
    return st.builds(schema, **plain, **{key: configs(section) for key, section in sections.items()})


KEYS = properties(Experiment)
SECTIONS = sorted({key.rpartition(".")[0] for key in KEYS})


def check_message(error: ConfigError) -> None:
    for line in str(error).split("\n"):
        assert line.isprintable() and ": " in line and len(line) < 1200


def test_there_are_keys() -> None:
    assert len(KEYS) > 50 and "adapter.rank" in KEYS
    assert all(f"  {key} " in describe_keys(Experiment) for key in KEYS)


@pytest.mark.parametrize("schema", [Experiment, Pretraining])
@settings(FEW, max_examples=12)
@given(st.data())
def test_what_is_written_is_read_back(schema: Any, data: st.DataObject) -> None:
    config = data.draw(configs(schema))
    assert from_dict(schema, to_dict(config)) == config
    text = to_yaml(config)
    assert from_dict(schema, read_yaml(text, where="here")) == config
    assert to_yaml(from_dict(schema, read_yaml(text, where="here"))) == text


def test_a_written_config_is_read_back_from_its_file(tmp_path) -> None:
    config = apply_overrides(Experiment(), ['training.out="größe: #1\\r\\n\\u2028x"', "seed=3", "optim.lr=1e-7"])
    (tmp_path / "a.yaml").write_text(to_yaml(config), encoding="utf-8")
    assert load_config(tmp_path / "a.yaml") == config


@settings(FEW, max_examples=150)
@given(st.sampled_from(sorted(KEYS)), st.data())
def test_an_override_changes_its_key_alone(key: str, data: st.DataObject) -> None:
    value = data.draw(values(KEYS[key]))
    text = json.dumps(value)
    if any(not sign.isprintable() or ord(sign) > 0xFFFF for sign in repr(value)) or "\\u" in text:
        value, text = None, "null"  # JSON's escapes of these are not YAML's
    try:
        changed = apply_overrides(Experiment(), [f"{key}={text}"])
    except ConfigError as error:
        assert value is None and "expected" in str(error)
        return
    wanted = to_dict(Experiment())
    *sections, last = key.split(".")
    inner = wanted
    for section in sections:
        inner = inner[section]
    inner[last] = value
    assert to_dict(changed) == wanted


@FEW
@given(st.dictionaries(st.sampled_from([key.split(".")[0] for key in KEYS]) | st.text(max_size=6), JUNK, max_size=4))
def test_any_content_is_a_config_or_a_config_error(content: Any) -> None:
    try:
        assert isinstance(from_dict(Experiment, content), Experiment)
    except ConfigError as error:
        check_message(error)


@FEW
@given(st.sampled_from(SECTIONS), st.text(max_size=30), JUNK)
@example("", "data\n", 1)
@example("adapter", "rnak", 3)
def test_an_unknown_key_is_always_a_config_error(section: str, key: str, value: Any) -> None:
    if f"{section}.{key}".lstrip(".") in KEYS or (not section and key in SECTIONS):
        return
    content = {section: {key: value}} if section else {key: value}
    with pytest.raises(ConfigError, match="unknown key") as caught:
        from_dict(Experiment, content)
    check_message(caught.value)


@settings(FEW, max_examples=150)
@given(
    st.text(max_size=20)
    | st.builds(
        "{}{}={}".format,
        st.sampled_from(sorted(KEYS)),
        st.sampled_from(["", ".", ".x", ".x.y", "x"]),
        st.text(max_size=20)
        | st.sampled_from(["*a", "&a b", "!!python/name:os.system", "[[", "2026-99-99", "0o9", "{", ".nan"]),
    )
)
@example("experiment.x=1")
@example("data.root.x=1")
@example("data.options.a.b.c=1")
@example("seed=1:99")
def test_any_override_is_understood_or_a_config_error(override: str) -> None:
    try:
        assert isinstance(apply_overrides(Experiment(), [override]), Experiment)
    except ConfigError as error:
        check_message(error)


@settings(FEW, max_examples=150)
@given(st.text(alphabet="ab1:-?[]{}&*!|>'\"%@` \n\t#,.~<=", max_size=25) | st.text(max_size=15))
def test_any_text_is_yaml_or_a_config_error(text: str) -> None:
    try:
        read_yaml(text, where="here")
    except ConfigError as error:
        check_message(error)
        assert str(error).startswith("here: ")
