"""Near duplicates: recognised under another light, not reported because of stripes."""

from __future__ import annotations

import numpy as np

from samis.data.checks.duplicates import group_pairs, near_pairs, thumbnail

RNG = np.random.default_rng(0)


def surface(seed: int) -> np.ndarray:
    coarse = np.random.default_rng(seed).random((12, 12))
    return np.repeat((np.kron(coarse, np.ones((16, 16))) * 120 + 40)[..., None], 3, axis=2)


def pairs(*images: np.ndarray) -> list[tuple[int, int]]:
    return [pair[:2] for pair in near_pairs(np.stack([thumbnail(image.astype(np.uint8)) for image in images]))]


def test_another_light_is_seen_through() -> None:
    first = surface(0)
    assert pairs(first, surface(1), first * 0.6 + 60) == [(0, 2)]


def test_common_stripes_make_no_twins() -> None:
    stripes = np.repeat((np.arange(192) % 32 * 6.0)[None, :, None], 192, axis=0).repeat(3, axis=2)
    assert pairs(stripes + RNG.normal(0, 9, (192, 192, 1)) + 30, stripes + RNG.normal(0, 9, (192, 192, 1)) + 30) == []
    assert not thumbnail(stripes.astype(np.uint8)).any()


def test_flat_images_are_no_twins() -> None:
    assert pairs(np.full((64, 64, 3), 90.0), np.full((64, 64, 3), 90.0)) == []


def test_many_images_are_compared_in_pieces() -> None:
    thumbs = np.eye(1100, dtype=np.float32)
    thumbs[1050] = thumbs[3]
    assert near_pairs(thumbs) == [(3, 1050, 1.0)]


def test_groups_join() -> None:
    assert group_pairs(5, [(3, 4, 1.0), (1, 3, 1.0), (0, 2, 1.0)]) == [0, 1, 0, 1, 1]
