"""Part `pipelines`: what this GPU decodes, whether its batches are the CPU's, and how fast they come."""

import sys
import time
from functools import partial
from itertools import islice

from tarpon.tools.gpu.checks import load_checks
from tarpon.tools.gpu.prepared_shards import find_shards
from tarpon.tools.gpu.step_runner import Rows, Step, Visit, main

PART = "pipelines"
CODECS = ("vp9", "mjpeg", "h264", "hevc", "av1")
LEVELS = 4.0  # grey levels of mean difference that a decoder may be off by: ranges and chroma are rounded differently


def steps() -> list[Step]:
    """What everything else needs first; each codec by itself, as a driver may end the process over one."""
    tasks = load_checks()
    return [
        Step(name="first operator", make=check_first_operator, seconds=10),
        *(Step(name=f"decodes {codec}", make=partial(check_decoding, codec=codec), seconds=5) for codec in CODECS),
        *(Step(name=f"batches of {task}", make=partial(check_batches, task=task), seconds=8) for task in tasks),
        *(step for checks in tasks.values() for step in checks.pipeline_steps()),
    ]


def check_first_operator(visit: Visit) -> Rows:
    from tarpon.pipelines import probe

    begun = time.perf_counter()
    mean = probe.run_operator(device=visit.ordinal)
    took = time.perf_counter() - begun
    yield {"kind": "check", "name": "first operator of DALI", "ok": mean == 7, "said": f"{mean:g}, 7 is right", "seconds": took}


def check_decoding(visit: Visit, *, codec: str) -> Rows:
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

    clip = clips.encode_clip(codec, clips.draw_frames(size))
    got = probe.decode_clip(clip, frames=clips.FRAMES, device=visit.ordinal).astype(float)
    return float(np.abs(got - frames_at(clip, range(clips.FRAMES))).mean())


def check_batches(visit: Visit, *, task: str) -> Rows:
    """First batches of a task's shards, made on a CPU and on the GPU: pixels nearly the same, all else to the bit."""
    from tarpon.tools.gpu.compare_batches import NUMBER, compare

    checks = load_checks()[task]
    folder = find_shards(visit) / checks.shards
    pairs = zip(checks.batches(folder, None), checks.batches(folder, visit.ordinal), strict=True)
    for number, (cpu, gpu) in enumerate(islice(pairs, NUMBER)):
        for field, found in compare(cpu, gpu).items():
            yield {"kind": "check", "name": f"{task} batch {number} {field}", **found}


if __name__ == "__main__":
    sys.exit(main(PART, steps(), sys.argv[1:]))
