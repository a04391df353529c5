"""PNG files that OpenCV decodes, and those that it would decode unlike Pillow."""

from __future__ import annotations

import zlib
from pathlib import Path

import cv2
import numpy as np
import pytest
from PIL import Image

from samis.errors import UserError
from samis.metrics.grey import read_grey

GREY = np.random.default_rng(0).integers(0, 256, (19, 31), np.uint8)


def chunk(kind: bytes, data: bytes) -> bytes:
    return len(data).to_bytes(4, "big") + kind + data + zlib.crc32(kind + data).to_bytes(4, "big")


def write(path: Path, pixels: np.ndarray, *, before_pixels: bytes = b"", **options) -> None:
    """Write a PNG, with further chunks before the pixels."""
    Image.fromarray(pixels).save(path, **options)
    head, tail = path.read_bytes()[:33], path.read_bytes()[33:]
    path.write_bytes(head + before_pixels + tail)


def decoded_by_opencv(monkeypatch: pytest.MonkeyPatch, path: Path) -> tuple[np.ndarray, bool]:
    """Return what is read, and whether OpenCV decoded it."""
    calls = []
    decode = cv2.imdecode
    monkeypatch.setattr(cv2, "imdecode", lambda *given: calls.append(given) or decode(*given))
    return read_grey(path), bool(calls)


@pytest.mark.parametrize(
    ("pixels", "before", "plain"),
    [
        (GREY, b"", True),
        (np.repeat(GREY[..., None], 3, 2), b"", True),
        (GREY, chunk(b"gAMA", (45455).to_bytes(4, "big")), False),
        (GREY, chunk(b"tEXt", b"Software\0x"), False),
        (GREY[:1, :1], b"", True),
    ],
    ids=["grey", "colour", "gamma", "text", "one_pixel"],
)
def test_a_png_is_read_as_pillow_reads_it(tmp_path, monkeypatch, pixels, before, plain) -> None:
    write(tmp_path / "a.png", pixels, before_pixels=before)
    values, by_opencv = decoded_by_opencv(monkeypatch, tmp_path / "a.png")
    np.testing.assert_array_equal(values, pixels if pixels.ndim == 2 else pixels[..., 0])
    assert by_opencv == plain


def test_a_turned_png_and_a_transparent_one_are_left_to_pillow(tmp_path: Path) -> None:
    exif = Image.Exif()
    exif[0x0112] = 6
    Image.fromarray(GREY).save(tmp_path / "a.png", exif=exif)
    np.testing.assert_array_equal(read_grey(tmp_path / "a.png"), np.rot90(GREY, -1))
    Image.fromarray(np.repeat(GREY[..., None], 3, 2)).save(tmp_path / "b.png", transparency=(*[int(GREY[0, 0])] * 3,))
    with pytest.raises(UserError, match="E-METRIC-FILE-COLOUR"):
        read_grey(tmp_path / "b.png")


def test_colours_in_the_last_pixel_are_refused(tmp_path: Path) -> None:
    for channel in range(3):
        pixels = np.repeat(GREY[..., None], 3, 2)
        pixels[-1, -1, channel] ^= 1
        write(tmp_path / "a.png", pixels)
        with pytest.raises(UserError, match="E-METRIC-FILE-COLOUR"):
            read_grey(tmp_path / "a.png")


def test_every_damaged_byte_is_noticed_or_changes_nothing(tmp_path: Path) -> None:
    Image.fromarray(GREY[:4, :5]).save(tmp_path / "a.png")
    sound = (tmp_path / "a.png").read_bytes()
    for place in range(len(sound)):
        for data in (sound[:place], sound[:place] + bytes([sound[place] ^ 16]) + sound[place + 1 :]):
            (tmp_path / "b.png").write_bytes(data)
            try:
                values = read_grey(tmp_path / "b.png")
            except UserError:
                continue
            np.testing.assert_array_equal(values, np.asarray(Image.open(tmp_path / "b.png")))
