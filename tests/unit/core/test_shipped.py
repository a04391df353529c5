"""Configs, weights and adapters by short name or path, in a checkout and in a wheel; nothing is written among the wheel's."""

from pathlib import Path

import pytest

from samis.core import shipped
from samis.errors import ConfigError

ROOT = Path(__file__).resolve().parents[3]


@pytest.fixture
def wheel(tmp_path, monkeypatch):
    """An installed samis: a folder of assets, and another working folder."""
    for name in ("configs/adapt/my_lora.yaml", "configs/accelerate/two.yaml", "configs/plain.yaml"):
        path = tmp_path / "samis/assets" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text("experiment: x\n")
    run = tmp_path / "samis/assets/checkpoints/tuned/iron"
    (run / "best").mkdir(parents=True)
    (run / "config.yaml").write_text("")
    monkeypatch.setattr(shipped, "PACKAGE", tmp_path / "samis")
    monkeypatch.setattr(shipped, "_OF_THE_WHEEL", tmp_path / "samis/assets")
    monkeypatch.delenv("SAMIS_CHECKPOINTS", raising=False)
    (tmp_path / "work").mkdir()
    monkeypatch.chdir(tmp_path / "work")
    return tmp_path / "samis/assets"


def test_a_config_has_a_short_name_and_the_path_that_the_checkout_gives_it(wheel):
    assert shipped.find_config("my_lora") == wheel / "configs/adapt/my_lora.yaml"
    assert shipped.find_config("configs/adapt/my_lora.yaml") == wheel / "configs/adapt/my_lora.yaml"
    Path("my_lora").mkdir()  # a folder is no config
    assert shipped.find_config("my_lora") == wheel / "configs/adapt/my_lora.yaml"
    Path("configs").mkdir()
    Path("configs/plain.yaml").write_text("")
    assert shipped.find_config("configs/plain.yaml") == Path("configs/plain.yaml"), "one's own file comes first"


@pytest.mark.parametrize(
    ("word", "printed"),
    [
        ("my_lroa", "did you mean my_lora?"),
        ("configs/adapt/my_lorra.yaml", "did you mean my_lora?"),
        ("zzz", "names that come with the project: my_lora, plain"),
        ("two", "got no such file"),  # a launch file is no experiment
        ("../samis/assets/configs/none.yaml", "got no such file"),
    ],
)
def test_an_unknown_config_is_one_line_with_a_proposal(wheel, word, printed):
    with pytest.raises(ConfigError) as caught:
        shipped.find_config(word)
    assert printed in str(caught.value) and "\n" not in str(caught.value)


def test_a_model_is_a_run_an_adapter_or_a_config(wheel):
    assert shipped.find_model("iron") == wheel / "checkpoints/tuned/iron"
    assert shipped.find_model("plain") == wheel / "configs/plain.yaml"
    Path("iron").mkdir()  # a folder of photos, say
    assert shipped.find_model("iron") == wheel / "checkpoints/tuned/iron"
    (Path("iron") / "best").mkdir()
    (Path("iron") / "config.yaml").write_text("")
    assert shipped.find_model("iron") == Path("iron")
    with pytest.raises(ConfigError, match=r"did you mean plain.*E-(CONFIG-MISSING|TRAIN-NO-RUN)"):
        shipped.find_model("plian")


def test_a_wheel_is_read_and_never_written(wheel, monkeypatch, tmp_path):
    assert shipped.checkout() is None
    assert shipped.checkpoints_folder() == Path("checkpoints")
    assert shipped.find_checkpoint("tuned/iron") == wheel / "checkpoints/tuned/iron"
    assert shipped.find_checkpoint("sam/x.pth") == Path("checkpoints/sam/x.pth")
    monkeypatch.setenv("SAMIS_CHECKPOINTS", str(tmp_path / "mine"))
    (tmp_path / "mine/tuned/iron").mkdir(parents=True)
    assert shipped.find_checkpoint("tuned/iron") == tmp_path / "mine/tuned/iron"


def test_every_config_of_the_checkout_has_a_name_of_its_own():
    files = [path for path in (ROOT / "configs").rglob("*.yaml") if path.parent.name != "accelerate"]
    assert len(files) > 25 and sorted(shipped.shipped_configs().values()) == sorted(files)
