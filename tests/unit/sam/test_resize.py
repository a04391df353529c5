"""Positions interpolated to another frame; every other tensor is left as it is."""

import torch

from samis.sam.architectures import build_sam
from samis.sam.resize import resized_weights


def test_a_constant_stays_constant_and_shapes_fit():
    weights = {
        name: torch.full_like(tensor, 0.5) for name, tensor in build_sam("samis_lite", frame_px=64).state_dict().items()
    }
    target = build_sam("samis_lite", frame_px=96)
    moved = resized_weights(weights, target.state_dict())
    target.load_state_dict(moved)
    for name, tensor in moved.items():
        if tensor.shape != weights[name].shape:
            assert name.endswith(("pos_embed", "rel_pos_h", "rel_pos_w"))
            torch.testing.assert_close(tensor, torch.full_like(tensor, 0.5))
        else:
            assert tensor is weights[name]


def test_a_ramp_keeps_its_direction_and_middle():
    ramp = torch.linspace(-1, 1, 7)
    weights = {"image_encoder.blocks.1.attn.rel_pos_h": ramp[:, None].expand(7, 2).contiguous()}
    wanted = {"image_encoder.blocks.1.attn.rel_pos_h": torch.empty(15, 2)}
    moved = next(iter(resized_weights(weights, wanted).values()))
    assert moved.shape == (15, 2)
    assert (moved.diff(dim=0) >= 0).all()
    assert moved[7].abs().max() < 1e-6


def test_the_same_frame_changes_nothing():
    weights = build_sam("samis_lite", frame_px=64).state_dict()
    moved = resized_weights(weights, weights)
    assert all(moved[name] is weights[name] for name in weights)


def test_what_cannot_be_interpolated_is_left_to_strict_loading():
    weights = {"mask_decoder.iou_token.weight": torch.zeros(1, 4)}
    assert resized_weights(weights, {"mask_decoder.iou_token.weight": torch.zeros(1, 8)}) == weights
