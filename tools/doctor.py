"""`tarpon doctor`: what this machine has and lacks; --build compiles now what the first training would compile."""

import os
import shutil
import sys
import time
from pathlib import Path

from tarpon.tools.hosts import check_reach, read_hosts

NEEDS = (
    ("g++", "a C++ compiler, for DeepSpeed's CPU communication op", "apt-get install g++"),
    ("ninja", "ninja, the build tool for it", "pip install ninja"),
)


def list_missing() -> list[str]:
    """One line for each program that is missing."""
    path = os.pathsep.join([os.path.dirname(sys.executable), os.environ.get("PATH", "")])
    return [f"missing: {what}; install it with `{how}`" for name, what, how in NEEDS if shutil.which(name, path=path) is None]


def run(*, build: bool = False, hostfile: str | None = None) -> int:
    """Check compilers and accelerator.

    Args:
        build: compile DeepSpeed's CPU communication op now rather than at the first training run.
        hostfile: of `tarpon train --hostfile` or `deepspeed --hostfile`: are its machines reached from here?
    """
    if hostfile:
        hosts = read_hosts(Path(hostfile))
        check_reach(hosts)
        print(f"{hostfile}: {', '.join(hosts)} are reached over ssh, {sum(hosts.values())} processes in all")
    import torch

    gpus = [torch.cuda.get_device_name(i) for i in range(torch.cuda.device_count())]
    print(
        f"torch {torch.__version__}, {'GPU: ' + ', '.join(gpus) if gpus else 'no CUDA GPU: everything runs on the CPU'}, "
        f"{len(os.sched_getaffinity(0))} cores"
    )
    lacking = [] if gpus else list_missing()
    if lacking:
        raise ValueError("; ".join(lacking))
    if build and not gpus:
        from tarpon.train import engine

        begun = time.perf_counter()
        engine.connect()
        torch.distributed.destroy_process_group()
        print(f"DeepSpeed's CPU communication op is ready ({time.perf_counter() - begun:.0f} s)")
    return 0
