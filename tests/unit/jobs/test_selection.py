"""What chooses the best epoch must exist in the validation split: said before the first step; clean images may choose it."""

import json

import numpy as np
import pytest
from PIL import Image

from samis.config import Experiment, load_config
from samis.core.contracts import Sample
from samis.data.checks.doctor import examine
from samis.data.own.folder import load_folder
from samis.errors import UserError
from samis.jobs.check import check_experiment, check_selection
from samis.jobs.train import train
from samis.metrics import METRICS, PROTOCOLS, directions_of, numbers_on, score_image, summarise
from samis.sweeping.trial import read_validations


def photos(folder, splits):
    """Write `splits`: name -> (defective, clean), and the csv that names them."""
    rng, lines = np.random.default_rng(0), ["image,mask,class,split"]
    for kind in ("images", "masks"):
        (folder / kind).mkdir(parents=True)
    for split, counts in splits.items():
        for kind, count in zip(("hole", "clean"), counts, strict=True):
            for number in range(count):
                name = f"{split}_{kind}_{number}.png"
                mask = np.zeros((64, 64), np.uint8)
                mask[10:30, 20 : 40 + number] = 255 * (kind == "hole")
                Image.fromarray(rng.integers(60, 200, (64, 64, 3)).astype(np.uint8)).save(folder / "images" / name)
                Image.fromarray(mask).save(folder / "masks" / name)
                lines.append(f"images/{name},masks/{name},{kind},{split}")
    (folder / "pairs.csv").write_text("\n".join(lines) + "\n")


def run(folder, *more, config="configs/own.yaml"):
    sam = ["segmenter.weights=random", "frame.frame_px=64", "adapter.rank=2", "cache.embeddings=never"]
    return train(
        load_config(
            config,
            [
                "data.name=folder", f"data.root={folder / 'data'}", "data.options={csv: pairs.csv}",
                f"training.out={folder / 'run'}", "training.epochs=2", "training.gallery=0", "training.batch_size=4",
                "data.augment=none", "data.calibration_share=0", *sam, *more,
            ],
        )
    )  # fmt: skip


SHORT = "metrics.names=[mae, s_measure]"


@pytest.mark.parametrize(
    ("splits", "more", "expected"),
    [
        (
            {"train": (3, 0), "val": (0, 3)},
            [SHORT],
            "data.val=val: .*3 clean.*E-TRAIN-NO-VALIDATION",
        ),
        ({"train": (0, 3), "val": (0, 3)}, [SHORT], "data.train=train: .*E-TRAIN-NO-DEFECT"),
        ({"train": (0, 3), "val": (0, 3)}, [SHORT, "keep_best=kept_clean"], "data.train=train: .*E-TRAIN-NO-DEFECT"),
        (
            {"train": (3, 0), "val": (3, 0)},
            [SHORT, "keep_best=kept_clean"],
            "data.val=val: expected a defect-free.*E-TRAIN-NO-VALIDATION",
        ),
        (
            {"train": (3, 0), "val": (3, 0)},
            ["metrics.protocol=inspection", "keep_best=image_auroc"],
            "data.val=val: .*keep_best=image_auroc.*E-TRAIN-NO-VALIDATION",
        ),
        (
            {"train": (3, 0), "val": (0, 3)},
            ["metrics.protocol=inspection", "keep_best=image_auroc"],
            "data.val=val: .*E-TRAIN-NO-VALIDATION",
        ),
    ],
)
@pytest.mark.parametrize("check", ["true", "false"])
def test_told_before_the_first_step(tmp_path, splits, more, expected, check, capsys):
    photos(tmp_path / "data", splits)
    with pytest.raises(UserError, match=f"{expected}.*") as caught:
        run(tmp_path, *more, f"data.check={check}")
    assert "\n" not in str(caught.value) and not (tmp_path / "run").exists()
    assert "nothing wrong" not in capsys.readouterr().out


@pytest.mark.parametrize("metric", ["kept_clean", "false_positive_area"])
@pytest.mark.parametrize("protocol", [SHORT, "metrics.protocol=inspection"])
def test_clean_images_choose_the_best_end_to_end(tmp_path, metric, protocol):
    """On a validation split of clean images only; from training to what a sweep reads of it."""
    photos(tmp_path / "data", {"train": (4, 2), "val": (0, 3)})
    folder = run(tmp_path, protocol, f"keep_best={metric}")
    training = json.loads((folder / "provenance.json").read_text())
    lines = [json.loads(line) for line in (folder / "validation.jsonl").read_text().splitlines()]
    values = [line["metrics"][metric] for line in lines]
    best = max(values) if metric == "kept_clean" else min(values)
    assert training["validation"][metric] == best and training["threshold"] is None
    reported = [record["metrics"][metric] for record in read_validations(folder)]
    assert (max if directions_of([metric])[metric] > 0 else min)(reported) == best


def test_a_network_with_batch_norm_too(tmp_path):
    """Its statistics are recomputed and compared by the same number."""
    photos(tmp_path / "data", {"train": (4, 2), "val": (2, 3)})
    folder = run(tmp_path, SHORT, "keep_best=kept_clean", "segmenter.name=unet", config="configs/baselines/unet.yaml")
    training = json.loads((folder / "provenance.json").read_text())
    assert {"kept_clean", "s_measure"} <= set(training["validation"])
    assert "kept_clean" in training["batch_norm"]["validation_after"]


def test_check_data_says_it(tmp_path):
    photos(tmp_path, {"train": (2, 1), "val": (0, 2)})
    splits = {s: load_folder(root=tmp_path, split=s, csv="pairs.csv") for s in ("train", "val")}
    result = [finding for finding in examine(splits).findings if finding.code == "no_defect"]
    assert len(result) == 1 and result[0].message.startswith("split val: expected a defect in some image, got 2 clean")


@pytest.mark.parametrize("protocol", ["pysod", "published", "inspection"])
def test_the_numbers_of_defective_images_are_all_but_the_clean_ones(protocol):
    rng = np.random.default_rng(1)
    truth = rng.random((12, 12)) > 0.7
    scores = [score_image((rng.random((12, 12)) * 255).astype(np.uint8), truth, None, protocol) for _ in range(3)]
    assert numbers_on(defective=True, clean=False, protocol=protocol) == set(summarise(scores))
    declared = {n for name in PROTOCOLS[protocol] for n in (*METRICS[name].values, *METRICS[name].finished)}
    both = numbers_on(defective=True, clean=True, protocol=protocol)
    assert both <= declared | {"kept_clean", "false_positive_area"}


def test_a_number_that_the_protocol_does_not_compute_is_refused_at_once():
    """``published`` has an IoU but none of the numbers that come with it elsewhere."""
    config = load_config("configs/own.yaml", ["metrics.protocol=published", "keep_best=iou_mean"])
    with pytest.raises(UserError, match=r"kept_clean, .*'iou_mean'.*E-CONFIG-KEEP-BEST"):
        check_experiment(config)


@pytest.mark.parametrize(
    ("number", "masks"),
    [("aupro", [np.ones((32, 32), bool)] * 2), ("small_recall_10", [np.pad(np.ones((30, 30), bool), 1)] * 2)],
)
def test_a_number_that_the_validation_truths_do_not_have_is_refused_before_the_first_step(number, masks):
    class Split(list):
        @property
        def class_names(self):
            return [sample.class_name for sample in self]

    def split(masks):
        return Split(Sample(str(k), np.zeros((32, 32, 3), np.uint8), mask, "hole") for k, mask in enumerate(masks))

    few, some = split(masks), split([*masks, np.eye(32) > 0])
    config = Experiment(keep_best=number)
    config.metrics.protocol = "inspection"
    with pytest.raises(UserError, match=f"data.val=val: .*keep_best={number}, .*E-TRAIN-NO-VALIDATION"):
        check_selection(config, some, few)
    check_selection(config, some, some)
