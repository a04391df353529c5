"""From training to a kept promise: what is set aside, what the run folder holds, what is refused, and what predict writes."""

import csv
import json
import shutil

import numpy as np
import pytest
from PIL import Image

import samis
from samis.cli import main
from samis.config import load_config
from samis.core.contracts import Sample
from samis.data.calibration import image_keys, set_aside
from samis.data.own.folder import load_folder
from samis.decision.calibration import read_calibration
from samis.errors import UserError
from samis.jobs.calibrate import calibrate
from samis.jobs.train import train

SMALL = [
    "segmenter.weights=random", "frame.frame_px=64", "adapter.rank=2", "cache.embeddings=never", "training.epochs=1",
    "training.gallery=0", "training.batch_size=8", "data.augment=none", "metrics.names=[mae, s_measure]", "data.check=false",
]  # fmt: skip


def photos(folder, splits, seed=0):
    """Write defective photos with a bright defect and clean ones, and the CSV that names them."""
    rng, lines = np.random.default_rng(seed), ["image,mask,class,split"]
    for kind in ("images", "masks"):
        (folder / kind).mkdir(parents=True, exist_ok=True)
    for split, counts in splits.items():
        for kind, count in zip(("hole", "clean"), counts, strict=True):
            for number in range(count):
                name = f"{split}_{kind}_{number}.png"
                mask = np.zeros((64, 64), np.uint8)
                mask[10:30, 20 : 40 + number] = 255 * (kind == "hole")
                pixels = rng.integers(60, 120, (64, 64, 3)) + (mask > 0)[..., None] * 90
                Image.fromarray(pixels.astype(np.uint8)).save(folder / "images" / name)
                Image.fromarray(mask).save(folder / "masks" / name)
                lines.append(f"images/{name},masks/{name},{kind},{split}")
    (folder / "pairs.csv").write_text("\n".join(lines) + "\n")


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    folder = tmp_path_factory.mktemp("calibrate")
    photos(folder / "data", {"train": (6, 2), "val": (24, 24), "test": (12, 3)})
    source = ["data.name=folder", f"data.root={folder / 'data'}", "data.options={csv: pairs.csv}"]
    more = [*source, *SMALL, "data.calibration_share=0.5", f"training.out={folder / 'run'}"]
    return train(load_config("configs/own.yaml", more))


def test_half_of_validation_calibrates_and_chooses_nothing(trained):
    data = trained.parent / "data"
    result = read_calibration(trained / "calibration.json")
    assert (result.defective, result.clean, result.split) == (12, 12, "val")
    splits = {name: load_folder(root=data, split=name, csv="pairs.csv") for name in ("train", "val")}
    seen = json.loads((trained / "seen_images.json").read_text())
    keys = image_keys(splits["val"])
    aside = {keys[key] for key in result.ids}
    assert len(aside) == 24 and not aside & set(seen["selection"]) and not aside & set(seen["training"])
    assert aside | set(seen["selection"]) == set(keys.values())
    assert set(seen["training"]) == set(image_keys(splits["train"]).values())
    threshold = json.loads((trained / "provenance.json").read_text())["threshold"]
    assert threshold["images"] + threshold["clean_images"] == 24, "the other half chose the threshold"
    before = (trained / "calibration.json").read_text()
    assert read_calibration(calibrate(trained)) == result, "samis calibrate finds the same images again"
    (trained / "calibration.json").write_text(before)


def write_curves(run, **changes):
    """Give a run a calibration by which promises can be kept, since this one has learnt nothing."""
    path = run / "calibration.json"
    content = json.loads(path.read_text())
    levels = np.array(content["levels"])
    curve = np.clip(levels * 0.3, 0, 1)
    content["curves"] = dict.fromkeys(("missed_pixels", "missed_defects", "missed_images"), curve.tolist())
    content["curves"] |= {"false_alarms": (0.5 * (1 - levels)).tolist(), "marked": (0.1 * (1 - levels)).tolist()}
    path.write_text(json.dumps(content | changes))


@pytest.fixture
def run(trained, tmp_path):
    """A copy whose calibration is of 99 and 99 images, missing 0.3 t and alarming 0.5 (1 - t) at threshold t."""
    shutil.copytree(trained, tmp_path / "run")
    write_curves(tmp_path / "run", defective=99, clean=99)
    return tmp_path / "run"


def test_predict_keeps_a_promise_and_says_so(run, tmp_path, capsys):
    """(99 * 0.3 t + 1) / 100 <= 0.1 where t <= 0.303: the last of k / 256 is 77 / 256."""
    out = tmp_path / "out"
    images = _photos(tmp_path / "photos")
    main(["predict", str(run), str(images[0].parent), "--out", str(out), "--miss-at-most", "0.1"])
    text = capsys.readouterr().out
    assert "at most 10 % of the defect pixels missed; calibrated on 99 defective and 99 clean images" in text
    summary = json.loads((out / "predictions.json").read_text())
    assert summary["settings"]["threshold"] == 77 / 256 == summary["promise"]["threshold"]
    assert summary["promise"]["on_calibration_images"]["missed_pixels"] == pytest.approx(0.3 * 77 / 256)
    assert "(val)" in summary["promise"]["promise"] and read_calibration(run / "calibration.json").created in str(
        summary
    )
    lines = list(csv.DictReader((out / "images.csv").open()))
    assert (
        len(lines)
        == len(images)
        == len(summary["image_list"])
        == sum(summary["verdicts"][v] for v in ("OK", "defective"))
    )
    for line in lines:
        values = np.asarray(Image.open(out / "maps" / line["image"])) / 255
        assert float(line["max"]) == pytest.approx(values.max(), abs=0.003)
        assert (line["verdict"] == "defective") == (float(line["score"]) > 77 / 256)
    both = ["--miss-at-most", "0.2", "--miss-of", "images", "--false-alarms-at-most", "0.3"]
    main(["predict", str(run), str(images[0].parent), "--out", str(tmp_path / "both"), *both])
    at = json.loads((tmp_path / "both/predictions.json").read_text())["settings"]["threshold"]
    assert (99 * 0.3 * at + 1) / 100 <= 0.2 < (99 * 0.3 * (at + 1 / 256) + 1) / 100 and (
        99 * 0.5 * (1 - at) + 1
    ) / 100 <= 0.3
    model = samis.load_run(run)
    assert model.predict(images[0], false_alarms_at_most=0.4)[0].verdict in ("OK", "defective")


def _photos(folder):
    folder.mkdir()
    rng = np.random.default_rng(7)
    for number in range(3):
        Image.fromarray(rng.integers(0, 255, (40, 50), dtype=np.uint8)).save(folder / f"{number}.png")
    return sorted(folder.iterdir())


@pytest.mark.parametrize(
    ("words", "code"),
    [
        (["--miss-at-most", "1"], "E-DECIDE-ALPHA"), (["--miss-at-most", "0"], "E-DECIDE-ALPHA"),
        (["--false-alarms-at-most", "nan"], "E-DECIDE-ALPHA"),
        (["--miss-at-most", "0.1", "--miss-of", "parts"], "E-DECIDE-MISS-OF"),
        (["--miss-at-most", "0.001"], "E-DECIDE-FEW"),
        (["--miss-at-most", "0.1", "--false-alarms-at-most", "0.1"], "E-DECIDE-UNATTAINABLE"),
        (["--miss-at-most", "0.1", "--threshold", "0.5"], "E-DECIDE-OPTIONS"),
        (["--miss-at-most", "0.1", "--min-area", "9"], "E-DECIDE-OPTIONS"),
        (["--miss-at-most", "0.1", "--box", "1,1,9,9"], "E-DECIDE-OPTIONS"),
        (["--miss-at-most", "0.1", "--image-rule", "region_area"], "E-DECIDE-OPTIONS"),
        (["--miss-at-most", "0.1", "frame.tile_px=32"], "E-DECIDE-SETTINGS"),
        (["--miss-at-most", "0.1", "--calibration", "none.json"], "E-DECIDE-FILE"),
        (["--image-rule", "mean"], "E-DECIDE-RULE"), (["--image-threshold", "1"], "E-DECIDE-IMAGE-THRESHOLD"),
    ],
)  # fmt: skip
def test_a_promise_that_cannot_hold_is_one_line(run, tmp_path, capsys, words, code):
    place = _photos(tmp_path / "photos")[0].parent
    with pytest.raises(SystemExit) as ended:
        main(["predict", str(run), str(place), "--out", str(tmp_path / "out"), *words])
    error = capsys.readouterr().err
    assert ended.value.code == 2 and error.count("\n") == 1 and code in error
    assert not (tmp_path / "out").exists()


def test_other_weights_or_no_calibration_are_refused(run, tmp_path, capsys):
    place = _photos(tmp_path / "photos")[0].parent
    write_curves(run, weights_sha256="0" * 64)
    for code in ("E-DECIDE-SETTINGS", "E-DECIDE-NO-CALIBRATION"):
        with pytest.raises(SystemExit):
            main(["predict", str(run), str(place), "--out", str(tmp_path / "out"), "--miss-at-most", "0.1"])
        error = capsys.readouterr().err
        assert code in error and error.count("\n") == 1
        (run / "calibration.json").unlink(missing_ok=True)
    with pytest.raises(SystemExit):
        main(["predict", "zero_shot", str(place), "--out", str(tmp_path / "out"), "--miss-at-most", "0.1"])
    assert "E-DECIDE-NO-CALIBRATION" in capsys.readouterr().err


def test_images_that_had_a_part_in_training_are_refused(run, tmp_path):
    data = load_config(run / "config.yaml").data
    with pytest.raises(UserError, match="8 of its training images"):
        calibrate(run, ["data.val=train", "data.train=val"])
    with pytest.raises(UserError, match="E-DECIDE-SAW-TRAINING"):
        calibrate(run, ["data.val=all"])
    copies = tmp_path / "copies"  # a training image under another name, in another folder
    (copies / "images").mkdir(parents=True)
    (copies / "masks").mkdir()
    for kind in ("images", "masks"):
        shutil.copy(f"{data.root}/{kind}/train_hole_0.png", copies / kind / "renamed.png")
    with pytest.raises(UserError, match=r"such as 'renamed'.*E-DECIDE-SAW-TRAINING"):
        calibrate(run, [f"data.root={copies}", "data.options={}", "data.val=all", "data.train=train"])
    content = json.loads((run / "seen_images.json").read_text())
    validation = load_folder(root=data.root, split="val", csv="pairs.csv")
    content["selection"] = sorted(image_keys(validation).values())
    (run / "seen_images.json").write_text(json.dumps(content))
    with pytest.raises(UserError, match=r"data.calibration_share=0.5.*E-DECIDE-SAW-TRAINING"):
        calibrate(run)
    (run / "seen_images.json").write_text("[]")
    with pytest.raises(UserError, match="E-DECIDE-SEEN"):
        calibrate(run)
    (run / "seen_images.json").unlink()  # an older run: its own splits say it
    with pytest.raises(UserError, match="E-DECIDE-SAW-TRAINING"):
        calibrate(run)
    config = (run / "config.yaml").read_text()
    (run / "config.yaml").write_text(config.replace(str(data.root), "/nowhere"))
    with pytest.raises(UserError, match="E-DECIDE-UNCHECKED"):
        calibrate(run, [f"data.root={data.root}", "data.val=test", "data.test=val"])
    with pytest.raises(UserError, match="E-DECIDE-OVERRIDE"):
        calibrate(run, ["frame.frame_px=128"])


def test_other_labelled_images_calibrate_into_another_file(run, tmp_path, capsys):
    photos(tmp_path / "later", {"all": (0, 0), "val": (10, 4)}, seed=9)
    place = tmp_path / "later.json"
    main(["calibrate", str(run), f"data.root={tmp_path / 'later'}", "--out", str(place)])
    text = capsys.readouterr().out
    result = read_calibration(place)
    assert (result.defective, result.clean) == (10, 4) and "10 defective and 4 clean images" in text
    assert "at most 5 % of the defect pixels missed: too few images" in text
    main(["calibrate", str(run), f"data.root={tmp_path / 'later'}", "--out", str(place), "--json"])
    assert len(json.loads(capsys.readouterr().out)["promises"]) == 20


class Split(list):
    name, split, grey_masks = "drawn", "val", False

    @property
    def ids(self):
        return [sample.id for sample in self]

    @property
    def class_names(self):
        return [sample.class_name for sample in self]

    def fingerprint(self):
        return "f"


@pytest.mark.parametrize("share", [0.0, 0.3, 0.5, 0.9])
@pytest.mark.parametrize("sizes", [(1, 0), (2, 0), (3, 1), (20, 10)])
def test_each_class_gives_its_share_and_one_image_stays(share, sizes):
    image = np.zeros((4, 4, 3), np.uint8)
    kinds = ["hole"] * sizes[0] + ["clean"] * sizes[1]
    whole = Split(Sample(f"{kind}_{n}", image, None, kind) for n, kind in enumerate(kinds))
    left, aside = set_aside(whole, share)
    taken = aside.ids if aside else []
    assert sorted([*left.ids, *taken]) == sorted(whole.ids) and len(left) >= 1
    if share == 0:
        assert left is whole and aside is None
    if sizes == (20, 10) and share:
        counts = [sum(name == kind for name in aside.class_names) for kind in ("hole", "clean")]
        assert counts == [round(20 * share), round(10 * share)]
