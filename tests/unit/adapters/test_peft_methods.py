"""Every method of peft that is allowed keeps the adapters' promises on a tiny random SAM; the others are refused with a reason."""

import re
import warnings
from functools import cache
from pathlib import Path

import peft
import pytest
import torch
import torch.multiprocessing
from peft import PeftModel, PeftType

import samis.sam.architectures as architectures
from samis.adapters import apply_adapter, split_qkv
from samis.adapters.methods import METHODS, REFUSED
from samis.config import AdapterConfig, OptimConfig
from samis.core.contracts import Prompt
from samis.errors import UserError
from samis.sam.architectures import Architecture, build_sam
from samis.sam.attention import use_fused_attention
from samis.sam.forward import answer
from samis.training.half_weights import HalfWeights

SIDE = 64
STOCK = Architecture(
    48, 2, 3, (1,), window=3, frame_px=SIDE, prompt_dim=32, decoder_mlp_dim=64, decoder_heads=2, iou_hidden_dim=32
)  # fmt: skip
ENCODER = [r"image_encoder\.blocks\.[01]\.attn\.qkv\.[qv]", r"image_encoder\.blocks\.[01]\.mlp\.lin[12]"]
DECODER = [
    r"mask_decoder\.transformer\.layers\.[01]\.(self_attn|cross_\w+)\.\w_proj",
    r"mask_decoder\.transformer\.layers\.[01]\.(self_attn|cross_\w+)\.out_proj",
    r"mask_decoder\.transformer\.final_attn_token_to_image\.\w+_proj",
    r"mask_decoder\.transformer\.layers\.[01]\.mlp\.lin[12]",
]
NORMS = [
    r"image_encoder\.blocks\.[01]\.norm[12]",
    r"image_encoder\.neck\.[13]",
    r"mask_decoder\.transformer\.layers\.[01]\.norm[1-4]",
    r"mask_decoder\.transformer\.norm_final_attn",
]
BY_TWO_PROCESSES = ["lokr", "tinylora"]
"""Those that CI tries; tinylora shares its parameters between layers."""


@pytest.fixture(autouse=True)
def _stock(monkeypatch):
    monkeypatch.setitem(architectures.ARCHITECTURES, "stock", STOCK)


def config_of(method, **changes):
    return AdapterConfig(**{"name": "peft", "method": method, "encoder": ["q", "v", "mlp"], "rank": 4} | changes)


def installed(method):
    return hasattr(peft, METHODS[method].config)


ALL = [
    pytest.param(name, marks=pytest.mark.skipif(not installed(name), reason=f"peft {peft.__version__} lacks {name}"))
    for name in METHODS
]


def fresh():
    architectures.ARCHITECTURES["stock"] = STOCK
    torch.manual_seed(0)
    sam = build_sam("stock", frame_px=SIDE)
    use_fused_attention(sam.image_encoder)
    return sam


def images(count=2, seed=1):
    return torch.randn(count, 3, SIDE, SIDE, generator=torch.Generator().manual_seed(seed))


def logits(sam):
    with torch.no_grad():
        return answer(sam, images(), Prompt()).logits


def loss_of(sam, batch):
    return (answer(sam, batch, Prompt()).logits[:, :, 0].float() - 1).square().mean()


def train(adapted, steps=4):
    trained = [each for group in adapted.parameter_groups() for each in group["params"]]
    optimizer = torch.optim.Adam(trained, 1e-2)
    for step in range(steps):
        optimizer.zero_grad()
        loss_of(adapted.sam, images(seed=step)).backward()
        optimizer.step()
    return adapted


@cache
def zero_shot():
    return logits(fresh())


@cache
def trained(method):
    """Return the adapter after a few steps, its logits before and after, and its state before; no test may change it."""
    adapted = apply_adapter(fresh(), config_of(method))
    start = logits(adapted.sam)
    before = {name: each.detach().clone() for name, each in adapted.sam.state_dict(keep_vars=True).items()}
    train(adapted.train()).eval()
    return adapted, start, logits(adapted.sam), before


@pytest.mark.parametrize("method", ALL)
def test_starts_as_zero_shot_and_switches_off_bit_for_bit(method):
    adapted, start, tuned, _ = trained(method)
    assert torch.allclose(start, zero_shot(), atol=1e-6)
    assert not torch.allclose(tuned, zero_shot(), atol=1e-4)
    with adapted.disabled():
        assert torch.equal(logits(adapted.sam), zero_shot())
    assert torch.equal(logits(adapted.sam), tuned)


@pytest.mark.parametrize("method", ALL)
def test_only_the_promised_parameters_learn_and_each_does(method):
    """Promised are the layers that the patterns above name, by hand; of them only what the method adds, not the layer's own."""
    adapted, _, _, before = trained(method)
    patterns = NORMS if method == "ln_tuning" else ENCODER + DECODER
    reached = set()
    for name, parameter in adapted.sam.named_parameters(remove_duplicate=False):
        here = [pattern for pattern in patterns if re.match(rf"{pattern}\.", name)]
        if parameter.requires_grad:
            assert len(here) == 1 and ".base_layer." not in name, name
            reached |= set(here)
            # What is added to every key alike changes no softmax: its gradient is truly zero.
            no_effect = re.search(r"\.k_proj\.glora_C\.", name)
            assert no_effect or not torch.equal(parameter, before[name]), name
        else:
            assert torch.equal(parameter, before[name]), name
    assert reached == set(patterns)
    untuned = fresh().state_dict()
    kept = {name.replace(".base_layer", ""): each for name, each in adapted.sam.state_dict().items()}
    assert sum(name in kept for name in untuned) > 60
    assert all(torch.equal(kept[name], each) for name, each in untuned.items() if name in kept)


@pytest.mark.parametrize("method", ALL)
def test_save_load_equal_whatever_the_seed(method, tmp_path):
    adapted, _, tuned, _ = trained(method)
    adapted.save(tmp_path)
    base = fresh()
    torch.manual_seed(77)
    again = apply_adapter(base, config_of(method))
    again.load(tmp_path)
    assert torch.equal(logits(again.sam), tuned)
    base = split_qkv(fresh())
    if not METHODS[method].flat:  # peft alone does not make SAM's windows 3-D
        loaded = PeftModel.from_pretrained(base, tmp_path)
        assert torch.equal(logits(loaded.base_model.model), tuned)


@pytest.mark.parametrize("method", ALL)
def test_merged_equals_or_is_refused(method):
    adapted, _, tuned, _ = trained(method)
    if not METHODS[method].merges:
        with pytest.raises(UserError, match="E-ADAPTER-NOT-MERGED"):
            adapted.merged()
        return
    stock = fresh()
    stock.load_state_dict(adapted.merged())
    assert torch.allclose(logits(stock), tuned, atol=1e-5)
    assert torch.equal(logits(adapted.sam), tuned)  # merging leaves the adapter as it was


@pytest.mark.parametrize("method", ["lokr", "road", "ln_tuning", "shira"])
def test_parts_that_are_trained_whole_are_merged_and_switched_off_too(method, tmp_path):
    if not installed(method):
        pytest.skip(f"peft {peft.__version__} lacks {method}")
    config = config_of(method, encoder=["q", "v", "mlp", "stem", "neck"], decoder=["full"])
    adapted = apply_adapter(fresh(), config)
    assert torch.allclose(logits(adapted.sam), zero_shot(), atol=1e-6)
    train(adapted.train(), steps=2).eval()
    tuned = logits(adapted.sam)
    stock = fresh()
    stock.load_state_dict(adapted.merged())
    assert torch.allclose(logits(stock), tuned, atol=1e-5) and not torch.allclose(tuned, zero_shot(), atol=1e-3)
    with adapted.disabled():
        assert torch.equal(logits(adapted.sam), zero_shot())
    adapted.save(tmp_path)
    again = apply_adapter(fresh(), config)
    again.load(tmp_path)
    assert torch.equal(logits(again.sam), tuned)


@pytest.mark.parametrize("method", ALL)
def test_groups_hold_each_parameter_once(method):
    adapted = apply_adapter(fresh(), config_of(method, encoder=["q", "v", "mlp", "neck"], decoder=["full"]))
    names = {id(parameter): name for name, _, parameter in adapted.trained()}
    groups = adapted.parameter_groups(0.1)
    held = [id(parameter) for group in groups for parameter in group["params"]]
    assert sorted(held) == sorted(names) and len(names) == len([*adapted.trained()])
    whole = {names[each] for each in held if names[each].startswith(("image_encoder.neck.", "mask_decoder."))}
    assert len(whole) > 40
    copied = {name for name in names.values() if METHODS[method].pretrained or name in whole}
    scaled = {names[id(p)] for group in groups if group["lr_scale"] == 0.1 for p in group["params"]}
    assert scaled == copied


@pytest.mark.parametrize("method", ALL)
def test_half_precision_copies_change_nothing_but_rounding(method):
    """The weights that the trainer copies to bf16 once a step give the loss and gradients of autocast alone."""
    if method == "boft" and peft.__version__.startswith("0.15."):
        pytest.skip("boft of peft 0.15 does not run under autocast")
    found = []
    for copies in (False, True):
        adapted = trained(method)[0]
        adapted.zero_grad()

        class Learner(torch.nn.Module):
            def half_modules(self, adapted=adapted):
                kept = adapted.full_precision()
                return (module for module in adapted.sam.modules() if module not in kept)

        half = HalfWeights(Learner(), torch.bfloat16 if copies else None)
        with half.swapped():
            with torch.autocast("cpu", torch.bfloat16):
                loss = loss_of(adapted.sam, images())
            loss.backward()
        found.append([each.grad for _, _, each in adapted.trained()])
    assert all(each is not None and each.isfinite().all() for each in found[1])
    largest = max(float(each.abs().max()) for each in found[0])
    assert all((a - b).abs().max() < 0.05 * largest for a, b in zip(*found, strict=True))


def _gradients(rank, world, methods, place, results):
    """Train two steps on this process's share of four images; the first process keeps the parameters."""
    warnings.simplefilter("ignore")
    torch.set_num_threads(1)
    if world > 1:
        torch.distributed.init_process_group("gloo", init_method=f"file://{place}", rank=rank, world_size=world)
    for method in methods:
        adapted = apply_adapter(fresh(), config_of(method))

        class Learner(torch.nn.Module):
            def __init__(self, adapted):
                super().__init__()
                self.adapted = adapted

            def forward(self, batch):
                return loss_of(self.adapted.sam, batch)

        learner = Learner(adapted)
        wrapped = torch.nn.parallel.DistributedDataParallel(learner) if world > 1 else learner
        optimizer = torch.optim.SGD(adapted.parameter_groups(), lr=OptimConfig().lr * 100)
        for step in range(2):
            optimizer.zero_grad()
            wrapped(images(4, seed=step).chunk(world)[rank]).backward()
            optimizer.step()
        results[method, world, rank] = {name: each.detach().numpy().copy() for name, _, each in adapted.trained()}
    if world > 1:
        torch.distributed.destroy_process_group()


def _two_equal_one(methods, place):
    results = torch.multiprocessing.get_context("spawn").Manager().dict()
    torch.multiprocessing.spawn(_gradients, (2, methods, place, results), nprocs=2)
    single = {}
    _gradients(0, 1, methods, place, single)
    for method in methods:
        start = {n: e.detach().numpy() for n, _, e in apply_adapter(fresh(), config_of(method)).trained()}
        one, moved = single[method, 1, 0], 0.0
        for name, value in one.items():
            for rank in (0, 1):
                assert abs(results[method, 2, rank][name] - value).max() < 1e-5, (method, name)
            moved = max(moved, abs(value - start[name]).max())
        assert moved > 1e-4, method


def test_two_processes_are_one(tmp_path):
    _two_equal_one([name for name in BY_TWO_PROCESSES if installed(name)], tmp_path / "store")


@pytest.mark.slow
def test_two_processes_are_one_for_every_method(tmp_path):
    _two_equal_one([name for name in METHODS if installed(name)], tmp_path / "store")


@pytest.mark.skipif(not installed("tinylora"), reason=f"peft {peft.__version__} lacks tinylora")
def test_a_shared_parameter_resumes():
    """A resume point has it once; loaded, every layer has it again."""
    from samis.config import LossConfig
    from samis.sam.tuning import SamTuning

    def learner():
        adapted = apply_adapter(fresh(), config_of("tinylora"))
        return SamTuning(adapted, LossConfig(), segmenter=lambda sam: None)

    first, second = learner(), learner()
    train(first.adapted)
    state = first.state_dict()
    assert set(state) == {name for name, each in first.named_parameters() if each.requires_grad}
    second.load_state_dict(state)
    assert torch.equal(logits(second.adapted.sam), logits(first.adapted.sam))


def test_every_method_of_this_peft_is_allowed_or_refused():
    known = {each.value.lower() for each in PeftType}
    assert not set(METHODS) & set(REFUSED)
    if peft.__version__.startswith("0.21."):
        assert known - set(METHODS) - set(REFUSED) == set()
    assert len(METHODS) >= 23 and {"lora", "vera", "ia3", "boft"} <= known


@pytest.mark.parametrize("method", REFUSED)
def test_a_refused_method_has_its_reason_in_one_line(method):
    with pytest.raises(UserError, match="E-ADAPTER-METHOD") as caught:
        apply_adapter(fresh(), config_of(method))
    assert REFUSED[method] in str(caught.value) and "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("changes", "code", "named"),
    [
        ({"method": "lockr"}, "E-ADAPTER-METHOD", "did you mean lokr"),
        ({"options": {"decompose_boht": True}}, "E-ADAPTER-OPTIONS", "did you mean decompose_both"),
        ({"options": {"target_modules": "all-linear"}}, "E-ADAPTER-OPTIONS", "target_modules"),
        ({"options": {"bias": "all"}}, "E-ADAPTER-OPTIONS", "bias"),
        ({"method": "ia3", "dropout": 0.1}, "E-ADAPTER-OPTIONS", "dropout"),
        ({"method": "lora", "options": {"init_lora_weights": "pissa"}}, "E-ADAPTER-START", "image_encoder"),
        ({"method": "lora", "options": {"init_lora_weights": "olora"}}, "E-ADAPTER-START", "image_encoder"),
        ({"method": "lora", "options": {"init_lora_weights": "nonsense"}}, "E-ADAPTER-OPTIONS", "nonsense"),
        ({"method": "lora", "options": {"init_lora_weights": False}}, "E-ADAPTER-START", "does not start"),
        ({"method": "c3a", "options": {"init_weights": "gaussian"}}, "E-ADAPTER-START", "does not start"),
        ({"method": "fourierft", "options": {"init_weights": False}}, "E-ADAPTER-START", "does not start"),
        ({"method": "c3a", "options": {"block_size": 7}}, "E-ADAPTER-OPTIONS", "block"),
    ],
)
def test_options_that_break_a_promise_are_refused(changes, code, named):
    config = config_of(**{"method": "lokr"} | changes)
    if config.method in METHODS and not installed(config.method):
        pytest.skip(f"peft {peft.__version__} lacks {config.method}")
    with pytest.raises(UserError, match=code) as caught:
        apply_adapter(fresh(), config)
    assert named in str(caught.value) and "\n" not in str(caught.value)


def test_a_method_that_the_installed_peft_lacks(monkeypatch):
    monkeypatch.delattr(peft, METHODS["lokr"].config)
    monkeypatch.setattr(peft, "__version__", "0.15.0")
    with pytest.raises(UserError, match=r"peft 0\.15\.0 lacks it.*E-ADAPTER-PEFT"):
        apply_adapter(fresh(), config_of("lokr"))


def test_options_reach_peft():
    plain = apply_adapter(fresh(), config_of("lokr"))
    smaller = apply_adapter(fresh(), config_of("lokr", options={"decompose_factor": 4, "decompose_both": True}))
    assert smaller._peft[0].peft_config["default"].decompose_factor == 4
    sizes = [sum(each.numel() for _, _, each in adapted.trained()) for adapted in (plain, smaller)]
    assert sizes[0] != sizes[1]
    assert apply_adapter(fresh(), config_of("loha", rank=3, alpha=6))._peft[0].peft_config["default"].r == 3


def test_the_recipes_page_lists_every_method_as_it_is():
    page = (Path(__file__).resolve().parents[3] / "docs/recipes.md").read_text()
    section = page.partition("## Any of peft's methods")[2].partition("\n## ")[0]
    rows = [line.split("|") for line in section.splitlines() if line.startswith("| `")]
    listed = {name: row[2] for row in rows for name in re.findall(r"`(\w+)`", row[1])}
    assert set(listed) == set(METHODS)
    for name, words in listed.items():
        taken = {key for key in ("rank", "alpha", "dropout") if getattr(METHODS[name], key)}
        assert taken == set(re.findall("rank|alpha|dropout", words)), name
    refused = section.partition("Refused: ")[2]
    assert set(REFUSED) <= set(re.findall(r"`(\w+)`", refused))
