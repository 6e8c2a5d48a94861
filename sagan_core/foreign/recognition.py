"""Which networks are in a file, told by their tensors' names."""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from torch import Tensor

from ..checkpoint import CONFIG, CheckpointError
from . import biggan_deep, biggan_pytorch, heykeetae, mmgeneration, rosinality, studiogan, voletiv
from .baking import NetworkReading
from .family import Family, NetworkNames
from .python_config import read_python_config
from .source import LayoutError, SourceTensors
from .storage import SUFFIXES, read_content, state_dicts, without_prefix

# In this order: what one family's marks match must not be another's.
FAMILIES = (
    biggan_deep.FAMILY,
    mmgeneration.FAMILY,
    studiogan.FAMILY,
    voletiv.FAMILY,
    heykeetae.FAMILY,
    rosinality.RESIDUAL,
    rosinality.PLAIN,
    biggan_pytorch.FAMILY,
)
ROLES = ("generator_ema", "generator", "discriminator")  # prefixes in one file with all networks
FOLDER_LIMIT = 64  # files looked into
SETTINGS_LIMIT = 1 << 20  # bytes of a config.json


@dataclass(frozen=True)
class Candidate:
    """A network that was recognised in a file, and not yet read."""

    family: Family
    role: str
    tensors: Mapping[str, Tensor]
    where: str
    file: Path
    settings: Mapping[str, Any]

    @property
    def averaged(self) -> bool:
        return "ema" in re.split(r"[^a-z]+", f"{self.where} {self.file.stem}".lower())

    @property
    def names(self) -> NetworkNames:
        names = getattr(self.family, self.role)
        assert isinstance(names, NetworkNames)
        return names

    def preference(self) -> tuple[bool, bool, int]:
        """Of a run's files: averaged weights first, then the best, then the last step."""
        steps = re.findall(r"\d+", self.file.stem)
        return self.averaged, "best" in self.file.stem, int(steps[-1][:18]) if steps else -1

    def read(self) -> NetworkReading:
        """Raises CheckpointError, which names the family, for tensors that do not fit it."""
        try:
            return self.names.read(SourceTensors(self.tensors), self.settings)
        except LayoutError as error:
            raise CheckpointError(
                f"{self.file} looks like a {self.role} of {self.family.name}, but {error}"
                + _misfits(self.names, self.tensors)
            ) from error
        except (RuntimeError, IndexError, ValueError, TypeError, AttributeError) as error:
            reason = " ".join(str(error).split())[:200]
            raise CheckpointError(
                f"{self.file} looks like a {self.role} of {self.family.name}, but its shapes or "
                f"settings do not fit one another: {reason}"
            ) from error


def _misfits(names: NetworkNames, tensors: Iterable[str]) -> str:
    unknown = names.misfits(tensors)
    return f". The first tensors that do not fit: {', '.join(unknown[:5])}" if unknown else ""


def candidates_in_file(path: Path) -> list[Candidate]:
    """The networks in a file. Raises CheckpointError where none is recognised."""
    content = read_content(path)
    settings = {**read_settings(path.parent), **_python_settings(path, content)}
    settings["file"] = path.name
    found, unknown = [], []
    for where, tensors in state_dicts(content).items():
        parts = list(networks_in(where, tensors, path, settings))
        found += parts
        unknown += [] if parts else [tensors]
    if not found:
        raise _unknown(path, max(unknown, key=len, default={}))
    return found


def networks_in(
    where: str, tensors: dict[str, Tensor], path: Path, settings: Mapping[str, Any]
) -> Iterable[Candidate]:
    """A state dict as one network, or as several with prefixes."""
    for family in FAMILIES:
        for role in ("generator", "discriminator"):
            names = getattr(family, role)
            if names is not None and names.recognises(tensors):
                yield Candidate(family, role, tensors, where, path, settings)
                return
    for prefix in ROLES:
        part = {
            name[len(prefix) + 1 :]: tensor
            for name, tensor in tensors.items()
            if name.startswith(f"{prefix}.") and name != f"{prefix}.steps"
        }
        if part and len(part) < len(tensors):
            inner = without_prefix(part, "module.")
            yield from networks_in(f"{where} {prefix}".strip(), inner, path, settings)


def candidates_in_folder(folder: Path) -> list[Candidate]:
    files = sorted(file for file in folder.iterdir() if file.suffix in SUFFIXES and file.is_file())
    if len(files) > FOLDER_LIMIT:
        raise CheckpointError(f"{folder} has {len(files)} files of weights; name the one to open")
    found, refused = [], []
    for file in files:
        try:
            found += candidates_in_file(file)
        except CheckpointError as error:
            refused.append(error)
    if found or not refused:
        return found
    raise refused[0]


def read_settings(folder: Path) -> dict[str, Any]:
    """A folder's config.json; empty where there is none that can be read."""
    file = folder / CONFIG
    if not file.is_file() or file.stat().st_size > SETTINGS_LIMIT:
        return {}
    try:
        settings = json.loads(file.read_text(encoding="utf-8"))
    except (OSError, ValueError, RecursionError):
        return {}
    return settings if isinstance(settings, dict) else {}


def _python_settings(path: Path, content: Mapping[str, Any]) -> dict[str, Any]:
    """mmgeneration's config, from inside the file or from a config.py beside it."""
    meta, text = content.get("meta"), None
    if isinstance(meta, Mapping):
        text = meta.get("config", meta.get("cfg"))  # as before and since version 1
    beside = path.with_name("config.py")
    if not isinstance(text, str) and beside.is_file() and beside.stat().st_size < SETTINGS_LIMIT:
        text = beside.read_text(encoding="utf-8", errors="replace")
    if not isinstance(text, str):
        return {}
    settings = read_python_config(text)
    model = settings.get("model")
    return {**settings, **(model if isinstance(model, dict) else {})}


def _unknown(path: Path, tensors: Mapping[str, Tensor]) -> CheckpointError:
    """The nearest family, and what does not fit it."""
    if not tensors:
        return CheckpointError(f"{path} holds no tensors by name")
    networks = [
        (len(names.misfits(tensors)), family.name, role, names)
        for family in FAMILIES
        for role in ("generator", "discriminator")
        if isinstance(names := getattr(family, role), NetworkNames)
    ]
    misfits, name, role, names = min(networks, key=lambda network: network[:3])
    known = ", ".join(family.name for family in FAMILIES)
    if misfits == len(tensors):
        first = ", ".join(list(tensors)[:5])
        return CheckpointError(
            f"{path} is of no code base that is known: none has tensors such as {first}. Known are "
            f"{known}"
        )
    missing = [mark for mark in names.marks if not _has(tensors, mark)]
    lacks = f"; it lacks {', '.join(_plain(mark) for mark in missing)}" if missing else ""
    return CheckpointError(
        f"{path} is of no code base that is known; the nearest is a {role} of {name}"
        f"{_misfits(names, tensors)}{lacks}. Known are {known}"
    )


def _has(tensors: Iterable[str], mark: str) -> bool:
    return any(re.fullmatch(mark, name) for name in tensors)


def _plain(mark: str) -> str:
    """A mark as the name that it stands for."""
    return (
        mark.replace(r"(?:\.weight|\.weight_orig)", ".weight")
        .replace("\\", "")
        .replace("w*", "")
        .replace(".(?:weight|weight_orig)", ".weight")
    )
