"""Checkpoints on the Hugging Face hub, fetched when a person asks for one by name."""

from __future__ import annotations

import re
import socket
from collections.abc import Sequence
from pathlib import Path
from urllib.parse import urlsplit
from urllib.request import getproxies

from ..checkpoint import CONFIG, DISCRIMINATOR, GENERATOR, CheckpointError
from .storage import SUFFIXES

PREFIX, PATIENCE = "hub:", 5  # seconds
NAME = re.compile(r"hub:([\w.-]+/[\w.-]+)(?::([\w.=/ -]+))?")


def parse(address: str) -> tuple[str, str | None]:
    """(OWNER/NAME, FILE or None) of "hub:OWNER/NAME[:FILE]". Raises CheckpointError."""
    match = NAME.fullmatch(address)
    if match is None or ".." in address:
        raise CheckpointError(
            f"{address[:200]!r} is no address; expected {PREFIX}OWNER/NAME[:FILE]"
        )
    return match[1], match[2]


def download(address: str) -> tuple[Path, str]:
    """Fetch what an address names, unless it was fetched before: (file or folder, OWNER/NAME).

    Raises CheckpointError without `huggingface_hub`, without a network, and where there is no such
    file or more than one to choose from.
    """
    repository, file = parse(address)
    try:
        import huggingface_hub as hub
        from huggingface_hub import constants
    except ImportError as error:
        raise CheckpointError(
            f"{address} needs the package huggingface_hub: pip install huggingface_hub"
        ) from error
    online = not constants.HF_HUB_OFFLINE and _reachable(constants.ENDPOINT)
    try:
        if not online:
            return _kept(repository, file), repository
        names = [file] if file else wanted_files(address, hub.list_repo_files(repository))
        paths = [Path(hub.hf_hub_download(repository, name)) for name in names]
        if file:
            _fetch_settings(repository, file)
    except CheckpointError:
        raise
    except Exception as error:  # of whichever HTTP client that package uses
        reason = " ".join(str(error).split())[:200]
        if not online:
            reason = "it is not on this machine, and the hub is out of reach"
        raise CheckpointError(f"{address} could not be fetched: {reason}") from error
    ours = {path.name for path in paths} >= {CONFIG, GENERATOR}
    weights = [path for path in paths if path.suffix in SUFFIXES]
    return (paths[0].parent if ours else weights[0]), repository


def _reachable(endpoint: str) -> bool:
    """Whether the hub answers; behind a proxy, that is for the proxy to say.

    Asked first, because the hub's package tries for half a minute.
    """
    parts = urlsplit(endpoint)
    if getproxies():
        return True
    port = parts.port or {"http": 80}.get(parts.scheme, 443)
    try:
        socket.create_connection((str(parts.hostname), port), timeout=PATIENCE).close()
    except OSError:
        return False
    return True


def _kept(repository: str, file: str | None) -> Path:
    """What was fetched before. Raises what the hub's package does where there is nothing."""
    import huggingface_hub as hub

    if file:
        return Path(hub.hf_hub_download(repository, file, local_files_only=True))
    return Path(hub.snapshot_download(repository, local_files_only=True))


def wanted_files(address: str, listed: Sequence[str]) -> list[str]:
    """Of a repository's files, those to fetch: our folder, the usual pair, or the only weights.

    Raises CheckpointError where a person has to choose.
    """
    if {CONFIG, GENERATOR} <= set(listed):
        return [name for name in (CONFIG, GENERATOR, DISCRIMINATOR) if name in listed]
    weights = [name for name in listed if name.endswith(SUFFIXES)]
    for usual in ("model.safetensors", "pytorch_model.bin"):
        if usual in weights:
            weights = [usual]
    if len(weights) != 1:
        found = ", ".join(weights[:8]) or "none"
        raise CheckpointError(
            f"{address} has {len(weights)} files of weights ({found}); name one: {address}:FILE"
        )
    return [weights[0]] + [CONFIG] * (CONFIG in listed)


def _fetch_settings(repository: str, file: str) -> None:
    """The config.json beside a file that was asked for by name, where there is one."""
    import huggingface_hub as hub
    from huggingface_hub.errors import EntryNotFoundError

    beside = str(Path(file).with_name(CONFIG))
    try:
        hub.hf_hub_download(repository, beside)
    except EntryNotFoundError:
        return  # most families ship none
