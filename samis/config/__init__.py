"""One YAML file is one whole experiment: ``schema`` says what may be in it, ``files`` reads, overrides and writes it."""

from samis.config.cli_help import describe_keys
from samis.config.fields import keys_named
from samis.config.files import apply_overrides, check, from_dict, load_config, to_dict, to_yaml
from samis.config.schema import (
    AdapterConfig,
    DataConfig,
    Experiment,
    FrameConfig,
    Pretraining,
    PromptConfig,
    ScenesConfig,
    SegmenterConfig,
)
from samis.config.training import CacheConfig, LossConfig, MetricsConfig, OptimConfig, TrainingConfig

__all__ = [
    "AdapterConfig", "CacheConfig", "DataConfig", "Experiment", "FrameConfig", "LossConfig", "MetricsConfig",
    "OptimConfig", "Pretraining", "PromptConfig", "ScenesConfig", "SegmenterConfig", "TrainingConfig", "apply_overrides",
    "check", "describe_keys", "from_dict", "keys_named", "load_config", "to_dict", "to_yaml",
]  # fmt: skip
