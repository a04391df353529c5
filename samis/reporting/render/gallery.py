"""One picture for TensorBoard: image, truth, map, and the map over the image, side by side."""

from __future__ import annotations

import numpy as np

from samis.reporting.render.overlay import TRUTH_RGB, boundary, overlaid


def gallery_picture(image: np.ndarray, truth: np.ndarray | None, values: np.ndarray) -> np.ndarray:
    """Return image | truth | map | overlay as one picture; a long upright image is turned.

    The overlay tints the image where the map is high and draws the truth's boundary.

    Args:
        image: (H, W, 3) uint8.
        truth: (H, W) bool, or None.
        values: (H, W) float map in [0, 1].

    Returns:
        (h, w, 3) uint8.

    >>> gallery_picture(np.zeros((4, 6, 3), np.uint8), None, np.ones((4, 6))).shape
    (4, 30, 3)
    """
    truth_u8 = np.zeros(values.shape, np.uint8) if truth is None else truth.astype(np.uint8) * 255
    map_u8 = (np.clip(values, 0, 1) * 255).round().astype(np.uint8)
    overlay = (255 * overlaid(image, map_u8)).round().astype(np.uint8)
    overlay[boundary(truth_u8 > 0, 1)] = TRUTH_RGB
    panes = [image, *(np.repeat(pane[..., None], 3, axis=2) for pane in (truth_u8, map_u8)), overlay]
    turned = image.shape[0] > 2.5 * image.shape[1]
    if turned:
        panes = [np.rot90(pane) for pane in panes]
    gap = np.full((2, panes[0].shape[1], 3) if turned else (panes[0].shape[0], 2, 3), 128, np.uint8)
    return np.concatenate([part for pane in panes for part in (pane, gap)][:-1], axis=0 if turned else 1)
