"""`tarpon gpu`: on a machine with an NVIDIA GPU, every check and measurement that needs one, within a time limit.

Each part runs a command of its own, so that memory and left-over threads stay apart and a part that hangs can be ended.
What was found is written after every part. A task or kernel adds its own part to PARTS.
"""

import json
import os
import re
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from xml.etree import ElementTree

import torch

from tarpon.shards import atomic
from tarpon.tools.bench import results as bench
from tarpon.tools.gpu_command import Failed, call
from tarpon.tools.gpu_train import Workload, resident, trained
from tarpon.tools.table import table

ROOT = Path(__file__).resolve().parents[1]  # of the checkout: the tests are no part of the package
CODECS = ("vp9", "mjpeg", "h264")  # h264 decodes on a GPU only
LEAST_S = 5.0  # a part is not begun with less time left


@dataclass(frozen=True, kw_only=True)
class Bench:
    """What the parts share."""

    folder: Path  # scratch: the lab and its shards, removed at the end
    device: str = "gpu"  # cpu | gpu
    videos: int = 8
    size: int = 512  # pixels of the lab's videos
    split: str = "0.5,0.25,0.25"
    codecs: tuple[str, ...] = CODECS
    seconds: float = 2.0  # of each repeat of the loader's timing
    repeats: int = 3
    workload: Workload = field(default_factory=Workload)

    def shards(self, codec: str) -> Path:
        return self.folder / f"shards_{codec}"


@dataclass(frozen=True, kw_only=True)
class Found:
    """What a part gives."""

    said: str  # one line
    rows: list[dict] = field(default_factory=list)  # as bench.Row, and more where there is more
    ratios: dict[str, float] = field(default_factory=dict)
    ok: bool = True


@dataclass(frozen=True, kw_only=True)
class Part:
    """One thing to run: `make(setup, seconds)` raises Failed when it cannot, and ends what it started."""

    name: str
    minutes: float  # at most
    make: Callable[[Bench, float], Found]


def tested(setup: Bench, seconds: float) -> Found:
    """The tests marked gpu."""
    if not (ROOT / "tests").is_dir():
        raise Failed(f"no tests beside {ROOT / 'tools'}: run it from a checkout")
    report = setup.folder / "junit.xml"
    words = ["-m", "pytest", "-m", "gpu", "-q", "-p", "no:cacheprovider", f"--junitxml={report}", str(ROOT / "tests")]
    call([sys.executable, *words], seconds=seconds, cwd=ROOT, allowed=(0, 1))
    return counted(report.read_text())


def counted(junit: str) -> Found:
    """pytest's JUnit file: not well when a test failed, or when none ran."""
    cases = list(ElementTree.fromstring(junit).iter("testcase"))
    bad = [case.get("name", "?") for case in cases if case.find("failure") is not None or case.find("error") is not None]
    skipped = sum(case.find("skipped") is not None for case in cases)
    passed = len(cases) - len(bad) - skipped
    return Found(
        said=f"{passed} passed, {len(bad)} failed, {skipped} skipped" + (f": {', '.join(bad)}" if bad else ""),
        ok=passed > 0 and not bad,
    )


def packed(setup: Bench, seconds: float) -> Found:
    """A synthetic lab, packed once a codec."""
    end, lab = time.monotonic() + seconds, setup.folder / "lab"
    tarpon("demo", "mouse", out=lab, videos=setup.videos, size=setup.size, seconds=end - time.monotonic())
    for codec in setup.codecs:
        tarpon(
            "pack",
            "mouse",
            videos=lab / "Videos",
            annotations=lab / "Annotations",
            out=setup.shards(codec),
            codec=codec,
            split=setup.split,
            seconds=end - time.monotonic(),
        )
    return Found(said=f"{setup.videos} videos packed as {', '.join(setup.codecs)}")


def loaded(setup: Bench, seconds: float, *, codec: str) -> Found:
    """The loader on one codec's shards, beside the usual way and decoding alone."""
    lab, figures, work = setup.folder / "lab", setup.folder / f"loader_{codec}.json", setup.workload
    tarpon(
        "bench",
        "loader",
        shards=setup.shards(codec),
        videos=lab / "Videos",
        annotations=lab / "Annotations",
        json=figures,
        device=setup.device,
        seconds_a_repeat=setup.seconds,
        repeats=setup.repeats,
        warm_up=setup.seconds,
        size=work.size,
        window=work.frames,
        batch=work.batch,
        seconds=seconds,
    )
    told = json.loads(figures.read_text())
    ratios = {f"{codec} {name}": ratio for name, ratio in told["ratios"].items()}
    return Found(
        said=", ".join(f"{name.split('_over_')[1]} x {ratio:.2f}" for name, ratio in told["ratios"].items()),
        rows=[row | {"name": f"{codec}: {row['name']}"} for row in told["rows"]],
        ratios=ratios,
    )


def fused(setup: Bench, seconds: float) -> Found:
    """Every fused operation against plain and compiled PyTorch."""
    figures = setup.folder / "ops.json"
    tarpon("bench", "ops", json=figures, seconds_a_repeat=0.1, seconds=seconds)
    told = json.loads(figures.read_text())
    rows = [row | {"name": f"{row['op']} {row['shape']} {row['way']} {row['part']}"} for row in told["rows"]]
    least = min(ratio for name, ratio in told["ratios"].items() if name.endswith("eager"))
    return Found(said=f"{len(rows)} figures, fused over eager at least x {least:.2f}", rows=rows, ratios=told["ratios"])


def tarpon(*words: str, seconds: float, **options: object) -> None:
    """One of our commands, in a process of its own."""
    spelt = [f"--{name.replace('seconds_a_repeat', 'seconds')}={value}" for name, value in options.items()]
    call([sys.executable, "-m", "tarpon.tools.cli", *words, *spelt], seconds=seconds)


def train(setup: Bench, seconds: float, *, codec: str) -> Found:
    """A short training from shards, end to end."""
    row = trained(setup.shards(codec), setup.folder / f"run_{codec}", setup.workload, seconds=seconds)
    said = f"{row['per_second']:.0f} frames/s, waiting for data {row['wait_share']:.0%} of the time"
    return Found(said=said, rows=[row | {"name": f"{codec}: training end to end"}])


def ceiling(setup: Bench, seconds: float) -> Found:
    """The same steps on one batch that stays on the device: what training could reach with no loading at all."""
    row = resident(setup.shards(setup.codecs[0]), setup.folder / "resident", setup.workload, seconds=seconds)
    return Found(said=f"{row['per_second']:.0f} frames/s", rows=[row | {"name": RESIDENT}])


RESIDENT = "training on a resident batch"
PARTS: list[Part] = [
    Part(name="tests", minutes=3.0, make=tested),
    Part(name="fused operations", minutes=3.0, make=fused),
    Part(name="lab and shards", minutes=2.0, make=packed),
    Part(name="resident training", minutes=1.5, make=ceiling),
    *(Part(name=f"training {codec}", minutes=1.5, make=lambda setup, seconds, codec=codec: train(setup, seconds, codec=codec))
      for codec in ("vp9", "h264")),
    *(Part(name=f"loader {codec}", minutes=1.5, make=lambda setup, seconds, codec=codec: loaded(setup, seconds, codec=codec))
      for codec in CODECS),
]  # fmt: skip


def run(*, out: str = "docs/benchmarks", minutes: float = 9.0) -> int:
    """Run everything that needs an NVIDIA GPU: tests, loader and training benchmarks.

    Args:
        out: folder for <gpu>.json and <gpu>.md.
        minutes: for all of it; what does not fit is reported as not run.

    Returns:
        0, or 1 when a part failed or did not fit.
    """
    if not torch.cuda.is_available():
        raise ValueError("no NVIDIA GPU here that PyTorch sees; this command does only what needs one, `make test` is for CPUs")
    if minutes <= 0:
        raise ValueError(f"minutes={minutes} must be above 0")
    name = torch.cuda.get_device_name()
    total_gib = torch.cuda.get_device_properties(0).total_memory / 2**30
    with tempfile.TemporaryDirectory(prefix="tarpon_gpu_") as folder:
        setup = Bench(folder=Path(folder), workload=Workload.on(total_gib))
        return go(PARTS, setup, minutes=minutes, place=Path(out) / file_name(name), where=bench.machine(gpu=name))


def go(parts: Sequence[Part], setup: Bench, *, minutes: float, place: Path, where: dict[str, object]) -> int:
    """Parts in order, each within its own time and what is left of all; figures written to `place`.json and .md after each."""
    place.parent.mkdir(parents=True, exist_ok=True)
    told: dict = {"rows": [], "ratios": {}, "machine": where, "parts": []}
    end = time.monotonic() + 60 * minutes
    for part in parts:
        begun = time.monotonic()
        print(f"{part.name} ...", flush=True)
        found = attempt(part, setup, seconds=min(60 * part.minutes, end - begun))
        told["rows"] += found.rows
        told["ratios"] |= found.ratios
        told["ratios"] |= against_ceiling(told["rows"])
        took = round(time.monotonic() - begun, 1)
        told["parts"].append({"name": part.name, "ok": found.ok, "seconds": took, "said": found.said})
        print(f"{part.name}: {'' if found.ok else 'FAILED: '}{found.said}", flush=True)
        atomic.write_text(place.with_name(f"{place.name}.json"), json.dumps(told, indent=2) + "\n")
        atomic.write_text(place.with_name(f"{place.name}.md"), "\n".join(markdown(told)) + "\n")
    print("\n".join(["", *summary(told), "", f"written: {place}.json and {place}.md"]), flush=True)
    return 0 if all(part["ok"] for part in told["parts"]) else 1


def attempt(part: Part, setup: Bench, *, seconds: float) -> Found:
    if seconds < min(LEAST_S, 60 * part.minutes):
        return Found(said="not run: no time was left; give more --minutes", ok=False)
    try:
        return part.make(setup, seconds)
    except (Failed, OSError, ValueError, KeyError) as error:  # one part's trouble must not lose the others' figures
        return Found(said=f"{type(error).__name__}: {error}" if not isinstance(error, Failed) else str(error), ok=False)


def against_ceiling(rows: Sequence[dict]) -> dict[str, float]:
    """How near each training comes to the resident one."""
    top = next((row["per_second"] for row in rows if row["name"] == RESIDENT), None)
    return (
        {}
        if top is None
        else {
            f"{row['name'].partition(':')[0]} train_over_resident": row["per_second"] / top
            for row in rows
            if row["name"].endswith(": training end to end")
        }
    )


def file_name(gpu: str) -> str:
    """ "NVIDIA H200" -> "nvidia_h200"."""
    return re.sub(r"[^a-z0-9]+", "_", gpu.lower()).strip("_")


HEAD = ("what", "per second", "unit", "host MiB", "GPU MiB")


def cells(row: dict) -> list[str]:
    gpu = row.get("gpu_mib")
    return [row["name"], f"{row['per_second']:.1f}", row["unit"], f"{row['peak_mib']:.0f}", "" if gpu is None else f"{gpu:.0f}"]


def summary(told: dict) -> list[str]:
    """The figures for a terminal."""
    return [
        *table(HEAD, [cells(row) for row in told["rows"]]),
        "",
        *(f"{name} {ratio:.2f}" for name, ratio in told["ratios"].items()),
        *(f"FAILED {part['name']}: {part['said']}" for part in told["parts"] if not part["ok"]),
    ]


def markdown(told: dict) -> list[str]:
    """The figures as a page: what was run, the rows, the ratios."""
    where = told["machine"]
    versions = ", ".join(f"{name} {version}" for name, version in where["versions"].items())
    parts = [
        (part["name"], "ok" if part["ok"] else "failed", part["seconds"], one_cell(part["said"])) for part in told["parts"]
    ]
    return [
        f"# {where['gpu'] or where['cpu']}", "",
        f"`tarpon gpu` on {where['cpu']}, {where['cores']} cores, {where['memory_gib']} GiB; {versions}.", "",
        *grid(("part", "", "seconds", "result"), parts), "",
        *grid(HEAD, [cells(row) for row in told["rows"]]), "",
        *grid(("ratio", ""), [(name, f"{ratio:.2f}") for name, ratio in told["ratios"].items()]),
    ]  # fmt: skip


def one_cell(text: str) -> str:
    return " ".join(text.replace("|", "/").split())


def grid(head: Sequence[str], rows: Sequence[Sequence[object]]) -> list[str]:
    return [f"| {' | '.join(str(cell) for cell in line)} |" for line in (head, ["---"] * len(head), *rows)]


if __name__ == "__main__":
    from tarpon.train.config import fail

    try:
        sys.exit(run())
    except ValueError as error:
        if os.environ.get("TARPON_DEBUG"):
            raise
        sys.exit(fail(error, program="tarpon gpu"))
