"""Weights of every family: transformers' folders, official files by official names, and what is refused in one line."""

import hashlib
import itertools
import json
import shutil

import pytest
import torch
from safetensors.torch import load_file, save_file
from tiny_models import DECODER, NAMES, OF_TRANSFORMERS, PROMPTS, build, configuration

import samis.sam.architectures as architectures
from samis.config import FrameConfig, SegmenterConfig
from samis.errors import UserError
from samis.sam.architectures import Architecture, build_sam
from samis.sam.configured import configured_sam
from samis.sam.families import FAMILIES, sam2, sam3_tracker, sam_hq
from samis.sam.families.transformers_models import Size
from samis.sam.framing import build_framing
from samis.sam.interface import family_of


def load(architecture, weights, **frame):
    return configured_sam(SegmenterConfig(architecture=architecture, weights=str(weights)), FrameConfig(**frame))


def embedding(model):
    family = family_of(model)
    side = family.side(model)
    views = torch.randn(1, 3, side, side, generator=torch.Generator().manual_seed(1))
    with torch.no_grad():
        return family.encode(model, views)


@pytest.mark.parametrize("name", NAMES)
def test_saved_weights_come_back(name, saved):
    path = saved(name)
    side = 56 if name == "sam3_tracker" else 64
    model, sha256 = load(NAMES[name], path, frame_px=side)
    assert family_of(model) is FAMILIES[name]
    torch.testing.assert_close(embedding(model), embedding(build(name)), atol=1e-5, rtol=1e-5)
    file = path / "model.safetensors" if path.is_dir() else path
    assert sha256 == hashlib.sha256(file.read_bytes()).hexdigest()
    assert not model.training and all(each.dtype == torch.float32 for each in model.parameters())


@pytest.mark.parametrize("name", OF_TRANSFORMERS)
def test_the_folder_says_the_frame(name, saved):
    framing = build_framing(FrameConfig(), NAMES[name], saved(name))
    assert framing.frame_px == (56 if name == "sam3_tracker" else 64)
    assert framing.preprocessing == {"sam_hq": "sam", "sam2": "sam2", "sam3_tracker": "sam3"}[name]
    with pytest.raises(UserError, match="E-SAM-FRAME"):
        load(NAMES[name], saved(name), frame_px=128)


def test_native_frames():
    sides = {name: build_framing(FrameConfig(), name).frame_px for name in ("mobile_sam", "sam2_tiny", "sam_hq_vit_b")}
    assert sides == {"mobile_sam": 1024, "sam2_tiny": 1024, "sam_hq_vit_b": 1024}
    assert build_framing(FrameConfig(), "sam3_tracker").frame_px == 1008


def test_random_weights_have_no_sha256(monkeypatch):
    monkeypatch.setitem(sam2.SIZES, "sam2_tiny", size_of("sam2"))
    model, sha256 = load("sam2_tiny", "random")
    assert sha256 is None and family_of(model).name == "sam2"


def size_of(name) -> Size:
    """Return a tiny configuration as a size that a family knows by name."""
    config = configuration(name).to_dict()
    vision = {key: each for key, each in config["vision_config"].items() if key != "model_type"}
    decoder = DECODER | ({"vit_dim": 32} if name == "sam_hq" else {})
    return Size("owner/tiny", vision, decoder, prompts=PROMPTS)


# Names and shapes of the official files, as their authors' code has them; w is 32, the decoder's width.


def linear(name, outer, inner):
    return {f"{name}.weight": (outer, inner), f"{name}.bias": (outer,)}


def norm(name, width):
    return {f"{name}.weight": (width,), f"{name}.bias": (width,)}


def conv(name, *shape, up=False):
    return {f"{name}.weight": shape, f"{name}.bias": (shape[1] if up else shape[0],)}


def mlp(name, *widths):
    made = {}
    for number, (inner, outer) in enumerate(itertools.pairwise(widths)):
        made |= linear(f"{name}.layers.{number}", outer, inner)
    return made


def official_sam2() -> dict[str, tuple[int, ...]]:
    """Tensors of a tiny sam2.1 file, with two of the video memory's that the tracker alone needs."""
    w, names = 32, {"maskmem_tpos_enc": (7, 1, 1, 8), "no_mem_embed": (1, 1, 32), "no_mem_pos_enc": (1, 1, 32)}
    names |= {"memory_attention.norm.weight": (32,)}
    names |= {"image_encoder.trunk.pos_embed": (1, 8, 4, 4), "image_encoder.trunk.pos_embed_window": (1, 8, 4, 4)}
    names |= conv("image_encoder.trunk.patch_embed.proj", 8, 3, 7, 7)
    for number, (inner, outer) in enumerate([(8, 8), (8, 16), (16, 32), (32, 32), (32, 64)]):
        block = f"image_encoder.trunk.blocks.{number}"
        names |= norm(f"{block}.norm1", inner) | norm(f"{block}.norm2", outer)
        names |= linear(f"{block}.attn.qkv", 3 * outer, inner) | linear(f"{block}.attn.proj", outer, outer)
        names |= mlp(f"{block}.mlp", outer, 4 * outer, outer)
        names |= linear(f"{block}.proj", outer, inner) if inner != outer else {}
    for number, width in enumerate((64, 32, 16, 8)):
        names |= conv(f"image_encoder.neck.convs.{number}.conv", w, width, 1, 1)
    p, d = "sam_prompt_encoder", "sam_mask_decoder"
    names |= {f"{p}.pe_layer.positional_encoding_gaussian_matrix": (2, w // 2)}
    names |= {f"{p}.point_embeddings.{number}.weight": (1, w) for number in range(4)}
    names |= {f"{p}.not_a_point_embed.weight": (1, w), f"{p}.no_mask_embed.weight": (1, w)}
    names |= conv(f"{p}.mask_downscaling.0", 2, 1, 2, 2) | norm(f"{p}.mask_downscaling.1", 2)
    names |= conv(f"{p}.mask_downscaling.3", 8, 2, 2, 2) | norm(f"{p}.mask_downscaling.4", 8)
    names |= conv(f"{p}.mask_downscaling.6", w, 8, 1, 1)

    def attention(name, inner):
        made = {}
        for part in ("q_proj", "k_proj", "v_proj"):
            made |= linear(f"{name}.{part}", inner, w)
        return made | linear(f"{name}.out_proj", w, inner)

    for layer in (f"{d}.transformer.layers.{number}" for number in range(2)):
        names |= attention(f"{layer}.self_attn", w)
        names |= attention(f"{layer}.cross_attn_token_to_image", w // 2)
        names |= attention(f"{layer}.cross_attn_image_to_token", w // 2)
        names |= mlp(f"{layer}.mlp", w, 32, w)
        for number in range(1, 5):
            names |= norm(f"{layer}.norm{number}", w)
    names |= attention(f"{d}.transformer.final_attn_token_to_image", w // 2)
    names |= norm(f"{d}.transformer.norm_final_attn", w)
    names |= {f"{d}.{token}.weight": (count, w) for token, count in (("iou_token", 1), ("mask_tokens", 4))}
    names |= {f"{d}.obj_score_token.weight": (1, w)}
    names |= conv(f"{d}.output_upscaling.0", w, w // 4, 2, 2, up=True) | norm(f"{d}.output_upscaling.1", w // 4)
    names |= conv(f"{d}.output_upscaling.3", w // 4, w // 8, 2, 2, up=True)
    names |= conv(f"{d}.conv_s0", w // 8, w, 1, 1) | conv(f"{d}.conv_s1", w // 4, w, 1, 1)
    for number in range(4):
        names |= mlp(f"{d}.output_hypernetworks_mlps.{number}", w, w, w, w // 8)
    return names | mlp(f"{d}.iou_prediction_head", w, 32, 32, 4) | mlp(f"{d}.pred_obj_score_head", w, w, w, 1)


def official_sam_hq(monkeypatch) -> dict[str, tuple[int, ...]]:
    """Tensors of a tiny SAM-HQ file: segment_anything's own, and the authors' further ones."""
    base = Architecture(
        32, 3, 2, (1, 2), window=3, frame_px=64, prompt_dim=32, mask_in_channels=8, decoder_mlp_dim=32, decoder_heads=2,
        iou_hidden_dim=32,
    )  # fmt: skip
    monkeypatch.setitem(architectures.ARCHITECTURES, "base", base)
    names = {name: tuple(each.shape) for name, each in build_sam("base").state_dict().items()}
    names = {
        name: (64, *shape[1:]) if ".mlp.lin1" in name and "image" in name else shape for name, shape in names.items()
    }
    names = {
        name: (shape[0], 64) if ".mlp.lin2.weight" in name and "image" in name else shape
        for name, shape in names.items()
    }
    d = "mask_decoder"
    names |= {f"{d}.hf_token.weight": (1, 32)} | mlp(f"{d}.hf_mlp", 32, 32, 32, 4)
    names |= conv(f"{d}.compress_vit_feat.0", 32, 32, 2, 2, up=True) | norm(f"{d}.compress_vit_feat.1", 32)
    names |= conv(f"{d}.compress_vit_feat.3", 32, 4, 2, 2, up=True)
    names |= conv(f"{d}.embedding_encoder.0", 32, 8, 2, 2, up=True) | norm(f"{d}.embedding_encoder.1", 8)
    names |= conv(f"{d}.embedding_encoder.3", 8, 4, 2, 2, up=True)
    names |= conv(f"{d}.embedding_maskfeature.0", 8, 4, 3, 3) | norm(f"{d}.embedding_maskfeature.1", 8)
    return names | conv(f"{d}.embedding_maskfeature.3", 4, 8, 3, 3)


def drawn(names):
    generator = torch.Generator().manual_seed(7)
    return {name: torch.randn(shape, generator=generator) for name, shape in names.items()}


SOME = {
    "sam2": {
        "image_encoder.trunk.blocks.4.attn.qkv.weight": "vision_encoder.backbone.blocks.4.attn.qkv.weight",
        "image_encoder.trunk.blocks.1.mlp.layers.1.bias": "vision_encoder.backbone.blocks.1.mlp.proj_out.bias",
        "image_encoder.neck.convs.3.conv.bias": "vision_encoder.neck.convs.3.bias",
        "sam_mask_decoder.transformer.layers.1.norm4.bias": "mask_decoder.transformer.layers.1.layer_norm4.bias",
        "sam_mask_decoder.iou_prediction_head.layers.1.bias": "mask_decoder.iou_prediction_head.layers.0.bias",
        "no_mem_embed": "no_memory_embedding",
    },
    "sam_hq": {
        "image_encoder.neck.3.weight": "vision_encoder.neck.layer_norm2.weight",
        "mask_decoder.hf_mlp.layers.2.bias": "mask_decoder.hq_mask_mlp.proj_out.bias",
        "mask_decoder.compress_vit_feat.3.bias": "mask_decoder.compress_vit_conv2.bias",
        "mask_decoder.embedding_encoder.1.weight": "mask_decoder.encoder_norm.weight",
        "mask_decoder.embedding_maskfeature.0.weight": "mask_decoder.mask_conv1.weight",
    },
}


@pytest.mark.parametrize("name", ["sam2", "sam_hq"])
def test_official_files_by_their_own_names(name, tmp_path, monkeypatch):
    sizes, sized = (sam2.SIZES, "sam2_tiny") if name == "sam2" else (sam_hq.SIZES, "sam_hq_vit_b")
    monkeypatch.setitem(sizes, sized, size_of(name))
    state = drawn(official_sam2() if name == "sam2" else official_sam_hq(monkeypatch))
    torch.save({"model": state} if name == "sam2" else state, tmp_path / "official.pt")
    for architecture in (sized, name):
        model, _ = load(architecture, tmp_path / "official.pt", frame_px=64)
        own = model.state_dict()
        for official, ours in SOME[name].items():
            assert torch.equal(own[ours], state[official]), ours
        if name == "sam2":
            points = torch.cat([state[f"sam_prompt_encoder.point_embeddings.{number}.weight"] for number in range(4)])
            assert torch.equal(own["prompt_encoder.point_embed.weight"], points)
        assert all(not each.is_meta for each in (*model.parameters(), *model.buffers()))
        assert torch.isfinite(embedding(model)).all()
    short = {key: each for key, each in state.items() if "conv_s1" not in key and "hf_mlp" not in key}
    torch.save(short, tmp_path / "short.pt")
    with pytest.raises(UserError, match=r"missing.*E-SAM-OTHER-TENSORS"):
        load(sized, tmp_path / "short.pt")


def test_the_official_sizes():
    """Parameters of the official models, in millions, as their authors state them (SAM 2.1: 38.9, 46, 80.8, 224.4)."""
    transformers = pytest.importorskip("transformers")
    stated = {"sam2_tiny": 38.9, "sam2_small": 46.0, "sam2_base_plus": 80.8, "sam2_large": 224.4}
    for name, million in stated.items():
        with torch.device("meta"):
            model = transformers.Sam2Model(FAMILIES["sam2"].config(name))
        image_alone = sum(each.numel() for each in model.parameters()) / 1e6
        assert million - 9 < image_alone < million  # without the memory that videos need
    for name, million in {"sam_hq_vit_b": 93.7, "sam_hq_vit_l": 312.3, "sam_hq_vit_h": 641.1}.items():
        with torch.device("meta"):
            model = transformers.SamHQModel(FAMILIES["sam_hq"].config(name))
        assert sum(each.numel() for each in model.parameters()) / 1e6 == pytest.approx(million, abs=2)


class TestRefused:
    """Each in one line with a code, before anything is computed."""

    def check(self, code, architecture, weights, *words, **frame):
        with pytest.raises(UserError) as caught:
            load(architecture, weights, **frame)
        assert caught.value.code == code, caught.value
        assert "\n" not in str(caught.value)
        for word in words:
            assert word in str(caught.value)

    @pytest.mark.parametrize(("own", "other"), [("sam_hq", "sam2"), ("sam2", "sam_hq"), ("sam3_tracker", "sam2")])
    def test_a_folder_of_another_family(self, own, other, saved):
        self.check("E-SAM-OTHER-FAMILY", own, saved(other), f"looks like {other}")

    def test_a_folder_of_no_family(self, tmp_path, saved):
        folder = shutil.copytree(saved("sam2"), tmp_path / "other")
        (folder / "config.json").write_text(json.dumps({"model_type": "bert"}))
        self.check("E-SAM-OTHER-FAMILY", "sam2", folder, "bert")

    def test_another_size(self, saved):
        self.check("E-SAM-OTHER-ARCHITECTURE", "sam2_tiny", saved("sam2"), "segmenter.architecture=sam2")

    @pytest.mark.parametrize("missing", ["config.json", "model.safetensors"])
    def test_half_a_folder(self, missing, tmp_path, saved):
        folder = shutil.copytree(saved("sam_hq"), tmp_path / "half")
        (folder / missing).unlink()
        self.check("E-SAM-NO-WEIGHTS", "sam_hq", folder, missing)

    @pytest.mark.parametrize("broken", ["config.json", "model.safetensors"])
    def test_a_damaged_folder(self, broken, tmp_path, saved):
        folder = shutil.copytree(saved("sam2"), tmp_path / "damaged")
        (folder / broken).write_bytes((folder / broken).read_bytes()[:100])
        self.check("E-SAM-DAMAGED", "sam2", folder, broken)

    def test_missing_and_unknown_tensors(self, tmp_path, saved):
        folder = shutil.copytree(saved("sam2"), tmp_path / "short")
        state = load_file(folder / "model.safetensors")
        state["extra.weight"] = state.pop("mask_decoder.conv_s0.weight")
        save_file(state, folder / "model.safetensors", metadata={"format": "pt"})
        self.check("E-SAM-OTHER-TENSORS", "sam2", folder, "mask_decoder.conv_s0.weight")

    def test_a_shape(self, tmp_path, saved):
        folder = shutil.copytree(saved("sam2"), tmp_path / "shape")
        state = load_file(folder / "model.safetensors")
        state["mask_decoder.conv_s0.weight"] = state["mask_decoder.conv_s0.weight"][:1].clone()
        save_file(state, folder / "model.safetensors", metadata={"format": "pt"})
        self.check("E-SAM-OTHER-TENSORS", "sam2", folder)

    def test_nan(self, tmp_path, saved):
        folder = shutil.copytree(saved("sam_hq"), tmp_path / "nan")
        state = load_file(folder / "model.safetensors")
        state["mask_decoder.mask_conv1.weight"][0, 0] = float("nan")
        save_file(state, folder / "model.safetensors", metadata={"format": "pt"})
        with pytest.raises(UserError, match=r"mask_decoder\.mask_conv1\.weight"):
            load("sam_hq", folder)

    @pytest.mark.parametrize(("architecture", "path"), [
        ("sam2_tiny", "nothing/here"), ("sam2_tiny", "none.pt"), ("mobile_sam", "none.pt"), ("sam_hq", "none.pth"),
    ])  # fmt: skip
    def test_nothing_there(self, architecture, path, tmp_path):
        self.check("E-SAM-NO-WEIGHTS", architecture, tmp_path / path)

    @pytest.mark.parametrize(("architecture", "hint"), [
        ("sam2_tiny", "hf download facebook/sam2.1-hiera-tiny"), ("sam3_tracker", "hf download facebook/sam3"),
        ("mobile_sam", "curl"),
    ])  # fmt: skip
    def test_no_official_weights_yet(self, architecture, hint, tmp_path, monkeypatch):
        monkeypatch.setenv("SAMIS_CHECKPOINTS", str(tmp_path))
        with pytest.raises(UserError, match="E-SAM-NO-OFFICIAL") as caught:
            configured_sam(SegmenterConfig(architecture=architecture), FrameConfig())
        assert hint in str(caught.value)

    def test_any_size_needs_a_folder(self, tmp_path, monkeypatch):
        monkeypatch.setenv("SAMIS_CHECKPOINTS", str(tmp_path))
        with pytest.raises(UserError, match=r"sam2_tiny.*E-SAM-NO-WEIGHTS"):
            configured_sam(SegmenterConfig(architecture="sam2"), FrameConfig())

    def test_a_name_on_the_hub_without_network(self, monkeypatch):
        hub = pytest.importorskip("huggingface_hub")

        def refused(*args, **kwargs):
            raise ConnectionError("no network\nsecond line")

        monkeypatch.setattr(hub, "snapshot_download", refused)
        self.check("E-SAM-HUB", "sam2_tiny", "facebook/sam2.1-hiera-tiny", "no network")

    def test_a_name_on_the_hub(self, saved, monkeypatch):
        hub = pytest.importorskip("huggingface_hub")
        asked = []
        monkeypatch.setattr(
            hub, "snapshot_download", lambda name, **rest: asked.append((name, rest)) or str(saved("sam2"))
        )
        load("sam2", "owner/name", frame_px=64)
        assert asked == [("owner/name", {"allow_patterns": ["config.json", "model.safetensors"]})]

    def test_transformers_is_too_old(self, saved, monkeypatch):
        monkeypatch.setattr(FAMILIES["sam3_tracker"], "class_name", "Sam9Model")
        self.check("E-SAM-OLD-TRANSFORMERS", "sam3_tracker", saved("sam3_tracker"), "pip install 'transformers>=5.0'")

    def test_a_file_of_another_family(self, saved, tmp_path):
        self.check("E-SAM-OTHER-FAMILY", "sam2_tiny", saved("mobile_sam"), "looks like mobile_sam")
        self.check("E-SAM-OTHER-FAMILY", "tiny_mobile", saved("sam"), "looks like sam")
        torch.save(drawn(official_sam2()), tmp_path / "sam2.pt")
        self.check("E-SAM-OTHER-FAMILY", "tiny_mobile", tmp_path / "sam2.pt", "looks like sam2")

    def test_code_is_never_run(self, tmp_path):
        class Evil:
            def __reduce__(self):
                return print, ("ran",)

        torch.save({"image_encoder.x": Evil()}, tmp_path / "evil.pt")
        self.check("E-SAM-UNSAFE", "sam2_tiny", tmp_path / "evil.pt")


def test_the_licence_of_sam_3_is_named(saved, capfd):
    sam3_tracker_files = __import__("samis.sam.families.transformers_files", fromlist=["print_once"])
    sam3_tracker_files.print_once.cache_clear()
    load("sam3_tracker", saved("sam3_tracker"))
    load("sam3_tracker", saved("sam3_tracker"))
    assert capfd.readouterr().err.count("SAM License") == 1
    assert sam3_tracker.FAMILY.licence.spdx == "other"
    load("sam2", saved("sam2"))
    assert "icense" not in capfd.readouterr().err
