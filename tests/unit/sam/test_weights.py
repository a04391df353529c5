"""Weights files: what is understood, what is refused, and in which words."""

import os

import numpy as np
import pytest
import torch
from safetensors.torch import save_file

from samis.core import shipped
from samis.core.files import file_sha256
from samis.errors import UserError
from samis.sam.architectures import ARCHITECTURES, EMBEDDED, build_sam
from samis.sam.attention import _fused_forward
from samis.sam.weights import architecture_of, find_weights, load_sam, read_weights


@pytest.fixture(scope="module")
def state():
    torch.manual_seed(0)
    return build_sam("samis_lite", frame_px=64).state_dict()


def assert_loads(path, state):
    got = load_sam("samis_lite", weights=path, frame_px=64).state_dict()
    assert got.keys() == state.keys()
    assert all(torch.equal(got[name], state[name]) for name in state)


def refused(path, architecture="samis_lite") -> str:
    with pytest.raises(UserError) as caught:
        load_sam(architecture, weights=path)
    message = str(caught.value)
    assert message.startswith(str(path)) and "\n" not in message
    return message


class TestUnderstood:
    def test_half_precision_on_disk_is_float32_in_memory(self, tmp_path, state):
        path = tmp_path / "model.safetensors"
        save_file({name: tensor.half().contiguous() for name, tensor in state.items()}, path)
        sam = load_sam("samis_lite", weights=path, frame_px=64)
        assert {tensor.dtype for tensor in sam.state_dict().values()} == {torch.float32}
        assert not sam.training
        assert_loads(path, {name: tensor.half().float() for name, tensor in state.items()})

    @pytest.mark.parametrize("wrapper", [None, "model", "state_dict"])
    @pytest.mark.parametrize("prefix", ["", "module.", "model.", "sam.", "module.model.sam."])
    def test_wrappers_and_prefixes(self, tmp_path, state, wrapper, prefix):
        content = {prefix + name: tensor for name, tensor in state.items()}
        torch.save(content if wrapper is None else {wrapper: content, "epoch": 3}, tmp_path / "a.pth")
        assert_loads(tmp_path / "a.pth", state)

    def test_numpy_numbers_beside_the_weights(self, tmp_path, state):
        numbers = {"best": np.float64(0.5), "lr": np.float32(0.1), "step": np.int64(7)}
        torch.save({"model": state, **numbers}, tmp_path / "a.pth")
        assert_loads(tmp_path / "a.pth", state)

    def test_the_old_file_format(self, tmp_path, state):
        torch.save(state, tmp_path / "a.pth", _use_new_zipfile_serialization=False)
        assert_loads(tmp_path / "a.pth", state)

    @pytest.mark.parametrize("inner", ["model.safetensors", "best/model.safetensors"])
    def test_a_run_folder(self, tmp_path, state, inner):
        (tmp_path / inner).parent.mkdir(exist_ok=True)
        save_file(state, tmp_path / inner)
        assert find_weights("samis_lite", tmp_path) == tmp_path / inner
        assert_loads(tmp_path, state)

    def test_another_frame_interpolates_positions_and_nothing_else(self, tmp_path, state):
        torch.save(state, tmp_path / "a.pth")
        moved = load_sam("samis_lite", weights=tmp_path / "a.pth", frame_px=96).state_dict()
        assert moved["image_encoder.pos_embed"].shape[1:3] == (6, 6)
        same = [name for name in state if "pos_embed" not in name and "rel_pos" not in name]
        assert all(torch.equal(moved[name], state[name]) for name in same)

    def test_random_needs_no_file_and_attention_is_fused_by_default(self):
        fused = load_sam("samis_lite", weights="random", frame_px=64).image_encoder.blocks[0].attn
        stock = (
            load_sam("samis_lite", weights="random", frame_px=64, fused_attention=False).image_encoder.blocks[0].attn
        )
        assert fused.forward.__func__ is _fused_forward
        assert stock.forward.__func__ is not _fused_forward


class TestRefused:
    def test_code_in_a_pickle_is_not_run(self, tmp_path, state):
        class Payload:
            def __reduce__(self):
                return os.mkdir, (str(tmp_path / "harmed"),)

        torch.save({"model": state, "extra": Payload()}, tmp_path / "a.pth")
        assert "E-SAM-UNSAFE" in refused(tmp_path / "a.pth")
        assert not (tmp_path / "harmed").exists()

    @pytest.mark.parametrize("name", ["a.pth", "a.safetensors"])
    @pytest.mark.parametrize("content", [b"", b"no checkpoint at all " * 20])
    def test_a_file_of_another_kind(self, tmp_path, name, content):
        (tmp_path / name).write_bytes(content)
        assert "E-SAM-DAMAGED" in refused(tmp_path / name)

    @pytest.mark.parametrize("name", ["a.pth", "a.safetensors"])
    def test_a_file_cut_short(self, tmp_path, state, name):
        torch.save(state, tmp_path / name) if name.endswith("pth") else save_file(state, tmp_path / name)
        whole = (tmp_path / name).read_bytes()
        (tmp_path / name).write_bytes(whole[: len(whole) // 2])
        assert "E-SAM-DAMAGED" in refused(tmp_path / name)

    @pytest.mark.parametrize("content", [{"fc.weight": torch.zeros(2)}, torch.zeros(2), {"epoch": 3}, [1, 2]])
    def test_no_sam(self, tmp_path, content):
        torch.save(content, tmp_path / "a.pth")
        assert "E-SAM-NO-SAM" in refused(tmp_path / "a.pth")

    def test_another_architecture_is_named(self, tmp_path, state):
        torch.save(state, tmp_path / "a.pth")
        message = refused(tmp_path / "a.pth", "vit_b")
        assert "segmenter.architecture=samis_lite" in message and "E-SAM-OTHER-ARCHITECTURE" in message

    @pytest.mark.parametrize(("name", "width", "depth"), [("samis_tiny", 192, 8), ("samis_small", 384, 12)])
    def test_weights_of_a_removed_architecture_are_named_with_what_to_do(self, tmp_path, name, width, depth):
        """The names and shapes of the weights that this project shipped until commit 31d036d."""
        path = tmp_path / "model.safetensors"
        state = {f"image_encoder.blocks.{i}.norm1.weight": torch.zeros(width) for i in range(depth)}
        state["image_encoder.pos_embed"] = torch.zeros(1, 16, 16, width)
        state["image_encoder.patch_embed.inner.0.weight"] = torch.zeros(32, 3, 3, 3)
        state["image_encoder.patch_embed.proj.weight"] = torch.zeros(width, 128, 3, 3)
        save_file(state, path)
        message = refused(path, EMBEDDED)
        assert f"this looks like {name}: " in message and "E-SAM-OTHER-ARCHITECTURE" in message
        assert "segmenter.weights=null" in message

    def test_a_removed_architecture_is_named_with_what_to_do(self):
        with pytest.raises(UserError, match=r"samis_tiny.*take samis_lite.*E-SAM-REMOVED"):
            load_sam("samis_tiny")

    def test_a_missing_an_unknown_and_a_misshapen_tensor(self, tmp_path, state):
        for change, words in (
            ({"mask_decoder.iou_token.weight": None}, "1 tensors missing, such as mask_decoder.iou_token.weight"),
            (
                {"mask_decoder.hq_token.weight": torch.zeros(1, 128)},
                "1 tensors unknown, such as mask_decoder.hq_token.weight",
            ),
            ({"mask_decoder.iou_token.weight": torch.zeros(1, 7)}, "iou_token.weight is (1, 7), not (1, 128)"),
        ):
            content = {name: tensor for name, tensor in {**state, **change}.items() if tensor is not None}
            torch.save(content, tmp_path / "a.pth")
            message = refused(tmp_path / "a.pth")
            assert words in message and "E-SAM-OTHER-TENSORS" in message

    def test_a_missing_file(self, tmp_path):
        assert "E-SAM-NO-WEIGHTS" in refused(tmp_path / "a.pth")

    def test_missing_official_weights_come_with_the_command(self, tmp_path, monkeypatch):
        monkeypatch.setenv("SAMIS_CHECKPOINTS", str(tmp_path))
        with pytest.raises(UserError) as caught:
            load_sam("vit_b")
        message = str(caught.value)
        assert message.startswith(str(tmp_path / "sam" / "sam_vit_b_01ec64.pth"))
        assert "from samis.sam.weights import download; download('vit_b')" in message
        assert "E-SAM-NO-OFFICIAL" in message
        assert "https://dl.fbaipublicfiles.com/segment_anything/sam_vit_b_01ec64.pth" in message

    def test_missing_embedded_weights(self, tmp_path, monkeypatch):
        monkeypatch.setenv("SAMIS_CHECKPOINTS", str(tmp_path))
        load_sam("samis_lite")  # those that come with the project
        monkeypatch.setattr(shipped, "assets", lambda: tmp_path)
        with pytest.raises(UserError, match=r"samis_lite.model.safetensors: .*E-SAM-NO-EMBEDDED"):
            load_sam("samis_lite")

    def test_an_unknown_architecture(self):
        with pytest.raises(UserError, match=r"'vitb'; did you mean vit_b\?.*E-SAM-ARCHITECTURE"):
            load_sam("vitb")

    def test_a_frame_that_is_no_multiple_of_a_token(self):
        with pytest.raises(UserError, match=r"frame_px for samis_lite: .* 16, got 100.*E-SAM-FRAME"):
            load_sam("samis_lite", weights="random", frame_px=100)


@pytest.mark.parametrize("name", [EMBEDDED])
def test_architectures_are_recognised_at_any_frame(name):
    assert architecture_of(build_sam(name, frame_px=128).state_dict()) == name


def test_official_architectures_are_recognised_by_width_and_depth():
    for name in ("vit_b", "vit_l", "vit_h"):
        a = ARCHITECTURES[name]
        state = {f"image_encoder.blocks.{i}.norm1.weight": torch.zeros(a.embed_dim) for i in range(a.depth)}
        assert architecture_of({**state, "image_encoder.pos_embed": torch.zeros(1, 64, 64, a.embed_dim)}) == name


def test_read_weights_leaves_buffers_of_the_old_format_out(tmp_path, state):
    torch.save({**state, "pixel_mean": torch.zeros(3, 1, 1)}, tmp_path / "a.pth")
    assert read_weights(tmp_path / "a.pth").keys() == state.keys()


def test_embedded_weights_fit_into_12_mb(state):
    assert sum(tensor.numel() for tensor in build_sam("samis_lite").state_dict().values()) * 2 < 12e6


def test_sha256_is_of_the_bytes(tmp_path):
    (tmp_path / "a").write_bytes(b"abc")
    assert file_sha256(tmp_path / "a") == "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad"
    with pytest.raises(UserError, match="expected a readable file"):
        file_sha256(tmp_path / "b")
