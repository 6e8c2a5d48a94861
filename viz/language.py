"""The page's sentences in other languages, for what is written outside of the browser."""

from __future__ import annotations

import json
import re
from functools import cache
from pathlib import Path
from typing import Any

EXPLORER = Path(__file__).parent / "explorer"
FOLDERS = {"ko": EXPLORER / "korean"}
LANGUAGES = ("en", *FOLDERS)


@cache
def catalogue(language: str) -> dict[str, str]:
    """{English sentence: translation}, as the browser has it; empty for English.

    Raises KeyError for a language that there is not.
    """
    if language == "en":
        return {}
    sentences: dict[str, str] = {}
    for file in sorted(FOLDERS[language].glob("*.js")):
        sentences |= exported(file)
    return sentences


def exported(module: Path) -> dict[str, Any]:
    """What a module of nothing but data exports: `export default {...};`, written as JSON."""
    text = module.read_text(encoding="utf-8")
    data = re.sub(r",?\s*\}[;\s]*$", "}", text.partition("export default ")[2])
    found: dict[str, Any] = json.loads(data)
    return found
