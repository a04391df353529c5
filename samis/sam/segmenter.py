"""SAM as a Segmenter: a batch in, one map per image out, whatever the prompt, by a named mask rule.

Paper: Kirillov et al., Segment Anything, ICCV 2023 (doi 10.1109/ICCV51070.2023.00371). As there, an ambiguous prompt
(one box, one point) is answered by three alternatives of which one is chosen, an unambiguous one (several points, or
none at all) by mask 0. Maps of unions are the highest of their masks' logits.
Differs: rules choose at the decoder's low resolution; only the chosen map is enlarged, as SAM enlarges it.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from samis.config import PromptConfig
from samis.core.contracts import Batch, Placement, Prompt
from samis.core.geometry import shown_inside, to_file_size, to_frame
from samis.core.preprocessing import PREPROCESSING
from samis.errors import UserError
from samis.sam.candidates import Candidates, MaskGeneration, filter_masks
from samis.sam.forward import Embed, SamOutput, check_answers, embed
from samis.sam.interface import device_of, family_of
from samis.sam.merge import MASK_RULES, ORACLE_RULES, RULE_PARAMETERS, SINGLE, check_rule, merge, nothing_like

CHUNK_BYTES = {"cpu": 24 << 20, "cuda": 512 << 20}
"""What the image tokens of a chunk of prompts may take; a processor is fastest while they fit its cache."""


class SamSegmenter:
    """Segment with a SAM of any family and a prompt (implements ``samis.core.contracts.Segmenter``).

    Args:
        sam: the model, tuned or not; it stays on its device and in its training mode.
        kind: for the row: zero_shot or tuned.
        prompt: kind of prompt of its batches; a batch with another one is refused, so that every row names the prompt it used.
        mask_rule: key in ``MASK_RULES``, or "single" (mask 0 of each prompt); the empty prompt always takes "single".
        mask_generation: which masks of a point grid are kept; None takes segment_anything's thresholds.
        prompt_chunk: prompts decoded at once, over all views; None takes as many as ``CHUNK_BYTES`` hold.
        embed: encodes the views; the encoder by default.
        architecture: for the row.
        weights_sha256: for the row.
        details: more for ``describe``, such as the adapter.

    Raises:
        UserError: an unknown mask rule, or "single" for a grid.
    """

    def __init__(
        self,
        sam: nn.Module,
        *,
        kind: str = "zero_shot",
        prompt: PromptConfig | None = None,
        mask_rule: str = "top_iou",
        mask_generation: MaskGeneration | None = None,
        prompt_chunk: int | None = None,
        embed: Embed = embed,
        architecture: str = "",
        weights_sha256: str | None = None,
        details: dict[str, Any] | None = None,
    ) -> None:
        self.sam = sam
        self.family = family_of(sam)
        self.kind = kind
        self.prompt = prompt or PromptConfig()
        self.mask_generation = mask_generation or MaskGeneration()
        self.prompt_chunk, self.embed = prompt_chunk, embed
        self.architecture = architecture
        self.weights_sha256 = weights_sha256
        self.details = details or {}
        check_rule(mask_rule)
        if mask_rule == SINGLE and self.prompt.kind == "grid":
            raise UserError(
                f"mask_rule: expected a rule that joins a grid's masks ({', '.join(MASK_RULES)}), got 'single'; set one of them",
                code="E-SAM-RULE-FOR-GRID",
            )
        self.mask_rule = SINGLE if self.prompt.kind == "empty" else mask_rule

    def rules(self) -> list[str]:
        """Return the rules that ``predict_all_rules`` answers with where the truth is known."""
        if self.prompt.kind == "empty":
            return [SINGLE]
        return list(MASK_RULES) if self.prompt.kind == "grid" else [SINGLE, *MASK_RULES]

    def predict(self, batch: Batch) -> list[Tensor]:
        """Return one (H, W) float32 map in [0, 1] per image, by ``mask_rule``; all zero where SAM has no mask.

        Raises:
            UserError: an oracle's rule without truth.
            ValueError: the batch has another kind of prompt than the segmenter was built for.
        """
        return self._predict(batch, [self.mask_rule])[self.mask_rule]

    def predict_all_rules(self, batch: Batch) -> dict[str, list[Tensor]]:
        """Return rule -> maps as ``predict``, every rule from one pass; no oracles where the truth is not known."""
        known = [rule for rule in self.rules() if batch.masks is not None or rule not in ORACLE_RULES]
        return self._predict(batch, known)

    def describe(self, mask_rule: str | None = None) -> dict[str, Any]:
        """Return a row's description of this segmenter, for its own rule or for another of ``rules()``."""
        rule = mask_rule or self.mask_rule
        grid, sees_truth = self.prompt.kind == "grid", self.prompt.kind in ("box", "point")
        parameters: dict[str, Any] = dict(RULE_PARAMETERS.get(rule, {}))
        if grid:
            parameters |= {"points_per_side": self.prompt.points_per_side, **asdict(self.mask_generation)}
        if sees_truth:
            parameters |= {"per": self.prompt.per, "jitter": self.prompt.jitter}
        return {
            "kind": self.kind,
            "prompt": self.prompt.kind,
            "mask_rule": rule,
            "oracle": sees_truth or rule in ORACLE_RULES,
            "architecture": self.architecture,
            "frame_px": self.family.side(self.sam),
            "weights_sha256": self.weights_sha256,
            "rule_parameters": parameters,
            **({} if self.embed is embed else {"embeddings": "float16, kept"}),
            **self.details,
        }

    def _predict(self, batch: Batch, rules: Sequence[str]) -> dict[str, list[Tensor]]:
        if batch.prompt.kind != self.prompt.kind:
            raise ValueError(f"prompt: expected '{self.prompt.kind}', got a batch with '{batch.prompt.kind}'")
        batch = batch.to(device_of(self.sam))
        with _evaluating(self.sam), torch.inference_mode():
            embeddings = self.embed(self.sam, batch)
            views = self._view_candidates(batch, embeddings)
            blank = nothing_like(embeddings.new_empty(2 * (self.family.mask_side(self.sam),)).float())
            maps = {}
            for rule in rules:
                answers = [[chosen(rule) for chosen in view] for view in views]
                logits = torch.stack([torch.stack(each).amax(0) if each else blank for each in answers])
                maps[rule] = file_maps(logits[:, None], batch.placements)
        # Ordinary tensors: those of inference mode cannot be changed in place by whoever scores them.
        return {rule: [each.clone() for each in of_rule] for rule, of_rule in maps.items()}

    def _view_candidates(self, batch: Batch, embeddings: Tensor) -> list[list[PromptMasks]]:
        """Return, for each view, the answers whose union is its map: one for a grid, else one for each prompt."""
        side = self.family.mask_side(self.sam)
        places = torch.arange(side, device=embeddings.device) * batch.images.shape[-1] // side
        image = shown_inside(batch, embeddings.device)[:, 0, places[:, None], places]
        grey = _grey(batch, side)
        truth = None if batch.masks is None else F.adaptive_avg_pool2d(batch.masks, side)[:, 0]

        def candidates(view: int, logits: Tensor, iou: Tensor) -> Candidates:
            known = None if truth is None else truth[view]
            return Candidates(logits, iou, image[view], grey[view], known, self.mask_generation.stability_offset)

        seen = self.family.prepare(self.sam, embeddings)
        if batch.prompt.kind == "grid":
            kept = filter_masks(self.decode_grid(seen, batch.prompt), image, self.mask_generation)
            return [[PromptMasks(candidates(view, *pair))] for view, pair in enumerate(kept)]
        answers: list[list[PromptMasks]] = [[] for _ in batch.placements]
        for output, views, present, unambiguous in self._decode_prompts(seen, batch.prompt):
            single = self._single(output)
            for row, column in present.nonzero().tolist():
                logits, iou, view = output.logits[row, column], output.iou[row, column], views[row]
                clear = bool(unambiguous[row, column])
                answers[view].append(PromptMasks(candidates(view, logits[1:], iou[1:]), single[row, column], clear))
        return answers

    def _single(self, output: SamOutput) -> Tensor:
        """Return the (v, p, h, w) logits that answer a prompt with one mask: of a tuned SAM always mask 0, which was tuned."""
        return output.logits[:, :, 0] if self.kind == "tuned" else self.family.single(self.sam, output)

    def _decode_prompts(self, seen: Any, prompt: Prompt) -> Iterator[tuple[SamOutput, list[int], Tensor, Tensor]]:
        """Decode the prompts of all views, some of each at a time.

        Yields:
            SAM's output (v, p, 4, h, w), the indices of its v views (those with a prompt in this chunk), which prompts
            are present (v, p), and which are unambiguous (v, p).
        """
        present = prompt.present
        if present is None:
            shape = (len(seen), prompt.prompts_per_view)
            present = torch.ones(shape, dtype=torch.bool, device=seen.device)
        unambiguous = _unambiguous(prompt, present)
        for columns in self._chunks(seen, present.shape[1]):
            views = present[:, columns].any(1).nonzero()[:, 0]
            if len(views):
                output = self.family.decode(self.sam, seen[views], _part(prompt, columns, views))
                check_answers(self.sam, output.logits, output.iou)
                yield output, views.tolist(), present[views, columns], unambiguous[views, columns]

    def decode_grid(self, seen: Any, prompt: Prompt) -> Iterator[tuple[SamOutput, Tensor]]:
        """Decode a grid's prompts, and compute the masks of those alone that ``filter_masks`` may keep."""
        for columns in self._chunks(seen, prompt.prompts_per_view):
            yield self.family.decode_sure(self.sam, seen, _part(prompt, columns), self.mask_generation.min_iou)

    def _chunks(self, seen: Any, prompts: int) -> Iterator[slice]:
        """Yield slices of the prompts, so that those of all views together fit a chunk."""
        fitting = CHUNK_BYTES.get(seen.device.type, CHUNK_BYTES["cuda"]) // seen.prompt_bytes
        step = max(1, (self.prompt_chunk or fitting) // len(seen))
        return (slice(start, start + step) for start in range(0, prompts, step))


class PromptMasks:
    """One prompt's (or one grid's) masks; called with a rule, it returns the (h, w) logits of the chosen map."""

    def __init__(self, candidates: Candidates, single: Tensor | None = None, unambiguous: bool = False) -> None:
        self.candidates, self.single, self.unambiguous = candidates, single, unambiguous

    def __call__(self, rule: str) -> Tensor:
        if self.single is not None and (rule == SINGLE or self.unambiguous):
            return self.single
        return merge(rule, self.candidates)


def file_maps(logits: Tensor, placements: Sequence[Placement]) -> list[Tensor]:
    """Turn (V, 1, h, w) logits into one (H, W) float32 map in [0, 1] per image.

    An uncut image's logits return to the file's size as SAM's own do and meet the sigmoid last, so that ``map > 0.5``
    is SAM's mask; of tiles, probabilities are blended, since the low logits of an empty tile would outweigh those of its
    neighbour. Where an image was stretched to the frame, its logits are resized only once, as SAM 2's own are.
    """
    stretched = PREPROCESSING[placements[0].preprocessing].stretched
    framed = logits if stretched else to_frame(logits, placements[0].frame_px)
    groups: dict[int, list[int]] = {}
    for view, placement in enumerate(placements):
        groups.setdefault(placement.sample, []).append(view)
    maps = []
    for views in groups.values():
        placed = [placements[view] for view in views]
        height, width = placed[0].file_hw
        if placed[0].crop_xyxy == (0, 0, width, height):
            maps.append(to_file_size(framed[views], placed)[0].sigmoid())
        else:
            maps.append(to_file_size(framed[views].sigmoid(), placed)[0].clamp(0, 1))
    return maps


def _part(prompt: Prompt, columns: slice, views: Tensor | None = None) -> Prompt:
    """Return some of the prompts of some (or all) of the views."""
    tensors = (prompt.points_xy, prompt.point_labels, prompt.boxes_xyxy)
    chosen = [None if t is None else (t if views is None else t[views])[:, columns] for t in tensors]
    return Prompt(prompt.kind, points_xy=chosen[0], point_labels=chosen[1], boxes_xyxy=chosen[2])


def _unambiguous(prompt: Prompt, present: Tensor) -> Tensor:
    """Return (V, P) bool: the empty prompt, several points, or points with a box."""
    if prompt.point_labels is None:
        return torch.full_like(present, prompt.boxes_xyxy is None)
    count = (prompt.point_labels >= 0).sum(-1)
    return count > (1 if prompt.boxes_xyxy is None else 0)


def _grey(batch: Batch, side: int) -> Tensor:
    """Return the brightness (V, side, side) in [0, 255] of a batch's framed images."""
    how, images = PREPROCESSING[batch.placements[0].preprocessing], batch.images
    small = F.adaptive_avg_pool2d(images.float(), side)
    mean, std = (images.new_tensor(values).float()[:, None, None] for values in (how.mean, how.std))
    return (small * std + mean).mean(1)


@contextmanager
def _evaluating(model: nn.Module) -> Iterator[None]:
    """Switch a model to evaluation, and each of its modules back to what it was."""
    modes = [(module, module.training) for module in model.modules()]
    model.eval()
    try:
        yield
    finally:
        for module, mode in modes:
            module.training = mode
