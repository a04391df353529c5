"""Finding photos by file, folder and glob, and reading every bit depth; files are made by other libraries."""

import cv2
import numpy as np
import pytest
from PIL import Image

from samis.data.pipeline.photos import find_photos, read_photo
from samis.errors import UserError


@pytest.fixture
def folder(tmp_path):
    for name in ("a.png", "sub/b.JPG", "sub/deep/c.png", ".hidden/d.png", "out/masks/a.png", "notes.txt"):
        path = tmp_path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        if path.suffix == ".txt":
            path.write_text("no picture")
        else:
            Image.fromarray(np.zeros((3, 4), np.uint8)).save(path, format="JPEG" if path.suffix == ".JPG" else "PNG")
    return tmp_path


def ids(*patterns, **options):
    return [photo.id for photo in find_photos(patterns, **options)]


def test_files_folders_and_globs(folder):
    assert ids(folder, leave_out=folder / "out") == ["a", "sub/b", "sub/deep/c"]
    assert ids(folder / "sub" / "b.JPG") == ["b"]
    assert ids(f"{folder}/sub/**/*.png") == ["deep/c"]
    assert ids(f"{folder}/s*", leave_out=folder / "out") == ["sub/b", "sub/deep/c"]
    assert ids(folder / "a.png", f"{folder}/a.*") == ["a"], "one file, named twice"


def test_brackets_in_a_name_are_no_glob(folder):
    (folder / "a.png").rename(folder / "a[1].png")
    assert ids(folder / "a[1].png") == ["a[1]"]


@pytest.mark.parametrize("pattern", ["nowhere", "*.bmp", "notes.txt/x.png"])
def test_a_pattern_without_pictures_is_told(folder, pattern):
    with pytest.raises(UserError, match="E-DATA-EMPTY"):
        find_photos([folder / pattern])


def test_two_pictures_of_one_name_are_told(folder):
    Image.fromarray(np.zeros((3, 4), np.uint8)).save(folder / "a.jpg")
    with pytest.raises(UserError, match=r"'a'.*E-DATA-SAME-NAME"):
        find_photos([folder / "a.png", folder / "a.jpg"])


RAMP = np.linspace(0, 1, 48).reshape(6, 8)


@pytest.mark.parametrize(
    ("name", "stored"),
    [
        ("grey8.png", (RAMP * 255).round().astype(np.uint8)),
        ("grey16.png", (RAMP * 65535).round().astype(np.uint16)),
        ("grey16.tif", (RAMP * 65535).round().astype(np.uint16)),
        ("colour16.png", np.repeat((RAMP * 65535).round().astype(np.uint16)[..., None], 3, axis=2)),
        ("colour16.tif", np.repeat((RAMP * 65535).round().astype(np.uint16)[..., None], 3, axis=2)),
        ("float32.tif", RAMP.astype(np.float32)),
    ],
)
def test_every_bit_depth_has_the_same_grey(tmp_path, name, stored):
    cv2.imwrite(str(tmp_path / name), stored)
    image = read_photo(tmp_path / name)
    assert image.shape == (6, 8, 3)
    assert image.dtype == np.uint8
    assert np.abs(image[..., 0] - RAMP * 255).max() <= 1
    assert (image == image[..., :1]).all()


def test_colours_keep_their_order(tmp_path):
    blue_green_red = np.zeros((2, 2, 3), np.uint16)
    blue_green_red[..., 2] = 65535
    cv2.imwrite(str(tmp_path / "red.tif"), blue_green_red)
    assert read_photo(tmp_path / "red.tif")[0, 0].tolist() == [255, 0, 0]


def test_white_of_a_12_bit_camera(tmp_path):
    cv2.imwrite(str(tmp_path / "a.png"), (RAMP * 4095).round().astype(np.uint16))
    assert read_photo(tmp_path / "a.png").max() == 16, "without a value of white, 16 bits are read as 16 bits"
    assert np.abs(read_photo(tmp_path / "a.png", white=4095)[..., 0] - RAMP * 255).max() <= 1


@pytest.mark.parametrize(("values", "part"), [([[0.0, 300.0]], "--white"), ([[0.0, np.nan]], "NaN")])
def test_floats_without_a_known_white_are_refused(tmp_path, values, part):
    cv2.imwrite(str(tmp_path / "a.tif"), np.array(values, np.float32))
    with pytest.raises(UserError, match=f"{part}.*E-DATA-PIXELS"):
        read_photo(tmp_path / "a.tif")


def test_a_cut_file_is_refused_with_white_too(tmp_path):
    cv2.imwrite(str(tmp_path / "a.png"), np.random.default_rng(0).integers(0, 4095, (40, 40)).astype(np.uint16))
    (tmp_path / "a.png").write_bytes((tmp_path / "a.png").read_bytes()[:900])
    with pytest.raises(UserError, match="E-FILE-DAMAGED"):
        read_photo(tmp_path / "a.png", white=4095)


@pytest.mark.parametrize("dtype", [np.int32, np.int16, np.uint32])
def test_integers_without_a_known_white_are_refused_not_black(tmp_path, dtype):
    top = 30_000 if dtype == np.int16 else 200_000
    values = (RAMP * top).astype(dtype) - (5 if dtype == np.int16 else 0)
    tifffile = pytest.importorskip("tifffile")
    tifffile.imwrite(tmp_path / "a.tif", values)
    with pytest.raises(UserError, match=r"a\.tif: .*E-DATA-PIXELS"):
        read_photo(tmp_path / "a.tif")
    if dtype == np.int32:
        assert np.abs(read_photo(tmp_path / "a.tif", white=top)[..., 0] - RAMP * 255).max() <= 1


def test_a_huge_colour_tiff_of_16_bits_is_refused_by_its_header(tmp_path, monkeypatch):
    cv2.imwrite(str(tmp_path / "a.tif"), np.zeros((600, 600, 3), np.uint16))
    assert read_photo(tmp_path / "a.tif").shape == (600, 600, 3)
    monkeypatch.setenv("SAMIS_PICTURE_MB", "1")
    with pytest.raises(UserError, match=r"1 MB.*600x600 px.*E-FILE-TOO-LARGE"):
        read_photo(tmp_path / "a.tif")


def test_values_above_white_are_refused_in_floats_and_32_bits(tmp_path):
    for name, values in (("f.tif", RAMP.astype(np.float32) * 7), ("i.tif", (RAMP * 300_000).astype(np.int32))):
        cv2.imwrite(str(tmp_path / name), values)
        with pytest.raises(UserError, match=r"--white.*E-DATA-PIXELS"):
            read_photo(tmp_path / name, white=5)


def test_a_link_that_leads_in_a_circle_is_a_photo_that_cannot_be_read(tmp_path):
    loop = tmp_path / "loop.png"
    loop.symlink_to(loop)
    Image.fromarray(np.zeros((4, 4), np.uint8)).save(tmp_path / "a.png")
    photos = find_photos([tmp_path, loop], leave_out=tmp_path / "out")
    assert [photo.id for photo in photos] == ["a", "loop"]
    with pytest.raises(UserError, match=r"loop\.png: .*E-FILE-DAMAGED"):
        read_photo(loop)


def test_a_folder_that_may_not_be_read_is_not_called_empty(tmp_path, monkeypatch):
    monkeypatch.setattr("os.access", lambda *_: False)
    with pytest.raises(UserError, match="E-FILE-UNREADABLE"):
        find_photos([tmp_path])
