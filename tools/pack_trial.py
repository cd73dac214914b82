"""What a lab's folder would come to, before anything is packed: what is found, what cannot be used, and some units made."""

import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

from tarpon.shards.quarantine import Fault, contain
from tarpon.shards.source import Scan, Source, Unit

TRIED_S = 20.0  # seconds after which no further unit is begun
MOST = 40  # units tried at most


@dataclass(kw_only=True)
class Trial:
    """What some units came to."""

    units: int = 0
    samples: int = 0
    faults: list[Fault] = field(default_factory=list)


def choose_units(units: Sequence[Unit], *, most: int = MOST) -> list[Unit]:
    """The smallest unit, then others spread evenly over the list."""
    if not units:
        return []
    smallest = min(units, key=lambda unit: unit.size())
    spread = [units[at * len(units) // most] for at in range(most)] if len(units) > most else units
    return [smallest, *(unit for unit in spread if unit is not smallest)][:most]


def try_units(source: Source, units: Sequence[Unit], *, seconds: float = TRIED_S) -> Trial:
    """Make units as packing does, and keep nothing; at least one, and as many as are begun in time."""
    trial, begun = Trial(), time.perf_counter()
    for unit in units:
        if trial.units and time.perf_counter() - begun > seconds:
            break
        for item in contain(unit.name(), source.make(unit)):
            if isinstance(item, Fault):
                trial.faults.append(item)
            else:
                trial.samples += 1
        trial.units += 1
    return trial


def tell_trial(source: Source, folders: Sequence[Path | str | None], found: Scan) -> tuple[list[str], list[Fault]]:
    """Lines on what was found and what the units tried came to, and all faults met."""
    trial = try_units(source, choose_units(found.units))
    where = " and ".join(str(folder) for folder in folders if folder)
    total = sum(unit.size() for unit in found.units)
    lines = [
        f"{total} frames or images to pack in {where}, in {len(found.units)} units; {_count(found.faults)} files left over",
        f"{trial.units} of {len(found.units)} units tried: {trial.samples} samples, {_count(trial.faults)} faults",
    ]
    return lines, [*found.faults, *trial.faults]


def _count(faults: Sequence[Fault]) -> int:
    """Those that kept something out; the others are remarks."""
    return sum(not fault.packed for fault in faults)
