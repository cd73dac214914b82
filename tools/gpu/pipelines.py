"""Part `pipelines`: what this GPU decodes, whether its batches are the CPU's, and how fast they come."""

import sys
import time
from functools import partial
from itertools import islice

from tarpon.tools.gpu import shards
from tarpon.tools.gpu.checks import checks, timed
from tarpon.tools.gpu.steps import Rows, Step, Visit, main

PART = "pipelines"
CODECS = ("vp9", "mjpeg", "h264", "hevc", "av1")
LEVELS = 4.0  # grey levels of mean difference that a decoder may be off by: ranges and chroma are rounded differently
LOADED = ("vp9", "h264", "mjpeg")
LOADER_S = 4.0  # of each timing, after WARM_UP_S
WARM_UP_S = 2.0
WINDOW, BATCH, SIDE = 180, 2, 224  # frames, clips, pixels; a CPU gets SMALL
SMALL = (16, 1, 64)


def steps() -> list[Step]:
    """What everything else needs first; each codec by itself, as a driver may end the process over one."""
    return [
        Step(name="first operator", make=first, seconds=10),
        *(Step(name=f"decodes {codec}", make=partial(decodes, codec=codec), seconds=5) for codec in CODECS),
        *(Step(name=f"batches of {name}", make=partial(same, name=name), seconds=8) for name in checks()),
        *(Step(name=f"loader {codec}", make=partial(loads, codec=codec), seconds=15) for codec in LOADED),
    ]


def ordinal(visit: Visit) -> int | None:
    return 0 if visit.gpu else None


def first(visit: Visit) -> Rows:
    from tarpon.pipelines import probe

    begun = time.perf_counter()
    mean = probe.run_operator(device=ordinal(visit))
    took = time.perf_counter() - begun
    yield {"kind": "check", "name": "first operator of DALI", "ok": mean == 7, "said": f"{mean:g}, 7 is right", "seconds": took}


def decodes(visit: Visit, *, codec: str) -> Rows:
    """A row for each size: ok, how far from PyAV's decoding, or what was raised."""
    from tarpon.tools.gpu import clips

    for size in clips.SIZES if visit.gpu else clips.SIZES[:1]:
        name = f"{codec} at {size} px"
        try:
            off = difference(codec, size, visit)
        except (RuntimeError, ValueError, OSError) as error:  # a size that is refused is what is asked here
            line = next((text for text in str(error).splitlines() if text.strip()), type(error).__name__)
            yield {"kind": "decodes", "name": name, "decoded": False, "said": line[:500]}
            continue
        yield {"kind": "decodes", "name": name, "decoded": True, "ok": off < LEVELS, "said": f"{off:.2f} grey levels off PyAV"}


def difference(codec: str, size: int, visit: Visit) -> float:
    """Mean grey levels between DALI's and PyAV's frames of one small clip."""
    import numpy as np

    from tarpon.pipelines import probe
    from tarpon.shards.sources.video.clips import frames_at
    from tarpon.tools.gpu import clips

    clip = clips.encoded(codec, clips.drawn(size))
    got = probe.decode_clip(clip, frames=clips.FRAMES, device=ordinal(visit)).astype(float)
    return float(np.abs(got - frames_at(clip, range(clips.FRAMES))).mean())


def same(visit: Visit, *, name: str) -> Rows:
    """First batches of a task's shards, made on a CPU and on the GPU: pictures nearly, all else to the bit."""
    from tarpon.tools.gpu import batches

    found = checks()[name]
    folder = shards.of(visit) / found.shards
    pairs = zip(found.batches(folder, None), found.batches(folder, ordinal(visit)), strict=True)
    for number, (cpu, gpu) in enumerate(islice(pairs, 2)):
        for field, found in batches.differences(cpu, gpu).items():
            yield {"kind": "check", "name": f"{name} batch {number} {field}", **found}


def loads(visit: Visit, *, codec: str) -> Rows:
    """Frames a second of training batches and of decoding alone, and how busy the decoders were."""
    from tarpon.tools.bench import results
    from tarpon.tools.gpu.decoders import Watching

    folder = shards.coded(visit, codec)
    if not folder.exists():
        yield {"kind": "fact", "name": f"loader {codec}", "value": f"{folder} is not there"}
        return
    window, batch, side = (WINDOW, BATCH, SIDE) if visit.gpu else SMALL
    steps_of = checks()[timed()].loader_steps
    for name, alone in (("loader", False), ("decode alone", True)):
        made = steps_of(folder, window=window, batch=batch, side=side, device=ordinal(visit), alone=alone)
        results.measure_rate(made, seconds=WARM_UP_S if visit.gpu else 0.1)
        with Watching() as decoders:
            rate = results.measure_rate(made, seconds=LOADER_S if visit.gpu else 0.3)
        made.close()
        yield {"kind": "speed", "name": f"{name} {codec}", "per_second": rate, "unit": "frames", **decoders.told}


if __name__ == "__main__":
    sys.exit(main(PART, steps(), sys.argv[1:]))
