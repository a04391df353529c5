"""Which prompts new photos get, and which segmenter, prompter and threshold belong to them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from samis.config import PromptConfig
from samis.core.contracts import Segmenter
from samis.data.pipeline.photos import Photo
from samis.errors import UserError
from samis.prediction.deciding import kept_promise
from samis.prediction.model import SAMS_OWN, LoadedModel
from samis.prediction.options import Options
from samis.prompts import PROMPTERS, Prompter, build_prompter
from samis.prompts.given import KIND, GivenPrompter, ObjectPrompt, object_prompts, read_prompts
from samis.sam.merge import SINGLE
from samis.sam.segmenter import SamSegmenter
from samis.tta import FlippedSegmenter, build_tta


def prompts_for(photos: Sequence[Photo], options: Options) -> dict[str, list[ObjectPrompt]] | None:
    """Return the prompts that a person gave for each photo, by its id; None if there are none.

    Args:
        photos: the photos to predict.
        options: whose boxes, points or CSV of prompts are read.

    Raises:
        UserError: a photo without a prompt, or a prompt without a photo.
    """
    if options.prompts is None:
        objects = object_prompts(options.boxes, options.points)
        return {photo.id: objects for photo in photos} if objects else None
    table = read_prompts(options.prompts)
    used: set[str] = set()
    prompts = {}
    for photo in photos:
        names = (str(photo.path), photo.id, photo.id + photo.path.suffix, photo.path.name)
        name = next((name for name in names if name in table), None)
        if name is None:
            raise UserError(
                f"{options.prompts}: no prompt for {photo.path}; add a line for it, or leave the photo out",
                code="E-PREDICT-PROMPT-MISSING",
            )
        used.add(name)
        prompts[photo.id] = table[name]
    if unused := [name for name in table if name not in used]:
        raise UserError(
            f"{options.prompts}: '{unused[0]}' is none of the photos to predict; name that photo too, or remove the line",
            code="E-PREDICT-PROMPT-UNUSED",
        )
    return prompts


def resolve_prompt(
    model: LoadedModel, prompts: Mapping[str, list[ObjectPrompt]] | None, options: Options
) -> tuple[Segmenter, Prompter, float, str]:
    """Return the segmenter and prompter for some prompts, and the threshold with its source.

    Args:
        model: what predicts.
        prompts: photo id -> objects, from ``prompts_for``; None takes the prompt of the model's config.
        options: whose threshold or promise, if it has one, replaces the model's threshold.

    Raises:
        UserError: prompts for a network that takes none, none for a run that was tuned on the truth's boxes, or a promise
            that cannot be kept.
    """
    segmenter, tta = model.segmenter, "none"
    if isinstance(segmenter, FlippedSegmenter):
        segmenter, tta = segmenter.inner, "flips"
    threshold, source = model.threshold, model.threshold_from
    if prompts is None:
        kind = model.config.prompt.kind
        if isinstance(segmenter, SamSegmenter) and kind in PROMPTERS and PROMPTERS[kind].sees_truth:
            raise UserError(
                f"prompt.kind={kind} is made from the truth, which new photos lack; give boxes or clicks",
                code="E-PREDICT-PROMPT-TRUTH",
            )
        prompter = build_prompter(model.config.prompt)
    else:
        if not isinstance(segmenter, SamSegmenter):
            raise UserError(
                "boxes and clicks were given, but this network takes no prompt; leave them out",
                code="E-PREDICT-PROMPT-NETWORK",
            )
        rule = "top_iou" if segmenter.mask_rule == SINGLE else segmenter.mask_rule
        segmenter = SamSegmenter(
            segmenter.sam, kind=segmenter.kind, prompt=PromptConfig(kind=KIND), mask_generation=segmenter.mask_generation,
            mask_rule=SINGLE if segmenter.kind == "tuned" else rule, architecture=segmenter.architecture,
            weights_sha256=segmenter.weights_sha256, details=segmenter.details,
        )  # fmt: skip
        prompter = GivenPrompter(prompts)
        # The validation's threshold belongs to the prompt of training, not to a person's.
        threshold, source = SAMS_OWN, "SAM's own"
    if options.threshold is not None:
        threshold, source = options.threshold, "given"
    if options.promise:
        kept = kept_promise(model, options)
        threshold, source = kept.threshold, kept.words
    return build_tta(segmenter, tta), prompter, threshold, source


def describe_prompts(
    model: LoadedModel, prompts: Mapping[str, list[ObjectPrompt]] | None, options: Options
) -> dict[str, Any]:
    """Return what the settings of a folder of predictions record about model and prompts."""
    settings = {key: value for key, value in model.segmenter.describe().items() if key not in ("oracle", "kind")}
    if prompts is not None:
        settings["prompt"] = (
            f"boxes or clicks from {options.prompts}" if options.prompts else [options.boxes, options.points]
        )
    return settings
