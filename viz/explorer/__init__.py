"""The explorer: a canvas on which attention follows the pointer."""

from .explorer import FOLDER, explorer

__all__ = ["FOLDER", "explorer"]
