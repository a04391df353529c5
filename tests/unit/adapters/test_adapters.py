"""Every adapter: off means untouched, only the promised parameters learn, it saves, loads and merges."""

import json
from collections import OrderedDict
from contextlib import nullcontext

import pytest
import torch
from peft import PeftModel
from peft.tuners.lora import Linear

import samis.sam.architectures as architectures
from samis.adapters import ADAPTERS, apply_adapter, read_record, split_qkv, whole
from samis.adapters.low_rank import LowRank
from samis.adapters.targets import SplitQkv
from samis.config import AdapterConfig
from samis.core.contracts import Prompt
from samis.core.targets import MASK_0_PATH
from samis.errors import UserError
from samis.sam.architectures import EMBEDDED, Architecture, build_sam
from samis.sam.attention import use_fused_attention
from samis.sam.forward import answer

STOCK = Architecture(
    48, 2, 3, (1,), window=3, frame_px=64, prompt_dim=32, decoder_mlp_dim=64, decoder_heads=2, iou_hidden_dim=32
)  # fmt: skip
SIDES = {EMBEDDED: 128, "stock": 64}
CASES = OrderedDict(
    lora=AdapterConfig(),
    lora_qv=AdapterConfig(encoder=["q", "v"]),
    lora_all_full=AdapterConfig(encoder=["q", "k", "v", "proj", "mlp"], decoder=["full"]),
    lora_qkv_dora=AdapterConfig(encoder=["qkv"], decoder=["mlp"], dora=True),
    lora_rslora=AdapterConfig(encoder=["q"], decoder=[], rslora=True, rank=4),
    bottleneck=AdapterConfig(name="bottleneck", encoder=["proj", "mlp"], width=8),
    lora_stem_neck=AdapterConfig(encoder=["qkv", "mlp", "stem", "neck"], decoder=["full"], rank=4),
    bottleneck_full=AdapterConfig(name="bottleneck", encoder=["mlp"], decoder=["full"]),
    unfreeze_decoder=AdapterConfig(name="unfreeze", preset="decoder"),
    unfreeze_norm=AdapterConfig(name="unfreeze", preset="norm"),
    unfreeze_full=AdapterConfig(name="unfreeze", preset="full"),
)
MERGEABLE = [name for name in CASES if not name.startswith("bottleneck")]


@pytest.fixture(autouse=True, scope="module")
def _stock():
    patch = pytest.MonkeyPatch()
    patch.setitem(architectures.ARCHITECTURES, "stock", STOCK)
    yield
    patch.undo()


@pytest.fixture(params=list(SIDES))
def architecture(request):
    return request.param


def fresh(architecture, seed=0):
    torch.manual_seed(seed)
    sam = build_sam(architecture, frame_px=SIDES[architecture])
    use_fused_attention(sam.image_encoder)
    return sam


def images(architecture):
    return torch.randn(2, 3, SIDES[architecture], SIDES[architecture], generator=torch.Generator().manual_seed(1))


def logits(sam, architecture):
    with torch.no_grad():
        return answer(sam, images(architecture), Prompt()).logits


def shake(adapted):
    """Give the adapter something to say, as training would; of the mask tokens only row 0 moves."""
    generator = torch.Generator().manual_seed(2)
    with torch.no_grad():
        for name, _, parameter in adapted.trained():
            change = torch.randn(parameter.shape, generator=generator) * 0.03
            if "mask_tokens" in name:
                change[1:] = 0
            parameter.add_(change)
    return adapted


@pytest.mark.parametrize("case", CASES)
def test_starts_as_zero_shot_and_switches_off_bit_for_bit(case, architecture):
    before = logits(fresh(architecture), architecture)
    adapted = apply_adapter(fresh(architecture), CASES[case])
    start = logits(adapted.sam, architecture)
    # Projections at work under a low-rank layer are multiplied in another order; all else is exact.
    reordered = CASES[case].name == "lora" and ("q" in CASES[case].encoder or "attention" in CASES[case].decoder)
    assert torch.equal(start, before) or (reordered and torch.allclose(start, before, atol=1e-6))
    shake(adapted)
    tuned = logits(adapted.sam, architecture)
    assert not torch.allclose(tuned, before, atol=1e-4)
    with adapted.disabled():
        assert torch.equal(logits(adapted.sam, architecture), before)
    assert torch.equal(logits(adapted.sam, architecture), tuned)
    assert all(parameter.requires_grad for _, _, parameter in adapted.trained())


@pytest.mark.parametrize("case", CASES)
def test_disabled_also_restores_after_an_error(case):
    adapted = shake(apply_adapter(fresh("stock"), CASES[case]))
    tuned = logits(adapted.sam, "stock")
    with pytest.raises(RuntimeError), adapted.disabled():
        raise RuntimeError
    assert torch.equal(logits(adapted.sam, "stock"), tuned)


def promised(name, config):
    """What the documentation lists as trained, written by hand and by plain names."""
    name = name.replace(".base_layer", "").replace(".modules_to_save.default", "").replace("._ref_", "")
    frozen = ("prompt_encoder.", "mask_decoder.iou_", "mask_decoder.output_hypernetworks_mlps.1")
    if name.startswith(
        (*frozen, "mask_decoder.output_hypernetworks_mlps.2", "mask_decoder.output_hypernetworks_mlps.3")
    ):
        return False
    encoder, new = name.startswith("image_encoder."), ".lora_" in name or ".bottleneck." in name
    if config.name == "unfreeze":
        norm = any(word in name for word in ("norm", "neck.1.", "neck.3.", "output_upscaling.1."))
        return {"decoder": not encoder, "norm": norm, "full": True}[config.preset]
    if not encoder:
        if config.decoder == ["full"]:
            return True
        return new and ("mlp" in config.decoder if ".mlp." in name else "attention" in config.decoder)
    for part, word in (("image_encoder.patch_embed.", "stem"), ("image_encoder.neck.", "neck")):
        if name.startswith(part):
            return word in config.encoder
    word = next((w for w in ("q", "k", "v") if f".qkv.{w}." in name), None)
    word = word or next(w for w in (".qkv.", ".proj.", ".mlp.", "") if w in name).strip(".")
    if config.name == "bottleneck" and ".attn." in name:
        word = "proj"
    return new and word in config.encoder


@pytest.mark.parametrize("case", CASES)
def test_exactly_the_promised_parameters_get_gradients(case, architecture):
    adapted = shake(apply_adapter(fresh(architecture), CASES[case])).train()
    answer(adapted.sam, images(architecture), Prompt()).logits[:, :, 0].square().mean().backward()
    for name, parameter in adapted.sam.named_parameters():
        if "original_module" in name:
            assert parameter.grad is None, name
        else:
            assert (parameter.grad is not None) == promised(name, CASES[case]), name
            assert parameter.requires_grad == (parameter.grad is not None), name
        if parameter.grad is not None:
            key_bias = name.endswith(("k_proj.bias", ".k.bias"))  # adds the same to every score: truly zero
            assert key_bias or parameter.grad.abs().sum() > 0, name
            if "mask_tokens" in name:
                assert parameter.grad[0].abs().sum() > 0 and (parameter.grad[1:] == 0).all()


@pytest.mark.parametrize("case", CASES)
def test_groups_hold_each_trained_parameter_once(case):
    adapted = apply_adapter(fresh(EMBEDDED), CASES[case])
    names = {id(parameter): name for name, _, parameter in adapted.trained()}
    groups = adapted.parameter_groups(0.1)
    held = [id(parameter) for group in groups for parameter in group["params"]]
    assert sorted(held) == sorted(names)
    for group in groups:
        for parameter in group["params"]:
            name = names[id(parameter)]
            assert group["lr_scale"] == (1.0 if ".lora_" in name or ".bottleneck." in name else 0.1)
            embedded = any(word in name for word in ("mask_tokens", "pos_embed", "rel_pos", "norm", "magnitude"))
            assert group["decay"] == (parameter.ndim >= 2 and not embedded), name


@pytest.mark.parametrize("case", MERGEABLE)
def test_merged_loads_strictly_into_a_stock_sam(case, architecture):
    adapted = shake(apply_adapter(fresh(architecture), CASES[case]))
    tuned = logits(adapted.sam, architecture)
    stock = build_sam(architecture, frame_px=SIDES[architecture])
    stock.load_state_dict(adapted.merged())
    assert torch.allclose(logits(stock, architecture), tuned, atol=1e-5)
    assert torch.equal(logits(adapted.sam, architecture), tuned)  # merging leaves the adapter as it was


def test_a_bottleneck_refuses_to_merge():
    with pytest.raises(UserError, match="E-ADAPTER-NOT-MERGED"):
        apply_adapter(fresh("stock"), CASES["bottleneck"]).merged()


@pytest.mark.parametrize("case", CASES)
def test_save_load_equal(case, tmp_path):
    adapted = shake(apply_adapter(fresh("stock"), CASES[case], architecture="stock", weights_sha256="ab"))
    adapted.save(tmp_path)
    again = apply_adapter(fresh("stock"), CASES[case], architecture="stock", weights_sha256="ab")
    again.load(tmp_path)
    assert torch.equal(logits(again.sam, "stock"), logits(adapted.sam, "stock"))
    config, base = read_record(tmp_path)
    assert config == CASES[case] and base == {"architecture": "stock", "weights_sha256": "ab"}
    trained = {name for name, _, parameter in again.trained()}
    assert trained == {name for name, _, parameter in adapted.trained()}


@pytest.mark.parametrize("case", [name for name in CASES if name.startswith("lora")])
def test_stock_peft_reads_the_folder(case, tmp_path):
    adapted = shake(apply_adapter(fresh("stock"), CASES[case]))
    adapted.save(tmp_path)
    assert {"adapter_model.safetensors", "adapter_config.json"} <= {path.name for path in tmp_path.iterdir()}
    base = fresh("stock")
    if {"q", "k", "v"} & set(CASES[case].encoder):
        split_qkv(base)
    loaded = PeftModel.from_pretrained(base, tmp_path)
    assert torch.equal(logits(loaded.base_model.model, "stock"), logits(adapted.sam, "stock"))


def test_split_qkv_answers_bit_for_bit():
    before = logits(fresh("stock"), "stock")
    split = split_qkv(split_qkv(fresh("stock")))
    assert isinstance(split.image_encoder.blocks[0].attn.qkv, SplitQkv)
    assert torch.equal(logits(split, "stock"), before)


def test_q_and_v_leave_k_alone():
    sam = fresh("stock")
    keys = sam.image_encoder.blocks[0].attn.qkv.weight[48:96].detach().clone()
    merged = shake(apply_adapter(sam, CASES["lora_qv"])).merged()["image_encoder.blocks.0.attn.qkv.weight"]
    assert torch.equal(merged[48:96], keys)
    assert not torch.equal(merged[:48], sam.image_encoder.blocks[0].attn.qkv.q.base_layer.weight)


def test_few_products_give_pefts_own_numbers(monkeypatch):
    """Forward and gradient, at a scale that is no power of two; a layer with dropout goes peft's way."""
    config = AdapterConfig(encoder=["qkv", "proj", "mlp"], decoder=["attention"], rank=4, alpha=6)
    results = {}
    for name in ("few", "peft"):
        if name == "peft":
            monkeypatch.setattr("samis.adapters.lora.use_few_products", lambda layer: None)
        adapted = apply_adapter(fresh("stock"), config)
        shake(adapted)
        calls = []
        monkeypatch.setattr(LowRank, "apply", lambda *given, real=LowRank.apply, c=calls: c.append(1) or real(*given))
        answered = answer(adapted.sam, images("stock"), Prompt("empty")).logits
        answered.square().mean().backward()
        results[name] = [answered, *(each.grad for _, _, each in adapted.trained())]
        assert bool(calls) == (name == "few")
    assert len(results["few"]) > 20
    torch.testing.assert_close(results["few"], results["peft"], atol=1e-6, rtol=1e-4)


def test_whole_weights_give_the_low_rank_layers_numbers(monkeypatch):
    """Forward and gradient in float32, two shapes of layers and two scales; large layers and switched-off ones stay as they are."""
    config = AdapterConfig(encoder=["qkv", "proj", "mlp"], decoder=["attention"], rank=4, alpha=6)
    adapted = shake(apply_adapter(fresh("stock"), config))
    layers = [layer for layer in adapted.sam.modules() if isinstance(layer, Linear)]
    layers[0].scaling["default"] = 0.7
    trained = [each for _, _, each in adapted.trained()]
    calls = []
    monkeypatch.setattr(LowRank, "apply", lambda *given, real=LowRank.apply: calls.append(1) or real(*given))

    def seen(block):
        calls.clear()
        with block as unused:
            answered = answer(adapted.sam, images("stock"), Prompt("empty")).logits
            answered.square().mean().backward()
        grads = [each.grad.clone() for each in trained]
        for each in trained:
            each.grad = None
        return unused, len(calls), [answered.detach(), *grads]

    for _ in range(2):
        _, apart, wanted = seen(nullcontext())
        unused, none, results = seen(adapted.whole_weights(torch.float32))
        assert apart == len(layers) > 8 and none == 0 and len(unused) == 3 * len(layers)
        torch.testing.assert_close(results, wanted, atol=1e-6, rtol=1e-4)
        assert not any("whole" in vars(layer) for layer in layers)
        with torch.no_grad():  # what is kept of the frozen weights is made again
            layers[1].base_layer.weight.mul_(1.5)
    monkeypatch.setattr(whole, "SMALL", 0)
    assert seen(adapted.whole_weights(torch.float32))[:2] == (set(), apart)
    with adapted.disabled(), adapted.whole_weights(torch.float32) as unused:
        assert not unused


def test_only_the_low_rank_layers_are_switched_to_training():
    adapted = apply_adapter(fresh("stock"), AdapterConfig(encoder=["proj"], decoder=[], dropout=0.5))
    shake(adapted).train()
    assert not torch.equal(logits(adapted.sam, "stock"), logits(adapted.sam, "stock"))
    assert not adapted.sam.mask_decoder.training
    adapted.eval()
    assert torch.equal(logits(adapted.sam, "stock"), logits(adapted.sam, "stock"))


def test_official_names_are_reached():
    """On vit_b's own modules, without its 94 million numbers."""
    with torch.device("meta"):
        full = build_sam("vit_b")
        adapted = apply_adapter(
            build_sam("vit_b"), AdapterConfig(encoder=["q", "v", "mlp"], decoder=["attention", "mlp"])
        )
    reached = {name.partition(".lora_")[0] for name, _, _ in adapted.trained()}
    encoder = [name for name in reached if name.startswith("image_encoder.")]
    assert len(encoder) == 12 * 4 and len(reached) - len(encoder) == 2 * (3 * 4 + 2) + 4
    assert all(any(name == path for name, _ in full.named_modules()) for path in MASK_0_PATH)
    new = sum(
        p.numel() for name, _, p in adapted.trained() if name.startswith("image_encoder.") and adapted.is_new(name)
    )
    assert new == 12 * (2 * 8 * 2 * 768 + 2 * 8 * (768 + 3072))


def test_none_trains_nothing():
    assert set(ADAPTERS) == {"lora", "bottleneck", "unfreeze", "peft", "none"}
    adapted = apply_adapter(fresh("stock"), AdapterConfig(name="none"))
    assert adapted.parameter_groups() == [] and list(adapted.trained()) == []


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"name": "lorra"}, "did you mean lora.*E-ADAPTER-NAME"),
        ({"encoder": ["qvk"]}, "did you mean qkv.*E-ADAPTER-NAME"),
        ({"encoder": ["q", "qkv"]}, "E-ADAPTER-CONFLICT"),
        ({"decoder": ["full", "mlp"]}, "full.*E-ADAPTER-NAME"),
        ({"decoder": ["full"]}, "unfreeze.*E-ADAPTER-NO-LAYERS"),
        ({"decoder": []}, "E-ADAPTER-NO-LAYERS"),
        ({"rank": 0}, "rank.*E-ADAPTER-RANGE"),
        ({"dropout": 1.0}, "dropout.*E-ADAPTER-RANGE"),
        ({"name": "unfreeze", "preset": "norms"}, "did you mean norm.*E-ADAPTER-NAME"),
        ({"name": "bottleneck", "encoder": ["q"]}, "proj, mlp.*E-ADAPTER-NAME"),
        ({"name": "bottleneck", "decoder": []}, "E-ADAPTER-NO-LAYERS"),
        ({"name": "bottleneck", "width": 0}, "width.*E-ADAPTER-RANGE"),
    ],
)
def test_mistakes_have_a_code(change, message):
    with pytest.raises(UserError, match=message):
        apply_adapter(fresh("stock"), AdapterConfig(**change))


def test_a_foreign_folder_is_refused(tmp_path):
    with pytest.raises(UserError, match=r"samis_adapter\.json.*E-ADAPTER-NO-RECORD"):
        apply_adapter(fresh("stock"), AdapterConfig()).load(tmp_path)
    apply_adapter(fresh("stock"), AdapterConfig(), weights_sha256="aa").save(tmp_path)
    with pytest.raises(UserError, match=r"rank=4, got 8.*E-ADAPTER-OTHER-CONFIG"):
        apply_adapter(fresh("stock"), AdapterConfig(rank=4)).load(tmp_path)
    with pytest.raises(UserError, match=r"weights_sha256 aa.*bb.*E-ADAPTER-OTHER-BASE"):
        apply_adapter(fresh("stock"), AdapterConfig(), weights_sha256="bb").load(tmp_path)
    with pytest.raises(UserError, match="E-ADAPTER-SHAPES"):
        apply_adapter(fresh(EMBEDDED), AdapterConfig()).load(tmp_path)
    (tmp_path / "adapter_model.safetensors").write_bytes(b"cut")
    with pytest.raises(UserError, match=r"adapter_model\.safetensors.*E-ADAPTER-DAMAGED"):
        apply_adapter(fresh("stock"), AdapterConfig()).load(tmp_path)
    (tmp_path / "samis_adapter.json").write_text(json.dumps({"adapter": {"name": "lora"}}))
    with pytest.raises(UserError, match=r"samis_adapter\.json.*E-ADAPTER-DAMAGED"):
        read_record(tmp_path)
