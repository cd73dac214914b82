"""The fish part of `tarpon selftest`: random features and labels, and a network that trains on them in seconds."""

from pathlib import Path

from tarpon.tools.fish.bench_train import write_table


def prepare(folder: Path) -> list[str]:
    """Make data in a folder; returns the options of a training on them."""
    write_table(folder / "features", rows=96, dim=12)
    return [
        f"--data={folder / 'features'}",
        "--model.experts=2",
        "--model.hidden=16",
        "--model.tower=16",
        "--micro_batch=8",
        "--global_batch=16",
        "--schedule.kind=plateau",
        "--ema.enabled=true",
    ]
