"""LoRA on encoder and decoder of every family: learns, saves, loads, switches off, merges; frozen encoders are cached."""

import dataclasses

import pytest
import torch
from peft import PeftModel
from tiny_models import NAMES, batch_of, build, sample

from samis.adapters.stock import save_for_stock
from samis.config import AdapterConfig, Experiment, FrameConfig, PromptConfig, SegmenterConfig
from samis.errors import UserError
from samis.factory import build_learner
from samis.sam.embeddings import EmbeddingCache, encoder_is_trained
from samis.sam.families import FAMILIES
from samis.sam.interface import family_of, mark
from samis.sam.segmenter import SamSegmenter

WORDS = {name: ["q", "v", "proj", "mlp"] for name in NAMES} | {"mobile_sam": ["qkv", "proj", "mlp"]}
ADAPTERS = {
    "both": lambda name: AdapterConfig(encoder=WORDS[name], decoder=["attention", "mlp"], rank=2),
    "decoder": lambda name: AdapterConfig(decoder=["attention", "mlp"], rank=2),
    "full": lambda name: AdapterConfig(encoder=["qkv", "neck", "stem"], decoder=["full"], rank=2),
    "unfreeze": lambda name: AdapterConfig(name="unfreeze", preset="full"),
}
ALL = [(name, adapter) for name in NAMES for adapter in ("both", "decoder")]
ALL += [
    (name, adapter) for name in ("sam_hq", "sam2", "sam3_tracker", "mobile_sam") for adapter in ("full", "unfreeze")
]


def experiment(name, saved, adapter):
    side = 0 if name in ("sam_hq", "sam2", "sam3_tracker") else 64
    return Experiment(
        segmenter=SegmenterConfig(architecture=NAMES[name], weights=str(saved(name))),
        frame=FrameConfig(frame_px=side),
        adapter=ADAPTERS[adapter](name),
    )


def batch(name):
    return batch_of(name, sample(), sample((30, 60), seed=1))


def train(learner, name, steps=3, lr=1e-2):
    groups = [{"params": each["params"], "weight_decay": 0.1 * each["decay"]} for each in learner.parameter_groups()]
    optimizer = torch.optim.AdamW(groups, lr=lr)
    losses = []
    for _ in range(steps):
        loss = learner.train()(batch(name))
        optimizer.zero_grad()
        loss.total.backward()
        optimizer.step()
        losses.append(loss.total.item())
    return losses


@pytest.mark.parametrize(("name", "adapter"), ALL)
def test_tuning_of_every_family(name, adapter, saved, tmp_path):
    config = experiment(name, saved, adapter)
    learner = build_learner(config)
    adapted = learner.adapted
    zero_shot = SamSegmenter(build_like(name, saved), kind="tuned").predict(batch(name))
    for ours, theirs in zip(learner.segmenter().predict(batch(name)), zero_shot, strict=True):
        assert torch.equal(ours, theirs), "an adapter starts as zero-shot SAM"
    frozen = {key: each.detach().clone() for key, each in adapted.named_parameters() if not each.requires_grad}
    trained = {key: each.detach().clone() for key, each in adapted.named_parameters() if each.requires_grad}
    losses = train(learner, name, lr=1e-3 if adapter == "unfreeze" else 1e-2)
    assert min(losses[1:]) < losses[0]
    now = dict(adapted.named_parameters())
    assert frozen and all(torch.equal(now[key], each) for key, each in frozen.items())
    moved = [key for key, each in trained.items() if not torch.equal(now[key], each)]
    assert len(moved) > 0.9 * len(trained), sorted(set(trained) - set(moved))[:5]
    assert not any("iou_" in key or "prompt_encoder" in key for key in moved)
    assert any("encoder" in key for key in moved) == (adapter != "decoder")
    assert any("mask_decoder" in key for key in moved)
    tokens = f"sam.{adapted.targets.mask_tokens}"
    assert all(torch.equal(now[key][1:], each[1:]) for key, each in trained.items() if key.startswith(tokens))
    tuned = learner.segmenter().predict(batch(name))
    assert max((one - other).abs().max() for one, other in zip(tuned, zero_shot, strict=True)) > 1e-4

    learner.save(tmp_path / "best")
    again = build_learner(config)
    again.load(tmp_path / "best")
    for ours, theirs in zip(again.segmenter().predict(batch(name)), tuned, strict=True):
        assert torch.equal(ours, theirs)

    with adapted.disabled():
        for ours, theirs in zip(learner.segmenter().predict(batch(name)), zero_shot, strict=True):
            assert torch.equal(ours, theirs), "switched off is zero-shot, bit for bit"

    stock = build(name)
    stock.load_state_dict(adapted.merged(), strict=True)
    for ours, theirs in zip(SamSegmenter(stock, kind="tuned").predict(batch(name)), tuned, strict=True):
        torch.testing.assert_close(ours, theirs, atol=1e-4, rtol=1e-4)


def build_like(name, saved):
    """Return the untuned model as the factory loads it."""
    from samis.sam.configured import configured_sam

    config = experiment(name, saved, "both")
    return configured_sam(config.segmenter, config.frame)[0]


@pytest.mark.parametrize("name", NAMES)
def test_peft_reads_the_folder_on_the_librarys_own_model(name, saved, tmp_path):
    learner = build_learner(experiment(name, saved, "both"))
    train(learner, name, steps=1)
    save_for_stock(learner.adapted, tmp_path)
    stock = build(name)
    PeftModel.from_pretrained(stock, str(tmp_path))
    mark(stock, FAMILIES[name])
    ours, theirs = (each.predict(batch(name))[0] for each in (learner.segmenter(), SamSegmenter(stock, kind="tuned")))
    torch.testing.assert_close(ours, theirs, atol=1e-5, rtol=1e-5)


def test_an_adapter_of_one_family_on_another(saved, tmp_path):
    build_learner(experiment("sam2", saved, "decoder")).save(tmp_path)
    with pytest.raises(UserError, match=r"sam2.*E-ADAPTER-OTHER-BASE"):
        build_learner(experiment("sam3_tracker", saved, "decoder")).load(tmp_path)


@pytest.mark.parametrize("name", ["mobile_sam", "sam_hq", "sam2"])
def test_words_and_adapters_that_do_not_fit(name, saved):
    bottleneck = dataclasses.replace(experiment(name, saved, "both"), adapter=AdapterConfig(name="bottleneck"))
    with pytest.raises(UserError, match="E-ADAPTER-FAMILY"):
        build_learner(bottleneck)
    word = dataclasses.replace(experiment(name, saved, "both"), adapter=AdapterConfig(encoder=["q"]))
    if name == "mobile_sam":
        with pytest.raises(UserError, match="E-ADAPTER-NAME"):
            build_learner(word)
    else:
        assert any("qkv.q" in key for key, each in build_learner(word).named_parameters() if each.requires_grad)


@pytest.mark.parametrize("name", NAMES)
class TestCache:
    def test_embeddings_of_all_levels_are_kept(self, name, saved, tmp_path):
        learner = build_learner(experiment(name, saved, "decoder"))
        sam = learner.adapted.sam
        plain = family_of(sam).encode(sam, batch(name).images)
        cache = EmbeddingCache(tmp_path)
        first = cache(sam, batch(name))
        assert cache.computed == 2 and cache.read == 0
        assert torch.equal(first, plain.half().float())
        assert torch.equal(cache(sam, batch(name)), first) and cache.read == 2
        assert first[0].numel() == torch.tensor(family_of(sam).embedding_shape(sam)).prod()
        learner.embed = cache
        losses = train(learner, name)
        assert losses[-1] < losses[0] and cache.computed == 2

    def test_an_encoder_that_learns_is_not_cached(self, name, saved):
        assert encoder_is_trained(build_learner(experiment(name, saved, "both")).adapted.sam)
        assert not encoder_is_trained(build_learner(experiment(name, saved, "decoder")).adapted.sam)


def test_other_weights_and_frames_are_other_embeddings(saved, tmp_path):
    model, cache = build("sam2").requires_grad_(False), EmbeddingCache(tmp_path)
    given = batch("sam2")
    cache(model, given)
    for key in ("conv_s0", "no_memory"):  # both are part of the embedding, outside the encoder
        changed = build("sam2").requires_grad_(False)
        next(each for name, each in changed.named_parameters() if key in name).add_(0.1)
        before = cache.computed
        cache(changed, given)
        assert cache.computed == before + 2
    keys = [batch_of(name, sample()).extras["view_keys"] for name in ("sam_hq", "sam2")]
    assert not torch.equal(*keys)


@pytest.mark.parametrize("name", ["sam_hq", "sam2", "sam3_tracker", "mobile_sam"])
def test_checkpointed_blocks_change_no_gradient(name, saved):
    config = experiment(name, saved, "both")
    gradients = []
    for again in (False, True):
        segmenter = dataclasses.replace(config.segmenter, checkpoint_activations=again)
        learner = build_learner(dataclasses.replace(config, segmenter=segmenter))
        learner.train()(batch(name)).total.backward()
        gradients.append({key: each.grad for key, each in learner.named_parameters() if each.grad is not None})
    assert gradients[0].keys() == gradients[1].keys() and len(gradients[0]) > 10
    for key, each in gradients[0].items():
        torch.testing.assert_close(each, gradients[1][key], atol=1e-6, rtol=1e-4)


@pytest.mark.parametrize("name", NAMES)
def test_boxes_tune_too(name, saved):
    config = dataclasses.replace(experiment(name, saved, "decoder"), prompt=PromptConfig(kind="box"))
    learner = build_learner(config)
    given = batch_of(name, sample(), sample((30, 60), seed=1), kind="box")
    loss = learner.train()(given)
    loss.total.backward()
    assert torch.isfinite(loss.total)
    assert all(torch.isfinite(each.grad).all() for each in learner.parameters() if each.requires_grad)


@pytest.mark.parametrize("name", ["sam2", "sam3_tracker"])
def test_tuned_boxes_answer_with_mask_0(name):
    """Where mask 0 is unstable an untuned model answers with another mask, a tuned one never does."""
    model, given = build(name), batch_of(name, sample(), kind="box")
    maps = {}
    for kind in ("zero_shot", "tuned"):
        maps[kind] = SamSegmenter(model, kind=kind, prompt=PromptConfig(kind="box"), mask_rule="single").predict(given)[
            0
        ]
    assert not torch.equal(maps["zero_shot"], maps["tuned"])
    model.config.mask_decoder_config.dynamic_multimask_via_stability = False
    plain = SamSegmenter(model, prompt=PromptConfig(kind="box"), mask_rule="single").predict(given)[0]
    assert torch.equal(maps["tuned"], plain)
