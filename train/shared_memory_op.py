"""DeepSpeed's communication op for CPUs, which sums over the processes of a machine through shared memory."""

import os
from pathlib import Path

import torch

from tarpon.train.noise import terminal

NAME = "/dev/shm/deepspeed_allreduce_buffer_{user}_{address}_{port}_{rank}"  # 66 MiB


def say_if_it_compiles() -> None:
    """DeepSpeed compiles the op at the first run; a minute or two of silence wants a word."""
    from torch.utils.cpp_extension import get_default_build_root

    root = Path(os.environ.get("TORCH_EXTENSIONS_DIR") or get_default_build_root())
    if os.environ.get("RANK", "0") == "0" and not any(root.glob("**/deepspeed_shm_comm*.so")):
        words = "First run here: DeepSpeed compiles its CPU communication op, one to two minutes, once."
        print(words, file=terminal(), flush=True)


def remove_name(*, rank: int, world: int) -> None:
    """Take this process's shared memory from its folder, once all processes have opened it: it then ends with the last of them.

    DeepSpeed leaves it there for good, so that every training with a port of its own would cost the machine 66 MiB of memory a
    process until it is started anew.
    """
    if world > 1:
        torch.distributed.barrier()
    address, port = os.environ["MASTER_ADDR"], os.environ["MASTER_PORT"]
    Path(NAME.format(user=os.getuid(), address=address, port=port, rank=rank)).unlink(missing_ok=True)
