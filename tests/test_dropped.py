"""Images that people drop: any kind, fitted by the rule of training data, said in words."""

from __future__ import annotations

import warnings

import numpy as np
import pytest
from PIL import Image

from sagan_core.data import fit_image
from viz import dropped
from viz.dropped import Dropped, fit_file

GREY, COLOUR = (32, 1), (64, 3)


@pytest.fixture
def uploads(tmp_path, monkeypatch):
    monkeypatch.setenv("GRADIO_TEMP_DIR", str(tmp_path / "uploads"))
    (tmp_path / "uploads" / "a").mkdir(parents=True)
    return tmp_path / "uploads" / "a"


def noise(mode, size=(40, 30)):
    bands = len(Image.new(mode, (1, 1)).getbands()) if mode != "I;16" else 1
    random = np.random.default_rng(0)
    if mode == "I;16":
        return Image.fromarray(random.integers(0, 65536, size[::-1], dtype=np.uint16))
    if mode == "P":
        return noise("RGB", size).quantize(16)
    pixels = random.integers(0, 256, (*size[::-1], bands), dtype=np.uint8)
    return (
        Image.fromarray(pixels.squeeze(), mode=None)
        if bands != 4
        else Image.frombytes(mode, size, pixels.tobytes())
    )


@pytest.mark.parametrize(
    ("mode", "suffix", "grey_words", "colour_words"),
    [
        ("L", "png", "", ""),
        ("RGB", "png", "; turned to grey", ""),
        ("RGB", "webp", "; turned to grey", ""),
        ("RGB", "bmp", "; turned to grey", ""),
        ("CMYK", "jpg", "; turned to grey", "; turned from CMYK to RGB"),
        ("I;16", "png", "; its values scaled to 8 bits", "; its values scaled to 8 bits"),
        ("P", "gif", "; turned to grey", ""),
        ("RGBA", "png", "; transparency laid on white; turned to grey",
         "; transparency laid on white"),
    ],
)  # fmt: skip
def test_every_mode_is_fitted_as_an_image_to_train_on(
    tmp_path, mode, suffix, grey_words, colour_words
):
    path = tmp_path / f"image.{suffix}"
    noise(mode).save(path)
    fits = fit_file(path, [GREY, COLOUR], "image")
    with Image.open(path) as image:
        for shape in (GREY, COLOUR):
            expected = fit_image(image, *shape).transpose(1, 2, 0)
            np.testing.assert_array_equal(fits[shape].image, expected)
    cropped = "Cropped to the middle 30×30 of 40×30 and scaled to "
    assert fits[GREY].words == f"{cropped}32×32{grey_words}"
    assert fits[COLOUR].words == f"{cropped}64×64{colour_words}"


@pytest.mark.parametrize(
    ("size", "words"),
    [
        ((32, 32), "Taken as it is, 32×32"),
        ((100, 100), "Scaled from 100×100 to 32×32"),
        ((32, 50), "Cropped to the middle 32×32 of 32×50"),
        ((1, 500), "Cropped to the middle 1×1 of 1×500 and scaled to 32×32"),
    ],
)
def test_words_say_what_was_done(tmp_path, size, words):
    noise("L", size).save(tmp_path / "a.png")
    assert fit_file(tmp_path / "a.png", [GREY], "a")[GREY].words == words


def test_orientation_and_first_frames(tmp_path):
    upright = noise("L", (30, 40))
    exif = Image.Exif()
    exif[0x0112] = 6  # to be turned by a quarter
    upright.transpose(Image.Transpose.ROTATE_90).save(tmp_path / "a.png", exif=exif)
    upright.save(tmp_path / "b.png")
    turned, plain = (fit_file(tmp_path / f"{name}.png", [GREY], "a")[GREY] for name in "ab")
    np.testing.assert_array_equal(turned.image, plain.image)
    assert turned.words == (
        "Turned upright, cropped to the middle 30×30 of 30×40 and scaled to 32×32"
    )
    frames = [Image.new("L", (32, 32), level) for level in (10, 200)]
    frames[0].save(tmp_path / "c.gif", save_all=True, append_images=frames[1:])
    moving = fit_file(tmp_path / "c.gif", [GREY], "c")[GREY]
    assert (moving.image == 10).all()
    assert moving.words.startswith("First frame")


def test_a_large_jpeg_is_read_at_a_fraction_of_its_size(tmp_path, monkeypatch):
    x = np.linspace(0, 255, 2000, dtype=np.uint8)
    Image.fromarray(np.tile(x, (1600, 1))).save(tmp_path / "a.jpg", quality=95)
    whole = fit_file(tmp_path / "a.jpg", [GREY], "a")[GREY]
    monkeypatch.setattr(dropped, "SCALED_WHILE_READING", 1_000_000)
    monkeypatch.setattr(dropped, "MOST_PIXELS", 1_000_000)
    reduced = fit_file(tmp_path / "a.jpg", [GREY], "a")[GREY]
    assert reduced.words == whole.words
    assert "1600×1600 of 2000×1600" in reduced.words
    assert abs(reduced.image.astype(int) - whole.image).max() <= 3
    Image.fromarray(np.tile(x, (1600, 1))).save(tmp_path / "b.jpg", progressive=True)
    with pytest.raises(ValueError, match=r"b has 2000×1600 pixels; up to 1 megapixels"):
        fit_file(tmp_path / "b.jpg", [GREY], "b")


def test_a_bomb_is_refused_before_it_is_decoded(tmp_path):
    Image.new("1", (20_000, 10_000)).save(tmp_path / "a.png")
    Image.new("1", (10_000, 9_500)).save(tmp_path / "b.png")
    for name, action in (("a", "default"), ("b", "error"), ("b", "ignore")):
        with warnings.catch_warnings():
            warnings.simplefilter(action)
            with pytest.raises(ValueError, match="megapixels can be read"):
                fit_file(tmp_path / f"{name}.png", [GREY], "a")


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"\xff\xd8\xff",
        b"\xff\xd8\xff\xe0" + b"\0" * 100,
        b"\x89PNG\r\n\x1a\n" + b"\0" * 50,
        b"GIF89a" + b"\xff" * 20,
        b"<svg onload='alert(1)'/>",
        b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 9 9\n",
        b"RIFF\0\0\0\0WEBPVP8 ",
        b"II*\0\xff\xff\xff\xff",
    ],
)
def test_broken_files_are_named(tmp_path, content):
    (tmp_path / "a").write_bytes(content)
    with pytest.raises(ValueError, match="cat cannot be read as an image"):
        fit_file(tmp_path / "a", [GREY], "cat")


def test_a_truncated_image_is_named(tmp_path):
    noise("RGB", (300, 300)).save(tmp_path / "a.jpg")
    content = (tmp_path / "a.jpg").read_bytes()
    (tmp_path / "a.jpg").write_bytes(content[: len(content) // 2])
    with pytest.raises(ValueError, match="cannot be read"):
        fit_file(tmp_path / "a.jpg", [GREY], "cat")


def test_dropped_images_are_found_by_what_they_are(uploads):
    noise("RGB").save(uploads / "a.png")
    (uploads / "b.png").write_bytes((uploads / "a.png").read_bytes())
    store = Dropped()
    first, fits = store.add({"path": str(uploads / "a.png"), "name": "a.png"}, [GREY])
    second, _ = store.add({"path": str(uploads / "b.png"), "name": 3}, [GREY, COLOUR])
    assert first == second
    assert store.find(first, COLOUR).image.shape == (64, 64, 3)
    np.testing.assert_array_equal(store.find(first, GREY).image, fits[GREY].image)
    for name, shape in (("0" * 32, GREY), (first, (128, 3))):
        with pytest.raises(LookupError, match="drop it again"):
            store.find(name, shape)


def test_nothing_outside_the_folder_of_uploads_is_read(uploads, tmp_path, monkeypatch):
    noise("RGB").save(tmp_path / "secret.png")
    (uploads / "link.png").symlink_to(tmp_path / "secret.png")
    store, outside = Dropped(), str(tmp_path / "secret.png")
    refused = [outside, f"{uploads}/../../secret.png", str(uploads / "link.png"), str(uploads)]
    for path in [*refused, "", "\0", "x" * 10_000, "~/.bashrc", None, 3, ["a"], {"path": "a"}]:
        with pytest.raises(ValueError, match="uploaded"):
            store.add({"path": path, "name": "a"}, [GREY])
    for request in (None, 3, "a", [], [{"path": outside}]):
        with pytest.raises(ValueError, match="uploaded image"):
            store.add(request, [GREY])
    noise("RGB").save(uploads / "a.png")
    monkeypatch.setattr(dropped, "MOST_BYTES", 100)
    with pytest.raises(ValueError, match="MB can be dropped"):
        store.add({"path": str(uploads / "a.png"), "name": "a"}, [GREY])
