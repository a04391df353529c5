"""Files of every kind are read by the stated rules, or refused with one line that names them."""

from __future__ import annotations

import os
import tracemalloc
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from samis.data import picture_file, reading
from samis.data.picture_file import FileError
from samis.data.reading import peculiarities, read_image, read_mask
from samis.errors import UserError

GREY = np.arange(48, dtype=np.uint8).reshape(6, 8)


def save(path: Path, values: np.ndarray | Image.Image, **options: object) -> Path:
    picture = values if isinstance(values, Image.Image) else Image.fromarray(values)
    picture.save(path, **options)
    return path


def refused(call: object, path: Path, **options: object) -> FileError:
    with pytest.raises(FileError) as caught:
        call(path, **options)  # type: ignore[operator]
    assert str(path) in str(caught.value)
    assert "\n" not in str(caught.value)
    return caught.value


@pytest.mark.parametrize("ending", ["png", "bmp", "tif", "pgm", "webp"])
def test_grey_is_repeated(tmp_path: Path, ending: str) -> None:
    image = read_image(save(tmp_path / f"a.{ending}", GREY, **({"lossless": True} if ending == "webp" else {})))
    assert image.shape == (6, 8, 3)
    assert image.dtype == np.uint8
    assert (image == GREY[..., None]).all()


def test_16_bit_is_scaled_by_its_range(tmp_path: Path) -> None:
    values = np.array([[0, 128, 129, 257, 65535]], dtype=np.uint16)
    for ending in ("png", "tif"):
        path = save(tmp_path / f"a.{ending}", values)
        assert read_image(path)[0, :, 0].tolist() == [0, 0, 1, 1, 255]
        assert [code for code, _ in peculiarities(path)] == ["16_bit"]


def test_32_bit_is_refused(tmp_path: Path) -> None:
    assert refused(read_image, save(tmp_path / "a.tif", np.array([[0, 70000]], dtype=np.int32))).code == "E-DATA-PIXELS"
    assert (
        refused(read_image, save(tmp_path / "b.tif", np.array([[0.5, 1.0]], dtype=np.float32))).code == "E-DATA-PIXELS"
    )


def test_palette_alpha_cmyk(tmp_path: Path) -> None:
    colours = np.zeros((4, 4, 3), dtype=np.uint8)
    colours[:2] = (200, 10, 30)
    palette = save(tmp_path / "p.png", Image.fromarray(colours).convert("P", palette=Image.Palette.ADAPTIVE))
    assert (read_image(palette) == colours).all()
    alpha = np.dstack([np.full((4, 4, 3), 80, np.uint8), np.full((4, 4), 255, np.uint8)])
    alpha[0, 0, 3] = 0
    layered = read_image(save(tmp_path / "a.png", alpha))
    assert layered[0, 0].tolist() == [0, 0, 0]
    assert layered[1, 1].tolist() == [80, 80, 80]
    cmyk = save(tmp_path / "c.jpg", Image.new("CMYK", (16, 16), (0, 255, 255, 0)), quality=100)
    red = read_image(cmyk)[8, 8].astype(int)
    assert red[0] > 240
    assert red[1:].max() < 15
    codes = [peculiarities(path)[0][0] for path in (palette, tmp_path / "a.png", cmyk)]
    assert codes == ["palette", "alpha", "colour_space"]


def test_exif_rotation_is_applied(tmp_path: Path) -> None:
    exif = Image.Exif()
    exif[0x0112] = 6  # the camera was turned: the upright picture is the stored one turned clockwise
    path = save(tmp_path / "a.jpg", np.full((10, 20), 90, np.uint8), exif=exif)
    assert read_image(path).shape == (20, 10, 3)
    assert [code for code, _ in peculiarities(path)] == ["exif_rotation"]


def test_broken_files(tmp_path: Path) -> None:
    noise = np.random.default_rng(0).integers(0, 255, (64, 64), dtype=np.uint8)
    for ending in ("png", "jpg", "bmp", "tif", "pgm", "webp"):
        whole = save(tmp_path / f"whole.{ending}", noise).read_bytes()
        cut = tmp_path / f"cut.{ending}"
        cut.write_bytes(whole[: len(whole) // 2])
        assert refused(read_image, cut).code in ("E-FILE-DAMAGED", "E-FILE-NO-PICTURE")
    empty = tmp_path / "empty.png"
    empty.touch()
    assert refused(read_image, empty).code == "E-FILE-EMPTY"
    text = tmp_path / "text.png"
    text.write_text("<html>404</html>")
    assert refused(read_image, text).code == "E-FILE-NO-PICTURE"
    assert refused(read_image, tmp_path / "none.png").code == "E-FILE-MISSING"
    loop = tmp_path / "loop.png"
    loop.symlink_to(loop)
    assert refused(read_image, loop).code == "E-FILE-DAMAGED"


@pytest.mark.skipif(os.geteuid() == 0, reason="root may read everything")
def test_no_permission(tmp_path: Path) -> None:
    path = save(tmp_path / "a.png", GREY)
    path.chmod(0)
    assert refused(read_image, path).code == "E-FILE-UNREADABLE"


def test_no_permission_told_to_the_user(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def deny(*args: object, **options: object) -> None:
        raise PermissionError(13, "Permission denied")

    path = save(tmp_path / "a.png", GREY)
    monkeypatch.setattr(picture_file.Image, "open", deny)
    assert refused(read_image, path).code == "E-FILE-UNREADABLE"


def test_a_huge_picture_is_refused_before_it_is_decoded(tmp_path: Path, announce: Callable[..., Path]) -> None:
    path = announce(tmp_path / "huge.png", 30000, 30000)
    tracemalloc.start()
    assert refused(read_image, path).code == "E-FILE-TOO-LARGE"
    assert tracemalloc.get_traced_memory()[1] < 20e6
    tracemalloc.stop()
    wide = announce(tmp_path / "wide.png", 21000, 20000)
    assert "21000x20000" in str(refused(read_image, wide))


def test_the_limit_is_memory_and_can_be_set(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = save(tmp_path / "a.png", np.zeros((1000, 1000), np.uint8))
    monkeypatch.setenv("SAMIS_PICTURE_MB", "2")  # 3 bytes a pixel: 2.9 MB
    error = refused(read_image, path)
    assert error.code == "E-FILE-TOO-LARGE" and "SAMIS_PICTURE_MB" in str(error)
    monkeypatch.setenv("SAMIS_PICTURE_MB", "3")
    assert read_image(path).shape == (1000, 1000, 3)
    for bad in ("0", "-1", "many", "nan", "1e9", ""):
        monkeypatch.setenv("SAMIS_PICTURE_MB", bad)
        with pytest.raises(UserError, match=r"SAMIS_PICTURE_MB.*E-FILE-MEMORY"):
            read_image(path)


def test_a_line_scan_over_100_megapixels_is_read_at_a_byte_a_pixel(tmp_path: Path) -> None:
    path = tmp_path / "scan.png"
    Image.new("L", (12000, 9000), 90).save(path, compress_level=1)
    image = read_image(path)
    assert image.shape == (9000, 12000, 3) and image[8999, 11999].tolist() == [90, 90, 90]
    assert image.strides[2] == 0, "a view: the grey is not copied for each channel"


@pytest.mark.parametrize("values", [np.arange(12, dtype=np.uint16) * 5000, np.arange(12, dtype=np.int32) * 5000])
def test_16_bit_is_scaled_the_same_in_blocks_of_rows(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, values: np.ndarray
) -> None:
    path = save(tmp_path / "a.tif", values.reshape(6, 2))
    whole = read_image(path)
    monkeypatch.setattr(reading, "_ROWS", 3)
    assert (read_image(path) == whole).all() and (whole[..., 0].ravel() == (values.astype(int) + 128) // 257).all()


def test_many_pictures_are_refused(tmp_path: Path) -> None:
    frames = [Image.new("L", (8, 8), value) for value in (0, 90)]
    frames[0].save(tmp_path / "a.tif", save_all=True, append_images=frames[1:])
    assert refused(read_image, tmp_path / "a.tif").code == "E-FILE-SEVERAL-PICTURES"


@pytest.mark.parametrize("white", [1, 255])
@pytest.mark.parametrize("ending", ["png", "bmp", "tif"])
def test_two_valued_masks(tmp_path: Path, white: int, ending: str) -> None:
    truth = GREY > 20
    mask = read_mask(save(tmp_path / f"m.{ending}", truth.astype(np.uint8) * white))
    assert mask.dtype == bool
    assert (mask == truth).all()


def test_masks_empty_full_1_bit_16_bit_rgb_and_labels(tmp_path: Path) -> None:
    truth = GREY > 20
    assert not read_mask(save(tmp_path / "empty.png", np.zeros((4, 4), np.uint8))).any()
    assert read_mask(save(tmp_path / "full.png", np.full((4, 4), 255, np.uint8))).all()
    kinds = {
        "bit": Image.fromarray(truth),
        "wide": Image.fromarray(truth.astype(np.uint16) * 65535),
        "rgb": Image.fromarray(np.repeat(truth[..., None].astype(np.uint8) * 255, 3, axis=2)),
        "label": labels(truth.astype(np.uint8)),
    }
    for name, picture in kinds.items():
        assert (read_mask(save(tmp_path / f"{name}.png", picture)) == truth).all(), name


def labels(values: np.ndarray) -> Image.Image:
    picture = Image.new("P", values.shape[::-1])
    picture.putdata(values.ravel().tolist())
    picture.putpalette([0, 0, 0, 128, 0, 0, 0, 128, 0])
    return picture


def test_masks_that_are_no_masks(tmp_path: Path) -> None:
    three = save(tmp_path / "three.png", np.array([[0, 128, 255]], np.uint8))
    error = refused(read_mask, three)
    assert error.code == "E-DATA-MASK-VALUES"
    assert "0, 128, 255" in str(error)
    assert refused(read_mask, save(tmp_path / "off.png", np.array([[0, 128]], np.uint8))).code == "E-DATA-MASK-VALUES"
    colour = np.zeros((4, 4, 3), np.uint8)
    colour[0] = (255, 0, 0)
    assert refused(read_mask, save(tmp_path / "colour.png", colour)).code == "E-DATA-MASK-COLOUR"
    clear = save(tmp_path / "clear.png", np.full((4, 4, 4), 100, np.uint8))
    assert refused(read_mask, clear).code == "E-DATA-MASK-ALPHA"
    assert refused(read_mask, save(tmp_path / "labels.png", labels(GREY % 3))).code == "E-DATA-MASK-VALUES"


def test_grey_masks_are_cut_at_127_where_declared(tmp_path: Path) -> None:
    soft = save(tmp_path / "soft.png", np.array([[0, 127, 128, 255]], np.uint8))
    assert read_mask(soft, grey=True).tolist() == [[False, False, True, True]]
    truth = np.zeros((64, 64), bool)
    truth[20:40, 10:50] = True
    smeared = save(tmp_path / "smeared.jpg", truth.astype(np.uint8) * 255, quality=60)
    assert refused(read_mask, smeared).code == "E-DATA-MASK-VALUES"
    assert (read_mask(smeared, grey=True) == truth).mean() > 0.99
    zero_one = save(tmp_path / "zero_one.png", truth.astype(np.uint8))
    assert (read_mask(zero_one, grey=True) == truth).all()


def test_class_numbers_are_not_taken_for_a_grey_mask(tmp_path: Path) -> None:
    numbers = save(tmp_path / "numbers.png", np.array([[0, 1, 2, 3]], np.uint8))
    assert refused(read_mask, numbers, grey=True).code == "E-DATA-MASK-VALUES"


def test_every_refusal_is_a_user_error() -> None:
    assert issubclass(FileError, UserError)
