"""A sampler that tells the node's cache in which order it is going to want the files."""

from __future__ import annotations

from collections.abc import Iterator

from torch.utils.data import Sampler

from vfs.inprocess.filesystem import HeadraceFileSystem
from vfs.torch.dataset import FileDataset


class AnnouncedSampler(Sampler[int]):  # type: ignore[misc]  # torch is seen without types
    """Any finite sampler of indices of a `FileDataset`, its order announced before each epoch.

    Of a distributed sampler that is the order of its own rank. Where the dataset is read through a
    mount there is nobody to tell, and it is the plain sampler.
    """

    def __init__(self, sampler: Sampler[int], dataset: FileDataset) -> None:
        """Yield what *sampler* yields of *dataset*."""
        self.sampler = sampler
        self.dataset = dataset

    def __iter__(self) -> Iterator[int]:
        """Choose and announce the order of an epoch, and begin it."""
        order = list(self.sampler)
        fs = self.dataset.fs
        if isinstance(fs, HeadraceFileSystem):
            fs.announce(map(self.dataset.paths.__getitem__, order))
        return iter(order)

    def __len__(self) -> int:
        """Return how many indices an epoch has."""
        return len(self.sampler)

    def set_epoch(self, epoch: int) -> None:
        """Have the sampler, which must be a distributed one, shuffle for *epoch*."""
        self.sampler.set_epoch(epoch)
