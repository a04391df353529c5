"""Activations computed again give the same gradients; a compiler that fails is reported once and not used again."""

import copy

import torch

from samis.sam.architectures import build_sam
from samis.sam.encoder_options import checkpoint_blocks, compile_encoder


def encoder():
    torch.manual_seed(0)
    encoder = build_sam("samis_lite", frame_px=64).image_encoder
    for parameter in encoder.parameters():
        parameter.data.add_(torch.randn_like(parameter) * 0.02)
    return encoder


def kept_bytes(module, images):
    kept = []
    with torch.autograd.graph.saved_tensors_hooks(lambda t: kept.append(t.numel()) or t, lambda t: t):
        module(images).square().mean().backward()
    return sum(kept)


def test_checkpointing_keeps_less_and_changes_no_number():
    plain = encoder()
    lean = copy.deepcopy(plain)
    checkpoint_blocks([lean.patch_embed, *lean.blocks])
    images = torch.randn(2, 3, 64, 64)
    assert kept_bytes(lean, images) < 0.5 * kept_bytes(plain, images)
    torch.testing.assert_close(plain(images), lean(images))
    for (name, one), (_, other) in zip(plain.named_parameters(), lean.named_parameters(), strict=True):
        torch.testing.assert_close(one.grad, other.grad, msg=name)
    twin = copy.deepcopy(lean)
    twin.blocks[0].mlp.lin1.weight.data.zero_()
    assert not torch.equal(twin(images), lean(images))


def test_a_compiler_that_fails_is_told_once(capsys):
    wanted, tried, images = encoder(), encoder(), torch.randn(1, 3, 64, 64)
    calls = []

    def broken(function, **options):
        calls.append(function)
        raise RuntimeError("no C++ compiler\nat all")

    compile_encoder(tried, compiler=broken)
    for _ in range(2):
        assert torch.equal(tried(images), wanted(images))
    lines = capsys.readouterr().err.splitlines()
    assert lines == ["segmenter.compile: going on without torch.compile, since RuntimeError: no C++ compiler"]
    assert len(calls) == 1
    assert list(tried.state_dict()) == list(wanted.state_dict())


def test_a_compiler_that_works_is_used():
    tried, images = encoder(), torch.randn(1, 3, 64, 64)
    used = []
    compile_encoder(tried, compiler=lambda function, **options: lambda *given: used.append(1) or function(*given))
    assert torch.equal(tried(images), encoder()(images))
    assert used == [1]
