"""Large pictures: mapped or converted by rows they hold the same pixels, and little memory (counted in a process of its own)."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from samis.data import reading
from samis.data.picture_file import FileError
from samis.data.reading import read_image

ROOT = Path(__file__).resolve().parents[3]
RNG = np.random.default_rng(0)
GREY = RNG.integers(0, 256, (57, 43), np.uint8)
COLOUR = RNG.integers(0, 256, (57, 43, 3), np.uint8)


@pytest.mark.parametrize("pixels", [GREY, COLOUR], ids=["grey", "colour"])
@pytest.mark.parametrize(
    ("name", "options"),
    [
        ("a.tif", {}),
        ("a.tif", {"tiffinfo": {278: 5}}),  # strips of five rows
        ("a.tif", {"tiffinfo": {274: 6}}),  # lying on its side
        ("a.tif", {"compression": "tiff_deflate"}),
        (
            "a.tif",
            {"compression": "tiff_adobe_deflate", "tiffinfo": {278: 5, 317: 2}},
        ),  # strips, differences along rows
        ("a.tif", {"compression": "tiff_lzw"}),
        ("a.pgm", {}),
        ("a.png", {}),
    ],
    ids=["tiff", "strips", "turned", "deflate", "predictor", "lzw", "pnm", "png"],
)
def test_a_large_picture_holds_the_pixels_of_a_small_one(tmp_path, monkeypatch, pixels, name, options) -> None:
    path = tmp_path / name
    Image.fromarray(pixels).save(path, **options)
    small = read_image(path)
    monkeypatch.setattr(reading, "_AS_VIEW", 1)
    monkeypatch.setattr(reading, "_ROWS", 300)
    np.testing.assert_array_equal(read_image(path), small)
    expected = np.rot90(pixels, -1) if "tiffinfo" in options and 274 in options["tiffinfo"] else pixels
    np.testing.assert_array_equal(small, expected if expected.ndim == 3 else expected[..., None].repeat(3, 2))


@pytest.mark.parametrize("pixels", [GREY, COLOUR], ids=["grey", "colour"])
@pytest.mark.parametrize("options", [{}, {"compression": "zlib"}], ids=str)
def test_tiles_are_read_where_they_belong(tmp_path, monkeypatch, pixels, options) -> None:
    tifffile = pytest.importorskip("tifffile")
    path = tmp_path / "a.tif"
    photometric = "minisblack" if pixels.ndim == 2 else "rgb"
    tifffile.imwrite(path, pixels, tile=(16, 32), photometric=photometric, **options)
    monkeypatch.setattr(reading, "_AS_VIEW", 1)
    monkeypatch.setattr(reading, "open_picture", None)  # not by Pillow
    read = read_image(path)
    np.testing.assert_array_equal(read, pixels if pixels.ndim == 3 else pixels[..., None].repeat(3, 2))


def test_a_damaged_strip_is_noticed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "a.tif"
    Image.fromarray(GREY).save(path, compression="tiff_adobe_deflate", tiffinfo={278: 5})
    with Image.open(path) as picture:
        begin, length = picture.tag_v2[273][3], picture.tag_v2[279][3]
    sound = path.read_bytes()
    monkeypatch.setattr(reading, "_AS_VIEW", 1)
    for place in (begin, begin + length // 2, begin + length - 1):
        path.write_bytes(sound[:place] + bytes([sound[place] ^ 255]) + sound[place + 1 :])
        with pytest.raises(FileError) as caught:
            read_image(path)
        assert caught.value.code == "E-FILE-DAMAGED"


def test_a_file_that_was_cut_short_is_not_mapped(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "a.tif"
    Image.fromarray(GREY).save(path)
    path.write_bytes(path.read_bytes()[:-900])
    monkeypatch.setattr(reading, "_AS_VIEW", 1)
    with pytest.raises(FileError) as caught:
        read_image(path)
    assert caught.value.code == "E-FILE-DAMAGED"


MEASURED = """
import json, re, sys
from pathlib import Path
from samis.data.reading import read_image
small, path = sys.argv[1:]
read_image(small)
def peak():  # getrusage would begin with the peak of the process that started this one
    return int(re.search(r"VmHWM:\\s*(\\d+)", Path("/proc/self/status").read_text())[1]) / 1024
before = peak()
image = read_image(path)
tiles = [int(image[y : y + 256, x : x + 256].max()) for y in (0, 2000, 5900) for x in (0, 3000, 7900)]
print(json.dumps({"mb": peak() - before, "tiles": tiles, "shape": image.shape}))
"""


@pytest.mark.parametrize(
    ("name", "channels", "options", "most"),
    [
        ("scan.tif", 1, {}, 0.25),  # mapped: only the tiles looked at
        ("scan.tif", 3, {}, 0.25),
        ("scan.tif", 1, {"compression": "tiff_deflate"}, 1.3),  # decoded strip by strip
        ("scan.tif", 3, {"compression": "tiff_adobe_deflate"}, 1.3),
        ("scan.tif", 1, {"compression": "tiff_lzw"}, 2.6),  # Pillow's pixels and ours
        ("scan.png", 3, {"compress_level": 1}, 3.2),  # Pillow keeps four bytes a pixel
    ],
)
def test_the_peak_against_the_decoded_size(
    tmp_path: Path, name: str, channels: int, options: dict, most: float
) -> None:
    if not Path("/proc/self/status").exists():
        pytest.skip("needs Linux's count of resident memory")
    shape = (6000, 8000) if channels == 1 else (6000, 8000, 3)
    Image.fromarray(np.full(shape, 90, np.uint8)).save(tmp_path / name, **options)
    Image.fromarray(GREY).save(tmp_path / f"small{Path(name).suffix}", **options)
    done = subprocess.run(
        [sys.executable, "-c", MEASURED, str(tmp_path / f"small{Path(name).suffix}"), str(tmp_path / name)],
        cwd=ROOT, capture_output=True, text=True, check=True,
    )  # fmt: skip
    result = json.loads(done.stdout)
    assert result["shape"] == [6000, 8000, 3] and set(result["tiles"]) == {90}
    assert result["mb"] < most * np.prod(shape) / 2**20


def test_grey_that_can_be_mapped_counts_a_byte_a_pixel(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    Image.new("L", (1500, 1000)).save(tmp_path / "a.tif")
    Image.new("L", (1500, 1000)).save(tmp_path / "a.png")
    monkeypatch.setenv("SAMIS_PICTURE_MB", "2")
    assert read_image(tmp_path / "a.tif").shape == (1000, 1500, 3)
    with pytest.raises(FileError, match="E-FILE-TOO-LARGE"):
        read_image(tmp_path / "a.png")
