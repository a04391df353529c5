"""The six rebuilt networks are as large as their public code, and need the multiply-adds of its convolutions, listed here by hand.

The lists were read off the authors' repositories (each network's docstring names its own) and know nothing of our modules: input
and output channels, kernel, how often the side was halved, how often the layer is there. What they register but never call is not
listed; what they call twice on the same input is listed once. Biases and norms are left out, below 0.3 % everywhere.
"""

import pytest

from samis.baselines.complexity import count

SIDE = 256
PUBLIC_M = {
    "dacnet": 98.39,
    "edrnet": 39.31,
    "tsernet": 189.64,  # as its paper states; its code registers 47.2 M more that nothing calls
    "csepnet": 18.78,
    "mcnet": 38.44,
    "itsd": 17.08 - 0.392,  # less a second last head that nothing calls: ten 64 -> 64 and five 64 -> 8 convolutions
}
RESNET34 = [(64, 64, 9, 0, 6)] + [
    row
    for before, after, down, times in [(64, 128, 1, 7), (128, 256, 2, 11), (256, 512, 3, 5)]
    for row in [(before, after, 9, down, 1), (after, after, 9, down, times), (before, after, 1, down, 1)]
]
VGG16 = [
    (3, 64, 9, 0, 1), (64, 64, 9, 0, 1), (64, 128, 9, 1, 1), (128, 128, 9, 1, 1), (128, 256, 9, 2, 1),
    (256, 256, 9, 2, 2), (256, 512, 9, 3, 1), (512, 512, 9, 3, 2), (512, 512, 9, 4, 3),
]  # fmt: skip
SIX_STAGES = [(3, 64, 9, 0, 1), *RESNET34, (512, 512, 9, 4, 6), (512, 512, 9, 5, 6), (512, 512, 9, 5, 3)]
"""ResNet-34 of stride 1, two further stages of three basic blocks, a bridge of three convolutions."""


def deeper(rows, by):
    return [(before, after, kernel, down + by, times) for before, after, kernel, down, times in rows]


def dacnet():
    decoder = [(1024, 512, 512, 512, 5), (1024, 512, 512, 512, 4), (1025, 512, 512, 256, 3), (514, 256, 256, 128, 2),
               (259, 128, 128, 64, 1), (132, 64, 64, 64, 0)]  # fmt: skip
    rows = [*SIX_STAGES, (1024, 512, 9, 5, 1), (1536, 512, 9, 5, 1)]
    for a, b, c, d, down in decoder:
        rows += [(a, b, 9, down, 1), (b, c, 9, down, 1), (c, d, 9, down, 1)]
    again = [*RESNET34, (3, 64, 9, 0, 1)]  # the same weights on a half and a quarter; the half also meets stage 5
    return rows, [*deeper(again, 1), (512, 512, 9, 5, 6), *deeper(again, 2)]


def edrnet():
    rows = [(3, 64, 9, 0, 1), *deeper(RESNET34, 1), (512, 512, 9, 5, 3)]
    for channels, blocks in [(64, 3), (128, 4), (256, 6), (512, 3)]:
        rows += [(channels, channels // 16, 2, 99, blocks), (2, 1, 49, 1, blocks)]
    for down, channels, after in [(4, 512, 256), (3, 256, 128), (2, 128, 64), (1, 64, 64), (0, 64, 64)]:
        rows += [(2 * channels, channels, 1, 99, 1), (channels, channels, 1, 99, 1)]  # on pooled features
        rows += [(channels, channels, 9, down, 2), (channels, channels, 1, down, 1)]
        rows += [(channels, after, 9, down, 1), (after, after, 9, down, 1), (after, after, 1, down, 1)]
        rows += [(channels, after, 1, down, 1)] if after != channels else []
    for down in range(4):  # the refinement's 3 x 1 and 1 x 3 pairs, down and up
        rows += [(1 if down == 0 else 64, 64, 3, down, 1), (64, 64, 3, down, 2), (128, 64, 3, down, 1)]
    return [*rows, (64, 64, 9, 4, 1)], []


def tsernet():
    levels = [(64, 0), (128, 1), (256, 2), (512, 3), (512, 4), (512, 5)]
    rows = [*SIX_STAGES, (512, 512, 9, 5, 3), (512, 128, 9, 5, 1), (128, 64, 1, 1, 1), (64, 64, 9, 1, 4)]
    rows += [(256, 1, 9, 1, 1), (1, 128, 9, 1, 1), (128, 1, 9, 1, 1)]
    for (channels, down), after in zip(levels, [64, 64, 128, 256, 512, 512], strict=True):
        rows += [(channels, channels, 9, down, 2)]  # residual context
        rows += [(channels, channels, 9, down, 1 + 3 + 1 + 3 + 3)]  # foreground-background integration
        rows += [(channels, channels, 9, down, 2), (channels, after, 9, down, 1)]
    rows += [(1, 64, 9, 0, 1), (64, 64, 9, 4, 1), (64, 1, 9, 0, 1)]
    for down in range(4):
        rows += [(64, 64, 9, down, 1), (1, 64, 9, down, 1), (128, 64, 9, down, 1), (192, 64, 9, down, 1)]
    return rows, []


def csepnet():
    rows = [*VGG16]
    for before, width, down in [(64, 32, 0), (128, 64, 1), (256, 64, 2), (512, 64, 3), (512, 64, 4)]:
        low = width // 2
        rows += [(before, before // 16, 2, 99, 1), (before, width, 9, down, 1)]
        rows += [(width, width, 9, down, 5), (low, width, 9, down, 1)]  # inside the level's own scale, and into it
        rows += [(width, low, 9, down + 1, 2), (low, low, 9, down + 1, 3)]  # its half
        rows += [(width, width, 1, down, 2), (low, low, 1, down + 1, 2)]  # edge purification
        rows += [(low, width, 9, down, 1), (2 * width, width, 9, down, 1), (width, width, 9, down, 2)]
        rows += [(width, 32 if down < 2 else 64, 9, down, 1)]
        if down < 4:  # context between this level and the one below
            rows += [(width, width, 9, down, 3), (2 * width, width, 9, down, 1)]
        if down:  # side head
            rows += [(64, 64, 9, down, 3), (64, 64, 4, down, 1), (64, 1, 9, down - 1, 1)]
    return rows, []


def mcnet():
    rows, channels = [(3, 64, 49, 1, 1)], 64
    for block, (layers, down) in enumerate([(6, 2), (12, 3), (48, 3), (32, 3)]):
        for _ in range(layers):
            rows += [(channels, 128, 1, down, 1), (128, 32, 9, down, 1)]
            channels += 32
        if block < 3:
            rows += [(channels, channels // 2, 1, down, 1), (channels // 2, 2, 1, 3, 1)]
            rows += [(2, 128, 49, 3, 1), (128, 49, 1, 3, 1)]
            channels //= 2
    return [*rows, (1920, 480, 1, 99, 4), (3840, 480, 9, 3, 1), (480, 2, 1, 3, 1)], []


def itsd():
    rows = [*VGG16]
    for number, depth in enumerate([3, 2, 2, 1, 1]):
        down = 4 - number
        rows += [(64, 64, 9, down, depth + 1), (64, 32, 9, down, 1 if number == 0 else 2)]  # saliency
        rows += [(64, 64, 9, down if number == 0 else down + 1, depth), (64, 64, 9, down, 2)]  # contour
        rows += [(64, 32, 9, down, 2), (32, 4, 9, down, 2)]  # predictions of both
        rows += [(64, 64, 9, level, 1) for level in range(down, 0, -1)] + [(64, 8, 9, 0, 1)]  # the last head
    return [*rows, (40, 8, 9, 0, 1)], []


def weights(rows):
    return sum(before * after * kernel * times for before, after, kernel, _, times in rows)


def multiply_adds(rows):
    return sum(
        before * after * kernel * times * (SIDE / 2**down) ** 2
        for before, after, kernel, down, times in rows
        if down < 99
    )


@pytest.mark.parametrize("structure", [dacnet, edrnet, tsernet, csepnet, mcnet, itsd], ids=lambda s: s.__name__)
def test_as_large_and_as_costly_as_the_public_code(structure):
    name = structure.__name__
    once, shared = structure()
    counted = count(name, side=SIDE)
    assert counted.parameters / 1e6 == pytest.approx(PUBLIC_M[name], rel=0.01)
    assert counted.parameters == pytest.approx(weights(once), rel=0.01)
    assert counted.multiply_adds == pytest.approx(multiply_adds(once + shared), rel=0.05)


if __name__ == "__main__":
    for structure in (dacnet, edrnet, tsernet, csepnet, mcnet, itsd):
        once, shared = structure()
        print(f"{structure.__name__:8s} {weights(once) / 1e6:7.2f} M {multiply_adds(once + shared) / 1e9:7.2f} G")
