"""What the page's server does: scenes from sources, and what a checkpoint has to offer.

There is no session state. The browser owns what is shown; a scene follows from its source alone,
is shared by all who ask for it, is kept for a while and made again when it is gone.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from sagan_core.checkpoint import Checkpoint

from . import published
from .about import about_checkpoint
from .bounded import Bounded
from .curves import curves
from .kept import keep
from .lab import lab_of
from .openings import Opening, picture_address, read_openings
from .reach import reach
from .source import Source, short
from .steps import steps_json
from .truth import Truth
from .uploads import uploaded_checkpoint
from .workshop import Workshop

SCENES, SAVED = 512, 128


class Studio(Workshop):
    """A workshop whose scenes browsers load. Its methods may be called from many threads at once.

    Its first methods take and return JSON as it travels between browser and server; for a request
    that makes no sense they return {"error": words}.

    Args:
        checkpoints: opened ones, or folders to open when first asked for; the first opens the page.
        uploads: people may upload checkpoints.

    Raises ValueError for a first checkpoint without any attention.
    """

    def __init__(self, checkpoints: Sequence[Checkpoint | Path], uploads: bool = False) -> None:
        super().__init__(checkpoints)
        self.uploads = uploads
        self._scenes = Bounded[Source, dict[str, Any]](SCENES, leaving=_withdraw)
        self._labs = Bounded[str, dict[str, Any]](64)
        self._saved = Bounded[str, Path](SAVED, leaving=published.withdraw)
        self._truth = Truth(self)
        published.clear()
        self._lab("")

    # ---- What a browser asks for

    def scene(self, source: Any) -> dict[str, Any]:
        """The scene of a source, or {"error": words}."""
        return answer(lambda: self._scene(self.checked(Source.from_json(source))))

    def lab(self, name: Any) -> dict[str, Any]:
        """What a checkpoint offers (a name of the list, or null for the first), or an error."""
        return answer(lambda: self._lab(Source.from_json({"checkpoint": name or ""}).checkpoint))

    def drop(self, request: Any) -> dict[str, Any]:
        """{"image", "fitted"} of an uploaded image {"path", "name"}, or {"error": words}."""
        return answer(lambda: self._drop(request))

    def timeline(self, request: Any) -> dict[str, Any]:
        """{"figure", "snapshots"} of {"checkpoint"}: how training went, or {"error": words}."""
        return answer(lambda: self._timeline(Source.from_json(request).checkpoint))

    def save(self, request: Any) -> dict[str, Any]:
        """{"path", "name"} of a file with what {"state", "kind", "pane"} shows, or {"error"}."""
        return answer(lambda: self._save(request))

    def about(self, name: Any) -> dict[str, Any]:
        """What there is to know about a checkpoint, or {"error"}."""
        return answer(lambda: self._about(Source.from_json({"checkpoint": name or ""}).checkpoint))

    def evidence(self, request: Any) -> dict[str, Any]:
        """Whether the map of one pin is true, as `Truth` answers it, or {"error": words}."""
        return answer(lambda: self._truth.evidence(request))

    def steps(self, request: Any) -> dict[str, Any]:
        """Every number of one point of a layer, as `steps_json` has it, or {"error": words}."""
        return answer(lambda: steps_json(self, request))

    def upload(self, request: Any) -> dict[str, Any]:
        """{"checkpoint": its name} of an uploaded file {"path"}, or {"error": words}."""
        return answer(lambda: self._upload(request))

    def reach(self, request: Any) -> dict[str, Any]:
        """How many cells of {"checkpoint", "layer"} one pixel can draw on, or {"error"}."""
        return answer(lambda: reach(self, request))

    # ---- How

    def _about(self, name: str) -> dict[str, Any]:
        return about_checkpoint(self.networks.checkpoint(name))

    def _upload(self, request: Any) -> dict[str, Any]:
        if not self.uploads:
            raise ValueError("This page takes no checkpoints; start app.py with --uploads.")
        name, checkpoint = uploaded_checkpoint(request)
        self.networks.invite(name, checkpoint)
        self._lab(name)  # refuses a model without attention
        return {"checkpoint": name}

    def _save(self, request: Any) -> dict[str, Any]:
        if not isinstance(request, Mapping):
            raise ValueError(f"expected an object, not {short(request)}")
        kind = request.get("kind")
        content, name = keep(self, request.get("state"), kind, request.get("pane", 0))
        path = published.publish_as(name, content)
        self._saved.obtain(str(path), lambda: path)
        return {"path": str(path), "name": name}

    def _drop(self, request: Any) -> dict[str, Any]:
        # Fitted for every checkpoint at once, since the file itself is not kept.
        shapes = {name: self._shape(name) for name in self.networks.names}
        name, fitted = self._dropped.add(request, shapes.values())
        first = shapes[self.networks.names[0]]
        return {"image": f"dropped-{name}", "fitted": fitted[first].words}

    def _timeline(self, name: str) -> dict[str, Any]:
        name = self.networks.full_name(name)
        checkpoint = self.networks.checkpoint(name)
        labels = {layer["name"]: layer["label"] for layer in self._lab(name)["layers"]}
        snapshots = list(checkpoint.snapshots())
        return {"figure": curves(checkpoint.history(), snapshots, labels), "snapshots": snapshots}

    def _scene(self, source: Source) -> dict[str, Any]:
        found = self._scenes.find(source)
        if found is not None and published.touch(Path(found["file"]["path"])):
            return found
        self._scenes.forget(source)
        return self._scenes.obtain(source, lambda: self._publish(source))

    def _publish(self, source: Source) -> dict[str, Any]:
        content, described = self.described(source)
        path = published.publish(content)
        return {"id": path.stem, "file": {"path": str(path)}, **described}

    def _lab(self, name: str) -> dict[str, Any]:
        name = self.networks.full_name(name)
        return self._labs.obtain(name, lambda: self._describe(name))

    def _describe(self, name: str) -> dict[str, Any]:
        checkpoint = self.networks.checkpoint(name)
        begun = self.beginning(name)
        described = lab_of(
            self._scene(Source.from_json(begun["source"]))["layers"], begun["source"]
        )
        described["defaults"] |= begun
        return {
            "checkpoint": name,
            "checkpoints": self.networks.names,
            "class_names": list(checkpoint.class_names),
            "snapshots": list(checkpoint.snapshots()),
            "trained_images": checkpoint.training.get("images"),
            "uploads": self.uploads,
            "real": len(self.real(name)),
            "discriminator": checkpoint.discriminator is not None,
            "openings": [self._offered(opening) for opening in read_openings(checkpoint, name)],
            **described,
        }

    def _offered(self, opening: Opening) -> dict[str, Any]:
        made = self.made(self.checked(opening.source))
        if opening.layer not in made.fields:
            raise ValueError(f"an opening is about {opening.layer}, which the model does not have")
        return {**opening.to_json(), "picture": picture_address(made.image)}


def _withdraw(scene: dict[str, Any]) -> None:
    published.withdraw(Path(scene["file"]["path"]))


def answer(work: Callable[[], dict[str, Any]]) -> dict[str, Any]:
    """The result, or {"error": words} for a request that makes no sense."""
    try:
        return work()
    except LookupError as error:  # str() of a KeyError is in quotes
        return {"error": str(error.args[0]) if error.args else "There is no such thing."}
    except (ValueError, RecursionError) as error:
        return {"error": str(error)}
