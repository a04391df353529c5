"""The Python of docs/tutorial.md, your-own-segmenter.md and adding-a-{metric,data-set,adapter}.md, run as it is on the pages."""

import importlib.util
import re
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from samis import adapters, api, data, metrics
from samis.adapters import apply_adapter
from samis.cli import main as samis_command
from samis.config import AdapterConfig
from samis.core.contracts import Prompt
from samis.errors import UserError
from samis.metrics import METRICS, PROTOCOLS, score_image
from samis.sam.architectures import build_sam
from samis.sam.forward import answer

DOCS = Path(__file__).resolve().parents[2] / "docs"


def example(page, tmp_path):
    """Return the module of a page's first code block, and its other blocks."""
    text = (DOCS / page).read_text(encoding="utf-8")
    first, *others = re.findall(r"```python\n(.*?)```", text, flags=re.S)
    path = tmp_path / "example.py"
    path.write_text(first)
    spec = importlib.util.spec_from_file_location(f"example_{page[:-3].replace('-', '_')}", path)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module, others


def test_the_metric(tmp_path, monkeypatch):
    module, (lines, check) = example("adding-a-metric.md", tmp_path)
    monkeypatch.setattr(metrics, "METRICS", dict(METRICS))
    monkeypatch.setattr(metrics, "PROTOCOLS", dict(PROTOCOLS))
    exec(lines, vars(metrics) | {"BalancedAccuracy": module.BalancedAccuracy})
    exec(check, {"np": np, "score_image": score_image})
    nothing, everything = np.zeros((4, 4), np.uint8), np.full((4, 4), 255, np.uint8)
    half = np.eye(4, dtype=bool)
    for map_u8, truth, expected in (
        (nothing, half, 0.5),
        (nothing, half & False, 1.0),
        (everything, half | True, 1.0),
        (everything, half & False, 0.0),
    ):
        scores = score_image(map_u8, truth, ["balanced_accuracy"])
        assert scores.values["balanced_accuracy"] == expected


def test_the_data_set(tmp_path, monkeypatch):
    module, (line,) = example("adding-a-data-set.md", tmp_path)
    table = eval(f"{{{line}}}", vars(module))
    monkeypatch.setattr(data, "DATASETS", {**data.DATASETS, **table})
    for folder in ("photos", "labels"):
        (tmp_path / "Casting" / folder).mkdir(parents=True)
    values = np.zeros((8, 8), np.uint8)
    Image.fromarray(values + 90).save(tmp_path / "Casting/photos/a.png")
    values[2, 2] = 255
    Image.fromarray(values).save(tmp_path / "Casting/labels/a.png")
    dataset = data.load_dataset("casting", root=tmp_path / "Casting", split="all")
    assert dataset.ids == ["a"] and dataset[0].mask.sum() == 1 and dataset.class_names == ["pore"]
    with pytest.raises(UserError, match="get 'Casting'"):
        data.load_dataset("casting", root=tmp_path / "none", split="all")


def test_the_adapter(tmp_path, monkeypatch):
    module, (line,) = example("adding-an-adapter.md", tmp_path)
    monkeypatch.setattr(adapters, "ADAPTERS", {**adapters.ADAPTERS, **eval(f"{{{line}}}", vars(module))})
    torch.manual_seed(0)
    sam = build_sam("samis_lite", frame_px=64)
    images = torch.randn(1, 3, 64, 64)
    with torch.no_grad():
        before = answer(sam, images, Prompt()).logits
    adapted = apply_adapter(sam, AdapterConfig(name="bias"))
    names = [name for name, _, _ in adapted.trained()]
    assert len(names) > 50 and all(name.endswith(".bias") for name in names)
    assert not any(name.startswith(("prompt_encoder.", "mask_decoder.iou_")) for name in names)
    with torch.no_grad():
        for _, _, parameter in adapted.trained():
            parameter.add_(0.1)
        changed = answer(adapted.sam, images, Prompt()).logits
        with adapted.disabled():
            assert torch.equal(answer(adapted.sam, images, Prompt()).logits, before)
    assert not torch.equal(changed, before)
    adapted.save(tmp_path / "saved")
    again = apply_adapter(build_sam("samis_lite", frame_px=64), AdapterConfig(name="bias"))
    again.load(tmp_path / "saved")
    mine, theirs = dict(adapted.sam.named_parameters()), dict(again.sam.named_parameters())
    assert all(torch.equal(mine[name], theirs[name]) for name in names)


def test_the_tutorial(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("samis.api.measure", lambda *_, **__: {})  # timing images takes most of the time
    blocks = re.findall(r"```python\n(.*?)```", (DOCS / "tutorial.md").read_text(encoding="utf-8"), flags=re.S)
    assert len(blocks) == 6
    names = {}
    for block in blocks:
        exec(compile(block, "tutorial.md", "exec"), names)
    assert names["after"].metrics["s_measure"] > names["before"].metrics["s_measure"]
    assert names["gap"].metric == "s_measure" and names["mine"].name == "DarkIsDefect"
    assert names["result"].mask.shape == names["sample"].mask.shape


def test_the_segmenter_of_your_own(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("samis.jobs.score.measure", lambda *_, **__: {})
    text = (DOCS / "your-own-segmenter.md").read_text(encoding="utf-8")
    names = {}
    for block in re.findall(r"```python\n(.*?)```", text, flags=re.S):
        exec(compile(block, "your-own-segmenter.md", "exec"), names)
    rows, test = names["rows"], names["test"]
    assert [row.kind for row in rows] == ["zero_shot", "tuned", "baseline"]
    assert rows[2].provenance["architecture"] == "deeplabv3_mobilenet_v3_large"
    # Random weights give nearly flat maps: larger ones spread them, so that rounding to 8 bits does not count.
    network = names["network"].eval()
    with torch.no_grad():
        network.classifier[-1].weight *= 300
    torch.save(network.state_dict(), "spread.pt")
    row = api.score(names["DeepLab"]("spread.pt"), test)
    # The same number without samis: the photo scaled to 1024, padded, through the network, cut and scaled back.
    sample = test[0]
    height, width = sample.mask.shape
    scale = 1024 / max(height, width)
    scaled_hw = (round(height * scale), round(width * scale))
    image = torch.from_numpy(sample.image).permute(2, 0, 1)[None].float() / 255
    image = torch.nn.functional.interpolate(image, scaled_hw, mode="bilinear", antialias=True)
    image = (image - torch.tensor([0.485, 0.456, 0.406]).view(3, 1, 1)) / torch.tensor([0.229, 0.224, 0.225]).view(
        3, 1, 1
    )
    image = torch.nn.functional.pad(image, (0, 1024 - scaled_hw[1], 0, 1024 - scaled_hw[0]))
    with torch.inference_mode():
        logits = network(image)["out"]
    shown = logits.sigmoid()[..., : scaled_hw[0], : scaled_hw[1]]
    values = torch.nn.functional.interpolate(shown, (height, width), mode="bilinear", antialias=True)[0, 0].numpy()
    values = (values - values.min()) / (values.max() - values.min())
    expected = float(np.abs(values - sample.mask).mean())
    (mae,) = (image["mae"] for image in row.images if image["id"] == sample.id)
    assert mae == pytest.approx(expected, abs=0.01)
    samis_command(["compare", "rows", "--out", "report"])
    page = (tmp_path / "report/index.html").read_text(encoding="utf-8")
    assert page.count("DeepLabV3, MobileNetV3") > 1
