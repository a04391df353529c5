"""Promptable pretraining of the embedded SAM on drawn scenes: maintainers' work, outside the wheel."""
