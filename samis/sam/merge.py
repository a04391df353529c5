"""Many masks become one map: named, reproducible rules, pure functions of the candidates at SAM's low resolution.

Paper: none defines how automatic mask generation is scored as one map; these rules are defined here so that a row can name
its own. Picking by the truth, as is often done, is `oracle_best`: an upper bound, and marked so.

A rule takes ``Candidates`` with at least one mask and returns (h, w) float32 logits of its map. Where it finds nothing
it returns ``NOTHING`` everywhere, whose sigmoid is exactly zero, and the evaluator counts the map as empty. On a tiled
image, rules choose within each tile. A mask over more than half of the image (of the tile) counts as background.
"""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

from samis.errors import UserError, did_you_mean
from samis.sam.candidates import Candidates

NOTHING = -1e4
"""A logit whose sigmoid is exactly zero in float32; finite, so that enlarging it gives no NaN."""
BACKGROUND_SHARE = 0.5
"""A mask that covers more than this share of the image is background."""
TOP_K = 5
"""Masks that `union_topk` joins."""
MIN_CONTRAST = 1.5
"""Contrast that `union_contrast` requires of a mask, in standard deviations of the ring around it."""

Rule = Callable[[Candidates], Tensor]


def top_iou(c: Candidates) -> Tensor:
    """Return the mask of highest predicted IoU, be it background or not."""
    return c.logits[c.iou.argmax()]


def top_stability(c: Candidates) -> Tensor:
    """Return the most stable mask, be it background or not; of equals, the one of higher predicted IoU."""
    best = c.stability == c.stability.max()
    return c.logits[torch.where(best, c.iou, -torch.inf).argmax()]


def largest(c: Candidates) -> Tensor:
    """Return the largest mask that is not background; if all are, the smallest."""
    foreground = c.area <= BACKGROUND_SHARE
    if not foreground.any():
        return c.logits[c.area.argmin()]
    return c.logits[torch.where(foreground, c.area, -1.0).argmax()]


def union_topk(c: Candidates) -> Tensor:
    """Return the union of the `TOP_K` masks of highest predicted IoU that are not background."""
    return _union(c, _foreground(c)[c.iou[_foreground(c)].argsort(descending=True, stable=True)[:TOP_K]])


def contrast(c: Candidates) -> Tensor:
    """Return the mask, background left out, whose brightness differs most from the ring around it."""
    foreground = _foreground(c)
    if not len(foreground):
        return _nothing(c)
    return c.logits[foreground[c.contrast[foreground].argmax()]]


def union_contrast(c: Candidates) -> Tensor:
    """Return the union of all masks, background left out, of a contrast of at least `MIN_CONTRAST`; maybe none."""
    foreground = _foreground(c)
    return _union(c, foreground[c.contrast[foreground] >= MIN_CONTRAST])


def contrast_sum(c: Candidates) -> Tensor:
    """Return the contrast-weighted sum of the masks' probabilities, background left out, over its maximum.

    Nested masks add up, so that a defect's core has a higher value than what surrounds it: a saliency map made of segments.
    """
    foreground = _foreground(c)
    weight = c.contrast[foreground]
    if not (weight > 0).any():
        return _nothing(c)
    total = torch.einsum("k,khw->hw", weight, c.logits[foreground].sigmoid())
    return torch.logit(total / total[c.inside].max().clamp_min(1e-12), eps=1e-6)


def not_background(c: Candidates) -> Tensor:
    """Return what the background masks leave out: the surface is the object, a defect a hole in it. Maybe nothing."""
    background = (c.area > BACKGROUND_SHARE).nonzero()[:, 0]
    return -_union(c, background) if len(background) else _nothing(c)


def oracle_best(c: Candidates) -> Tensor:
    """Return the mask of highest IoU with the truth: an upper bound for one mask, no result. Nothing on an empty truth.

    Raises:
        UserError: if the truth is not known.
    """
    if c.truth is None:
        raise UserError(
            "mask_rule: 'oracle_best' chooses by the ground truth, got images without masks; take another rule",
            code="E-SAM-ORACLE",
        )
    masks = c.masks.float()
    overlap, union = torch.minimum(masks, c.truth), torch.maximum(masks, c.truth)
    iou = overlap.flatten(1).sum(1) / union.flatten(1).sum(1).clamp_min(1e-6)
    return c.logits[iou.argmax()] if c.truth.any() else _nothing(c)


MASK_RULES: dict[str, Rule] = {
    "top_iou": top_iou,
    "top_stability": top_stability,
    "largest": largest,
    "union_topk": union_topk,
    "contrast": contrast,
    "union_contrast": union_contrast,
    "contrast_sum": contrast_sum,
    "not_background": not_background,
    "oracle_best": oracle_best,
}
"""Rules by name."""
ORACLE_RULES = frozenset({"oracle_best"})
"""Rules that read the ground truth; their rows are marked as an oracle's."""
RULE_PARAMETERS: dict[str, dict[str, float]] = {
    "largest": {"background_share": BACKGROUND_SHARE},
    "union_topk": {"top_k": TOP_K, "background_share": BACKGROUND_SHARE},
    "contrast": {"background_share": BACKGROUND_SHARE},
    "union_contrast": {"min_contrast": MIN_CONTRAST, "background_share": BACKGROUND_SHARE},
    "contrast_sum": {"background_share": BACKGROUND_SHARE},
    "not_background": {"background_share": BACKGROUND_SHARE},
}
"""The fixed numbers of each rule, for the row's provenance."""
SINGLE = "single"
"""Not a rule over candidates: SAM's mask 0, its answer to an unambiguous (or empty) prompt."""


def merge(rule: str, candidates: Candidates) -> Tensor:
    """Turn the candidates of one view into one map.

    Args:
        rule: key in ``MASK_RULES``.
        candidates: K masks; none at all gives a map of nothing.

    Returns:
        (h, w) float32 logits.
    """
    return MASK_RULES[rule](candidates) if len(candidates) else _nothing(candidates)


def check_rule(rule: str) -> None:
    """Refuse an unknown mask rule.

    Raises:
        UserError: lists the rules and names the nearest one.
    """
    known = [*MASK_RULES, SINGLE]
    if rule not in known:
        raise UserError(
            f"mask_rule: expected one of {', '.join(known)}, got '{rule}'{did_you_mean(rule, known)}",
            code="E-SAM-MASK-RULE",
        )


def nothing_like(grid: Tensor) -> Tensor:
    """Return a map of nothing on the last two dimensions of `grid`."""
    return torch.full(grid.shape[-2:], NOTHING, device=grid.device)


def _nothing(c: Candidates) -> Tensor:
    return nothing_like(c.inside)


def _foreground(c: Candidates) -> Tensor:
    """Return the indices of masks that are neither background nor empty."""
    return ((c.area > 0) & (c.area <= BACKGROUND_SHARE)).nonzero()[:, 0]


def _union(c: Candidates, index: Tensor) -> Tensor:
    return c.logits[index].amax(0) if len(index) else _nothing(c)
