"""What is exported, read by the tools it is meant for: peft, segment_anything, onnxruntime, transformers."""

import json
import math
import runpy
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from peft import PeftModel
from safetensors.torch import save_file
from segment_anything import SamPredictor, sam_model_registry

import samis.sam.architectures as architectures
from samis.adapters import apply_adapter
from samis.adapters.stock import save_for_stock
from samis.config import AdapterConfig, DataConfig, Experiment, SegmenterConfig, to_yaml
from samis.errors import UserError
from samis.evaluation.score_row import ScoreRow
from samis.export.merged import Probe
from samis.factory import build_learner
from samis.jobs.export import export, reasons_against
from samis.sam.architectures import Architecture, build_sam

ROOT = Path(__file__).resolve().parents[2]
SMALL = Architecture(
    48, 2, 3, (1,), window=3, frame_px=64, prompt_dim=32, decoder_mlp_dim=64, decoder_heads=2, iou_hidden_dim=32
)  # fmt: skip
TUNED = AdapterConfig(encoder=["q", "v", "mlp"], decoder=["full"], rank=3, alpha=5)


def build_small(checkpoint=None):
    """Build as segment_anything's registry does: its own modules, a strict load."""
    sam = build_sam("small")
    if checkpoint is not None:
        sam.load_state_dict(torch.load(checkpoint, weights_only=True))
    return sam


@pytest.fixture(autouse=True, scope="module")
def _small():
    patch = pytest.MonkeyPatch()
    patch.setitem(architectures.ARCHITECTURES, "small", SMALL)
    patch.setitem(sam_model_registry, "small", build_small)
    yield
    patch.undo()


def loud(sam):
    """Enlarge what random weights answer, so that masks are neither flat nor alike."""
    with torch.no_grad():
        for mlp in sam.mask_decoder.output_hypernetworks_mlps:
            mlp.layers[-1].weight *= 40
    return sam


def shake(adapted, size=0.08):
    generator = torch.Generator().manual_seed(2)
    with torch.no_grad():
        for name, _, parameter in adapted.trained():
            change = torch.randn(parameter.shape, generator=generator) * size
            if "mask_tokens" in name:
                change[1:] = 0
            parameter.add_(change)
    return adapted


def make_run(folder, architecture, adapter, weights):
    """Write a run folder as training leaves it, with an adapter that has moved."""
    config = Experiment(
        experiment="made", data=DataConfig(name="procedural"), adapter=adapter,
        segmenter=SegmenterConfig(architecture=architecture, weights=None if weights is None else str(weights)),
    )  # fmt: skip
    learner = build_learner(config)
    shake(learner.adapted)
    learner.save(folder / "best")
    (folder / "config.yaml").write_text(to_yaml(config))
    provenance = {
        "commit": "abc",
        "threshold": {"value": 0.25, "iou": 0.6, "images": 4},
        "validation": {"s_measure": 0.7},
    }
    (folder / "provenance.json").write_text(json.dumps(provenance))
    return folder, learner.adapted


@pytest.fixture(scope="module")
def base_file(tmp_path_factory):
    torch.manual_seed(0)
    path = tmp_path_factory.mktemp("base") / "small.safetensors"
    save_file(loud(build_sam("small")).state_dict(), path)
    return path


@pytest.fixture(scope="module")
def exported(tmp_path_factory, base_file):
    folder = tmp_path_factory.mktemp("run")
    run, adapted = make_run(folder / "run", "small", TUNED, base_file)
    row = {"kind": "tuned", "dataset": "d", "split": "test", "n_images": 7, "prompt": "empty", "mask_rule": "single"}
    provenance = json.loads((run / "provenance.json").read_text())
    ScoreRow(
        name="made",
        oracle=False,
        protocol="pysod",
        metrics={"s_measure": 0.4321},
        directions={"s_measure": 1},
        provenance={"training": provenance},
        **row,
    ).save(folder / "rows" / "made.json")
    written, left_out = export(run, folder / "out", rows=folder / "rows")
    assert left_out == {}
    return folder / "out", adapted, Probe.of(adapted.sam), {each.format: each for each in written}


def test_all_formats_are_written_and_nothing_else_stays(exported):
    out, _, _, written = exported
    assert sorted(written) == ["merged", "onnx", "peft", "transformers"]
    assert sorted(path.name for path in out.iterdir()) == [
        "README.md",
        "onnx",
        "peft",
        "sam_small_made.pth",
        "transformers",
    ]
    assert all(each.difference <= 1e-4 for each in written.values())


def test_the_probe_tells_tuned_from_untuned(exported, base_file):
    _, _, probe, _ = exported
    from safetensors.torch import load_file

    base = build_small()
    base.load_state_dict(load_file(base_file))
    assert np.abs(probe.masks_of(base) - probe.masks).max() > 0.01
    with pytest.raises(UserError, match=r"base.*E-EXPORT-DIFFERS"):
        probe.check(probe.masks_of(base), "base")


ADAPTERS = {
    "q+v, full decoder": TUNED,
    "q, rslora": AdapterConfig(encoder=["q"], decoder=["mlp"], rank=2, rslora=True),
    "k+v, dora": AdapterConfig(encoder=["k", "v"], decoder=[], rank=2, dora=True),
    "q+k+v, both": AdapterConfig(encoder=["q", "k", "v", "proj"], rank=2, rslora=True, dora=True),
    "qkv": AdapterConfig(encoder=["qkv"], rank=2),
}


@pytest.mark.parametrize("adapter", ADAPTERS.values(), ids=ADAPTERS)
def test_stock_peft_loads_the_folder_onto_a_stock_sam(adapter, tmp_path):
    torch.manual_seed(0)
    stock = loud(build_sam("small"))
    torch.manual_seed(0)
    adapted = shake(apply_adapter(loud(build_sam("small")), adapter))
    save_for_stock(adapted, tmp_path)
    before = Probe.of(stock)
    wanted = Probe.of(adapted.sam)
    PeftModel.from_pretrained(stock, str(tmp_path))
    assert np.abs(before.masks - wanted.masks).max() > 1e-3
    np.testing.assert_allclose(wanted.masks_of(stock), wanted.masks, atol=1e-5)
    assert type(stock.image_encoder.blocks[0].attn.qkv).__name__ != "SplitQkv"


def test_the_merged_file_loads_strictly_and_answers_the_same(exported):
    out, adapted, _, _ = exported
    stock, tuned = (
        SamPredictor(sam) for sam in (sam_model_registry["small"](checkpoint=out / "sam_small_made.pth"), adapted.sam)
    )
    image = np.random.default_rng(3).integers(0, 255, (50, 37, 3), dtype=np.uint8)
    for predictor in (stock, tuned):
        predictor.set_image(image)
    for prompt in (
        {"box": np.array([5, 5, 30, 40])},
        {"point_coords": np.array([[9, 9]]), "point_labels": np.array([1])},
        {},
    ):
        ours, theirs = (p.predict(**prompt, return_logits=True)[0] for p in (stock, tuned))
        np.testing.assert_allclose(ours, theirs, atol=1e-4)


def test_onnx_answers_for_images_of_any_size(exported):
    import onnxruntime

    out, adapted, _, _ = exported
    encoder, decoder = (
        onnxruntime.InferenceSession(str(out / "onnx" / f"{name}.onnx"), providers=["CPUExecutionProvider"])
        for name in ("encoder", "decoder")
    )
    assert [each.name for each in decoder.get_inputs()] == [
        "image_embeddings", "point_coords", "point_labels", "mask_input", "has_mask_input", "orig_im_size",
    ]  # fmt: skip
    assert [each.name for each in decoder.get_outputs()] == ["masks", "iou_predictions", "low_res_masks"]
    tuned = SamPredictor(adapted.sam)
    for seed, hw in enumerate([(48, 64), (90, 31), (64, 64)]):
        image = np.random.default_rng(seed).integers(0, 255, (*hw, 3), dtype=np.uint8)
        tuned.set_image(image)
        resized = torch.as_tensor(tuned.transform.apply_image(image)).permute(2, 0, 1)[None]
        (embedding,) = encoder.run(None, {"x": adapted.sam.preprocess(resized).numpy()})
        click = tuned.transform.apply_coords(np.array([[[12.0, 9.0], [0.0, 0.0]]]), hw)
        box = tuned.transform.apply_coords(np.array([[[3.0, 4.0], [25.0, 28.0]]]), hw)
        cases = [
            (click, [[1, -1]], {"point_coords": np.array([[12, 9]]), "point_labels": np.array([1])}),
            (box, [[2, 3]], {"box": np.array([3, 4, 25, 28])}),
            (np.zeros((1, 0, 2)), np.zeros((1, 0)), {}),
        ]
        for coordinates, labels, prompt in cases:
            masks, iou, _ = decoder.run(
                None,
                {
                    "image_embeddings": embedding, "point_coords": np.asarray(coordinates, np.float32),
                    "point_labels": np.asarray(labels, np.float32), "mask_input": np.ones((1, 1, 16, 16), np.float32),
                    "has_mask_input": np.array([-1 if seed else 0], np.float32), "orig_im_size": np.array(hw, np.float32),
                },
            )  # fmt: skip
            wanted, quality, _ = tuned.predict(**prompt, multimask_output=False, return_logits=True)
            assert masks.shape == (1, 1, *hw)
            np.testing.assert_allclose(masks[0], wanted, atol=2e-3)
            np.testing.assert_allclose(iou[0], quality, atol=1e-3)


def test_transformers_reads_the_folder(exported):
    from transformers import SamModel, SamProcessor

    out, _, probe, _ = exported
    model, processor = (
        SamModel.from_pretrained(out / "transformers").eval(),
        SamProcessor.from_pretrained(out / "transformers"),
    )
    inputs = processor(probe.picture, input_boxes=[[probe.box_xyxy.tolist()]], return_tensors="pt")
    assert inputs["pixel_values"].shape == (1, 3, 64, 64)
    with torch.no_grad():
        low = model(**inputs, multimask_output=False).pred_masks[0, 0, 0]
    np.testing.assert_allclose(low.sigmoid().numpy(), probe.masks[0], atol=0.02)  # its resize rounds otherwise
    masks = processor.post_process_masks(
        low[None, None, None], inputs["original_sizes"], inputs["reshaped_input_sizes"]
    )
    assert masks[0].shape[-2:] == probe.picture.shape[:2]


def test_the_card_says_what_it_is(exported):
    card = (exported[0] / "README.md").read_text()
    for text in ("license: apache-2.0", "procedural", "0.4321", "0.250", 'sam_model_registry["small"]', "sha256"):
        assert text in card


@pytest.mark.parametrize("name", ["bottleneck", "unfreeze"])
def test_what_cannot_be_written_is_told_in_one_line(name, base_file, tmp_path, monkeypatch, capsys):
    run, _ = make_run(
        tmp_path / "run", "small", AdapterConfig(name=name, encoder=["mlp"] if name == "bottleneck" else []), base_file
    )
    monkeypatch.chdir(ROOT)

    def launch(*words):
        monkeypatch.setattr(sys, "argv", ["evaluate/export.py", str(run), "--out", str(tmp_path / "out"), *words])
        try:
            runpy.run_path(str(ROOT / "evaluate/export.py"), run_name="__main__")
        except SystemExit as ended:
            return ended.code, capsys.readouterr()
        return 0, capsys.readouterr()

    code, printed = launch("--formats", "peft")
    assert code == 2
    assert len(printed.err.strip().splitlines()) == 1
    assert ("cannot be merged" if name == "bottleneck" else "no low-rank factors") in printed.err
    assert not (tmp_path / "out").exists()
    code, printed = launch("--dry-run")
    assert code == 0
    assert printed.out.count("not possible") == (4 if name == "bottleneck" else 1)
    if name == "unfreeze":
        code, printed = launch("--formats", "merged", "--json")
        assert code == 0
        assert json.loads(printed.out)["written"][0]["difference"] < 1e-4
        assert (tmp_path / "out" / "sam_small_made.pth").is_file()


def test_a_file_that_answers_otherwise_is_not_kept(base_file, tmp_path, monkeypatch):
    run, adapted = make_run(tmp_path / "run", "small", AdapterConfig(rank=2), base_file)
    honest = type(adapted).merged
    monkeypatch.setattr(type(adapted), "merged", lambda self: {k: v * 1.1 for k, v in honest(self).items()})
    with pytest.raises(UserError, match="E-EXPORT-DIFFERS"):
        export(run, tmp_path / "out", ["merged"])
    assert list((tmp_path / "out").iterdir()) == []


def test_a_shape_of_our_own_is_written_for_ourselves(tmp_path):
    run, _ = make_run(tmp_path / "run", "samis_lite", AdapterConfig(rank=2), None)
    written, _ = export(run, tmp_path / "out", ["merged", "onnx", "peft"])
    assert [Path(each.path).name for each in written] == ["samis_lite_made.safetensors", "onnx", "peft"]
    assert all(each.difference <= 1e-4 for each in written)
    assert "no registry of segment_anything" in (tmp_path / "out" / "README.md").read_text()
    config = Experiment(segmenter=SegmenterConfig(architecture="samis_lite"))
    assert list(reasons_against(config)) == ["transformers"]


@pytest.mark.slow
def test_the_registry_loads_vit_b_and_masks_agree_to_1e_4(tmp_path):
    """The real registry at 1024 px, from a file in the official format of random weights: every format."""
    torch.manual_seed(0)
    save_file(
        {k: v.contiguous() for k, v in loud(sam_model_registry["vit_b"]()).state_dict().items()},
        tmp_path / "b.safetensors",
    )
    adapter = AdapterConfig(encoder=["q", "v"], decoder=["attention", "mlp"], rank=4)
    run, adapted = make_run(tmp_path / "run", "vit_b", adapter, tmp_path / "b.safetensors")
    written, left_out = export(run, tmp_path / "out")
    assert left_out == {}
    assert len(written) == 4
    read_back = sam_model_registry["vit_b"](checkpoint=tmp_path / "out/sam_vit_b_made.pth")
    tuned, stock = SamPredictor(adapted.sam), SamPredictor(read_back)
    image = np.random.default_rng(3).integers(0, 255, (200, 300, 3), dtype=np.uint8)
    for predictor in (tuned, stock):
        predictor.set_image(image)
    ours, theirs = (p.predict(box=np.array([50, 60, 200, 150]), return_logits=True)[0] for p in (stock, tuned))
    assert np.abs(1 / (1 + np.exp(-ours)) - 1 / (1 + np.exp(-theirs))).max() < 1e-4
    assert math.isfinite(float(ours.sum()))
    print({each.format: each.difference for each in written})
