"""SAGAN (Zhang et al. 2018) whose attention can be watched, changed and trusted."""

from .attention import Attend, AttentionField, SelfAttention, edit_attention, record_attention
from .checkpoint import Checkpoint, CheckpointError, load_checkpoint, save_checkpoint
from .foreign import open_checkpoint, open_discriminator
from .model import Discriminator, Generator, SAGANConfig
from .sample import Sample, generate

__all__ = [
    "Attend",
    "AttentionField",
    "Checkpoint",
    "CheckpointError",
    "Discriminator",
    "Generator",
    "SAGANConfig",
    "Sample",
    "SelfAttention",
    "edit_attention",
    "generate",
    "load_checkpoint",
    "open_checkpoint",
    "open_discriminator",
    "record_attention",
    "save_checkpoint",
]
