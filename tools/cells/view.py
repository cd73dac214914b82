"""Stacks of cells for `tarpon view`: pages over time, with the class and the hours that a run read from them."""

import io
from collections.abc import Iterator
from pathlib import Path

import numpy as np

from tarpon.shards.manifest import Manifest
from tarpon.shards.sources.cells.timing import format_hours
from tarpon.tools.cells.look import describe_colours, read_page
from tarpon.tools.view.record import Album, Curve, Detail, Entry, finite
from tarpon.train.prediction_files import list_shares
from tarpon.train.tasks.cells.metrics.predictions import PageRows, load_rows

INFECTED, HOURS, TRUE = "#D55E00", "#0072B2", "#888888"


class CellsAlbum(Album):
    """Stacks of a data set, each with its pages in order, and a run's predictions where there are any."""

    def __init__(self, manifest: Manifest, run: Path | None) -> None:
        super().__init__(manifest, run)
        stack, page = manifest.column("stack"), manifest.column("page")
        order = np.lexsort((page, stack))
        names, first = np.unique(stack[order].astype(str), return_index=True)
        self.names, self.rows = names.tolist(), np.split(order, first[1:])  # of each stack, over time
        self.predicted: dict[str, tuple[PageRows, int]] = {}  # key of a page -> file and place in it
        for split in ("val", "test"):
            path = None if run is None else run / "predictions" / f"{split}.npz"
            if path is not None and list_shares(path):
                held = load_rows(path)
                self.predicted |= {key: (held, place) for place, key in enumerate(held.key.tolist())}
        self.keys = manifest.column("key")

    def _entries(self) -> Iterator[Entry]:
        for name, rows in zip(self.names, self.rows, strict=True):
            label, split = (self.manifest.value(rows[0], column) for column in ("label", "split"))
            told = any(self.keys[row] in self.predicted for row in rows)
            words = f"{self.manifest.card['classes'][label]}, {len(rows)} pages"
            yield Entry(key=name, split=split, words=words, predicted=told)

    def steps(self, stack: int) -> int:
        return len(self.rows[stack])

    def picture(self, stack: int, step: int) -> tuple[bytes, str]:
        buffer = io.BytesIO()
        read_page(self.reader, int(self.rows[stack][step])).save(buffer, format="png", compress_level=1)
        return buffer.getvalue(), "image/png"

    def detail(self, stack: int) -> Detail:
        rows = self.rows[stack]
        known = self.manifest.table.slice(int(rows[0]), 1).to_pylist()[0]
        hours = self.manifest.column("hours")[rows]
        facts = [
            ("class", self.manifest.card["classes"][known["label"]]),
            ("split", known["split"]),
            ("well", known["well"]),
            ("position", known["position"]),
            ("source", known["source"]),
            ("pages", f"{known['width']} x {known['height']} px, {known['bits']}-bit"),
            ("grey levels shown", f"{known['low']:g} to {known['high']:g}, of the whole stack"),
            *(("channels", line.partition(": ")[2]) for line in describe_colours(self.manifest)),
        ]
        return Detail(
            facts=[(name, str(words)) for name, words in facts],
            steps=len(rows),
            unit="page",
            captions=[f"{format_hours(value)} h" for value in hours],
            curves=list(self._curves(rows)),
        )

    def _curves(self, rows: np.ndarray) -> Iterator[Curve]:
        found = [self.predicted.get(self.keys[row]) for row in rows]
        if not any(found):
            return

        def over_time(name: str) -> list[float | None]:
            return finite(np.array([np.nan if one is None else getattr(one[0], name)[one[1]] for one in found], float))

        yield Curve(name="infected", unit="probability", values=over_time("prob"), colour=INFECTED)
        yield Curve(name="predicted hours", unit="since the onset", values=over_time("predicted"), colour=HOURS)
        yield Curve(name="true hours", unit="since the onset", values=over_time("target"), colour=TRUE)
