"""One HTML file that is the live explorer on one image: no server, no network, nothing beside it.

Styles, template, modules and the scene's numbers are all inside. Modules are data: addresses that
an import map gives names to, since a page from the disk may not load modules from files beside it.
"""

from __future__ import annotations

import base64
import json
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

EXPLORER = Path(__file__).parent / "explorer"
STYLE = Path(__file__).with_name("standalone.css")
IMPORT = re.compile(r'(\bfrom\s*|\bimport\s*\(?\s*)"\./([\w/-]+\.js)"')
PREFIX = "lens/"

PAGE = """<!DOCTYPE html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<title>{title}</title>
<link rel="icon" href="data:,">
<style>
{style}
</style>
<script type="importmap">{modules}</script>
</head>
<body>
<div id="explorer">
{template}
</div>
<script type="application/json" id="value">{value}</script>
<script type="module">
import {{ start }} from "{prefix}explorer.js";
const value = JSON.parse(document.getElementById("value").textContent);
start({{ element: document.getElementById("explorer"), props: {{ value }}, server: null }});
</script>
</body>
</html>
"""


def standalone_page(
    lab: Mapping[str, Any],
    scene: Mapping[str, Any],
    content: bytes,
    state: Mapping[str, Any],
    title: str = "SAGAN Lens",
) -> str:
    """The file's text.

    Args:
        lab: what `Studio.lab` returns.
        scene: a scene's description, its `file` apart.
        content: the scene's binary file.
        state: what the page opens with; its `source` is the scene's.
        title: of the page; any text.
    """
    value = {
        "lab": dict(lab),
        "scene": {
            "id": "kept",
            **scene,
            "file": {"url": _data("application/octet-stream", content)},
        },
        "state": {**state, "source": scene["source"], "other": None, "other_layer": None},
    }
    return PAGE.format(
        title=title.replace("&", "&amp;").replace("<", "&lt;"),
        style=_style(),
        modules=_json({"imports": _modules()}),
        template=_read(EXPLORER / "explorer.html"),
        value=_json(value),
        prefix=PREFIX,
    )


def _modules() -> dict[str, str]:
    """The explorer's modules by the name under which they import each other."""
    files = sorted(EXPLORER.rglob("*.js"))
    sources = {file.relative_to(EXPLORER).as_posix(): _read(file) for file in files}
    return {
        PREFIX + name: _data("text/javascript", IMPORT.sub(rf'\1"{PREFIX}\2"', text).encode())
        for name, text in sources.items()
    }


def _style() -> str:
    # No style of ours closes its own element, but nothing else makes sure of it.
    return "\n".join((_read(STYLE), _read(EXPLORER / "explorer.css"))).replace("</", "<\\/")


def _read(path: Path) -> str:
    return path.read_text(encoding="utf-8")


def _data(kind: str, content: bytes) -> str:
    return f"data:{kind};base64,{base64.b64encode(content).decode()}"


def _json(value: Any) -> str:
    """JSON that may stand in a script element, whatever its texts say."""
    text = json.dumps(value, ensure_ascii=True, allow_nan=False, separators=(",", ":"))
    return text.replace("<", "\\u003c")
