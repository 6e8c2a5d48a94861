"""A set written once and mapped afterwards: the same images in next to no memory."""

import json
import resource
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from test_train import OPTIONS, folder_of_pictures

from sagan_core.data import DataError, ImageSet, has_test_part, load_images, open_source
from sagan_core.data_command import main
from sagan_core.prepared import FileRows
from sagan_core.run import main as train_main

ROOT = Path(__file__).parent.parent


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    return folder_of_pictures(tmp_path_factory.mktemp("pictures"))


def npz(path, count, side=32, **more):
    images = np.arange(count * side * side, dtype=np.uint8).reshape(count, side, side)
    np.savez(path, images=images, **more)
    return path


def test_a_prepared_set_is_the_set_it_was_made_of(data, tmp_path, capsys):
    (data / "classes.json").write_text('{"below": {"one_sided": true}, "above": {"one_sided": 0}}')
    out = tmp_path / "deep" / "prepared"
    assert main(["prepare", str(data), str(out), "--resolution", "32"]) == 0
    assert "24 images, 2 classes" in capsys.readouterr().out
    found, direct = load_images(out, 32), load_images(data, 32)
    assert isinstance(found.images, np.memmap)
    assert np.array_equal(found.images, direct.images)
    assert np.array_equal(found.labels, direct.labels)
    assert found.class_names == direct.class_names == ("above", "below")
    assert found.one_sided == direct.one_sided == (1,)
    assert found.fingerprint() == direct.fingerprint()
    assert json.loads((out / "classes.json").read_text())["above"] == {
        "images": 12,
        "one_sided": False,
    }
    assert not has_test_part(out)
    assert not [path for path in out.parent.iterdir() if path != out]
    images, labels = found.rows(torch.tensor([5, 0]))
    assert np.array_equal(images.numpy(), direct.images[[5, 0]])
    assert labels.tolist() == direct.labels[[5, 0]].tolist()


def test_a_run_on_a_prepared_set_is_the_run_on_its_source(data, tmp_path):
    out = tmp_path / "prepared"
    assert main(["prepare", str(data), str(out), "--resolution", "32"]) == 0
    for source, name in ((data, "direct"), (out, "mapped")):
        line = f"--data {source} --out {tmp_path / name} --images 40 {OPTIONS}"
        assert train_main(line.split()) == 0
    first, second = (
        (tmp_path / name / "discriminator.safetensors").read_bytes()
        for name in ("direct", "mapped")
    )
    assert first == second


def test_broken_images_are_left_out_and_the_file_says_how_many_are_there(tmp_path):
    folder = tmp_path / "many"
    folder.mkdir()
    for index in range(199):
        Image.fromarray(np.full((8, 8), index, np.uint8)).save(folder / f"{index:03}.png")
    (folder / "broken.png").write_bytes(b"not an image")
    out = tmp_path / "out"
    with pytest.warns(UserWarning, match=r"1 of 200 images .*broken.png"):
        assert main(["prepare", str(folder), str(out), "--resolution", "32"]) == 0
    found = load_images(out, 32)
    assert found.images.shape == (199, 1, 32, 32)
    assert found.images[:, 0, 0, 0].tolist() == list(range(199))
    assert found.class_names == ()
    (folder / "worse.png").write_bytes(b"nor this")
    (folder / "worst.png").write_bytes(b"nor that")
    with pytest.raises(DataError, match="More than 1% is too many"):
        open_source(folder).store(32, 1, lambda *_: None)
    assert main(["prepare", str(folder), str(tmp_path / "none"), "--resolution", "32"]) == 2
    assert {path.name for path in tmp_path.iterdir()} == {"many", "out"}


def test_what_cannot_be_prepared_or_opened_says_why(data, tmp_path, capsys):
    out = tmp_path / "out"
    assert main(["prepare", str(data), str(out), "--resolution", "32"]) == 0
    assert main(["prepare", str(data), str(out), "--resolution", "32"]) == 2
    assert "is there already" in capsys.readouterr().err
    assert main(["prepare", str(tmp_path / "none"), str(tmp_path / "x"), "--resolution", "32"]) == 2
    assert "no data at" in capsys.readouterr().err
    with pytest.raises(DataError, match="prepared at 32x32 pixels, and 64x64 are asked for"):
        load_images(out, 64)
    with pytest.raises(DataError, match="has 1 channels, and 3 are asked for"):
        load_images(out, 32, channels=3)
    with pytest.raises(DataError, match="no held-out test part"):
        load_images(out, 32, "test")
    whole = (out / "images.npy").read_bytes()
    (out / "images.npy").write_bytes(whole[:-1000])
    with pytest.raises(DataError, match="no whole prepared set"):
        load_images(out, 32)
    (out / "images.npy").write_bytes(whole)
    np.save(out / "labels.npy", np.full(24, 2))
    with pytest.raises(DataError, match="no whole prepared set"):
        load_images(out, 32)


def test_arrays_are_read_in_blocks_and_mean_the_same(tmp_path, monkeypatch):
    file = npz(tmp_path / "a.npz", 50, labels=np.arange(50) % 3, class_names=[b"a", b"b", b"c\xc3"])
    whole = load_images(file, 32)
    assert whole.class_names == ("a", "b", "c�")
    monkeypatch.setattr("sagan_core.arrays.BLOCK_BYTES", 7 * 32 * 32)
    assert np.array_equal(load_images(file, 32).images, whole.images)
    images = np.asfortranarray(whole.images[:, 0])
    np.savez_compressed(tmp_path / "b.npz", images=images, labels=whole.labels)
    assert np.array_equal(load_images(tmp_path / "b.npz", 32).images, whole.images)
    file.write_bytes(file.read_bytes()[:-5000])
    with pytest.raises(DataError, match=r"not a readable \.npz"):
        load_images(file, 32)


def test_a_dark_sixteen_bit_image_is_dark_beside_a_bright_one(tmp_path):
    """What a file's numbers mean is told by its format, not by how large they are."""
    dark, bright = np.full((4, 4), 200, np.uint16), np.full((4, 4), 51400, np.uint16)
    for name, values in (("a", dark), ("b", bright)):
        Image.fromarray(values).save(tmp_path / f"{name}.png")
        header = b"P5 4 4 65535\n"
        (tmp_path / f"{name}.pgm").write_bytes(header + values.astype(">u2").tobytes())
    found = load_images(tmp_path, 32)
    assert found.images[:, 0, 0, 0].tolist() == [1, 1, 200, 200]


def test_a_class_without_images_is_an_error(tmp_path, capfd):
    file = npz(tmp_path / "a.npz", 20, labels=np.arange(20) % 2, class_names=["a", "b", "none"])
    line = f"--data {file} --out {tmp_path / 'x'} --images 10 {OPTIONS}".split()
    assert train_main(line) == 2
    assert "has no images of 1 classes (none)" in capfd.readouterr().err
    assert train_main([*line, "--unconditional"]) == 0


def test_one_image_is_too_few(tmp_path, capfd):
    file = npz(tmp_path / "a.npz", 1)
    assert train_main(f"--data {file} --out {tmp_path / 'x'} --images 10 {OPTIONS}".split()) == 2
    assert "batch_size is 10" in capfd.readouterr().err


PEAK = """
import resource, sys, torch
from sagan_core.data import load_images
from sagan_core.prepared import write_prepared
from sagan_core.data import open_source
from pathlib import Path
def peak():
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // 1024
source, out = sys.argv[1], Path(sys.argv[2])
before = peak()
write_prepared(open_source(source), out, 32)
data = load_images(out, 32)
for start in range(0, len(data) - 256, 256):
    data.rows(torch.arange(start, start + 256))
data.fingerprint()
print(peak() - before)
"""


@pytest.mark.skipif(not hasattr(resource, "RUSAGE_SELF"), reason="counts memory as Unix does")
def test_memory_does_not_grow_with_the_number_of_images(tmp_path):
    """50 MB of images, written and read whole, in less than two thirds of that."""
    source = tmp_path / "a.npz"
    np.savez(source, images=np.zeros((50_000, 32, 32), np.uint8))
    found = subprocess.run(
        [sys.executable, "-c", PEAK, str(source), str(tmp_path / "out")],
        capture_output=True,
        text=True,
        cwd=ROOT,
        check=True,
    )
    assert (tmp_path / "out" / "images.npy").stat().st_size > 50_000_000
    assert int(found.stdout) < 33


def test_rows_are_read_from_the_file_where_a_map_of_it_does_not_fit(data, tmp_path):
    out = tmp_path / "prepared"
    assert main(["prepare", str(data), str(out), "--resolution", "32"]) == 0
    rows, array = FileRows(out / "images.npy"), np.load(out / "images.npy")
    assert (rows.shape, rows.nbytes, len(rows)) == (array.shape, array.nbytes, len(array))
    for chosen in (3, -1, slice(None, None, 5), np.array([7, 0, 7])):
        assert np.array_equal(rows[chosen], array[chosen])
    whole = ImageSet(array, np.zeros(24, np.int64), (), "x")
    assert ImageSet(rows, whole.labels, (), "x").fingerprint() == whole.fingerprint()
    (out / "images.npy").write_bytes((out / "images.npy").read_bytes()[:-1])
    with pytest.raises(ValueError, match="do not fit the file's size"):
        FileRows(out / "images.npy")


LIMITED = """
import resource, sys, torch
from sagan_core.data import load_images
from sagan_core.run import main
torch.set_num_threads(1)
in_use = int(open("/proc/self/statm").read().split()[0]) * resource.getpagesize()
resource.setrlimit(resource.RLIMIT_AS, (in_use + 300_000_000,) * 2)
data = load_images(sys.argv[1], 64)
print(len(data), type(data.images).__name__, *data.rows(torch.tensor([0, 99_999]))[1].tolist())
"""


@pytest.mark.skipif(not Path("/proc/self/statm").exists(), reason="counts addresses as Linux does")
def test_a_set_larger_than_the_addresses_that_are_left_is_read(tmp_path):
    """1.2 GB of images (a file with holes) where 300 MB can be had."""
    with (tmp_path / "images.npy").open("wb") as file:
        about = {"descr": "|u1", "fortran_order": False, "shape": (100_000, 3, 64, 64)}
        np.lib.format.write_array_header_1_0(file, about)
        file.truncate(file.tell() + 100_000 * 3 * 64 * 64)
    np.save(tmp_path / "labels.npy", np.arange(100_000) % 7)
    (tmp_path / "classes.json").write_text(json.dumps({str(i): {"one_sided": 0} for i in range(7)}))
    found = subprocess.run(
        [sys.executable, "-c", LIMITED, str(tmp_path)], capture_output=True, text=True, cwd=ROOT
    )
    assert found.stdout.split() == ["100000", "FileRows", "0", "4"], found.stderr
