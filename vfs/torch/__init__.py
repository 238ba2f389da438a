"""Training loops over a snapshot: a map-style dataset, and a sampler that announces its order.

Knows PyTorch, and of filesystems what fsspec says. See `docs/in-process.md`.
"""

from __future__ import annotations

from vfs.torch.dataset import FileDataset, Sample
from vfs.torch.sampler import AnnouncedSampler

__all__ = ["AnnouncedSampler", "FileDataset", "Sample"]
