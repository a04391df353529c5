"""Predicting unlabelled photos: a run or a zero-shot SAM; files in; maps, masks and measured regions out."""

from __future__ import annotations

from samis.data.pipeline.photos import Photo, find_photos
from samis.prediction.model import SAMS_OWN, Loaded
from samis.prediction.photos import Options, Prediction, how_asked, predict, predict_to
from samis.prediction.predictor import Predictor

__all__ = [
    "SAMS_OWN",
    "Loaded",
    "Options",
    "Photo",
    "Prediction",
    "Predictor",
    "find_photos",
    "how_asked",
    "predict",
    "predict_to",
]
