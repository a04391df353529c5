"""Predicting unlabelled photos: a run or a zero-shot SAM; files in; maps, masks and measured regions out."""

from __future__ import annotations

from samis.data.pipeline.photos import Photo, find_photos
from samis.prediction.folder import predict_to
from samis.prediction.model import SAMS_OWN, LoadedModel
from samis.prediction.options import Options
from samis.prediction.photos import Prediction, predict
from samis.prediction.predictor import Predictor
from samis.prediction.prompting import resolve_prompt

__all__ = [
    "SAMS_OWN",
    "LoadedModel",
    "Options",
    "Photo",
    "Prediction",
    "Predictor",
    "find_photos",
    "predict",
    "predict_to",
    "resolve_prompt",
]
