"""SAM's forward, differentiable and for any batch: V views, P prompts each, all four masks and their predicted IoU.

Differs from segment_anything's own ``Sam.forward``: that one runs under ``no_grad`` and one image at a time, and its mask
decoder refuses several images that each carry prompts. Here a view's tokens are broadcast over its prompts, not repeated
(``samis.sam.two_way``), and masks are only computed where they are needed. The numbers are the same
(tests/reference/test_sam_forward.py).
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
import torch.nn.functional as F
from segment_anything.modeling import MaskDecoder, PromptEncoder, Sam
from torch import Tensor, nn

from samis.core.contracts import Batch, Prompt
from samis.errors import UserError
from samis.sam.extended import may_keep
from samis.sam.interface import family_of
from samis.sam.two_way import attend, use_broadcast_attention

Embed = Callable[[Any, Batch], Tensor]
"""Gives the embeddings of a batch's views, (V, C, g, g), or as a family of other levels packs them."""


@dataclass
class SamOutput:
    """SAM's output.

    Attributes:
        logits: (V, P, 4, h, w) float32 at the decoder's own grid (a quarter of a token): mask 0 is the single answer,
            masks 1 to 3 the alternatives for an ambiguous prompt.
        iou: (V, P, 4) float32, the IoU that SAM itself predicts for each mask.
    """

    logits: Tensor
    iou: Tensor


@dataclass
class ImageTokens:
    """What the decoder sees of V views, made once for any number of prompts.

    Attributes:
        tokens: (V, 1, N, C), the embeddings of N = g * g places, row by row.
        positions: (1, 1, N, C).
        grid_hw: rows and columns of the places.
    """

    tokens: Tensor
    positions: Tensor
    grid_hw: tuple[int, int]

    def __len__(self) -> int:
        return len(self.tokens)

    def __getitem__(self, views: Tensor) -> ImageTokens:
        """Return those of some views."""
        return ImageTokens(self.tokens[views], self.positions, self.grid_hw)

    @property
    def prompt_bytes(self) -> int:
        """What one prompt's own image tokens take, float32."""
        return 4 * self.tokens.shape[2] * self.tokens.shape[3]

    @property
    def device(self) -> torch.device:
        """Where they are."""
        return self.tokens.device


def encode(sam: Sam, images: Tensor) -> Tensor:
    """Return (V, C, g, g) embeddings of (V, 3, S, S) framed images."""
    embeddings: Tensor = sam.image_encoder(images)
    return embeddings


def embed(sam: Any, batch: Batch) -> Tensor:
    """Encode a batch's views with a SAM of any family; ``samis.sam.embeddings.EmbeddingCache`` does the same, each view once."""
    return family_of(sam).encode(sam, batch.images)


def image_tokens(sam: Sam, embeddings: Tensor) -> ImageTokens:
    """Return what the decoder sees of (V, C, g, g) embeddings, where no prompt is a mask."""
    if not torch.compiler.is_compiling():  # who compiles has switched before
        use_broadcast_attention(sam.mask_decoder)
    no_mask = sam.prompt_encoder.no_mask_embed.weight
    tokens = embeddings.flatten(2).mT + no_mask
    # Contiguous, since every prompt adds to them: a transposed view would make each of those passes slow.
    hw = embeddings.shape[-2], embeddings.shape[-1]
    return ImageTokens(tokens.contiguous()[:, None], _positions(sam.prompt_encoder), hw)


def embed_prompts(sam: Sam, prompt: Prompt, views: int) -> Tensor:
    """Return (V * P, N, C) prompt embeddings, as SAM's own prompt encoder does; N = 0 for the empty prompt."""
    points = boxes = None
    if prompt.points_xy is not None and prompt.point_labels is not None:
        points = (prompt.points_xy.flatten(0, 1), prompt.point_labels.flatten(0, 1))
    if prompt.boxes_xyxy is not None:
        boxes = prompt.boxes_xyxy.flatten(0, 1)
    encoder = sam.prompt_encoder
    parts = [] if points is None else [_embed_points(encoder, *points, pad=boxes is None)]
    parts += [] if boxes is None else [encoder._embed_boxes(boxes)]
    return torch.cat(parts, 1) if parts else encoder.no_mask_embed.weight.new_zeros(views, 0, encoder.embed_dim)


def _embed_points(encoder: PromptEncoder, points: Tensor, labels: Tensor, *, pad: bool) -> Tensor:
    """Return (n, N, C) embeddings of (n, N) points, by SAM's rule; SAM's own code waits for the device at each label."""
    if pad:  # no box: one point more, which is none
        points, labels = F.pad(points, (0, 0, 0, 1)), F.pad(labels, (0, 1), value=-1)
    places = encoder.pe_layer.forward_with_coords(points + 0.5, encoder.input_image_size)
    label, (off, on) = labels[..., None], (encoder.point_embeddings[number].weight for number in range(2))
    places = torch.where(label == 1, places + on, torch.where(label == 0, places + off, places))
    return torch.where(label == -1, encoder.not_a_point_embed.weight, places)


def _positions(encoder: PromptEncoder) -> Tensor:
    """Return the (1, 1, N, C) float32 positions of the image's places, made once: nothing trains them."""
    frequencies = encoder.pe_layer.positional_encoding_gaussian_matrix
    eager = may_keep(frequencies) and not frequencies.is_inference()
    kept: Any = vars(encoder).get("_samis_positions") if eager else None
    if kept is None or kept[0] is not frequencies or kept[1] != frequencies._version:
        kind = frequencies.device.type
        # Ordinary tensors, since training may use what scoring made; float32, whatever the caller's precision.
        with torch.inference_mode(False), torch.no_grad(), torch.autocast(kind, enabled=False):
            positions = encoder.get_dense_pe().flatten(2).mT.contiguous()[:, None]
        if not eager:
            return positions
        kept = (frequencies, frequencies._version, positions)
        vars(encoder)["_samis_positions"] = kept
    made: Tensor = kept[2]
    return made


def decode(sam: Sam, image: Tensor | ImageTokens, prompt: Prompt) -> SamOutput:
    """Answer P prompts for each of V embedded views.

    Args:
        sam: the model; gradients flow to the parameters that require them.
        image: (V, C, g, g) from ``encode``, or their ``image_tokens`` where several calls share them.
        prompt: with V views; neither points nor boxes means SAM's empty prompt.
    """
    image = image if isinstance(image, ImageTokens) else image_tokens(sam, image)
    tokens, places = _attended(sam, image, prompt)
    iou = _rated(sam.mask_decoder, tokens)
    logits = _draw(sam.mask_decoder, tokens.flatten(0, 1), places.flatten(0, 1), image.grid_hw)
    return SamOutput(logits.reshape(*iou.shape, *logits.shape[-2:]), iou)


def decode_single(sam: Sam, embeddings: Tensor, prompt: Prompt) -> Tensor:
    """Return (V, P, h, w) logits of mask 0 alone, as ``decode`` gives them: neither the alternatives nor any IoU is computed."""
    image = image_tokens(sam, embeddings)
    tokens, places = _attended(sam, image, prompt)
    logits = _draw(sam.mask_decoder, tokens.flatten(0, 1), places.flatten(0, 1), image.grid_hw, masks=1)
    return logits.reshape(*tokens.shape[:2], *logits.shape[-2:])


def decode_sure(sam: Sam, image: ImageTokens, prompt: Prompt, min_iou: float) -> tuple[SamOutput, Tensor]:
    """Answer only the n prompts with an alternative of predicted IoU above `min_iou`; of the others no mask is computed.

    Args:
        sam: the model.
        image: tokens of V views.
        prompt: P prompts for each view.
        min_iou: predicted IoU that one of masks 1 to 3 must exceed.

    Returns:
        outputs (n, 1, 4, h, w), and the view (n,) of each.
    """
    tokens, places = _attended(sam, image, prompt)
    iou = _rated(sam.mask_decoder, tokens)
    sure = (iou[..., 1:] > min_iou).any(-1)
    logits = _draw(sam.mask_decoder, tokens[sure], places[sure], image.grid_hw)
    check_answers(sam, iou, logits)
    return SamOutput(logits[:, None], iou[sure][:, None]), sure.nonzero()[:, 0]


def check_answers(sam: nn.Module, *values: Tensor) -> None:
    """Refuse answers that are not finite: a NaN exceeds no threshold, so that a defective part would be called sound.

    Args:
        sam: the model that computed them.
        values: masks or scores.

    Raises:
        UserError: naming the first of the model's tensors that is not finite, if one is.
    """
    if all(bool(torch.isfinite(each).all()) for each in values):
        return
    state = sam.state_dict().items()
    bad = next((name for name, tensor in state if not bool(torch.isfinite(tensor).all())), None)
    where = f"its tensor '{bad}' holds some" if bad else "its weights are finite, so that numbers have overflowed"
    raise UserError(
        f"SAM: expected finite masks and scores, got NaN or infinity; {where}; use other weights",
        code="E-SAM-NOT-FINITE",
    )


def answer(sam: Sam, images: Tensor, prompt: Prompt) -> SamOutput:
    """Encode (V, 3, S, S) framed images and answer their prompts."""
    return decode(sam, encode(sam, images), prompt)


def _attended(sam: Sam, image: ImageTokens, prompt: Prompt) -> tuple[Tensor, Tensor]:
    """Return prompt tokens (V, P, T, C) and each prompt's own image tokens (V, P, N, C)."""
    decoder = sam.mask_decoder
    views, prompts = image.tokens.shape[0], prompt.prompts_per_view
    sparse = embed_prompts(sam, prompt, views)
    if sparse.shape[0] != views * prompts:
        raise ValueError(f"prompt: expected {views} views x {prompts} prompts, got {sparse.shape[0]} in all")
    own = torch.cat([decoder.iou_token.weight, decoder.mask_tokens.weight])
    tokens = torch.cat([own.expand(sparse.shape[0], -1, -1), sparse], dim=1)
    tokens = tokens.reshape(views, prompts, *tokens.shape[1:])
    return attend(decoder.transformer, image.tokens, image.positions, tokens)


def _rated(decoder: MaskDecoder, tokens: Tensor) -> Tensor:
    """Return the (V, P, 4) float32 predicted IoU from (V, P, T, C) prompt tokens."""
    rated: Tensor = decoder.iou_prediction_head(tokens[:, :, 0]).float()
    return rated


def _draw(decoder: MaskDecoder, tokens: Tensor, places: Tensor, grid_hw: tuple[int, int], *, masks: int = 4) -> Tensor:
    """Return the (n, masks, h, w) float32 logits of n prompts from their tokens (n, T, C) and image tokens (n, N, C)."""
    mlps = list(decoder.output_hypernetworks_mlps)[:masks]
    hyper = torch.stack([mlp(tokens[:, 1 + i]) for i, mlp in enumerate(mlps)], 1)
    # By name, since an adapter may have wrapped the sequence, and its wrapper passes attributes on.
    first, norm, act, second, last_act = (getattr(decoder.output_upscaling, str(i)) for i in range(5))
    # A transposed convolution of stride 2 and kernel 2 is a product at each place, which then holds 2 x 2 smaller ones:
    # done so, channels stay last and the image is laid out only once, at the end.
    fine = _quartered(first, places)
    fine = act(F.layer_norm(fine, fine.shape[-1:], norm.weight, norm.bias, norm.eps))
    fine = last_act(_quartered(second, fine))
    drawn = torch.einsum("nmc,npuxc->nmpux", hyper, fine).float()
    # (masks, row, column, sub-row, sub-column, sub-sub-row, sub-sub-column) -> rows, columns
    laid = drawn.reshape(*drawn.shape[:2], *grid_hw, 2, 2, 2, 2).permute(0, 1, 2, 4, 6, 3, 5, 7)
    return laid.reshape(*drawn.shape[:2], 4 * grid_hw[0], 4 * grid_hw[1])


def _quartered(layer: Any, x: Tensor) -> Tensor:
    """Return (..., 4, C'), what a stride-2 transposed convolution makes of each of (..., C) places."""
    weight = layer.weight.permute(0, 2, 3, 1).flatten(1)
    bias = None if layer.bias is None else layer.bias.expand(4, -1).flatten()  # ``repeat`` takes four kernels
    return F.linear(x, weight.mT, bias).reshape(*x.shape[:-1], 4, layer.out_channels)
