"""`tarpon gpu`: on a machine with an NVIDIA GPU, every check and measurement that needs one, within a time limit."""

import signal
import sys
import time
from pathlib import Path

from tarpon.tools.gpu import plan, summary
from tarpon.tools.gpu.child import Log
from tarpon.tools.gpu.parts import LOG, PARTS, run_part


def run(
    *,
    part: str | None = None,
    out: str | None = None,
    seconds: float | None = None,
    minutes: float = 11.0,
    device: str = "gpu",
    shards: str | None = None,
    prepare: str | None = None,
    collect: str | None = None,
    dry_run: bool = False,
) -> int:
    """Run everything that needs an NVIDIA GPU, or one part of it; what is found is written as it is found.

    Args:
        part: kernels, pipelines, train or tests; unset: all, in this order.
        out: folder for rows, the log and their summary; unset: runs/gpu. Run again into it, what went well is left out.
        seconds: for each part; unset: what the part is given.
        minutes: for all of it.
        device: gpu, or cpu to run every part in small, without the GPU that it is for.
        shards: folder that --prepare wrote; pipelines and train need it on a GPU.
        prepare: write small shards of all tasks into this folder, to be carried, and do nothing else.
        collect: sum up what was found below this folder, of one visit or several, in --out (unset: docs/benchmarks).
        dry_run: print the calls of a visit, what they carry and the seconds of every step, and do nothing else.

    Returns:
        0, or 1 when a part failed or did not fit.
    """
    check_options(part=part, device=device, seconds=seconds, minutes=minutes)
    if prepare is not None:
        from tarpon.tools.gpu import prepared_shards

        print(prepared_shards.prepare(Path(prepare)))
        return 0
    if collect is not None:
        return write_summary(Path(collect), Path(out or "docs/benchmarks"))
    folder, given = Path(out or "runs/gpu"), None if shards is None else Path(shards)
    if dry_run:
        print("\n".join(plan.describe_plan(out=folder, shards=given, device=device)))
        return 0
    if device == "gpu":
        require_gpu()
    names = list(PARTS) if part is None else [part]
    return run_parts(names, out=folder, seconds=seconds, minutes=minutes, device=device, shards=given)


def check_options(*, part: str | None, device: str, seconds: float | None, minutes: float) -> None:
    """ValueError for an option that has no such value."""
    if part is not None and part not in PARTS:
        raise ValueError(f"part={part!r} must be one of {', '.join(PARTS)}")
    if device not in ("gpu", "cpu"):
        raise ValueError(f"device={device!r} must be gpu or cpu")
    if minutes <= 0 or (seconds is not None and seconds <= 0):
        raise ValueError(f"minutes={minutes} and seconds={seconds} must be above 0")


def require_gpu() -> None:
    import torch

    if not torch.cuda.is_available():
        raise ValueError("no NVIDIA GPU here that PyTorch sees; --device cpu runs every part in small, `make test` is for CPUs")


def write_summary(folder: Path, out: Path) -> int:
    record = summary.collect([folder])
    if not record["rows"] and not record["steps"]:
        raise ValueError(f"{folder}: no rows of a part below it ({', '.join(f'{name}.jsonl' for name in PARTS)})")
    path = summary.write(record, out)
    print("\n".join([*summary.markdown(record), f"written: {path} and {path.with_suffix('.md')}"]))
    return 0


def run_parts(names: list[str], *, out: Path, seconds: float | None, minutes: float, device: str, shards: Path | None) -> int:
    """Parts in order, each within its own time and what is left of all; the summary is written after each."""
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(128 + signal.SIGTERM))  # so that a part is ended with us
    log, ends, well = Log(out / LOG), time.monotonic() + 60 * minutes, True
    try:
        for name in names:
            given = min(PARTS[name].seconds if seconds is None else seconds, ends - time.monotonic())
            well &= run_part(name, out=out, seconds=given, device=device, shards=shards, log=log)
            summary.write(summary.collect([out]), out)
    finally:
        path = summary.write(summary.collect([out]), out)
    log.write(f"written: {path} and {path.with_suffix('.md')}\n".encode())
    return 0 if well else 1
