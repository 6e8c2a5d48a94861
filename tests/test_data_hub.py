"""Hugging Face datasets as a source, with what it opens on this disk: Parquet files and folders."""

import io
import sys
import warnings

import numpy as np
import pytest
import torch
from PIL import Image
from test_train import OPTIONS, folder_of_pictures, pictures

from sagan_core.data import DataError, load_images, open_stream
from sagan_core.feed import Feed
from sagan_core.hub import HUB
from sagan_core.parallel import Processes
from sagan_core.run import main
from sagan_core.state import Recipe

with warnings.catch_warnings():
    warnings.simplefilter("ignore")
    datasets = pytest.importorskip("datasets")

pytestmark = pytest.mark.filterwarnings("ignore:.*:DeprecationWarning")


@pytest.fixture(autouse=True)
def _own_cache(tmp_path, monkeypatch):
    monkeypatch.setattr(datasets.config, "HF_DATASETS_CACHE", str(tmp_path / "cache"))
    monkeypatch.setattr(datasets.config, "HF_HUB_OFFLINE", True)
    # The library waits five seconds after every reading of Parquet files.
    monkeypatch.setattr(datasets.config, "SLEEP_TIME_ON_THREADS_SHUTDOWN", 0, raising=False)


def parquet(path, broken=()):
    data = pictures()
    cells = []
    for image in data.images:
        buffer = io.BytesIO()
        Image.fromarray(image[0]).save(buffer, "PNG")
        cells.append({"bytes": buffer.getvalue(), "path": None})
    for index in broken:
        cells[index] = {"bytes": b"not an image", "path": None}
    features = datasets.Features(
        {
            "caption": datasets.Value("string"),
            "picture": datasets.Image(),
            "kind": datasets.ClassLabel(names=list(data.class_names)),
        }
    )
    columns = {"caption": ["x"] * 24, "picture": cells, "kind": data.labels.tolist()}
    datasets.Dataset.from_dict(columns, features).to_parquet(path)
    return path


def test_parquet_files_and_folders_of_images_are_the_same_set(tmp_path):
    file = parquet(tmp_path / "train.parquet")
    folder = folder_of_pictures(tmp_path / "pictures")
    expected = pictures()
    found = load_images(f"{HUB}{file}", 32)
    assert np.array_equal(found.images, expected.images)
    assert np.array_equal(found.labels, expected.labels)
    assert found.class_names == expected.class_names
    by_library, by_us = load_images(f"{HUB}{folder}", 32), load_images(folder, 32)
    assert by_library.class_names == by_us.class_names
    # Each lists a class's files in its own order.
    for label in (0, 1):
        one, other = (
            sorted(s.images[s.labels == label].reshape(12, -1).tolist())
            for s in (by_library, by_us)
        )
        assert one == other


def test_a_run_on_a_stream_goes_on_where_it_stopped(tmp_path, capfd):
    source = f"{HUB}{parquet(tmp_path / 'train.parquet')}"
    line = [*OPTIONS.split(), "--data", source, "--streaming", "--precision", "fp32", "--out"]
    assert main([*line, str(tmp_path / "whole"), "--images", "40"]) == 0
    assert "a stream of" in capfd.readouterr().err
    assert main([*line, str(tmp_path / "half"), "--images", "20"]) == 0
    assert main([*line, str(tmp_path / "half"), "--images", "40", "--resume"]) == 0
    one, other = (
        (tmp_path / name / "discriminator.safetensors").read_bytes() for name in ("whole", "half")
    )
    assert one == other
    with np.load(tmp_path / "half" / "real.npz") as real:
        assert real["images"].shape == (8, 32, 32, 1)


def test_a_stream_shows_every_image_once_per_epoch_and_processes_share_it(tmp_path):
    source = f"{HUB}{parquet(tmp_path / 'train.parquet')}"
    recipe = Recipe(batch_size=8, seed=3)

    def shown(feed, batches):
        parts = [feed.batch(8 * index)[0] for index in range(batches)]
        images = torch.cat([images for images, _ in parts])
        labels = torch.cat([labels for _, labels in parts])
        assert images.amax((1, 2, 3))[labels == 1].remainder(2).min() == 1
        return images.amax((1, 2, 3)).tolist()

    alone = shown(Feed(open_stream(source, 32), recipe, Processes()), 6)
    for epoch in (alone[:24], alone[24:]):
        assert sorted(epoch) == list(range(200, 224))
    assert alone[:24] != alone[24:] != sorted(alone[24:])
    both = [shown(Feed(open_stream(source, 32), recipe, Processes(r, 2)), 6) for r in (0, 1)]
    together = [both[rank][4 * batch : 4 * batch + 4] for batch in range(6) for rank in range(2)]
    assert [value for part in together for value in part] == alone
    later = Feed(open_stream(source, 32), recipe, Processes()).batch(32)[0][0]
    assert later.amax((1, 2, 3)).tolist() == alone[32:40]


def test_broken_images(tmp_path):
    source = f"{HUB}{parquet(tmp_path / 'train.parquet', broken=(5,))}"
    with pytest.raises(DataError, match=r"1 of 24 images .* row 5"):
        load_images(source, 32)
    stream = open_stream(source, 32)
    with pytest.warns(UserWarning, match="an image of .* cannot be read"):
        images, _ = stream.read(0, 0, 24, torch.arange(24))
    values = images.amax((1, 2, 3)).tolist()
    assert len(set(values)) == 23  # the one before stands in for it
    with (
        pytest.warns(UserWarning, match="cannot be read"),
        pytest.raises(DataError, match="more than 1% is too many"),
    ):
        stream.read(0, 24, 72, torch.arange(72))


def test_what_cannot_be_opened_says_why(tmp_path, monkeypatch, capfd):
    with pytest.raises(DataError, match=r"hub:nobody/nothing cannot be opened \(train part\)"):
        load_images("hub:nobody/nothing", 32)
    file = parquet(tmp_path / "train.parquet")
    with pytest.raises(DataError, match=r"cannot be opened \(train part\): of single files"):
        load_images(f"{HUB}{file.rename(tmp_path / 'train.txt')}", 32)
    plain = tmp_path / "words.parquet"
    datasets.Dataset.from_dict({"text": ["a", "b"]}).to_parquet(plain)
    with pytest.raises(DataError, match="has no column of images; its columns are text"):
        load_images(f"{HUB}{plain}", 32)
    folder = folder_of_pictures(tmp_path / "pictures")
    line = [*OPTIONS.split(), "--out", str(tmp_path / "x"), "--images", "10", "--streaming"]
    assert main([*line, "--data", str(folder)]) == 2
    assert "--streaming reads hub:OWNER/NAME alone" in capfd.readouterr().err
    assert main([*line, "--data", f"{HUB}{folder}", "--balance"]) == 2
    assert "--balance needs all labels beforehand" in capfd.readouterr().err
    monkeypatch.setitem(sys.modules, "datasets", None)
    with pytest.raises(DataError, match=r"needs Hugging Face datasets .*pip install datasets"):
        load_images(f"{HUB}{plain}", 32)
