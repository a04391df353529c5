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


@pytest.mark.parametrize(
    ("override", "told"),
    [
        ("optim.lr=-1", "optim.lr: expected a number above 0, got -1.0"),
        ("optim.lr=0", "optim.lr: expected a number above 0, got 0.0"),
        ("optim.warmup_share=2", "optim.warmup_share: expected a number at least 0 and at most 1, got 2.0"),
        ("optim.beta2=1", "optim.beta2: expected a number at least 0 and below 1, got 1.0"),
        ("optim.weight_decay=-0.1", "at least 0"),
        ("loss.focal=-20", "loss.focal: expected a number at least 0, got -20.0"),
        ("loss.balance=1.5", "at most 1"),
        ("training.accumulation=0", "training.accumulation: expected a number at least 1, got 0"),
        ("training.validate_every=0", "training.validate_every: expected a number at least 1, got 0"),
        ("training.log_every=0", "training.log_every: expected a number at least 1, got 0"),
        ("training.workers=-1", "training.workers: expected a number at least 0 and at most 1024, got -1"),
        ("training.prefetch=0", "training.prefetch: expected a number at least 1, got 0"),
        ("training.epochs=-1", "training.epochs: expected a number at least 1, got -1"),
        ("training.batch_size=0", "at least 1"),
        (
            "training.mixed_precision=fp32",
            "training.mixed_precision: expected one of auto, no, bf16, fp16, got 'fp32'; did you mean no?",
        ),
        ("training.on_nan=ignore", "expected one of stop, skip, got 'ignore'"),
        ("seed=-1", "seed: expected a number at least 0, got -1"),
        ("data.limit=-3", "data.limit: expected a number at least 0, got -3"),
        ("data.clean_share=0.95", "at least 0 and at most 0.9"),
        ("data.calibration_share=1", "at least 0 and at most 0.9"),
        ("data.salt_pepper=1", "at least 0 and below 1"),
        ("data.name=sd-saliency-900", "did you mean sd_saliency_900?"),
        ("training.compile=true", "got True; did you mean default?"),
        ("training.compile=false", "got False; did you mean no?"),
        ("segmenter.tta=4", "segmenter.tta: expected one of none, flips, got 4"),
        ("experiment=../x", "experiment: expected a name of a folder, without / and"),
        ("experiment=.x", "with no dot at its beginning, got '.x'"),
        ("experiment=a\\b", "experiment: expected a name of a folder"),
        ("experiment=''", "experiment: expected a name of a folder"),
        ("data.augment=strong", "expected one of none, light, default, got 'strong'"),
        ("frame.overlap=1", "frame.overlap: expected a number at least 0 and below 1, got 1.0"),
        ("frame.tile_px=-160", "frame.tile_px: expected a number at least 0"),
        (
            "prompt.kind=gird",
            "prompt.kind: expected one of empty, grid, whole, box, point, got 'gird'; did you mean grid?",
        ),
        ("prompt.points_per_side=0", "at least 1"),
        ("prompt.per=defect", "expected one of component, image, got 'defect'"),
        ("segmenter.name=u-net", "did you mean unet?"),
        ("segmenter.mask_rule=best", "segmenter.mask_rule: expected one of top_iou, "),
        ("segmenter.architecture=vit-b", "got 'vit-b'; did you mean vit_b?"),
        ("segmenter.min_iou=88", "segmenter.min_iou: expected a number at least 0 and at most 1, got 88.0"),
        ("segmenter.tta=flip", "did you mean flips?"),
        ("adapter.name=Lora", "did you mean lora?"),
        ("adapter.encoder=qkv", "adapter.encoder: expected list, got 'qkv'; write [qkv]"),
        ("adapter.encoder=q,v", "; write [q, v]"),
        ("adapter.encoder=[q, w]", "adapter.encoder[1]: expected one of q, k, v, qkv, proj, mlp, stem, neck, got 'w'"),
        ("adapter.decoder=[atention]", "did you mean attention?"),
        ("adapter.rank=0", "adapter.rank: expected a number at least 1 and at most 4096, got 0"),
        ("adapter.dropout=1", "at least 0 and below 1"),
        ("adapter.preset=all", "expected one of decoder, norm, full, got 'all'"),
        ("adapter.method=lockr", "adapter.method: expected one of lora, dora, rslora, "),
        ("adapter.method=lockr", "got 'lockr'; did you mean lokr?"),
        ("adapter.options=[1]", "adapter.options: expected"),
        ("metrics.protocol=pysod_", "did you mean pysod?"),
        ("metrics.bootstrap=-1", "at least 0"),
        ("metrics.image_rule=mean", "expected one of max, top_1_percent_mean, region_area, got 'mean'"),
        ("cache.embeddings=sometimes", "expected one of auto, always, never, got 'sometimes'"),
        ("cache.limit_gb=0", "above 0"),
        ("seed=99999999999999999999", "seed: expected a whole number below 2147483648, got 99999999999999999999"),
        ("training.epochs=2147483648", "training.epochs: expected a whole number below 2147483648"),
        ("adapter.rank=99999999", "adapter.rank: expected a number at least 1 and at most 4096"),
        ("prompt.points_per_side=99999", "at most 256"),
        ("epochs=5", "unknown key epochs; did you mean training.epochs?"),
        ("batch_size=5", "did you mean training.batch_size or metrics.batch_size?"),
    ],
)
def test_a_bad_value_is_refused_in_one_line(override, told, tmp_path):
    message = refused(tmp_path, override)
    assert message.startswith("override")
    assert override.partition("=")[0] in message
    assert told in message
    assert "\n" not in message


@pytest.mark.parametrize(
    ("override", "told"),
    [
        ("architecture=samis-lite", "did you mean samis_lite?"),
        ("pretrained=image_net", "did you mean imagenet?"),
        ("keep_best=iou_boxes", "did you mean iou_box?"),
        ("scenes.boxes=0", "scenes.boxes: expected a number at least 1, got 0"),
        ("scenes.jitter=-1", "at least 0"),
        ("frame_px=8", "frame_px: expected a number at least 16 and at most 4096, got 8"),
    ],
)
def test_pretraining_is_held_to_its_rules(override, told, tmp_path):
    assert told in refused(tmp_path, override, schema=Pretraining)


def test_the_file_is_named_and_each_fault_has_a_line(tmp_path):
    path = tmp_path / "own.yaml"
    path.write_text("optim: {lr: -1}\ntraining: {epochs: 0}\n")
    with pytest.raises(ConfigError) as caught:
        load_config(path, ["seed=-2"])
    assert str(caught.value).splitlines() == [
        "override: seed: expected a number at least 0, got -2",
        f"{path}: optim.lr: expected a number above 0, got -1.0",
        f"{path}: training.epochs: expected a number at least 1, got 0",
    ]


def test_configs_made_in_python_are_checked_too():
    config = Experiment()
    check(config)
    config.prompt.kind = "gird"
    with pytest.raises(ConfigError, match=r"config: prompt\.kind: .*did you mean grid\?"):
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
        with pytest.raises(ConfigError, match=f"override: {key}: expected "):
            apply_overrides(Experiment(), [f"{key}={text}"])


def test_all_mistakes_are_told_each_with_its_place(tmp_path):
    path = tmp_path / "own.yaml"
    path.write_text("epochs: 3\nadapter: {rnak: 3, encoder: qkv}\ndata: {options: {1: 2}}\ntraining: 5\nloss:\n")
    with pytest.raises(ConfigError) as caught:
        load_config(path, ["optim.lr=-1", "adaptor.rank=3", "optim.betas=1"])
    message = str(caught.value).splitlines()
    assert sorted(message[:3]) == [
        "override: optim.lr: expected a number above 0, got -1.0",
        "override: unknown key adaptor; did you mean adapter?",
        "override: unknown key optim.betas; did you mean beta2?",
    ]
    assert sorted(message[3:]) == [
        f"{path}: adapter.encoder: expected list, got 'qkv'; write [qkv]",
        f"{path}: data.options: expected names as keys, got 1",
        f"{path}: training: expected keys and values, got 5",
        f"{path}: unknown key adapter.rnak; did you mean rank?",
        f"{path}: unknown key epochs; did you mean training.epochs?",
    ]


def test_the_name_meant_is_found_without_case_and_dashes():
    assert near_name("A-B", ["a_b"]) == "a_b"


def test_an_old_record_of_a_section_alone_is_read():
    assert from_dict(AdapterConfig, {"rank": 4}).rank == 4
    with pytest.raises(ConfigError, match=r"there: unknown key rnak; did you mean rank\?"):
        from_dict(AdapterConfig, {"rnak": 4}, where="there")


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        (["--epochs", "5"], "--epochs: unknown option; write training.epochs=5"),
        (["--epochs=5"], "--epochs: unknown option; write training.epochs=5"),
        (["--mixed-precision", "bf16"], "write training.mixed_precision=bf16"),
        (["--batch-size"], "write training.batch_size=VALUE or metrics.batch_size=VALUE"),
        (["--nothing", "1"], "--nothing: unknown option; --help lists"),
    ],
)
def test_an_option_that_is_a_key_is_answered_with_the_override(arguments, told):
    with pytest.raises(ConfigError) as caught:
        build("train").read(["configs/demo.yaml", *arguments])
    assert told in str(caught.value)


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
    ("overrides", "told"),
    [
        (["keep_best=smeasure"], "did you mean s_measure?"),
        (["keep_best=image_auroc"], "keep_best: expected one of "),
        (["metrics.names=[iou]", "keep_best=s_measure"], "got 's_measure'"),
        (["metrics.names=[weighted]"], "did you mean weighted_f?"),
        (["data.options={pair: a.csv}"], "data.options: unknown key pair; known are surface, count, clean_share, seed"),
        (["data.name=folder", "data.options={pairs: a.csv}"], "data set folder: data.options: unknown key pairs"),
    ],
)
def test_a_dry_run_refuses_before_anything_is_loaded(overrides, told, monkeypatch):
    """What the tables of metrics and data sets know; no network is built and no image is read."""
    from samis.errors import UserError
    from samis.jobs import train as job

    monkeypatch.setattr(job, "build_learner", None)
    monkeypatch.setattr(job, "load_training", None)
    config = load_config(ROOT / "configs" / "demo.yaml", ["data.options={}", *overrides])
    with pytest.raises(UserError) as caught:
        job.train(config, dry_run=True)
    assert told in str(caught.value)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("override", ["data.options={pair: a.csv}", "metrics.names=[weighted]"])
def test_scoring_refuses_before_anything_is_loaded_and_in_a_dry_run(override, monkeypatch, capsys):
    monkeypatch.chdir(ROOT)
    monkeypatch.setattr(sys, "argv", ["evaluate/score.py", "configs/demo.yaml", "--dry-run", override])
    with pytest.raises(SystemExit) as ended:
        runpy.run_path(str(ROOT / "evaluate" / "score.py"), run_name="__main__")
    assert ended.value.code == 2
    said = capsys.readouterr()
    assert len(said.err.splitlines()) == 1
    assert "keep_best" not in said.out  # the resolved config is not printed
    # A keep_best that is not computed does not matter for scoring.
    monkeypatch.setattr(sys, "argv", ["evaluate/score.py", "configs/demo.yaml", "--dry-run", "metrics.names=[iou]"])
    runpy.run_path(str(ROOT / "evaluate" / "score.py"), run_name="__main__")


@pytest.mark.parametrize("schema", [Experiment, Pretraining])
def test_every_number_has_a_range(schema):
    found = {}
    for key, content in properties(schema).items():
        number = content["anyOf"][0] if "anyOf" in content else content
        if number.get("type") in ("integer", "number"):
            found[key] = {"minimum", "exclusiveMinimum", "maximum", "exclusiveMaximum"} & set(number)
    assert len(found) > 30
    assert not [key for key, ranges in found.items() if not ranges]
