"""The pages of a data set whose manifest is held whole."""

from functools import cached_property

import numpy as np

from tarpon.shards.manifest import Manifest
from tarpon.shards.sampling.plan import EpochPlan
from tarpon.train.tasks.cells.data import page_labels, page_names, page_onsets
from tarpon.train.tasks.cells.metrics.collect import target_medians
from tarpon.train.tasks.cells.metrics.predictions import PageNames
from tarpon.train.tasks.cells.options import CellsOptions
from tarpon.train.tasks.cells.rows import describe_onset, select_rows, training_order


class HeldPages:
    """Which pages the splits have, with what is known of them; errors as of `select_rows`.

    Attributes:
        rows: split -> row ids of its pages, ascending.
        labels: of every row.
        medians: of the training targets: of all pages, of uninfected, of infected ones.
        infected_onsets: hours of infection of the infected pages of the set.
    """

    def __init__(self, manifest: Manifest, options: CellsOptions) -> None:
        self.manifest, self._options = manifest, options
        self.labels, self.rows = page_labels(manifest, options), select_rows(manifest, options)
        train, self._onset = self.rows["train"], page_onsets(manifest, options)
        self.medians = target_medians(self.labels.target[train], self.labels.label[train])
        self.infected_onsets = self._onset[self.labels.label == 1]

    @cached_property
    def names(self) -> PageNames:
        """What every row is called."""
        return page_names(self.manifest)

    def order(self, seed: int) -> EpochPlan:
        """The order of training."""
        return training_order(self.manifest, self.rows["train"], self.labels.label, self._options, seed=seed)

    def onset(self, _split: str) -> np.ndarray:
        """(R,) float32 hour of the clock at which the infection of every row begins."""
        return self._onset

    def describe_splits(self) -> str:
        """Pages and stacks of each split, and how many pages are infected."""
        stacks, labels = np.array(self.manifest.column("stack")), self.labels.label
        return "; ".join(
            f"{name} {len(own)} pages of {len(set(stacks[own]))} stacks, {labels[own].mean() if len(own) else 0:.0%} infected"
            for name, own in self.rows.items()
        )

    def describe_onset(self) -> list[str]:
        """A line on infected training pages from before the onset; none without such."""
        return [*describe_onset(self.manifest, self.rows["train"], self.labels.label, onset=self._onset)]
