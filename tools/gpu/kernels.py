"""Part `kernels`: this machine, its ceilings, the fused operations against float64, and their times.

It needs PyTorch and Triton alone.
"""

import ctypes
import os
import shutil
import subprocess
import sys
from dataclasses import asdict
from functools import cache, partial

from tarpon.tools.gpu.step_runner import Rows, Step, Visit, main

PART = "kernels"
PACKAGES = (
    "torch", "triton", "numpy", "torchvision", "timm", "transformers", "nvidia-dali-cuda130", "nvidia-dali-cuda120",
    "deepspeed", "webdataset", "pyarrow", "av", "jsonargparse", "pytorch-metric-learning", "scikit-learn", "safetensors",
    "pillow", "tifffile", "imagecodecs", "tensorboard", "matplotlib", "pytest", "opencv-python-headless", "albumentations",
    "wandb",
)  # fmt: skip
LIBRARIES = ("libcuda.so.1", "libnvcuvid.so.1", "libnvidia-encode.so.1", "libnvidia-ml.so.1")
OPS = ("temporal_block", "mmoe", "temporal_block_clip", "mmoe_experts", "mmoe_gates", "mmoe_mix")  # aims first
COMPILED = OPS[:2]  # whose other shapes are compared with torch.compile too, last of all: each takes it some seconds
SECONDS = 0.1  # that each figure's calls take together


def steps() -> list[Step]:
    """Correctness of all operations before the time of any; default shapes before others."""
    return [
        Step(name="machine", make=describe_machine, seconds=5),
        Step(name="ceilings", make=report_ceilings, seconds=5),
        *(Step(name=f"exact {op}", make=partial(check_accuracy, op=op), seconds=10) for op in OPS),
        *(Step(name=f"time {op}", make=partial(time_op, op=op, which="default"), seconds=10) for op in OPS),
        *(
            Step(name=f"time {op}, other shapes", make=partial(time_op, op=op, which="other", compiled=False), seconds=4)
            for op in OPS
        ),
        *(
            Step(name=f"time {op}, other shapes compiled", make=partial(time_op, op=op, which="other", plain=False), seconds=20)
            for op in COMPILED
        ),
    ]


def describe_machine(visit: Visit) -> Rows:
    """Facts of this machine; a missing program or library is a fact too."""
    import torch

    from tarpon.models.ops.launch import INTERPRETED
    from tarpon.shards import installed
    from tarpon.tools.bench import results

    on_gpu = torch.cuda.is_available()
    name = torch.cuda.get_device_name() if on_gpu else None
    yield make_fact("machine", results.describe_machine(gpu=name))
    yield make_fact("versions", installed.find_versions(PACKAGES))
    yield make_fact("interpreted", INTERPRETED)
    yield make_fact("torch", {"version": torch.__version__, "cuda": torch.version.cuda, "python": sys.version.split()[0]})
    for library in LIBRARIES:
        yield make_fact(library, can_load(library))
    yield make_fact("nvidia-smi", run_program("nvidia-smi"))
    yield make_fact("decoders", run_program("nvidia-smi", "-q", "-d", "UTILIZATION"))
    if on_gpu:
        properties = torch.cuda.get_device_properties(0)
        yield make_fact("device", {field: getattr(properties, field) for field in dir(properties) if not field.startswith("_")})


def make_fact(name: str, value: object) -> dict:
    return {"kind": "fact", "name": name, "value": value}


def can_load(library: str) -> bool | str:
    """Whether a shared library can be loaded, or why not."""
    try:
        ctypes.CDLL(library)
    except OSError as error:
        return str(error)
    return True


def run_program(*words: str) -> str:
    """What a program prints, or why it does not."""
    if shutil.which(words[0]) is None:
        return f"{words[0]} is not there"
    done = subprocess.run(words, capture_output=True, text=True, timeout=20, check=False)
    return done.stdout if done.returncode == 0 else f"status {done.returncode}: {done.stdout}{done.stderr}"


@cache
def measure_ceilings(device: str) -> object:
    """ops_timing.Ceilings in the dtype that is timed, measured once a process."""
    from tarpon.tools.bench import ops_timing

    return ops_timing.ceilings(choose_dtype(device), device=device)


def choose_dtype(device: str) -> object:
    import torch

    return torch.bfloat16 if device == "cuda" else torch.float32


def report_ceilings(visit: Visit) -> Rows:
    yield {"kind": "ceilings", "name": str(choose_dtype(visit.torch_device)), **asdict(measure_ceilings(visit.torch_device))}


def check_accuracy(visit: Visit, *, op: str) -> Rows:
    """Forward and every gradient against float64 on the same device: default and odd shapes, all ways, all dtypes."""
    from tarpon.tools.bench.ops_check import check

    for row in check(visit.torch_device, ops=(op,)):
        fields = asdict(row)
        value = fields.pop("name")
        name = f"{op} {'x'.join(map(str, row.shape))} {row.dtype} {row.way} {value}".strip()
        yield {"kind": "exact", "name": name, "value": value, **fields}


def time_op(visit: Visit, *, op: str, which: str, compiled: bool = True, plain: bool = True) -> Rows:
    """Times of the fused, the eager, the rival and the compiled ways; on a GPU called from the host and replayed as a graph."""
    from tarpon.models import ops
    from tarpon.tools.bench.ops_timing import measure

    spec, device = ops.OPS[op], visit.torch_device
    other = [shape for shape in spec.shapes if shape not in spec.defaults]
    shapes = (spec.defaults if which == "default" else other) if visit.gpu else spec.small_shapes[:1]
    options = {
        "dtype": choose_dtype(device),
        "device": device,
        "compiled": compiled and visit.gpu,
        "plain": plain,
        "seconds": SECONDS if visit.gpu else 0.01,
    }
    for shape in shapes:
        for row in measure(spec, shape, limits=measure_ceilings(device), **options):
            fields = asdict(row)
            name = f"{op} {'x'.join(map(str, shape))} {row.way} {fields['part']}"
            yield {"kind": "time", "name": name, "pass": fields.pop("part"), "ms": row.ms, "ok": not row.error, **fields}


if __name__ == "__main__":
    if {"cpu", "--device=cpu"} & set(sys.argv):
        os.environ.setdefault("TRITON_INTERPRET", "1")  # Triton reads it once, when it is imported
    sys.exit(main(PART, steps(), sys.argv[1:]))
