"""Every kind of source becomes the same uint8 array, and bad ones say what is wrong."""

import gzip
import struct
import warnings

import numpy as np
import pytest
import torch
from PIL import Image

from sagan_core.data import DataError, fit_image, load_images, to_signed


def save_image(path, array, **settings):
    path.parent.mkdir(parents=True, exist_ok=True)
    image = array if isinstance(array, Image.Image) else Image.fromarray(array)
    image.save(path, **settings)


def colour(value, size=(40, 40)):
    return np.full((*size, 3), value, np.uint8)


def write_idx(path, array):
    header = struct.pack(f">BBBB{array.ndim}I", 0, 0, 8, array.ndim, *array.shape)
    opener = gzip.open if path.suffix == ".gz" else open
    with opener(path, "wb") as file:
        file.write(header + array.tobytes())


def test_released_scaling():
    values = to_signed(torch.tensor([0, 255, 51], dtype=torch.uint8))
    torch.testing.assert_close(values, torch.tensor([-1.0, 1.0, -0.6]))


@pytest.mark.parametrize("suffix", ["", ".gz"])
def test_idx_files_padded_to_32(tmp_path, suffix):
    images = np.arange(3 * 28 * 28, dtype=np.uint8).reshape(3, 28, 28)
    for stem, count in (("train", 3), ("t10k", 2)):
        write_idx(tmp_path / f"{stem}-images-idx3-ubyte{suffix}", images[:count])
        write_idx(tmp_path / f"{stem}-labels-idx1-ubyte{suffix}", np.arange(count, dtype=np.uint8))
    found = load_images(tmp_path, 32)
    assert found.images.shape == (3, 1, 32, 32)
    assert np.array_equal(found.images[1, 0, 2:30, 2:30], images[1])
    assert not found.images[:, :, :2].any()
    assert found.labels.tolist() == [0, 1, 2]
    assert found.class_names == ("0", "1", "2")
    assert len(load_images(tmp_path, 32, "test")) == 2


def test_truncated_and_incomplete_idx(tmp_path):
    write_idx(tmp_path / "train-images-idx3-ubyte", np.zeros((2, 28, 28), np.uint8))
    with pytest.raises(DataError, match="lacks train-labels-idx1"):
        load_images(tmp_path, 32)
    write_idx(tmp_path / "train-labels-idx1-ubyte", np.zeros(2, np.uint8))
    file = tmp_path / "train-images-idx3-ubyte"
    file.write_bytes(file.read_bytes()[:-100])
    with pytest.raises(DataError, match="truncated"):
        load_images(tmp_path, 32)


def test_folders_are_classes_in_name_order(tmp_path):
    for name, value in (("zebra", 10), ("ant", 200)):
        for index in range(2):
            save_image(tmp_path / name / "deep" / f"{index}.png", colour(value))
    save_image(tmp_path / ".hidden" / "x.png", colour(0))
    found = load_images(tmp_path, 32)
    assert found.class_names == ("ant", "zebra")
    assert found.labels.tolist() == [0, 0, 1, 1]
    assert found.images.shape == (4, 3, 32, 32)
    assert found.images[:, 0, 0, 0].tolist() == [200, 200, 10, 10]


def test_a_data_set_in_parts_names_the_folder_to_give(tmp_path):
    for part in ("train", "val"):
        for name in ("cat", "dog"):
            save_image(tmp_path / part / name / "0.png", colour(1))
    with pytest.raises(DataError, match=r"train looks like a part .*\(cat, dog, ...\): give that"):
        load_images(tmp_path, 32)
    assert load_images(tmp_path / "train", 32).class_names == ("cat", "dog")


def test_a_flat_folder_has_no_classes_and_grey_stays_grey(tmp_path):
    save_image(tmp_path / "a.png", np.full((50, 30), 7, np.uint8))
    save_image(tmp_path / "b.png", np.full((8, 8), 9, np.uint8))
    found = load_images(tmp_path, 32)
    assert found.class_names == ()
    assert found.images.shape == (2, 1, 32, 32)
    assert load_images(tmp_path, 32, channels=3).images.shape == (2, 3, 32, 32)


def test_modes_are_converted_not_clipped():
    def first_pixel(image, channels=3):
        return fit_image(image, 32, channels)[:, 0, 0].tolist()

    sixteen = Image.fromarray(np.full((4, 4), 51400, np.uint16))
    assert first_pixel(sixteen, 1) == [200]
    clear = Image.new("RGBA", (5, 5), (0, 0, 0, 0))
    assert first_pixel(clear) == [255, 255, 255]
    assert first_pixel(Image.new("LA", (5, 5), (0, 0)), 1) == [255]
    palette = Image.new("P", (5, 5), 1)
    palette.putpalette([0, 0, 0, 10, 20, 30])
    assert first_pixel(palette) == [10, 20, 30]
    palette.info["transparency"] = 1
    assert first_pixel(palette) == [255, 255, 255]
    assert first_pixel(Image.new("CMYK", (5, 5), (0, 0, 0, 255))) == [0, 0, 0]
    assert first_pixel(Image.new("1", (5, 5), 1)) == [255, 255, 255]


def test_the_centre_is_kept_upright():
    wide = np.zeros((32, 96, 3), np.uint8)
    wide[:, 32:64, 0] = 255
    assert fit_image(Image.fromarray(wide), 32, 3)[0].min() == 255
    turned = Image.fromarray(np.repeat(np.arange(64, dtype=np.uint8)[:, None], 64, 1))
    exif = turned.getexif()
    exif[0x0112] = 6
    turned.info["exif"] = exif.tobytes()
    upright = fit_image(turned, 64, 1)[0]
    assert upright[0, 0] == 63
    assert upright[0, -1] == 0


def fill_with_broken(folder, good, broken):
    for index in range(good):
        save_image(folder / f"{index:03}.png", colour(index % 256, (4, 4)))
    for index in range(broken):
        (folder / f"broken{index}.png").write_bytes(b"not an image")


def test_few_broken_images_are_named_and_left_out(tmp_path):
    fill_with_broken(tmp_path, 199, 1)
    whole = tmp_path / "100.png"
    with pytest.warns(UserWarning, match=r"1 of 200 images .* cannot be read: broken0.png .*Left"):
        found = load_images(tmp_path, 32)
    assert len(found) == 199
    assert found.images[:, 0, 0, 0].tolist() == list(range(199))
    save_image(whole, np.random.default_rng(0).integers(0, 255, (64, 64, 3), np.uint8))
    whole.write_bytes(whole.read_bytes()[:4000])
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        found = load_images(tmp_path, 32)
    assert "2 of 200 images" in str(caught[-1].message)
    assert found.images[:, 0, 0, 0].tolist() == [*range(100), *range(101, 199)]


def test_many_broken_images_stop_the_run(tmp_path):
    fill_with_broken(tmp_path, 50, 2)
    with pytest.raises(DataError, match=r"2 of 52 images.*More than 1%"):
        load_images(tmp_path, 32)


def test_npz_with_labels_and_names(tmp_path):
    images = np.zeros((4, 32, 32, 3), np.uint8)
    images[2] = 5
    file = tmp_path / "set.npz"
    np.savez(file, images=images, labels=[0, 1, 1, 0], class_names=["cat", "dog"])
    found = load_images(file, 32)
    assert np.array_equal(found.images, images.transpose(0, 3, 1, 2))
    assert found.class_names == ("cat", "dog")
    images, labels = found.batch(torch.tensor([2, 0]))
    assert images.shape == (2, 3, 32, 32)
    assert labels.tolist() == [1, 0]
    np.savez(file, images=np.zeros((2, 40, 20), np.uint8))
    assert load_images(file, 64).images.shape == (2, 1, 64, 64)


@pytest.mark.parametrize(
    ("arrays", "message"),
    [
        ({"pictures": np.zeros(3)}, "'images' must be uint8"),
        ({"images": np.zeros((2, 8, 8))}, "not float64"),
        ({"images": np.zeros((2, 8, 8, 4), np.uint8)}, "1 or 3 channels"),
        ({"images": np.zeros((2, 8, 8), np.uint8), "labels": [1]}, "2 whole numbers"),
        ({"images": np.array([{}, 1], object)}, "not a readable .npz"),
        ({"images": np.zeros((2, 8, 8), np.uint8), "labels": [0, 9]}, "one class index per image"),
        ({"images": np.zeros((2, 0, 0), np.uint8)}, "1 or 3 channels"),
    ],
)
def test_bad_npz(tmp_path, arrays, message):
    np.savez(tmp_path / "set.npz", **arrays)
    with pytest.raises(DataError, match=message):
        load_images(tmp_path / "set.npz", 32)


def test_what_is_not_there_is_said(tmp_path):
    with pytest.raises(DataError, match=r"no data at .*--data takes 'fashion-mnist'"):
        load_images(tmp_path / "nowhere", 32)
    with pytest.raises(DataError, match="no images in"):
        load_images(tmp_path, 32)
    (tmp_path / "notes.txt").write_text("x")
    with pytest.raises(DataError, match="not a source of images"):
        load_images(tmp_path / "notes.txt", 32)
    save_image(tmp_path / "loose.png", colour(1))
    with pytest.raises(DataError, match="no held-out test part"):
        load_images(tmp_path, 32, "test")
    save_image(tmp_path / "a" / "x.png", colour(1))
    with pytest.raises(DataError, match="beside folders"):
        load_images(tmp_path, 32)


def test_large_sets_are_memory_mapped(tmp_path):
    for index in range(3):
        save_image(tmp_path / f"{index}.png", colour(index))
    mapped = load_images(tmp_path, 32, memory_limit=1000)
    assert isinstance(mapped.images, np.memmap)
    assert np.array_equal(mapped.images, load_images(tmp_path, 32).images)
