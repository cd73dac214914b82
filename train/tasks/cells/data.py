"""The loaders of the cells task: pages and their labels. B pages asked for, W pages of the window around each."""

from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path

import numpy as np
import torch

from tarpon.pipelines.feed import Feed
from tarpon.pipelines.loader import Batch, Loader
from tarpon.pipelines.page.feed import PageFields, PageRequest, levels, neighbours, page_requests
from tarpon.pipelines.page.graph import PageGraph
from tarpon.shards.manifest import Manifest
from tarpon.shards.quarantine import Budget
from tarpon.shards.reader import Reader
from tarpon.shards.sampling import plan
from tarpon.train.config import Run
from tarpon.train.engine import DistContext, cores
from tarpon.train.tasks.cells.options import CellsOptions


class PageLoaders:
    """The training and the evaluation pipeline, each built when first used, with the labels of what they deliver."""

    def __init__(
        self,
        run: Run,
        options: CellsOptions,
        manifest: Manifest,
        pool: np.ndarray,
        context: DistContext,
        *,
        labels: np.ndarray,
        clock: np.ndarray,
        target: np.ndarray,
    ) -> None:
        self._run, self._options, self._manifest, self._pool, self._context = run, options, manifest, pool, context
        self._reader = Reader(manifest, cache=Path(run.loader.cache) if run.loader.cache else None)
        self._budget = Budget(run.loader.bad_rows)
        stacks, pages = np.array(manifest.column("stack")), np.asarray(manifest.column("page"))
        self._read, self._there = neighbours(stacks, pages, window=options.model.window)
        self._known = {
            name: torch.tensor(values, device=context.device)  # a copy: the table's own memory is read-only
            for name, values in (("label", labels), ("hours", clock), ("target", target))
        }
        self._built: dict[str, Loader] = {}

    @property
    def wait_s(self) -> float:
        return self._built["train"].wait_s if "train" in self._built else 0.0

    def train(self, slots: Iterable[plan.Slots]) -> Iterator[Batch]:
        """Augmented batches of (row, place in the epoch)."""
        return self._run_loader(
            "train",
            (
                page_requests(
                    self._read[slot.rows],
                    self._there[slot.rows],
                    augment=self._options.augment,
                    seed=self._run.seed,
                    epoch=slot.epoch,
                    slots=slot.slots,
                )
                for slot in slots
            ),
        )

    def split(self, turns: Iterable[np.ndarray]) -> Iterator[Batch]:
        """Batches of rows as stored; -1 pads."""
        return self._run_loader(
            "split", (page_requests(self._read[rows], self._there[rows] & (rows >= 0)[:, None]) for rows in turns)
        )

    def _run_loader(self, name: str, work: Iterable[Sequence[PageRequest]]) -> Iterator[Batch]:
        return (self._batch(out) for out in self._get(name).run(work))

    def _batch(self, out: Batch) -> Batch:
        """clip (B, W, 3, S, S), valid (B, W), label, hours, target, row (B,)."""
        window = self._options.model.window
        rows = out["row"].view(-1, window).to(self._context.device, non_blocking=True)
        row = rows[:, window // 2]
        labels = {name: values[row.clamp(min=0)] for name, values in self._known.items()}
        clip = out["page"].unflatten(0, (-1, window)).expand(-1, -1, 3, -1, -1)
        return {"clip": clip, "valid": rows >= 0, **labels, "row": row}

    def _get(self, name: str) -> Loader:
        if name not in self._built:
            run, options, context, training = self._run, self._options, self._context, name == "train"
            low, high = levels(self._manifest, options.contrast)
            size = options.model.backbone.image_size
            noise = options.augment.noise_sd if training and options.augment.noise_p else 0.0
            fields = PageFields(low=low, high=high, size=size, noise_sd=noise)
            pool = self._pool if training else np.arange(len(self._manifest))
            feed = Feed(self._manifest, self._reader, fields, pool=pool, budget=self._budget)
            batch = run.micro_batch * options.model.window
            graph = PageGraph(
                size=size,
                stretch=any((self._manifest.column(name) != size).any() for name in ("width", "height")),
                batch=batch,
                mean=options.mean,
                std=options.std,
                augment=training,
            )
            self._built[name] = Loader(
                graph,
                feed,
                device=context.gpu,
                threads=run.loader.threads or cores(context),
                prefetch=run.loader.prefetch,
                decode_batches=run.loader.decode_batches,
            )
        return self._built[name]
