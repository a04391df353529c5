"""Files for a production line: what onnxruntime and OpenVINO make of a photo is what samis makes of it."""

import functools
import json
import re
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from segment_anything import sam_model_registry

import samis.sam.architectures as architectures
from samis.cli import main
from samis.config import AdapterConfig, DataConfig, Experiment, FrameConfig, PromptConfig, SegmenterConfig, to_yaml
from samis.core.contracts import Sample
from samis.core.geometry import Framing, frame_image, place, scaled_size
from samis.data import load_dataset
from samis.errors import UserError
from samis.export.exported import map_of, open_file
from samis.export.photo_graph import EnterFrame, enlarge_matrix, scaled_hw
from samis.export.photo_onnx import pooling_by_products
from samis.export.stock_sam import SamLogits, stock_forwards
from samis.factory import build_learner
from samis.jobs.line_ready import write_line_files
from samis.jobs.line_scores import score_table
from samis.jobs.load import load_run
from samis.prediction import Predictor
from samis.prompts import build_prompter
from samis.sam.architectures import Architecture

pytest.importorskip("onnxruntime", reason="onnxruntime is not installed")
ROOT = Path(__file__).resolve().parents[2]
SMALL = Architecture(
    48, 2, 3, (1,), window=3, frame_px=64, prompt_dim=32, decoder_mlp_dim=64, decoder_heads=2, iou_hidden_dim=32
)  # fmt: skip
DATA = DataConfig(name="procedural", options={"surface": "steel", "count": 2, "clean_share": 0.0})
SIZES = [(64, 64), (200, 200), (61, 97), (33, 20), (150, 413), (1, 5)]
NETWORKS = {
    "lora": {"adapter": AdapterConfig(encoder=["q", "v"], decoder=["full"], rank=3)},
    "bottleneck": {"adapter": AdapterConfig(name="bottleneck", encoder=["mlp"], decoder=["full"], width=4)},
    "whole": {"adapter": AdapterConfig(encoder=["q"], decoder=["full"], rank=3), "prompt": PromptConfig(kind="whole")},
    "unet": {"segmenter": SegmenterConfig(name="unet", backbone="resnet18", pretrained=False)},
    "tiles": {
        "adapter": AdapterConfig(encoder=["q"], decoder=["full"], rank=3), "frame": FrameConfig(frame_px=64, tile_px=80),
    },
}  # fmt: skip


@pytest.fixture(autouse=True, scope="module")
def _small():
    patch = pytest.MonkeyPatch()
    patch.setitem(architectures.ARCHITECTURES, "small", SMALL)
    patch.setitem(sam_model_registry, "small", None)
    yield
    patch.undo()


def make_run(folder, name):
    """Write a run folder as training leaves it, with weights whose maps are neither flat nor alike."""
    parts = {"segmenter": SegmenterConfig(architecture="small", weights="random"), "frame": FrameConfig(frame_px=64)}
    config = Experiment(experiment=f"made_{name}", data=DATA, **{**parts, **NETWORKS[name]})
    learner = build_learner(config)
    with torch.no_grad():
        for _, _, parameter in learner.adapted.trained() if hasattr(learner, "adapted") else ():
            if parameter.ndim > 1:
                parameter.add_(torch.randn(parameter.shape) * 0.05)
        values = spread_logits(learner.eval(), config)
    learner.eval().save(folder / "best")
    (folder / "config.yaml").write_text(to_yaml(config))
    provenance = {
        "threshold": {"value": round(float(np.median(values)), 6), "iou": 0.6, "images": 4},
        "data_fingerprint": "f" * 64,
    }
    (folder / "provenance.json").write_text(json.dumps(provenance))
    return folder


@pytest.fixture(scope="module")
def runs(tmp_path_factory):
    place_ = tmp_path_factory.mktemp("runs")
    made = {}

    def get(name):
        if name not in made:
            folder = make_run(place_ / name, name)
            report = write_line_files(folder, place_ / f"out_{name}", ["onnx"])
            made[name] = folder, place_ / f"out_{name}", report
        return made[name]

    return get


def spread_logits(learner, config):
    """Choose the last layer so that logits of a photo have mean 0 and standard deviation 2; return its map."""
    seen = []
    unet = not hasattr(learner, "adapted")
    sam = None if unet else learner.adapted.sam
    last = learner.network.head if unet else sam.mask_decoder.output_upscaling
    hook = last.register_forward_hook(lambda module, inputs, output: seen.append(inputs[0] if unet else output))
    images, shown = EnterFrame(64)(torch.from_numpy(photo_of((97, 61)))[None])
    if unet:
        learner.network(images)
    else:
        with stock_forwards(sam):
            SamLogits(sam, config.prompt.kind)(images, shown)
    hook.remove()
    features = seen[0][0].flatten(1).double()  # (channels, places)
    mean = features.mean(1, keepdim=True)
    direction = torch.linalg.svd(features - mean, full_matrices=False)[0][:, :1]
    direction = direction - mean * (direction * mean).sum() / (mean * mean).sum()
    direction = (direction * 2 / (direction.T @ features).std()).float()[:, 0]
    if unet:
        learner.network.head.weight.copy_(direction[None, :, None, None])
        learner.network.head.bias.zero_()
    else:
        layer = sam.mask_decoder.output_hypernetworks_mlps[0].layers[2]
        layer.weight.zero_()
        layer.bias.copy_(direction)
    predictor = Predictor(learner.segmenter(), Framing(64), build_prompter(config.prompt))
    return predictor.maps([Sample("photo", photo_of((97, 61)))])[0]


def photo_of(hw):
    drawn = load_dataset("procedural", split="test", surface="steel", count=1)[0].image
    return np.asarray(Image.fromarray(drawn).resize((hw[1], hw[0])))


@functools.cache
def loaded(folder):
    return load_run(folder)


def threshold_of(folder):
    return loaded(folder).threshold


def own_map(folder, photo, *, whole=True):
    run = loaded(folder)
    framing = Framing(64) if whole else Framing(64, run.config.frame.tile_px, run.config.frame.overlap)
    return Predictor(run.segmenter, framing, build_prompter(run.config.prompt)).maps([Sample("photo", photo)])[0]


@pytest.mark.parametrize("hw", [*SIZES, (640, 480), (1003, 997), (300, 900)])
def test_framing_inside_the_graph_is_pillows_to_the_last_bit(hw):
    photo = np.random.default_rng(0).integers(0, 256, (*hw, 3), dtype=np.uint8)
    expected = frame_image(photo, place(hw, (0, 0, hw[1], hw[0]), 64))
    framed, shown = EnterFrame(64)(torch.from_numpy(photo)[None])
    assert shown.tolist() == list(scaled_size(hw, 64))
    torch.testing.assert_close(framed[0], expected, rtol=0, atol=1e-6)


@pytest.mark.parametrize("frame_px", [256, 320, 1024])
def test_the_scaled_size_is_that_of_samis(frame_px):
    tried = 0
    for longest in [*range(1, 700, 13), 1023, 1536, 2448, 4096, 8191]:
        for other in {1, 2, 3, longest // 7 + 1, longest // 2 + 1, longest}:
            hw = (min(other, longest), longest)
            found = scaled_hw(torch.tensor(hw, dtype=torch.float32), frame_px)
            assert found.tolist() == list(scaled_size(hw, frame_px)), hw
            tried += 1
    assert tried > 250


@pytest.mark.parametrize(("shown", "length"), [(64, 200), (43, 61), (64, 20), (1, 7), (9, 1)])
def test_the_way_back_is_torchs_bilinear_resize(shown, length):
    values = torch.randn(64, generator=torch.Generator().manual_seed(0))
    expected = torch.nn.functional.interpolate(values[None, None, :shown], length, mode="linear", align_corners=False)
    made = enlarge_matrix(torch.tensor(float(shown)), torch.tensor(float(length)), 64) @ values
    torch.testing.assert_close(made, expected[0, 0], rtol=0, atol=5e-5)


@pytest.mark.parametrize("name", NETWORKS)
def test_an_onnx_map_is_the_runs_own(runs, name):
    folder, out, report = runs(name)
    assert report["files"][0]["difference"] <= 1e-4
    file = open_file(out / f"made_{name}.onnx")
    spread, marked = 0.0, 0
    for hw in SIZES:
        photo = photo_of(hw)
        expected, (values, mask) = own_map(folder, photo), file(photo)
        assert values.shape == mask.shape == hw and values.dtype == np.float32
        np.testing.assert_allclose(values, expected, rtol=0, atol=1e-4)
        sure = np.abs(expected - threshold_of(folder)) > 1e-4
        np.testing.assert_array_equal(mask[sure], (expected > threshold_of(folder))[sure])
        assert sure.mean() > 0.9
        spread, marked = max(spread, float(np.ptp(expected))), marked + int(mask.sum())
    assert spread > 0.2 and marked
    assert list(out.iterdir()) and not [path for path in out.iterdir() if path.name.startswith(".")]


@pytest.mark.parametrize("size", [1, 2, (3, 6), (7, 5), (None, 4)])
def test_pooling_by_products_is_torchs(size):
    x = torch.randn(2, 3, 7, 16, generator=torch.Generator().manual_seed(0))
    expected = torch.nn.functional.adaptive_avg_pool2d(x, size)
    with pooling_by_products():
        made = torch.nn.functional.adaptive_avg_pool2d(x, size)
    assert torch.nn.functional.adaptive_avg_pool2d.__module__ == "torch.nn.functional"
    torch.testing.assert_close(made, expected)


def test_several_photos_at_once_are_each_alone(runs):
    import onnxruntime

    _, out, _ = runs("lora")
    session = onnxruntime.InferenceSession(str(out / "made_lora.onnx"))
    photos = np.stack([photo_of((61, 97)), photo_of((61, 97))[::-1], photo_of((61, 97))[:, ::-1]])
    maps, masks = session.run(["map", "mask"], {"photo": photos})
    for photo, values, mask in zip(photos, maps, masks, strict=True):
        alone = session.run(["map", "mask"], {"photo": photo[None]})
        np.testing.assert_allclose(values, alone[0][0], rtol=0, atol=1e-5)
        assert mask.shape == (61, 97)
    assert np.abs(maps[0] - maps[1]).max() > 0.01


def test_the_file_says_what_it_is(runs):
    import onnxruntime

    folder, out, _ = runs("tiles")
    about = onnxruntime.InferenceSession(str(out / "made_tiles.onnx")).get_modelmeta().custom_metadata_map
    assert float(about["threshold"]) == threshold_of(folder) and about["threshold_from"] == "validation"
    assert json.loads(about["pixel_mean"]) == [123.675, 116.28, 103.53]
    assert about["frame_px"] == "64" and about["tile_px"] == "80" and "tiles of 80 px" in about["tiling"]
    assert about["network"] == "small" and about["data_fingerprint"] == "f" * 64


def test_tiles_are_cut_outside_and_blended_as_samis_does(runs):
    folder, out, _ = runs("tiles")
    photo, run = photo_of((200, 200)), loaded(folder)
    framing = Framing(64, 80, run.config.frame.overlap)
    expected = own_map(folder, photo, whole=False)
    file = open_file(out / "made_tiles.onnx")
    blended = map_of(file, photo, framing.placements((200, 200)))
    # samis resizes a tile's probabilities, the file the logits, as for whole photos
    assert np.abs(blended - expected).max() < 0.05 and np.abs(blended - expected).mean() < 0.005
    assert np.abs(file(photo)[0] - expected).mean() > 0.01


@pytest.mark.parametrize("name", ["lora", "unet"])
def test_openvino_files_are_close_and_scored_next_to_the_run(runs, name, tmp_path):
    pytest.importorskip("openvino", reason="openvino is not installed")
    pytest.importorskip("nncf", reason="nncf is not installed")
    folder, _, _ = runs(name)
    report = write_line_files(folder, tmp_path, ["onnx", "openvino-fp16", "openvino-int8"], score=True, calibrate=2)
    assert sorted(path.name for path in tmp_path.iterdir()) == sorted(
        [f"made_{name}{end}" for end in (".onnx", "_fp16.xml", "_fp16.bin", "_int8.xml", "_int8.bin")]
        + ["line_ready.json"]
    )
    assert json.loads((tmp_path / "line_ready.json").read_text()) == json.loads(json.dumps(report))
    files = {file["target"]: file for file in report["files"]}
    assert files["onnx"]["difference"] < min(1e-4, files["openvino-fp16"]["difference"])
    assert files["openvino-fp16"]["difference"] < 0.1
    assert files["openvino-fp16"]["megabytes"] < files["onnx"]["megabytes"]
    assert report["calibration"] == {"split": "val", "photos": 2} and report["scored"]["images"] == 2
    original = report["original"]
    for target, file in files.items():
        scores = file["scores"]
        assert 0 < scores["p50_ms"] <= scores["p95_ms"] and scores["device"] == original["device"]
        allowed = {"onnx": 1e-4, "openvino-fp16": 0.05, "openvino-int8": 0.3}[target]
        assert abs(scores["metrics"]["s_measure"] - original["metrics"]["s_measure"]) < allowed
    assert files["onnx"]["scores"]["mask_iou"] == pytest.approx(original["mask_iou"], abs=1e-4)
    photo = photo_of((61, 97))
    values, mask = open_file(tmp_path / f"made_{name}_fp16.xml")(photo)
    assert np.array_equal(mask, values > np.float32(threshold_of(folder)))
    import openvino

    model = openvino.Core().read_model(str(tmp_path / f"made_{name}_int8.xml"))
    assert float(model.get_rt_info(["samis", "threshold"]).astype(str)) == threshold_of(folder)
    quantised = {op.get_friendly_name() for op in model.get_ops() if op.get_type_name() == "FakeQuantize"}
    assert quantised and not [each for each in quantised if "enter/" in each or "leave/" in each]
    table = score_table(report)
    assert [line.split()[0] for line in table.splitlines()[2:6]] == ["original", *files]
    assert f"{original['metrics']['s_measure']:.3f}" in table


def test_scores_without_openvino(runs, tmp_path):
    folder, _, _ = runs("unet")
    report = write_line_files(folder, tmp_path, ["onnx"], score=True, split="val")
    own, exported = report["original"], report["files"][0]["scores"]
    assert report["scored"]["split"] == "val"
    assert exported["metrics"] == pytest.approx(own["metrics"], abs=1e-4)
    expected = []
    for sample in (load_dataset("procedural", split="val", **DATA.options)[n] for n in range(2)):
        mask = own_map(folder, sample.image) > threshold_of(folder)
        expected.append((mask & sample.mask).sum() / (mask | sample.mask).sum())
    assert own["mask_iou"] == pytest.approx(np.mean(expected), abs=1e-4)


def mistake(words, capsys):
    with pytest.raises(SystemExit) as ended:
        main([str(word) for word in words])
    error = capsys.readouterr().err
    assert ended.value.code == 2 and error.startswith("error: ")
    assert len([line for line in error.splitlines() if line.startswith("error")]) == 1
    return error


def test_mistakes_are_one_line_with_a_code(runs, tmp_path, capsys, monkeypatch):
    folder, _, _ = runs("lora")
    out = tmp_path / "out"
    error = mistake(["export", folder, "--out", out, "--to", "onnx,openvino-in8"], capsys)
    assert "E-EXPORT-TARGET" in error and "did you mean openvino-int8?" in error
    assert "E-EXPORT-SCORE" in mistake(["export", folder, "--score"], capsys)
    assert "E-EXPORT-OVERRIDE" in mistake(["export", folder, "--to", "onnx", "frame.tile_px=32"], capsys)
    monkeypatch.setitem(sys.modules, "openvino", None)
    error = mistake(["export", folder, "--out", out, "--to", "openvino-fp16"], capsys)
    assert "E-EXPORT-PACKAGE" in error and "samis[openvino]" in error
    assert not out.exists()


@pytest.mark.parametrize("overrides", [["data.name=folder", "data.root=nowhere", "data.options={}"], []])
def test_int8_without_validation_images_is_refused(runs, tmp_path, overrides, monkeypatch):
    monkeypatch.setattr("samis.jobs.line_ready.check_installed", lambda *packages: None)
    folder, _, _ = runs("lora")
    calibrate = 100 if overrides else 0
    with pytest.raises(UserError, match="E-EXPORT-CALIBRATION") as raised:
        write_line_files(folder, tmp_path / "out", ["openvino-int8"], overrides=overrides, calibrate=calibrate)
    assert "data.val=val" in str(raised.value) and not (tmp_path / "out").exists()


@pytest.mark.parametrize(
    ("section", "code"),
    [({"prompt": PromptConfig(kind="box")}, "E-EXPORT-PROMPT"),
     ({"prompt": PromptConfig(kind="grid")}, "E-EXPORT-PROMPT"),
     ({"segmenter": SegmenterConfig(architecture="small", weights="random", tta="flips")}, "E-EXPORT-TTA")],
)  # fmt: skip
def test_runs_that_need_more_than_a_photo_are_refused(tmp_path, section, code):
    config = Experiment(data=DATA, **{"segmenter": SegmenterConfig(architecture="small", weights="random"), **section})
    (tmp_path / "best").mkdir()
    (tmp_path / "config.yaml").write_text(to_yaml(config))
    with pytest.raises(UserError, match=code):
        write_line_files(tmp_path, tmp_path / "out", ["onnx"])


def test_a_runtime_that_lacks_an_operator_says_so(tmp_path):
    import onnx
    from onnx import TensorProto, helper

    inside = helper.make_tensor_value_info("photo", TensorProto.UINT8, [1, None, None, 3])
    outside = helper.make_tensor_value_info("map", TensorProto.FLOAT, [1, None, None])
    node = helper.make_node("NotYetInvented", ["photo"], ["map"])
    model = helper.make_model(
        helper.make_graph([node], "g", [inside], [outside]), opset_imports=[helper.make_opsetid("", 17)], ir_version=8
    )
    onnx.save(model, str(tmp_path / "new.onnx"))
    with pytest.raises(UserError, match="E-EXPORT-OPERATOR") as raised:
        open_file(tmp_path / "new.onnx")
    assert "new.onnx" in str(raised.value) and "NotYetInvented" in str(raised.value)


def test_a_file_with_other_maps_is_not_kept(runs, tmp_path, monkeypatch):
    folder, _, _ = runs("lora")
    monkeypatch.setattr("samis.export.photo_graph.PIXEL_MEAN", (100.0, 100.0, 100.0))
    with pytest.raises(UserError, match="E-EXPORT-DIFFERS"):
        write_line_files(folder, tmp_path / "out", ["onnx"])
    assert list((tmp_path / "out").iterdir()) == []


def test_the_snippets_of_the_page_mark_what_samis_marks(runs, tmp_path, monkeypatch):
    from samis.jobs.export import export

    folder, out, _ = runs("lora")
    blocks = re.findall(r"```python\n(.*?)```", (ROOT / "docs/export.md").read_text(encoding="utf-8"), re.DOTALL)
    assert len(blocks) == 3
    (tmp_path / "exports/line").mkdir(parents=True)
    (tmp_path / "photos").mkdir()
    photo = photo_of((61, 97))
    Image.fromarray(photo).save(tmp_path / "photos/new.png")
    export(folder, tmp_path / "exports/demo", ["onnx"])
    (tmp_path / "exports/line/demo_lora.onnx").write_bytes((out / "made_lora.onnx").read_bytes())
    expected = own_map(folder, photo) > threshold_of(folder)
    assert 0 < expected.mean() < 1 and (expected != (own_map(folder, photo) > 0.5)).any()
    monkeypatch.chdir(tmp_path)
    tried = 0
    for block in blocks:
        if "import openvino" in block:
            try:
                import openvino  # noqa: F401
            except ImportError:
                continue
            from samis.export.openvino import write_half

            write_half(Path("exports/line/demo_lora.onnx"), Path("exports/line/demo_lora_fp16.xml"), {})
        names = {}
        exec(block, names)
        share = (np.asarray(names["defects"]).astype(bool) != expected).mean()
        assert share <= (0.01 if "openvino" in block else 0.0)
        tried += 1
    assert tried >= 2
