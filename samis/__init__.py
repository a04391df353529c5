"""SAM-IS: how far is the Segment Anything Model from the best defect networks, and how much of that does an adapter close?

    import samis
    test = samis.load_dataset("sd_saliency_900", root=..., split="test")
    before = samis.score(samis.load_sam("samis_lite", prompt="grid"), test)
    run = samis.train("steel_lora", "data.root=...", "training.minutes=10")
    after = samis.score(samis.load_run(run), test)
    print(samis.gap_closed(before, after, best=...))
    samis.predict("steel", "photos/")

Names are imported when first used, so that ``import samis`` is instant.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from samis.api import Model, Rows, gap_closed, load_run, load_sam, predict, read_rows, score, train
    from samis.config import Experiment
    from samis.core.contracts import Batch, Dataset, Sample, Segmenter
    from samis.data import load_dataset
    from samis.errors import ConfigError, UserError
    from samis.evaluation.score_row import ScoreRow
    from samis.prediction import Prediction
    from samis.reporting.analysis.gap import Gap

__version__ = "0.2.0"
_NAMES = {
    **dict.fromkeys(
        ("Model", "Rows", "gap_closed", "load_run", "load_sam", "predict", "read_rows", "score", "train"), "samis.api"
    ),
    "load_dataset": "samis.data",
    "Experiment": "samis.config",
    **dict.fromkeys(("Batch", "Dataset", "Sample", "Segmenter"), "samis.core.contracts"),
    **dict.fromkeys(("ConfigError", "UserError"), "samis.errors"),
    "ScoreRow": "samis.evaluation.score_row",
    "Prediction": "samis.prediction",
    "Gap": "samis.reporting.analysis.gap",
}
__all__ = [
    "Batch", "ConfigError", "Dataset", "Experiment", "Gap", "Model", "Prediction", "Rows", "Sample", "ScoreRow", "Segmenter",
    "UserError", "__version__", "gap_closed", "load_dataset", "load_run", "load_sam", "predict", "read_rows", "score", "train",
]  # fmt: skip


def __getattr__(name: str) -> Any:
    if name in _NAMES:
        return getattr(importlib.import_module(_NAMES[name]), name)
    raise AttributeError(f"samis has no {name}; it has {', '.join(_NAMES)}")


def __dir__() -> list[str]:
    return sorted(__all__)
