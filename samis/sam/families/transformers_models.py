"""What the families of transformers share: finding, checking and loading weights, and decoding V views with P prompts each.

Code: transformers (Hugging Face, Apache-2.0) has the modules, ``samis.sam.families.transformers_files`` loads them.
Differs: the decoder's forward is written out here from the library's own modules. The library's chooses among the masks, so
that a second pass would be needed for all four, and its ``get_image_embeddings`` lets nothing learn. The numbers are the same
(tests/reference/test_families.py).
"""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from samis.core.contracts import Prompt
from samis.core.sdpa import exclude_cudnn
from samis.errors import UserError
from samis.sam.families import transformers_files as files
from samis.sam.forward import SamOutput
from samis.sam.interface import Family, Levels


@dataclass(frozen=True)
class Size:
    """One size of a family.

    Attributes:
        hub: the official weights on the Hugging Face hub; empty for any size, which then the folder of weights says.
        vision, decoder, prompts: what its configuration has that is not the library's default.
        million: parameters, in millions.
    """

    hub: str = ""
    vision: Mapping[str, Any] = field(default_factory=dict)
    decoder: Mapping[str, Any] = field(default_factory=dict)
    million: float = 0.0
    prompts: Mapping[str, Any] = field(default_factory=dict)


@dataclass
class Attended:
    """Prompts and image after the two-way transformer, n = V * P.

    Attributes:
        tokens: (n, T, C) of the prompts, the decoder's own first. image: (n, C, g, g).
        view: (n,), the view that each is about.
    """

    tokens: Tensor
    image: Tensor
    view: Tensor


class TransformersFamily(Family):
    """A family whose model is one of transformers' classes.

    Attributes:
        config_name: of its configuration's class. model_types: what its folders' ``config.json`` may say.
        sizes: size by ``segmenter.architecture``; the family's own name stands for any size.
        native_px: side of the frame. own_tokens: how many tokens the decoder puts before the IoU token.
        oldest: the first version of transformers that has the class.
    """

    config_name: str
    model_types: tuple[str, ...]
    sizes: Mapping[str, Size]
    native_px: int = 1024
    own_tokens: int = 0
    oldest: str = "5.0"

    def names(self) -> list[str]:
        return list(self.sizes)

    def frame_px(self, architecture: str, weights: str | Path | None) -> int:
        native = int(self.sizes[architecture].prompts.get("image_size", self.native_px))
        return files.side_of(self.folder(architecture, weights), native)

    def folder(self, architecture: str, weights: str | Path | None) -> Path | None:
        """Return the local file or folder that `weights` means; None for random weights or a name on the hub."""
        return files.local_place(self.name, architecture, weights)

    def load(
        self, architecture: str, *, weights: str | Path | None, frame_px: int | None
    ) -> tuple[nn.Module, str | None]:
        exclude_cudnn()
        model, sha256 = files.load_model(self, architecture, weights)
        side = self.side(model)
        if frame_px not in (None, side):
            raise UserError(
                f"frame.frame_px: expected 0 or {side}, since the frame of {architecture} is fixed, got {frame_px}; set "
                "frame.frame_px=0",
                code="E-SAM-FRAME",
            )
        if self.licence.notice:
            files.print_once(self.licence.notice)
        return model.float().eval(), sha256

    def config(self, architecture: str) -> Any:
        """Return the library's configuration of one size."""
        size = self.sizes[architecture]
        made = files.library(self, self.config_name)
        return made(
            vision_config=dict(size.vision),
            mask_decoder_config=dict(size.decoder),
            prompt_encoder_config=dict(size.prompts),
        )

    @abstractmethod
    def official_name(self, name: str) -> str | None:
        """Return the library's name of a tensor in a file of the official format; None for one that is not needed here."""

    def from_official(self, state: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """Return the tensors of a file in the official format under the library's names."""
        named = ((self.official_name(name), tensor) for name, tensor in state.items())
        return {name: tensor for name, tensor in named if name is not None}

    def encoder(self, model: Any) -> nn.Module:
        return model.vision_encoder

    def side(self, model: Any) -> int:
        return int(model.config.prompt_encoder_config.image_size)

    def mask_side(self, model: Any) -> int:
        return 4 * int(model.prompt_encoder.image_embedding_size[-1])

    def encode(self, model: Any, images: Tensor) -> Tensor:
        levels = self.encode_levels(model, images)
        return torch.cat([level.flatten(1) for level in levels], 1)[..., None, None]

    def embedding_shape(self, model: Any) -> tuple[int, ...]:
        return sum(channels * side * side for channels, side in self.level_shapes(model)), 1, 1

    def levels(self, model: Any, embeddings: Tensor) -> list[Tensor]:
        """Return the (V, C, g, g) levels that (V, L, 1, 1) embeddings hold."""
        shapes = self.level_shapes(model)
        parts = torch.split(embeddings.flatten(1), [channels * side * side for channels, side in shapes], 1)
        return [part.reshape(len(part), *shape, shape[1]) for part, shape in zip(parts, shapes, strict=True)]

    @abstractmethod
    def level_shapes(self, model: Any) -> list[tuple[int, int]]:
        """Return channels and side of each level, finest first."""

    @abstractmethod
    def encode_levels(self, model: Any, images: Tensor) -> list[Tensor]:
        """Return the (V, C, g, g) levels of framed images; gradients flow."""

    def prepare(self, model: Any, embeddings: Tensor) -> Levels:
        levels = self.levels(model, embeddings)
        return Levels(levels, 4 * max(level[0].numel() for level in levels))

    def embed_prompts(self, model: Any, prompt: Prompt, views: int) -> tuple[Tensor | None, Tensor]:
        """Return sparse (V, P, N, C) or None, and dense (1 or V, C, g, g) prompt embeddings of the library's prompt encoder."""
        points = labels = boxes = None
        if prompt.points_xy is not None and prompt.point_labels is not None:
            points, labels = prompt.points_xy, prompt.point_labels
        if prompt.boxes_xyxy is not None:
            boxes = prompt.boxes_xyxy
        if points is None and boxes is None:
            points, labels = self.empty_prompt(model, views)
        sparse, dense = model.prompt_encoder(
            input_points=points, input_labels=labels, input_boxes=boxes, input_masks=None
        )
        return sparse, dense[:1]

    def empty_prompt(self, model: Any, views: int) -> tuple[Tensor | None, Tensor | None]:
        """Return points and labels that the library puts where no prompt is given."""
        return None, None

    @abstractmethod
    def tokens(self, decoder: Any) -> Tensor:
        """Return the decoder's own (T, C) tokens, in their order."""

    def attend(self, model: Any, seen: Levels, prompt: Prompt) -> Attended:
        """Let prompts and image attend to each other."""
        sparse, dense = self.embed_prompts(model, prompt, len(seen))
        return self.attend_embedded(model, seen, sparse, dense, prompt.prompts_per_view)

    def attend_embedded(self, model: Any, seen: Levels, sparse: Tensor | None, dense: Tensor, prompts: int) -> Attended:
        """Do the same with prompts that are embedded already.

        Args:
            model: of this family.
            seen: what the decoder sees of V views.
            sparse: (V, P, N, C), or None.
            dense: (1, C, g, g).
            prompts: P.
        """
        decoder, image, views = model.mask_decoder, seen.levels[-1], len(seen)
        own = self.tokens(decoder).expand(views * prompts, -1, -1)
        if sparse is None:
            tokens = own
        else:  # a reshape of no points at all would be another one in ONNX, where a size of 0 means "as before"
            each = sparse[:, 0] if prompts == 1 else sparse.flatten(0, 1)
            tokens = torch.cat([own, each.to(own.dtype)], 1)
        view = torch.arange(views, device=image.device).repeat_interleave(prompts)
        positions = model.get_image_wide_positional_embeddings().to(image.dtype)
        tokens, places = decoder.transformer(
            point_embeddings=tokens[:, None],
            image_embeddings=(image + dense)[view],
            image_positional_embeddings=positions.expand(len(view), -1, -1, -1),
            attention_similarity=None,
            target_embedding=None,
        )
        return Attended(tokens[:, 0], places[:, 0].transpose(1, 2).reshape(len(view), -1, *image.shape[-2:]), view)

    @abstractmethod
    def point_table(self, model: Any) -> Tensor:
        """Return what is added to the position of a point, (4, C): off the object, on it, and a box's two corners."""

    def rated(self, decoder: Any, tokens: Tensor) -> Tensor:
        """Return the (n, 4) predicted IoU from (n, T, C) tokens."""
        rated: Tensor = decoder.iou_prediction_head(tokens[:, self.own_tokens]).float()
        return rated

    @abstractmethod
    def draw(self, model: Any, seen: Levels, at: Attended, masks: int) -> Tensor:
        """Return the (n, masks, h, w) logits of the first masks."""

    def decode(self, model: Any, seen: Levels, prompt: Prompt) -> SamOutput:
        at = self.attend(model, seen, prompt)
        shape = (len(seen), prompt.prompts_per_view)
        logits, iou = self.draw(model, seen, at, 4).float(), self.rated(model.mask_decoder, at.tokens)
        return SamOutput(logits.reshape(*shape, *logits.shape[1:]), iou.reshape(*shape, -1))

    def decode_single(self, model: Any, embeddings: Tensor, prompt: Prompt) -> Tensor:
        seen = self.prepare(model, embeddings)
        at = self.attend(model, seen, prompt)
        logits = self.draw(model, seen, at, 1)[:, 0].float()
        return logits.reshape(len(seen), prompt.prompts_per_view, *logits.shape[1:])

    def decode_sure(self, model: Any, seen: Levels, prompt: Prompt, min_iou: float) -> tuple[SamOutput, Tensor]:
        at = self.attend(model, seen, prompt)
        iou = self.rated(model.mask_decoder, at.tokens)
        sure = (iou[:, 1:] > min_iou).any(-1)
        chosen = Attended(at.tokens[sure], at.image[sure], at.view[sure])
        logits = self.draw(model, seen, chosen, 4).float()
        return SamOutput(logits[:, None], iou[sure][:, None]), chosen.view
