"""Checkpoints of other code bases: one file per family, which says what its names mean."""

from .opening import open_checkpoint, open_discriminator

__all__ = ["open_checkpoint", "open_discriminator"]
