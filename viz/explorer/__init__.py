"""The explorer: a canvas on which attention follows the pointer."""

from .explorer import explorer

__all__ = ["explorer"]
