"""Broken and hostile files: an error that says what is wrong, soon, and without taking memory."""

import json
import pickle
import resource
import struct
import subprocess
import sys
import time
import zipfile
from pathlib import Path

import numpy as np
import published
import pytest
import torch
from safetensors.torch import save_file

from sagan_core import CheckpointError, load_checkpoint, open_checkpoint
from sagan_core.foreign.python_config import read_python_config

ROOT = Path(__file__).parent.parent
TINY = published.biggan_generator(2, 32, 3, 4, [16])
GIB = 1 << 30


def saved(folder, tensors, name="G.pth", **options):
    torch.save(tensors, folder / name, **options)
    return folder / name


def tiny(folder, **changes):
    return saved(folder, published.random_tensors(TINY) | changes)


def truncated(folder):
    file = tiny(folder)
    file.write_bytes(file.read_bytes()[:-3000])
    return file


def truncated_old(folder):
    file = saved(folder, published.random_tensors(TINY), _use_new_zipfile_serialization=False)
    file.write_bytes(file.read_bytes()[:-3000])
    return file


def compressed_bomb(folder):
    """A state dict as torch.save writes it, packed again: 512 MB of zeros in 2 MB."""
    file = folder / "G.pth"
    with zipfile.ZipFile(file, "w", zipfile.ZIP_DEFLATED, compresslevel=1) as archive:
        archive.writestr("G/data.pkl", pickle.dumps({}, protocol=2))
        with archive.open("G/data/0", "w", force_zip64=True) as entry:
            for _ in range(8):
                entry.write(bytes(1 << 26))
    return file


def stride_bomb(folder):
    """One number that claims to be 400 TB of them."""
    return tiny(folder, **{"linear.weight": torch.zeros(1).expand(10_000_000, 10_000_000)})


def long_header(folder):
    file = folder / "G.safetensors"
    file.write_bytes(struct.pack("<Q", 10 * GIB) + b"{" + b" " * 1000)
    return file


def long_bytes(folder):
    """A bytearray of 100 GB, which torch's reader of plain types would make."""
    file = folder / "G.pth"
    asked = (
        b"\x80\x02cbuiltins\nbytearray\n" + pickle.dumps(100 * GIB, protocol=2)[2:-1] + b"\x85R."
    )
    with zipfile.ZipFile(file, "w") as archive:
        archive.writestr("G/data.pkl", asked)
        archive.writestr("G/version", "3\n")
    return file


def zipped(folder, content):
    with zipfile.ZipFile(folder / "G.pth", "w") as archive:
        archive.writestr("G/data.pkl", content)
        archive.writestr("G/version", "3\n")
    return folder / "G.pth"


def module(folder):
    return saved(folder, torch.nn.Linear(2, 2))


def numpy_scalar(folder):
    return saved(folder, {"state_dict": published.random_tensors(TINY), "fid": np.float64(3)})


def runs_code(folder):
    class Run:
        def __reduce__(self):
            return print, ("this must never be printed",)

    return saved(folder, {"state_dict": Run()}, _use_new_zipfile_serialization=False)


def resnet(folder):
    names = ("conv1.weight", "bn1.weight", "layer1.0.conv1.weight", "fc.weight", "fc.bias")
    return saved(folder, {name: torch.zeros(4, 4) for name in names})


BAD = {
    "cut off": (truncated, "is not a whole checkpoint file"),
    "cut off, of an old torch": (truncated_old, "is not a whole checkpoint file"),
    "zip bomb": (compressed_bomb, "would unpack to 536,870,"),
    "stride bomb": (stride_bomb, r"linear.weight of shape \(10000000, 10000000\) claims more"),
    "long header": (long_header, "claims a header of 10,737,418,240 bytes"),
    "long bytes": (long_bytes, "needs builtins.bytearray, and only tensors are ever read"),
    "a module": (module, "needs torch.nn.modules.linear.Linear.*torch.save"),
    "a scalar of numpy": (numpy_scalar, "needs numpy._core.multiarray.scalar.*state_dict"),
    "code": (runs_code, "needs (builtins|__builtin__).print"),
    "not a number": (
        lambda folder: tiny(folder, **{"linear.bias": torch.full((128,), torch.nan)}),
        "linear.bias holds numbers that are not finite",
    ),
    "infinite": (
        lambda folder: tiny(folder, **{"linear.bias": torch.full((128,), torch.inf)}),
        "linear.bias holds numbers that are not finite",
    ),
    "a ResNet": (resnet, "of no code base that is known.*conv1.weight, bn1.weight"),
    "one tensor": (lambda folder: saved(folder, torch.zeros(3)), "holds a Tensor, not a dict"),
    "no tensors": (lambda folder: saved(folder, {"step": 3}), "holds no tensors by name"),
    "a sparse tensor": (
        lambda folder: tiny(folder, **{"linear.bias": torch.eye(128).to_sparse()}),
        "linear.bias is no plain tensor|needs torch._utils._rebuild_sparse_tensor",
    ),
    "a left-over tensor": (
        lambda folder: tiny(folder, **{"blocks.0.0.noise.weight": torch.zeros(2)}),
        "BigGAN-PyTorch, but nothing asks for its tensors blocks.0.0.noise.weight",
    ),
    "a wrong shape": (
        lambda folder: tiny(folder, **{"blocks.1.0.conv1.weight": torch.randn(8, 7, 3, 3)}),
        r"generator of BigGAN-PyTorch, but .*blocks.1.0.conv_sc.* has shape \(8, 8, 1, 1\); what "
        r"its other tensors make asks for \(8, 7, 1, 1\)",
    ),
    "no pickle of tensors": (
        lambda folder: zipped(folder, b"\x80\x02" + b"N0" * 1000 + b"}."),
        "is not a whole checkpoint file",
    ),
    "a vector of no matrix": (
        lambda folder: tiny(folder, **{"linear.u0": torch.randn(1, 7)}),
        "a vector of 7 numbers for a matrix",
    ),
}


def written(folder, kind):
    folder.mkdir(exist_ok=True)
    return BAD[kind][0](folder)


@pytest.mark.parametrize("kind", BAD)
def test_bad_files_say_what_is_wrong(kind, tmp_path, capsys):
    file = written(tmp_path, kind)
    start = time.perf_counter()
    with pytest.raises(CheckpointError, match=f"(?s){BAD[kind][1]}") as raised:
        open_checkpoint(file)
    assert time.perf_counter() - start < 5
    assert "\n" not in str(raised.value)
    assert len(str(raised.value)) < 1500
    assert "weights_only" not in str(raised.value)
    assert "never be printed" not in capsys.readouterr().out


def test_bad_files_take_no_memory(tmp_path):
    files = [str(written(tmp_path / str(index), kind)) for index, kind in enumerate(BAD)]
    code = """
import sys
from pathlib import Path
from sagan_core import CheckpointError, open_checkpoint
for file in sys.argv[1:]:
    try:
        open_checkpoint(file)
    except CheckpointError:
        continue
    raise SystemExit(f"{file} was opened")
print(Path("/proc/self/status").read_text().split("VmHWM:")[1].split()[0])
"""
    ended = subprocess.run(
        [sys.executable, "-c", code, *files], capture_output=True, text=True, cwd=ROOT, check=True
    )
    assert int(ended.stdout) * 1024 < GIB


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("G.pth", b"", "it is empty"),
        ("G.pth", b"<html>Not found</html>", "neither safetensors nor what torch.save writes"),
        ("G.pth", b"version https://git-lfs.github.com/spec/v1\noid", "Git LFS's pointer"),
        ("G.safetensors", b"abc", "is not a whole checkpoint file"),
        ("G.safetensors", struct.pack("<Q", 8) + b"{" * 8, "is not a whole checkpoint file"),
        ("G.pth", b"PK\x03\x04" + bytes(100), "is not a whole checkpoint file"),
        ("G.pth", b"\x80\x02" + b"]" * 2000, "is not a whole checkpoint file"),
    ],
)
def test_what_is_no_checkpoint(name, content, message, tmp_path):
    (tmp_path / name).write_bytes(content)
    with pytest.raises(CheckpointError, match=message):
        open_checkpoint(tmp_path / name)


def test_a_path_that_is_not_there(tmp_path):
    with pytest.raises(CheckpointError, match="does not exist; expected a folder"):
        open_checkpoint(tmp_path / "nowhere")
    with pytest.raises(CheckpointError, match="has no file of weights"):
        open_checkpoint(tmp_path)


def test_the_nearest_family_is_named(tmp_path):
    tensors = published.random_tensors(TINY)
    del tensors["output_layer.2.weight"]
    tensors["style.weight"] = torch.zeros(2, 2)
    with pytest.raises(CheckpointError, match="nearest is a generator of BigGAN-PyTorch") as raised:
        open_checkpoint(saved(tmp_path, tensors))
    assert "do not fit: style.weight" in str(raised.value)
    assert "it lacks output_layer.2.weight" in str(raised.value)


def test_a_layout_without_its_weights_takes_no_memory(tmp_path):
    from sagan_core.convert import convert

    convert(tiny(tmp_path), tmp_path / "ours")
    about = json.loads((tmp_path / "ours" / "config.json").read_text())
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    for change in (
        {"start_channels": 1 << 20},
        {"start_channels": 1 << 24, "start_size": 1 << 24},
        {"layers": about["model"]["generator"]["layers"] * 200},
        {"layers": [{"kind": "residual"}]},
        {"layers": [{"kind": "loop"}]},
        {"layers": "residual"},
        {"norm_eps": "small"},
        {"chunk": 3},
        {"speed": 3},
    ):
        changed = json.loads(json.dumps(about))
        changed["model"]["generator"] |= change
        (tmp_path / "ours" / "config.json").write_text(json.dumps(changed))
        with pytest.raises(CheckpointError):
            load_checkpoint(tmp_path / "ours")
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 1 << 18


def test_a_python_config_is_read_and_never_run():
    text = """
base = open("nowhere")
model = dict(generator=dict(type="SAGAN", norm_eps=1e-5, sizes=[1, (2, -3)]), hook={"a": None})
lr: float = 3
"""
    assert read_python_config(text) == {
        "base": None,
        "model": {
            "generator": {"type": "SAGAN", "norm_eps": 1e-5, "sizes": [1, [2, -3]]},
            "hook": {"a": None},
        },
    }
    assert read_python_config("model = (") == {}
    assert read_python_config("a = " + "(" * 5000 + ")" * 5000) == {}
    assert read_python_config("#" * (1 << 21)) == {}


def test_a_broken_file_beside_does_not_hide_the_generator(tmp_path):
    tiny(tmp_path)
    (tmp_path / "D.pth").write_bytes(b"\x80broken")
    (warning,) = open_checkpoint(tmp_path / "G.pth").recognised.warnings
    assert warning.startswith("its discriminator was not opened")
    assert open_checkpoint(tmp_path).config.resolution == 32


def test_a_discriminator_that_does_not_fit_does_not_hide_the_generator(tmp_path):
    tiny(tmp_path)
    judge = published.biggan_discriminator(4, 32, 5, [0])
    saved(tmp_path, published.random_tensors(judge), "D.pth")
    checkpoint = open_checkpoint(tmp_path / "G.pth")
    assert checkpoint.discriminator is None
    (warning,) = checkpoint.recognised.warnings
    assert warning.endswith("it has 5 classes, and the generator 3")


def test_half_precision_opens_in_single(tmp_path):
    half = {
        name: tensor.half() if tensor.is_floating_point() else tensor
        for name, tensor in published.random_tensors(TINY).items()
    }
    save_file(half, tmp_path / "G.safetensors")
    parameters = open_checkpoint(tmp_path / "G.safetensors").generator.parameters()
    assert {parameter.dtype for parameter in parameters} == {torch.float32}
