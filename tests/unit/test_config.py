import pytest

from samis.config import Experiment, apply_overrides, describe_keys, load_config, to_dict, to_yaml
from samis.errors import ConfigError


def test_round_trip_through_yaml(tmp_path):
    config = apply_overrides(Experiment(), ["adapter.encoder=[q, v]", "optim.lr=1e-4", "data.root=null"])
    path = tmp_path / "config.yaml"
    path.write_text(to_yaml(config))
    assert to_dict(load_config(path)) == to_dict(config)
    assert config.adapter.encoder == ["q", "v"]
    assert config.optim.lr == 1e-4


@pytest.mark.parametrize(
    ("override", "code", "word"),
    [
        ("adapter.rnak=3", "E-CONFIG-KEY", "rank"),
        ("adaptor.rank=3", "E-CONFIG-KEY", "adapter"),
        ("adapter.rank=three", "E-CONFIG-TYPE", ""),
        ("adapter.rank=true", "E-CONFIG-TYPE", ""),
        ("adapter.encoder=[1]", "E-CONFIG-CHOICE", "q, k, v, qkv, proj, mlp, stem, neck, got 1"),
        ("adapter.rank", "E-CONFIG-OVERRIDE", ""),
        ("adapter=5", "E-CONFIG-TYPE", ""),
    ],
)
def test_mistakes_are_answered(override, code, word):
    with pytest.raises(ConfigError) as error:
        apply_overrides(Experiment(), [override])
    assert error.value.code == code and word in str(error.value)
    assert "\n" not in str(error.value)


def test_bad_files_are_named(tmp_path):
    with pytest.raises(ConfigError, match=r"none\.yaml: .*E-FILE-UNREADABLE"):
        load_config(tmp_path / "none.yaml")
    broken = tmp_path / "broken.yaml"
    broken.write_text("a: [1, ")
    with pytest.raises(ConfigError, match=r"broken\.yaml: .*E-CONFIG-YAML"):
        load_config(broken)
    broken.write_text("- a\n- b\n")
    with pytest.raises(ConfigError, match="E-CONFIG-TYPE"):
        load_config(broken)


def test_options_of_a_data_set_are_free():
    assert apply_overrides(Experiment(), ["data.options.pairs=a.csv"]).data.options == {"pairs": "a.csv"}


def test_help_shows_default_and_meaning():
    text = describe_keys(Experiment)
    line = next(line for line in text.splitlines() if "optim.lr " in line)
    assert "0.001" in line
    assert "rate of new weights" in line


def test_no_and_off_are_texts():
    config = apply_overrides(Experiment(), ["training.mixed_precision=no", "experiment=off", "data.check=false"])
    assert (config.training.mixed_precision, config.experiment, config.data.check) == ("no", "off", False)
    with pytest.raises(ConfigError, match=r"data\.check: .*'yes'.*E-CONFIG-TYPE"):
        apply_overrides(Experiment(), ["data.check=yes"])
