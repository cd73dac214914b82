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

from tarpon.tools.gpu.steps import Rows, Step, Visit, main

PART = "kernels"
PACKAGES = (
    "torch", "triton", "numpy", "torchvision", "timm", "transformers", "nvidia-dali-cuda130", "nvidia-dali-cuda120",
    "deepspeed", "webdataset", "pyarrow", "av", "jsonargparse", "pytorch-metric-learning", "scikit-learn", "safetensors",
    "pillow", "tifffile", "imagecodecs", "tensorboard", "matplotlib", "pytest", "opencv-python-headless", "albumentations",
    "wandb",
)  # fmt: skip
LIBRARIES = ("libcuda.so.1", "libnvcuvid.so.1", "libnvidia-encode.so.1", "libnvidia-ml.so.1")
OPS = ("temporal_block", "mmoe", "temporal_block_clip", "mmoe_experts", "mmoe_gates", "mmoe_mix")  # aims first
SECONDS = 0.1  # that each figure's calls take together


def steps() -> list[Step]:
    """Correctness of all before the time of any; the shapes that the aims are about before the others."""
    return [
        Step(name="machine", make=machine, seconds=5),
        Step(name="ceilings", make=ceilings, seconds=5),
        *(Step(name=f"exact {op}", make=partial(exact, op=op), seconds=10) for op in OPS),
        *(Step(name=f"time {op}", make=partial(timed, op=op, which="default"), seconds=10) for op in OPS),
        *(Step(name=f"time {op}, other shapes", make=partial(timed, op=op, which="other"), seconds=10) for op in OPS),
    ]


def machine(visit: Visit) -> Rows:
    """Facts; what is missing is one too."""
    import torch

    from tarpon.models.ops.launch import INTERPRETED
    from tarpon.shards import installed
    from tarpon.tools.bench import results

    on_gpu = torch.cuda.is_available()
    name = torch.cuda.get_device_name() if on_gpu else None
    yield fact("machine", results.describe_machine(gpu=name))
    yield fact("versions", installed.find_versions(PACKAGES))
    yield fact("interpreted", INTERPRETED)
    yield fact("torch", {"version": torch.__version__, "cuda": torch.version.cuda, "python": sys.version.split()[0]})
    for library in LIBRARIES:
        yield fact(library, loads(library))
    yield fact("nvidia-smi", printed("nvidia-smi"))
    yield fact("decoders", printed("nvidia-smi", "-q", "-d", "UTILIZATION"))
    if on_gpu:
        told = torch.cuda.get_device_properties(0)
        yield fact("device", {field: getattr(told, field) for field in dir(told) if not field.startswith("_")})


def fact(name: str, value: object) -> dict:
    return {"kind": "fact", "name": name, "value": value}


def loads(library: str) -> bool | str:
    """Whether a shared library can be loaded, or why not."""
    try:
        ctypes.CDLL(library)
    except OSError as error:
        return str(error)
    return True


def printed(*words: str) -> str:
    """What a program prints, or why it does not."""
    if shutil.which(words[0]) is None:
        return f"{words[0]} is not there"
    done = subprocess.run(words, capture_output=True, text=True, timeout=20, check=False)
    return done.stdout if done.returncode == 0 else f"status {done.returncode}: {done.stdout}{done.stderr}"


@cache
def limits(device: str) -> object:
    """bench_ops_timing.Ceilings of the type that is timed."""
    from tarpon.tools.bench import ops_timing as bench_ops_timing

    return bench_ops_timing.ceilings(timed_type(device), device=device)


def timed_type(device: str) -> object:
    import torch

    return torch.bfloat16 if device == "cuda" else torch.float32


def ceilings(visit: Visit) -> Rows:
    yield {"kind": "ceilings", "name": str(timed_type(visit.torch_device)), **asdict(limits(visit.torch_device))}


def exact(visit: Visit, *, op: str) -> Rows:
    """Forward and every gradient beside float64 on the same device: the shapes of the aims, odd ones, other ways and types."""
    from tarpon.tools.bench.ops_check import check

    for row in check(visit.torch_device, ops=(op,)):
        told = asdict(row)
        value = told.pop("name")
        name = f"{op} {'x'.join(map(str, row.shape))} {row.dtype} {row.way} {value}".strip()
        yield {"kind": "exact", "name": name, "value": value, **told}


def timed(visit: Visit, *, op: str, which: str) -> Rows:
    """Fused, eager, rivals and what is compiled of them; on a GPU by the host's calls and replayed as a graph."""
    from tarpon.models.ops import OPS as SPECS
    from tarpon.tools.bench.ops_timing import measure

    spec, device = SPECS[op], visit.torch_device
    other = [shape for shape in spec.shapes if shape not in spec.defaults]
    shapes = (spec.defaults if which == "default" else other) if visit.gpu else spec.small_shapes[:1]
    options = {"dtype": timed_type(device), "device": device, "compiled": visit.gpu, "seconds": SECONDS if visit.gpu else 0.01}
    for shape in shapes:
        for row in measure(spec, shape, limits=limits(device), **options):
            told = asdict(row)
            name = f"{op} {'x'.join(map(str, shape))} {row.way} {told['part']}"
            yield {"kind": "time", "name": name, "pass": told.pop("part"), "ms": row.ms, "ok": not row.error, **told}


if __name__ == "__main__":
    if {"cpu", "--device=cpu"} & set(sys.argv):
        os.environ.setdefault("TRITON_INTERPRET", "1")  # Triton reads it once, when it is imported
    sys.exit(main(PART, steps(), sys.argv[1:]))
