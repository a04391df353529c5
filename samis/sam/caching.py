"""Whether a SAM's embeddings are kept while it trains or is scored, and where."""

from __future__ import annotations

from typing import Any

from samis.config import CacheConfig
from samis.errors import UserError
from samis.sam.embeddings import EmbeddingCache, encoder_is_trained, open_cache
from samis.sam.segmenter import SamSegmenter
from samis.sam.tuning import SamTuning


def cache_embeddings(config: CacheConfig, user: Any, scored: Any, *, training: Any = None) -> str:
    """Let a SAM encode each view only once, where its encoder is frozen; return a line about it, "" where it is not.

    Args:
        config: whether and where.
        user: a learner or a segmenter, or one around it (``samis.tta``); only SAM's is changed.
        scored: the batches (``samis.data.pipeline.loading.EpochLoader``) that it scores.
        training: its training batches, likewise, if it trains.

    Raises:
        UserError: as ``samis.sam.embeddings.open_cache``; or ``always``, but no training view is repeated.
    """
    passes = getattr(user, "passes", 1)  # mirrored copies are views of their own
    user = getattr(user, "inner", user)
    if not isinstance(user, SamTuning | SamSegmenter):
        return ""
    sam = user.adapted.sam if isinstance(user, SamTuning) else user.sam
    views = passes * scored.views
    per_image = training.views_an_image if training else 1
    if training and per_image is not None:
        views += per_image * training.images
    if per_image is None and config.embeddings == "always" and not encoder_is_trained(sam):
        raise UserError(
            "cache.embeddings: expected training views that are repeated, but data.augment or the crops of frame.tile_px draw "
            "a new view each time; set data.augment=light and frame.tile_px=0, or cache.embeddings=auto",
            code="E-SAM-CACHE-VIEWS",
        )
    user.embed, message = open_cache(config, sam, views=views)
    if training is not None and per_image is not None and isinstance(user.embed, EmbeddingCache):
        training.read_embeddings(user.embed.reader)
    hint = "; those of training are not, since its views are never repeated (data.augment=light repeats them)"
    return message + hint if message and per_image is None else message
