"""evaluate/predict.py and Model.predict on a real run folder: what it writes, restarts, bad files, prompts, mistakes."""

import csv
import json
import os
import runpy
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

import samis
from samis.config import AdapterConfig, DataConfig, Experiment, FrameConfig, to_yaml
from samis.errors import UserError
from samis.factory import build_learner

ROOT = Path(__file__).resolve().parents[2]
pytestmark = pytest.mark.filterwarnings(
    "ignore:__array__ implementation:DeprecationWarning"
)  # pycocotools with numpy 2


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    """A run folder as training leaves it, with the embedded weights and an adapter that has not moved yet."""
    folder = tmp_path_factory.mktemp("runs") / "tiny"
    config = Experiment(
        experiment="tiny",
        data=DataConfig(name="procedural"),
        frame=FrameConfig(frame_px=64),
        adapter=AdapterConfig(rank=2),
    )
    build_learner(config).save(folder / "best")
    (folder / "config.yaml").write_text(to_yaml(config))
    (folder / "provenance.json").write_text(json.dumps({"threshold": {"value": 0.375, "iou": 0.5, "images": 3}}))
    return folder


@pytest.fixture
def photos(tmp_path):
    drawn = samis.load_dataset("procedural", split="test", surface="steel", count=3)
    folder = tmp_path / "photos"
    (folder / "line 2").mkdir(parents=True)
    for name, index in (("a.png", 0), ("line 2/b.jpg", 1), ("line 2/c.png", 2)):
        Image.fromarray(drawn[index].image).resize((90, 70)).save(folder / name)
    return folder


def launch(monkeypatch, capsys, *command):
    """Run the script in this process; return its exit code, output and errors."""
    monkeypatch.setattr(sys, "argv", ["evaluate/predict.py", *map(str, command)])
    monkeypatch.chdir(ROOT)
    try:
        runpy.run_path(str(ROOT / "evaluate/predict.py"), run_name="__main__")
        code = 0
    except SystemExit as ended:
        code = ended.code or 0
    return code, *capsys.readouterr()


def pixels(path):
    return np.asarray(Image.open(path))


def test_everything_is_written_and_agrees(run, photos, tmp_path, monkeypatch, capsys):
    from pycocotools.coco import COCO

    out = tmp_path / "out"
    code, output, _ = launch(
        monkeypatch, capsys, run, photos, "--out", out, "--mm-per-px", "0.5", "--min-area", "4", "--json"
    )
    assert code == 0
    summary = json.loads(output)
    assert (summary["images"], summary["threshold"], summary["threshold_from"], summary["failed"]) == (
        3,
        0.375,
        "validation",
        {},
    )
    model = samis.load_run(run)
    rows = list(csv.DictReader((out / "regions.csv").open()))
    exact, outlines = COCO(str(out / "coco_rle.json")), COCO(str(out / "coco_polygons.json"))
    assert [image["file_name"] for image in exact.loadImgs(exact.getImgIds())] == [
        "a.png",
        "line 2/b.jpg",
        "line 2/c.png",
    ]
    assert len(rows) == len(exact.getAnnIds()) == len(outlines.getAnnIds()) == summary["regions"] > 0
    for image in exact.loadImgs(exact.getImgIds()):
        stem = Path(image["file_name"]).with_suffix("")
        mask, values = pixels(out / f"masks/{stem}.png"), pixels(out / f"maps/{stem}.png")
        assert set(np.unique(mask).tolist()) <= {0, 255}
        wanted = model.predict(np.asarray(Image.open(photos / image["file_name"]).convert("RGB")))
        assert np.abs(values / 255 - wanted).max() < 0.004
        parts = [exact.annToMask(annotation) for annotation in exact.loadAnns(exact.getAnnIds(image["id"]))]
        assert np.array_equal(np.sum(parts, axis=0) if parts else np.zeros_like(mask), mask // 255)
        areas = [int(row["area_px"]) for row in rows if row["image"] == image["file_name"]]
        assert areas == [part.sum() for part in parts]
        assert Image.open(out / f"overlays/{stem}.jpg").size == Image.open(out / f"thumbs/{stem}.jpg").size == (90, 70)
    assert float(rows[0]["area_mm2"]) == pytest.approx(int(rows[0]["area_px"]) / 4, rel=1e-5)
    assert not list(out.rglob("*.tmp"))
    page = json.loads((out / "index.html").read_text().partition('id="data">')[2].partition("</script>")[0])
    scores = {line["image"]: float(line["score"]) for line in csv.DictReader((out / "images.csv").open())}
    assert {photo["name"]: photo["score"] for photo in page["photos"]} == pytest.approx(scores, abs=1e-5)
    assert sum(photo["count"] for photo in page["photos"]) == len(rows)
    assert all(
        (out / photo["views"][view]).exists()
        for photo in page["photos"]
        for view in ("map", "mask", "regions")
        if " " not in photo["name"]
    )


def test_continues_where_it_stopped_and_keeps_the_tables_whole(run, photos, tmp_path, monkeypatch, capsys):
    out = tmp_path / "out"
    launch(monkeypatch, capsys, run, photos / "a.png", "--out", out)
    first = (out / "masks/a.png").stat().st_mtime_ns
    code, output, _ = launch(monkeypatch, capsys, run, photos, "--out", out, "--json")
    assert code == 0
    assert (json.loads(output)["images"], json.loads(output)["predicted_now"]) == (3, 2)
    assert (out / "masks/a.png").stat().st_mtime_ns == first
    Image.fromarray(np.zeros((70, 90), np.uint8)).save(photos / "a.png")
    code, output, _ = launch(monkeypatch, capsys, run, photos, "--out", out, "--json")
    assert json.loads(output)["predicted_now"] == 1, "a file that changed is predicted again"
    code, _, error = launch(monkeypatch, capsys, run, photos, "--out", out, "--threshold", "0.9")
    assert code == 2
    assert "threshold=0.375 there and 0.9 now" in error and "E-PREDICT-SETTINGS" in error
    code, output, _ = launch(
        monkeypatch, capsys, run, photos / "a.png", "--out", out, "--threshold", "0.9", "--redo", "--json"
    )
    assert (code, json.loads(output)["images"], json.loads(output)["predicted_now"]) == (0, 1, 1)
    assert not (out / "masks/line 2/b.png").exists(), "--redo removes the old pictures"


def test_an_image_is_done_only_when_all_its_files_are(run, photos, tmp_path, monkeypatch):
    from samis.prediction import predictions

    write = predictions._write_picture

    def full(path, values):
        if path.suffix == ".jpg":
            raise OSError(28, "No space left on device")
        write(path, values)

    model, out = samis.load_run(run), tmp_path / "out"
    with monkeypatch.context() as patch:
        patch.setattr(predictions, "_write_picture", full)
        with pytest.raises(OSError, match="No space"):
            model.predict_to(out, photos)
    assert (out / "masks/a.png").exists()
    assert not list(out.rglob("records/*"))
    assert len(list(csv.reader((out / "regions.csv").open()))) == 1, "the header alone: a whole table of nothing"
    assert model.predict_to(out, photos)["predicted_now"] == 3


def test_bad_files_are_listed_at_the_end(run, photos, tmp_path, monkeypatch, capsys):
    (photos / "cut.png").write_bytes((photos / "a.png").read_bytes()[:200])
    (photos / "text.png").write_text("no picture")
    code, output, error = launch(monkeypatch, capsys, run, photos, "--out", tmp_path / "out")
    assert code == 1
    assert "3 photos in" in output
    listed = [line for line in error.splitlines() if line.startswith("not predicted:")]
    assert len(listed) == 2
    assert "cut.png" in listed[0]
    assert set(json.loads((tmp_path / "out/predictions.json").read_text())["failed"]) == {
        str(photos / "cut.png"), str(photos / "text.png"),
    }  # fmt: skip


def test_a_box_on_a_tuned_model_and_prompts_from_a_csv(run, photos, tmp_path, monkeypatch, capsys):
    box = ["--box", "10,10,40,40"]
    assert launch(monkeypatch, capsys, run, photos / "a.png", "--out", tmp_path / "one", *box)[0] == 0
    table = tmp_path / "prompts.csv"
    table.write_text("image,x0,y0,x1,y1\na.png,10,10,40,40\nline 2/c.png,500,10,600,40\n")
    code, _, error = launch(
        monkeypatch, capsys, run, photos, "--out", tmp_path / "csv", "--prompts", table
    )  # fmt: skip
    assert code == 2
    assert "b.jpg" in error and "E-PREDICT-PROMPT-MISSING" in error
    named = [photos / "a.png", photos / "line 2" / "c.png"]
    table.write_text(table.read_text().replace("line 2/", ""))
    code, _, error = launch(monkeypatch, capsys, run, *named, "--out", tmp_path / "csv", "--prompts", table)
    assert code == 1, "the second box is outside its photo, the first is predicted all the same"
    assert "inside its 90x70 pixels" in error
    assert np.array_equal(pixels(tmp_path / "csv/maps/a.png"), pixels(tmp_path / "one/maps/a.png"))
    plain = samis.load_run(run).predict(np.asarray(Image.open(photos / "a.png")))
    assert np.abs(pixels(tmp_path / "one/maps/a.png") / 255 - plain).max() > 0.02


def test_the_notebook_predicts_paths_and_folders(run, photos, tmp_path):
    model = samis.load_run(run)
    predictions = model.predict(photos)
    assert [each.id for each in predictions] == ["a", "line 2/b", "line 2/c"]
    assert predictions[0].map.shape == predictions[0].mask.shape == (70, 90)
    assert np.array_equal(predictions[0].mask, predictions[0].map > 0.375)
    summary = model.predict_to(tmp_path / "out", [photos / "a.png"])
    assert (summary["images"], summary["predicted_now"]) == (1, 1)
    zero_shot = samis.load_sam("samis_lite")
    boxed = zero_shot.predict(photos / "a.png", boxes=[(10, 10, 40, 40)])[0]
    assert not np.array_equal(boxed.map, zero_shot.predict(photos / "a.png")[0].map)
    (photos / "cut.png").write_bytes(b"no")
    with pytest.raises(UserError, match=r"cut\.png"):
        model.predict(photos)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["{run}", "{photos}", "--out", "{tmp}/o", "adapter.rank=4"], "frame.overlap, segmenter.tta may differ"),
        (["{run}", "{photos}/nowhere.png", "--out", "{tmp}/o"], "expected a picture"),
        (["{run}", "{photos}", "--out", "{run}"], "E-PREDICT-OTHER-FILES"),
        (["{tmp}/nowhere", "{photos}", "--out", "{tmp}/o"], "expected a run folder"),
        (["{tmp}", "{photos}", "--out", "{tmp}/o"], "expected a run folder"),
        (["configs/zero_shot.yaml", "{photos}", "--out", "{tmp}/o", "prompt.kidn=grid"], "did you mean kind"),
        (["configs/zero_shot.yaml", "{photos}", "--out", "{tmp}/o", "prompt.kind=box"], "E-PREDICT-PROMPT-TRUTH"),
        (["{run}", "{photos}", "--out", "{tmp}/o", "--box", "5,5,2,9"], "x0 < x1"),
        (["{run}", "{photos}", "--out", "{tmp}/o", "--threshold", "2"], "E-PREDICT-OPTION"),
        (["{run}", "frame.tile_px=64", "--out", "{tmp}/o"], "expected photos"),
    ],
)
def test_mistakes_get_one_line_and_code_2(arguments, message, run, photos, tmp_path, monkeypatch, capsys):
    command = [word.format(run=run, photos=photos, tmp=tmp_path) for word in arguments]
    code, _, error = launch(monkeypatch, capsys, *command)
    assert code == 2
    (line,) = [line for line in error.splitlines() if line.startswith("error:")]
    assert message in line


def test_dry_run_writes_nothing(run, photos, tmp_path, monkeypatch, capsys):
    code, output, _ = launch(
        monkeypatch, capsys, run, photos, "frame.tile_px=64", "--out", tmp_path / "out", "--dry-run"
    )
    assert code == 0
    assert "3 photos" in output
    assert "tiles 64" in output
    assert not (tmp_path / "out").exists()


@pytest.mark.slow
def test_a_killed_run_leaves_whole_files_and_is_continued(run, tmp_path, monkeypatch, capsys):
    folder, out = tmp_path / "many", tmp_path / "out"
    folder.mkdir()
    rng = np.random.default_rng(0)
    for n in range(40):
        Image.fromarray(rng.integers(0, 255, (60, 60, 3), dtype=np.uint8)).save(folder / f"{n:02d}.png")
    command = [sys.executable, "evaluate/predict.py", str(run), str(folder), "--out", str(out), "--batch-size", "1"]
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "CUDA_VISIBLE_DEVICES": ""}
    child = subprocess.Popen(command, cwd=ROOT, env=environment, stdout=subprocess.PIPE, stderr=subprocess.PIPE)
    deadline = time.monotonic() + 120
    while len(list((out / "records").glob("*.json"))) < 3:
        assert time.monotonic() < deadline
        assert child.poll() is None, child.stderr.read().decode()
        time.sleep(0.02)
    child.send_signal(signal.SIGKILL)
    child.communicate()
    records = [path for path in (out / "records").glob("*.json") if not path.name.startswith(".")]
    assert 3 <= len(records) < 40
    for record in records:
        assert pixels(out / f"masks/{record.stem}.png").shape == (60, 60)
    code, output, _ = launch(monkeypatch, capsys, run, folder, "--out", out, "--json")
    assert code == 0
    assert json.loads(output)["images"] == 40
    assert json.loads(output)["predicted_now"] == 40 - len(records)
