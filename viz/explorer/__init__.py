"""The explorer: a canvas on which attention follows the pointer."""

from .explorer import Scene, explorer, scene_value

__all__ = ["Scene", "explorer", "scene_value"]
