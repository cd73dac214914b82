"""What the loaders that Tarpon is compared with have in common."""

from collections.abc import Iterator

import torch
from torch.utils.data import Sampler


class EndlessSampler(Sampler):
    """Indices below `count`, each once in a shuffled order, again and again."""

    def __init__(self, count: int) -> None:
        self.count = count

    def __iter__(self) -> Iterator[int]:
        while True:
            yield from torch.randperm(self.count).tolist()
