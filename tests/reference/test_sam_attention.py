"""Fused attention equals segment_anything's own, forward and gradient, in windows and in global blocks."""

import copy

import pytest
import torch
from segment_anything.modeling.image_encoder import Attention, ImageEncoderViT

from samis.sam import extended
from samis.sam.attention import use_fused_attention


def pair(module):
    """Return the module with spread random weights, and its fused twin."""
    for parameter in module.parameters():
        parameter.data = torch.randn_like(parameter) * 0.1
    fused = copy.deepcopy(module)
    use_fused_attention(fused)
    return module, fused


def assert_equal(stock, fused, x):
    inputs = [x.clone().requires_grad_() for _ in range(2)]
    outputs = [module(each) for module, each in zip((stock, fused), inputs, strict=True)]
    torch.testing.assert_close(*outputs, atol=1e-5, rtol=1e-5)
    weight = torch.randn_like(outputs[0])
    for output in outputs:
        (output * weight).sum().backward()
    torch.testing.assert_close(*(each.grad for each in inputs), atol=1e-5, rtol=1e-5)
    for (name, one), other in zip(stock.named_parameters(), fused.parameters(), strict=True):
        torch.testing.assert_close(
            one.grad, other.grad, atol=1e-5 * float(1 + one.grad.abs().max()), rtol=1e-4, msg=name
        )


@pytest.mark.parametrize("hw", [(7, 7), (4, 9)])
@pytest.mark.parametrize("rel_pos", [True, False])
def test_one_attention(hw, rel_pos):
    torch.manual_seed(0)
    stock, fused = pair(Attention(24, num_heads=3, use_rel_pos=rel_pos, input_size=hw))
    assert_equal(stock, fused, torch.randn(2, *hw, 24))


@pytest.mark.parametrize("few", [0, 1000])
@pytest.mark.parametrize(("table_hw", "hw"), [((7, 7), (7, 7)), ((4, 9), (4, 9)), ((6, 6), (5, 8))])
def test_frozen_tables(table_hw, hw, few, monkeypatch):
    """Both ways to bring the position: few kernels for few tokens, else two products; also for tables of another grid."""
    monkeypatch.setattr(extended, "FEW_TOKENS", few)
    torch.manual_seed(0)
    stock, fused = pair(Attention(24, num_heads=3, use_rel_pos=True, input_size=table_hw))
    for module in (stock, fused):
        module.rel_pos_h.requires_grad_(False)
        module.rel_pos_w.requires_grad_(False)
    for _ in range(2):
        inputs = [torch.randn(2, *hw, 24, requires_grad=True)]
        inputs.append(inputs[0].detach().clone().requires_grad_())
        outputs = [module(x) for module, x in zip((stock, fused), inputs, strict=True)]
        torch.testing.assert_close(*outputs, atol=1e-5, rtol=1e-5)
        weight = torch.randn_like(outputs[0])
        grads = [
            torch.autograd.grad((output * weight).sum(), [x, module.qkv.weight, module.qkv.bias])
            for output, x, module in zip(outputs, inputs, (stock, fused), strict=True)
        ]
        torch.testing.assert_close(*grads, atol=1e-4, rtol=1e-4)
        with torch.no_grad():  # the cached tables are computed again
            for module in (stock, fused):
                module.rel_pos_h += 1


def test_an_encoder_with_windows_that_do_not_divide_the_grid():
    torch.manual_seed(0)
    encoder = ImageEncoderViT(
        img_size=80, patch_size=16, embed_dim=24, depth=3, num_heads=3, out_chans=8, use_rel_pos=True, window_size=3,
        global_attn_indexes=(1,),
    )  # fmt: skip
    stock, fused = pair(encoder)
    assert_equal(stock, fused, torch.randn(2, 3, 80, 80))


def test_names_of_parameters_stay_and_a_copy_is_fused_by_itself():
    stock, fused = pair(Attention(8, num_heads=2, use_rel_pos=True, input_size=(4, 4)))
    assert list(stock.state_dict()) == list(fused.state_dict())
    twin = copy.deepcopy(fused)
    twin.proj.weight.data.zero_()
    twin.proj.bias.data.zero_()
    x = torch.randn(1, 4, 4, 8)
    assert (twin(x) == 0).all() and (fused(x) != 0).any()


def test_a_compiled_encoder_is_one_graph_and_gives_the_same():
    torch.manual_seed(0)
    stock, fused = pair(
        ImageEncoderViT(
            img_size=80, patch_size=16, embed_dim=24, depth=1, num_heads=3, out_chans=8, use_rel_pos=True,
            window_size=3, global_attn_indexes=(),
        )
    )  # fmt: skip
    images = torch.randn(2, 3, 80, 80)
    with torch.no_grad():
        fused(images)  # fills what is kept between calls
    compiled = torch.compile(fused, backend="aot_eager", fullgraph=True)
    assert_equal(stock, compiled, images)


def test_what_scoring_made_may_be_trained_with():
    _, fused = pair(Attention(24, num_heads=3, use_rel_pos=True, input_size=(5, 7)))
    x = torch.randn(1, 5, 7, 24)
    with torch.inference_mode():
        fused(x)
    fused(x).sum().backward()
    assert fused.rel_pos_h.grad.abs().sum() > 0
