"""The plan of a short visit to a GPU: its calls, what each carries, and the seconds it is expected to take."""

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from tarpon.tools.gpu.journal import read_rows
from tarpon.tools.gpu.parts import PARTS
from tarpon.tools.table import table


@dataclass(frozen=True, kw_only=True)
class Call:
    """One command on the machine with the GPU."""

    parts: tuple[str, ...]
    carries: tuple[str, ...]  # of "checkout", "site", "shards"
    starts_s: float  # before the parts: unpacking and starting

    def seconds(self) -> float:
        return self.starts_s + sum(PARTS[name].seconds for name in self.parts)


CALLS = (
    Call(parts=("kernels",), carries=("checkout",), starts_s=10),
    Call(parts=("pipelines", "train"), carries=("checkout", "site", "shards"), starts_s=30),
    Call(parts=("tests",), carries=("checkout",), starts_s=10),
)


def folder_size(folder: Path | None) -> str:
    """Size of all files below a folder, in words."""
    if folder is None:
        return "not given"
    if not folder.exists():
        return f"{folder} is not there"
    return f"{sum(path.stat().st_size for path in folder.rglob('*') if path.is_file()) / 2**20:.1f} MiB"


def describe_plan(*, out: Path, shards: Path | None, device: str) -> Iterator[str]:
    """Lines: the calls; then every step with its expected seconds, and those it took the last time in `out`."""
    rows = []
    for number, call in enumerate(CALLS, start=1):
        carried = ", ".join(f"{name} ({folder_size(shards)})" if name == "shards" else name for name in call.carries)
        rows.append((number, ", ".join(call.parts), carried, f"{call.seconds():.0f}"))
    yield from table(("call", "parts", "carries", "seconds"), rows)
    yield f"together {sum(call.seconds() for call in CALLS):.0f} s, starting of the machine not counted"
    yield ""
    took = {
        (name, row["name"]): row["seconds"]
        for name in PARTS
        for row in read_rows(out / f"{name}.jsonl")
        if row["kind"] == "step"
    }
    for name, part in PARTS.items():
        expected = [
            (step.name, f"{step.seconds:.0f}", format_seconds(took.get((name, step.name)))) for step in part.steps(name)
        ]
        total = sum(float(row[1]) for row in expected)
        yield f"{name}: {part.does}; needs {part.needs}; expected {total:.0f} s, given {part.seconds:.0f}"
        yield from table(("step", "expected s", f"took s ({device})"), expected)
        yield ""


def format_seconds(seconds: float | None) -> str:
    return "" if seconds is None else f"{seconds:.1f}"
