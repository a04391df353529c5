"""Files in the official format (made here from random weights) load strictly, and give segment_anything's own model."""

import pytest
import torch
from segment_anything import sam_model_registry

from samis.core.contracts import Prompt
from samis.errors import UserError
from samis.sam.forward import answer
from samis.sam.weights import load_sam


@pytest.fixture(scope="module")
def stock():
    torch.manual_seed(0)
    return sam_model_registry["vit_b"]()


@pytest.fixture(scope="module")
def official_file(stock, tmp_path_factory):
    path = tmp_path_factory.mktemp("official") / "sam_vit_b_01ec64.pth"
    torch.save(stock.state_dict(), path)
    yield path
    path.unlink()


def test_loads_strictly_with_the_same_keys_and_shapes(stock, official_file):
    ours, wanted = load_sam("vit_b", weights=official_file).state_dict(), stock.state_dict()
    assert list(ours) == list(wanted)
    assert all(torch.equal(ours[name], wanted[name]) for name in wanted)


def test_is_found_in_the_checkpoints_folder(official_file, tmp_path, monkeypatch):
    (tmp_path / "sam").mkdir()
    (tmp_path / "sam" / official_file.name).symlink_to(official_file)
    monkeypatch.setenv("SAMIS_CHECKPOINTS", str(tmp_path))
    assert load_sam("vit_b", frame_px=256).image_encoder.img_size == 256


def test_another_official_size_is_told(official_file, monkeypatch):
    with pytest.raises(UserError, match=r"this looks like vit_b.*E-SAM-OTHER-ARCHITECTURE"):
        load_sam("samis_lite", weights=official_file)


@pytest.mark.slow
def test_answers_equal_stock_at_1024(stock, official_file):
    raw = torch.rand(1, 3, 1024, 768, generator=torch.Generator().manual_seed(0)) * 255
    box = torch.tensor([[100.0, 120.0, 500.0, 640.0]])
    wanted = stock([{"image": raw[0], "original_size": (1024, 768), "boxes": box}], multimask_output=True)[0]
    sam = load_sam("vit_b", weights=official_file)
    with torch.no_grad():
        output = answer(sam, sam.preprocess(raw), Prompt("box", boxes_xyxy=box[None]))
    torch.testing.assert_close(output.logits[0, :, 1:], wanted["low_res_logits"], atol=1e-4, rtol=1e-4)
    torch.testing.assert_close(output.iou[0, :, 1:], wanted["iou_predictions"], atol=1e-4, rtol=1e-4)
