"""Ranges and choices of a config: each bad value is refused before anything is loaded, in one line, with a proposal."""

import runpy
import subprocess
import sys
from importlib import import_module
from pathlib import Path

import pytest

from samis.cli.parser import build
from samis.config import (
    AdapterConfig,
    Experiment,
    Pretraining,
    apply_overrides,
    check,
    describe_keys,
    from_dict,
    load_config,
)
from samis.config.fields import properties, table
from samis.errors import ConfigError, near_name

ROOT = Path(__file__).resolve().parents[2]


def refused(tmp_path, *overrides, schema=Experiment):
    path = tmp_path / "own.yaml"
    path.write_text("experiment: own\n")
    with pytest.raises(ConfigError) as caught:
        load_config(path, overrides, schema=schema)
    return str(caught.value)


def places(error):
    """Return (place and key, or the whole line, and code) of each line of an error."""
    pairs = [line.removesuffix("]").rpartition(" [") for line in str(error).splitlines()]
    return [(text.partition(": expected ")[0], code) for text, _, code in pairs]


@pytest.mark.parametrize(
    ("override", "code", "word"),
    [
        ("optim.lr=-1", "E-CONFIG-RANGE", ""),
        ("optim.lr=0", "E-CONFIG-RANGE", ""),
        ("optim.warmup_share=2", "E-CONFIG-RANGE", ""),
        ("optim.beta2=1", "E-CONFIG-RANGE", ""),
        ("optim.weight_decay=-0.1", "E-CONFIG-RANGE", ""),
        ("loss.focal=-20", "E-CONFIG-RANGE", ""),
        ("loss.balance=1.5", "E-CONFIG-RANGE", ""),
        ("training.accumulation=0", "E-CONFIG-RANGE", ""),
        ("training.validate_every=0", "E-CONFIG-RANGE", ""),
        ("training.log_every=0", "E-CONFIG-RANGE", ""),
        ("training.workers=-1", "E-CONFIG-RANGE", "1024"),
        ("training.prefetch=0", "E-CONFIG-RANGE", ""),
        ("training.epochs=-1", "E-CONFIG-RANGE", ""),
        ("training.batch_size=0", "E-CONFIG-RANGE", ""),
        ("training.mixed_precision=fp32", "E-CONFIG-CHOICE", "no"),
        ("training.on_nan=ignore", "E-CONFIG-CHOICE", "stop, skip"),
        ("seed=-1", "E-CONFIG-RANGE", ""),
        ("data.limit=-3", "E-CONFIG-RANGE", ""),
        ("data.clean_share=0.95", "E-CONFIG-RANGE", "0.9"),
        ("data.calibration_share=1", "E-CONFIG-RANGE", "0.9"),
        ("data.salt_pepper=1", "E-CONFIG-RANGE", ""),
        ("data.name=sd-saliency-900", "E-CONFIG-CHOICE", "sd_saliency_900"),
        ("training.compile=true", "E-CONFIG-CHOICE", "default"),
        ("training.compile=false", "E-CONFIG-CHOICE", "no"),
        ("segmenter.tta=4", "E-CONFIG-CHOICE", "none, flips, got 4"),
        ("experiment=../x", "E-CONFIG-RANGE", ""),
        ("experiment=.x", "E-CONFIG-RANGE", ""),
        ("experiment=a\\b", "E-CONFIG-RANGE", ""),
        ("experiment=''", "E-CONFIG-RANGE", ""),
        ("data.augment=strong", "E-CONFIG-CHOICE", "none, light, default"),
        ("frame.overlap=1", "E-CONFIG-RANGE", ""),
        ("frame.tile_px=-160", "E-CONFIG-RANGE", ""),
        ("prompt.kind=gird", "E-CONFIG-CHOICE", "grid"),
        ("prompt.points_per_side=0", "E-CONFIG-RANGE", ""),
        ("prompt.per=defect", "E-CONFIG-CHOICE", "component, image"),
        ("segmenter.name=u-net", "E-CONFIG-CHOICE", "unet"),
        ("segmenter.mask_rule=best", "E-CONFIG-CHOICE", "top_iou"),
        ("segmenter.architecture=vit-b", "E-CONFIG-CHOICE", "vit_b"),
        ("segmenter.min_iou=88", "E-CONFIG-RANGE", ""),
        ("segmenter.tta=flip", "E-CONFIG-CHOICE", "flips"),
        ("adapter.name=Lora", "E-CONFIG-CHOICE", "lora"),
        ("adapter.method=lockr", "E-CONFIG-CHOICE", "lokr"),
        ("adapter.all_masks=some", "E-CONFIG-TYPE", "adapter.all_masks"),
        ("prompt.mix=[box]", "E-CONFIG-TYPE", "prompt.mix"),
        ("adapter.options=[1]", "E-CONFIG-TYPE", ""),
        ("adapter.encoder=qkv", "E-CONFIG-TYPE", "[qkv]"),
        ("adapter.encoder=q,v", "E-CONFIG-TYPE", "[q, v]"),
        ("adapter.encoder=[q, w]", "E-CONFIG-CHOICE", "q, k, v, qkv, proj, mlp, stem, neck"),
        ("adapter.decoder=[atention]", "E-CONFIG-CHOICE", "attention"),
        ("adapter.rank=0", "E-CONFIG-RANGE", "4096"),
        ("adapter.dropout=1", "E-CONFIG-RANGE", ""),
        ("adapter.preset=all", "E-CONFIG-CHOICE", "decoder, norm, full"),
        ("metrics.protocol=pysod_", "E-CONFIG-CHOICE", "pysod"),
        ("metrics.bootstrap=-1", "E-CONFIG-RANGE", ""),
        ("loss.cldice=-1", "E-CONFIG-RANGE", "at least 0"),
        ("loss.cldice_steps=0", "E-CONFIG-RANGE", "at least 1 and at most 100"),
        ("metrics.image_rule=mean", "E-CONFIG-CHOICE", "max, top_1_percent_mean, region_area"),
        ("cache.embeddings=sometimes", "E-CONFIG-CHOICE", "auto, always, never"),
        ("cache.limit_gb=0", "E-CONFIG-RANGE", ""),
        ("seed=99999999999999999999", "E-CONFIG-RANGE", "2147483648"),
        ("training.epochs=2147483648", "E-CONFIG-RANGE", "2147483648"),
        ("adapter.rank=99999999", "E-CONFIG-RANGE", "4096"),
        ("prompt.points_per_side=99999", "E-CONFIG-RANGE", "256"),
        ("epochs=5", "E-CONFIG-KEY", "training.epochs"),
        ("batch_size=5", "E-CONFIG-KEY", "metrics.batch_size"),
    ],
)
def test_a_bad_value_is_refused_in_one_line(override, code, word, tmp_path):
    message = refused(tmp_path, override)
    assert message.startswith("override")
    assert override.partition("=")[0] in message
    assert message.endswith(f"[{code}]") and word in message
    assert "\n" not in message


@pytest.mark.parametrize(
    ("override", "code", "word"),
    [
        ("architecture=samis-lite", "E-CONFIG-CHOICE", "samis_lite"),
        ("pretrained=image_net", "E-CONFIG-CHOICE", "imagenet"),
        ("keep_best=iou_boxes", "E-CONFIG-CHOICE", "iou_box"),
        ("scenes.boxes=0", "E-CONFIG-RANGE", ""),
        ("scenes.jitter=-1", "E-CONFIG-RANGE", ""),
        ("frame_px=8", "E-CONFIG-RANGE", "4096"),
    ],
)
def test_pretraining_is_held_to_its_rules(override, code, word, tmp_path):
    message = refused(tmp_path, override, schema=Pretraining)
    assert message.endswith(f"[{code}]") and word in message


def test_the_file_is_named_and_each_fault_has_a_line(tmp_path):
    path = tmp_path / "own.yaml"
    path.write_text("optim: {lr: -1}\ntraining: {epochs: 0}\n")
    with pytest.raises(ConfigError) as caught:
        load_config(path, ["seed=-2"])
    assert places(caught.value) == [
        ("override: seed", "E-CONFIG-RANGE"),
        (f"{path}: optim.lr", "E-CONFIG-RANGE"),
        (f"{path}: training.epochs", "E-CONFIG-RANGE"),
    ]


def test_configs_made_in_python_are_checked_too():
    config = Experiment()
    check(config)
    config.prompt.kind = "gird"
    with pytest.raises(ConfigError, match=r"config: prompt\.kind: .*grid.*E-CONFIG-CHOICE"):
        check(config)


def test_a_removed_architecture_is_left_to_the_check_that_knows_why(tmp_path):
    path = tmp_path / "own.yaml"
    path.write_text("segmenter: {architecture: samis_tiny}\n")
    assert load_config(path).segmenter.architecture == "samis_tiny"


@pytest.mark.parametrize(
    ("module", "name"),
    [
        ("samis.data", "DATASETS"), ("samis.data.pipeline.augment", "PRESETS"), ("samis.prompts", "PROMPTERS"),
        ("samis.prompts.box", "PER"),
        ("samis.sam.merge", "MASK_RULES"), ("samis.sam.architectures", "ARCHITECTURES"), ("samis.sam.architectures", "REMOVED"),
        ("samis.baselines", "BASELINES"), ("samis.baselines.references", "REFERENCES"), ("samis.adapters", "ADAPTERS"),
        ("samis.core.targets", "ENCODER"), ("samis.core.targets", "ENCODER_WHOLE"), ("samis.core.targets", "DECODER"),
        ("samis.adapters.unfreeze", "PRESETS"), ("samis.metrics", "METRICS"), ("samis.metrics", "PROTOCOLS"),
        ("samis.training.precision", "CHOICES"), ("samis.tta", "KINDS"), ("samis.decision.image_rules", "IMAGE_RULES"),
    ],
)  # fmt: skip
def test_names_read_from_source_are_those_of_the_table(module, name, monkeypatch):
    live = getattr(import_module(module), name)
    with monkeypatch.context() as hidden:
        hidden.delitem(sys.modules, module)
        assert table(module, name)() == [str(each) for each in live]
    assert table(module, name)() == [str(each) for each in live]


def test_a_name_added_at_run_time_counts(tmp_path, monkeypatch):
    from samis.sam.merge import MASK_RULES

    monkeypatch.setitem(MASK_RULES, "mine", MASK_RULES["largest"])
    path = tmp_path / "own.yaml"
    path.write_text("segmenter: {mask_rule: mine}\n")
    assert load_config(path).segmenter.mask_rule == "mine"


def test_help_tells_range_and_choices():
    lines = {line.split()[0]: line for line in describe_keys(Experiment).splitlines() if line.strip()}
    assert lines["optim.lr"].endswith("[a number above 0]")
    assert lines["training.epochs"].endswith("[a number at least 1]")
    assert lines["training.minutes"].endswith("[a number above 0]")
    assert lines["prompt.kind"].endswith("[one of empty, grid, whole, box, point]")
    assert lines["adapter.decoder"].endswith("[one of attention, mlp, full]")
    assert "[" not in lines["data.root"]


@pytest.mark.parametrize(
    ("key", "allowed", "refused"),
    [
        ("seed", ["0", "2147483647"], ["-1", "1.0", "true", "2147483648"]),
        ("optim.lr", ["1e-9", "1", "0.1"], ["0", "-1", "true", "nan", "inf", "-.inf", ".nan", "fast"]),
        ("optim.final_lr_share", ["0", "1"], ["-0.001", "1.001"]),
        ("adapter.dropout", ["0", "0.999"], ["1", "-0.001"]),
        ("data.clean_share", ["0", "0.9"], ["0.901", "-0.1"]),
        ("training.minutes", ["null", "0.5"], ["0", "soon"]),
    ],
)
def test_limits(key, allowed, refused):
    section, _, name = key.rpartition(".")
    for text in allowed:
        config = apply_overrides(Experiment(), [f"{key}={text}"])
        assert getattr(getattr(config, section) if section else config, name) == (
            None if text == "null" else float(text)
        )
    for text in refused:
        with pytest.raises(ConfigError, match=f"override: {key}: .*E-CONFIG-(TYPE|RANGE|CHOICE)"):
            apply_overrides(Experiment(), [f"{key}={text}"])


def test_all_mistakes_are_listed_each_with_its_place_and_code(tmp_path):
    path = tmp_path / "own.yaml"
    path.write_text("epochs: 3\nadapter: {rnak: 3, encoder: qkv}\ndata: {options: {1: 2}}\ntraining: 5\nloss:\n")
    with pytest.raises(ConfigError) as caught:
        load_config(path, ["optim.lr=-1", "adaptor.rank=3", "optim.betas=1"])
    lines = places(caught.value)
    assert sorted(lines[:3]) == [
        ("override: optim.lr", "E-CONFIG-RANGE"),
        ("override: unknown key adaptor; did you mean adapter?", "E-CONFIG-KEY"),
        ("override: unknown key optim.betas; did you mean beta2?", "E-CONFIG-KEY"),
    ]
    assert sorted(lines[3:]) == [
        (f"{path}: adapter.encoder", "E-CONFIG-TYPE"),
        (f"{path}: data.options", "E-CONFIG-TYPE"),
        (f"{path}: training", "E-CONFIG-TYPE"),
        (f"{path}: unknown key adapter.rnak; did you mean rank?", "E-CONFIG-KEY"),
        (f"{path}: unknown key epochs; did you mean training.epochs?", "E-CONFIG-KEY"),
    ]


def test_the_name_meant_is_found_without_case_and_dashes():
    assert near_name("A-B", ["a_b"]) == "a_b"


def test_an_old_record_of_a_section_alone_is_read():
    assert from_dict(AdapterConfig, {"rank": 4}).rank == 4
    with pytest.raises(ConfigError, match=r"there: .*rnak.*rank.*E-CONFIG-KEY"):
        from_dict(AdapterConfig, {"rnak": 4}, where="there")


@pytest.mark.parametrize(
    ("arguments", "word"),
    [
        (["--epochs", "5"], "training.epochs=5"),
        (["--epochs=5"], "training.epochs=5"),
        (["--mixed-precision", "bf16"], "training.mixed_precision=bf16"),
        (["--batch-size"], "training.batch_size=VALUE or metrics.batch_size=VALUE"),
        (["--nothing", "1"], "--nothing"),
    ],
)
def test_an_option_that_is_a_key_is_answered_with_the_override(arguments, word):
    with pytest.raises(ConfigError, match="E-CONFIG-OPTION") as caught:
        build("train").read(["configs/demo.yaml", *arguments])
    assert word in str(caught.value)


def test_nothing_heavy_is_imported_to_refuse():
    code = (
        "import sys\nfrom samis.config import load_config\nfrom samis.errors import ConfigError\n"
        "try: load_config('configs/demo.yaml', ['prompt.kind=gird', 'segmenter.mask_rule=best', 'data.name=x'])\n"
        "except ConfigError as error: print(error)\n"
        "print(sorted({'torch', 'numpy', 'cv2', 'accelerate'} & set(sys.modules)))\n"
    )
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True)
    lines = done.stdout.splitlines()
    assert len(lines) == 4
    assert lines[-1] == "[]"


@pytest.mark.parametrize(
    ("overrides", "expected"),
    [
        (["keep_best=smeasure"], "s_measure.*E-CONFIG-KEEP-BEST"),
        (["keep_best=image_auroc"], "E-CONFIG-KEEP-BEST"),
        (["metrics.names=[iou]", "keep_best=s_measure"], "'s_measure'.*E-CONFIG-KEEP-BEST"),
        (["metrics.names=[weighted]"], "weighted_f.*E-METRIC-NAME"),
        (["data.options={pair: a.csv}"], "pair.*surface, count, clean_share, seed.*E-DATA-OPTION"),
        (["data.name=folder", "data.options={pairs: a.csv}"], "folder.*pairs.*E-DATA-OPTION"),
    ],
)
def test_a_dry_run_refuses_before_anything_is_loaded(overrides, expected, monkeypatch):
    """What the tables of metrics and data sets know; no network is built and no image is read."""
    from samis.errors import UserError
    from samis.jobs import train as job

    monkeypatch.setattr(job, "build_learner", None)
    monkeypatch.setattr(job, "load_training", None)
    config = load_config(ROOT / "configs" / "demo.yaml", ["data.options={}", *overrides])
    with pytest.raises(UserError, match=expected) as caught:
        job.train(config, dry_run=True)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("override", ["data.options={pair: a.csv}", "metrics.names=[weighted]"])
def test_scoring_refuses_before_anything_is_loaded_and_in_a_dry_run(override, monkeypatch, capsys):
    monkeypatch.chdir(ROOT)
    monkeypatch.setattr(sys, "argv", ["evaluate/score.py", "configs/demo.yaml", "--dry-run", override])
    with pytest.raises(SystemExit) as ended:
        runpy.run_path(str(ROOT / "evaluate" / "score.py"), run_name="__main__")
    assert ended.value.code == 2
    printed = capsys.readouterr()
    assert len(printed.err.splitlines()) == 1
    assert "keep_best" not in printed.out  # the resolved config is not printed
    # A keep_best that is not computed does not matter for scoring.
    monkeypatch.setattr(sys, "argv", ["evaluate/score.py", "configs/demo.yaml", "--dry-run", "metrics.names=[iou]"])
    runpy.run_path(str(ROOT / "evaluate" / "score.py"), run_name="__main__")


@pytest.mark.parametrize(
    ("words", "code"),
    [
        (["saved_maps", "segmenter.maps=no_such_folder"], "E-MAP-NO-FOLDER"),
        (["zero_shot", "segmenter.weights=no_such_file"], "E-SAM-NO-WEIGHTS"),
        (["zero_shot", "segmenter.name=run", "segmenter.run=no_such_run"], "E-TRAIN-NO-RUN"),
    ],
)
def test_a_dry_run_of_scoring_finds_what_is_missing(words, code, capsys):
    from samis.cli import main

    with pytest.raises(SystemExit) as ended:
        main(["score", *words, "data.name=procedural", "--dry-run"])
    assert ended.value.code == 2
    assert code in capsys.readouterr().err


@pytest.mark.parametrize("schema", [Experiment, Pretraining])
def test_every_number_has_a_range(schema):
    result = {}
    for key, content in properties(schema).items():
        number = content["anyOf"][0] if "anyOf" in content else content
        if number.get("type") in ("integer", "number"):
            result[key] = {"minimum", "exclusiveMinimum", "maximum", "exclusiveMaximum"} & set(number)
    assert len(result) > 30
    assert not [key for key, ranges in result.items() if not ranges]
