"""`tarpon train TASK`: the program of `deepspeed train/launch.py TASK`, for who has no source tree.

With one device it is started as it is; with several, DeepSpeed's launcher starts a process for each.
"""

import os
import sys
from collections.abc import Sequence
from glob import glob
from importlib.util import find_spec

from tarpon.train.command_line import answer_early, read_request
from tarpon.train.launchers import read_launched
from tarpon.train.usage import fail

PROGRAM = "tarpon train"


def run(words: Sequence[str]) -> int:
    """Train on all GPUs of this machine; CUDA_VISIBLE_DEVICES chooses among them. Ends as the training does."""
    if (status := answer_early(words, program=PROGRAM)) is not None:
        return status
    try:
        devices = 1 if read_launched(os.environ) else count_devices()  # torchrun, srun or mpirun may have started this one
        asked = read_request(words).run
        asked.accumulation(devices)
    except ValueError as error:
        return fail(error, program=PROGRAM)
    command = find_command(words, devices=devices, verbose=asked.verbose)
    sys.stdout.flush()
    os.execv(command[0], command)  # the training takes this process's place: signals and the exit status are its own
    return 0


def find_command(words: Sequence[str], *, devices: int, verbose: bool) -> list[str]:
    """The command line of the training itself; verbose: the launcher's own words too."""
    launch = find_spec("tarpon.train.launch").origin  # found, not imported: importing it would load DeepSpeed here
    launcher = ["-m", "deepspeed.launcher.runner", "--num_accelerators", str(devices)]
    launcher += [] if verbose else ["--quiet"]
    return [sys.executable, *(launcher if devices > 1 else []), launch, *words]


def count_devices() -> int:
    """GPUs that PyTorch sees, at least 1. It is imported only where the machine has several: it takes seconds."""
    if len(glob("/dev/nvidia[0-9]*")) < 2:
        return 1
    import torch

    return max(torch.cuda.device_count(), 1)
