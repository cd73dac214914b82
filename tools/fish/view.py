"""Fish for `tarpon view`: images with their labels, and beside them what a run answered."""

from collections.abc import Iterator
from pathlib import Path

import numpy as np

from tarpon.shards.manifest import Manifest
from tarpon.tools.view.record import Album, Answer, Detail, Entry
from tarpon.train.prediction_files import list_shares
from tarpon.train.tasks.fish.metrics.predictions import AttributeRows, load_rows
from tarpon.train.tasks.fish.metrics.scores import THRESHOLD

UNKNOWN = "not known"


class FishAlbum(Album):
    """Images of a data set, in its order, with a run's predictions where there are any."""

    def __init__(self, manifest: Manifest, run: Path | None) -> None:
        super().__init__(manifest, run)
        self.predicted: dict[str, tuple[AttributeRows, int]] = {}  # key -> file and place in it
        for split in ("val", "test"):
            path = None if run is None else run / "predictions" / f"{split}.npz"
            if path is not None and list_shares(path):
                held = load_rows(path)
                self.predicted |= {key: (held, place) for place, key in enumerate(held.key.tolist())}

    def _entries(self) -> Iterator[Entry]:
        columns = (self.manifest.column(name).tolist() for name in ("key", "split", "family"))
        for key, split, family in zip(*columns, strict=True):
            yield Entry(key=key, split=split, words=family or UNKNOWN, predicted=key in self.predicted)

    def picture(self, row: int, step: int) -> tuple[bytes, str]:
        return self.reader.read(row, "jpg"), "image/jpeg"

    def detail(self, row: int) -> Detail:
        known = self.manifest.table.slice(row, 1).to_pylist()[0]
        facts = [
            ("split", known["split"]),
            ("kept together as", known["group"]),
            ("species", known["species"] or UNKNOWN),
            ("source", known["source"]),
            ("image", f"{known['width']} x {known['height']} px"),
        ]
        return Detail(facts=facts, answers=list(self._answers(known)))

    def _answers(self, known: dict) -> Iterator[Answer]:
        held, place = self.predicted.get(known["key"], (None, 0))
        for name in ("family", "order", "feeding"):
            label = known[name] or UNKNOWN
            said = "" if held is None else _read_name(held, name, place)
            sure = f" ({held.family_confidence[place]:.0%})" if held is not None and name == "family" else ""
            right = said == label if said and known[name] else None
            yield Answer(name=name, labelled=label, predicted=said + sure, right=right)
        names, given = self.manifest.card["habitats"], known["habitat"]
        for index, name in enumerate(names):
            label = UNKNOWN if given is None else "yes" if given[index] else "no"
            prob = None if held is None else float(held.habitat_prob[place, index])
            said = "" if prob is None else f"{'yes' if prob >= THRESHOLD else 'no'} ({prob:.0%})"
            right = None if prob is None or given is None else bool(given[index]) == (prob >= THRESHOLD)
            yield Answer(name=name, labelled=label, predicted=said, right=right)
        label = UNKNOWN if known["troph"] is None else f"{known['troph']:.2f}"
        yield Answer(name="trophic level", labelled=label, predicted="" if held is None else f"{held.troph_pred[place]:.2f}")


def _read_name(held: AttributeRows, name: str, place: int) -> str:
    """What was predicted, in words; "" where the run does not predict it."""
    names = {"family": held.names.families, "order": held.names.orders, "feeding": held.names.feedings}[name]
    numbers: np.ndarray | None = getattr(held, f"{name}_pred")
    return "" if numbers is None else names[int(numbers[place])]
