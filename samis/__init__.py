"""SAM-IS: how far is the Segment Anything Model from the best defect networks, and how much of that does an adapter close?

    import samis
    test = samis.load_dataset("sd_saliency_900", root=..., split="test")
    before = samis.score(samis.load_sam("samis_lite", prompt="grid"), test)
    after = samis.score(samis.load_run("checkpoints/runs/steel_lora"), test)
    print(samis.gap_closed(before, after, best=...))

Names are imported when first used, so that ``import samis`` is instant.
"""

from __future__ import annotations

import importlib
from typing import Any

__version__ = "0.1.0"
_NAMES = {
    "load_dataset": "samis.data",
    "load_sam": "samis.api",
    "load_run": "samis.api",
    "score": "samis.api",
    "gap_closed": "samis.api",
    "read_rows": "samis.api",
}
__all__ = [*_NAMES, "__version__"]


def __getattr__(name: str) -> Any:
    if name in _NAMES:
        return getattr(importlib.import_module(_NAMES[name]), name)
    raise AttributeError(f"samis has no {name}; it has {', '.join(_NAMES)}")


def __dir__() -> list[str]:
    return sorted(__all__)
