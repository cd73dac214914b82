"""`tarpon train TASK`: the program of `deepspeed train/launch.py TASK`, for who has no source tree.

With one device it is started as it is; with several, DeepSpeed's launcher starts a process for each, with --hostfile FILE on
the machines that the file names.
"""

import os
import sys
from collections.abc import Sequence
from glob import glob
from importlib.util import find_spec
from pathlib import Path

from tarpon.tools.hosts import check_reach, read_hosts
from tarpon.train.command_line import answer_early, read_request
from tarpon.train.launchers import read_launched
from tarpon.train.usage import UsageError, fail

PROGRAM = "tarpon train"
HOSTFILE = "--hostfile"
HELP = "--hostfile FILE trains on several machines over ssh: a line HOST slots=GPUS each. They share a file system."


def run(words: Sequence[str]) -> int:
    """Train on all GPUs of this machine, or of those in a hostfile; CUDA_VISIBLE_DEVICES chooses among this one's.

    Ends as the training does.
    """
    try:
        words, hostfile = take_hostfile(words)
        if (status := answer_early(words, program=PROGRAM)) is not None:
            if status == 0:
                print(HELP)
            return status
        hosts = read_hosts(Path(hostfile)) if hostfile else {}
        launched = read_launched(os.environ) is not None  # torchrun, srun or mpirun may have started this one
        if launched and hosts:
            raise UsageError(
                f"{HOSTFILE}: another launcher (torchrun, srun, mpirun) has started this process already; leave it out"
            )
        devices = sum(hosts.values()) or (1 if launched else count_devices())
        asked = read_request(words).run
        asked.accumulation(devices)
        if hosts:
            check_reach(hosts)
    except ValueError as error:
        return fail(error, program=PROGRAM)
    command = find_command(words, devices=devices, hostfile=hostfile, verbose=asked.verbose)
    sys.stdout.flush()
    os.execv(command[0], command)  # the training takes this process's place: signals and the exit status are its own
    return 0


def take_hostfile(words: Sequence[str]) -> tuple[list[str], str]:
    """The words without `--hostfile FILE` and `--hostfile=FILE`, and the file; "" where none is named."""
    rest, hostfile = list(words), ""
    for place, word in enumerate(words):
        name, mark, value = word.partition("=")
        if name == HOSTFILE:
            end = place + (1 if mark else 2)
            hostfile = value if mark else "".join(words[place + 1 : end])
            if not hostfile:
                raise UsageError(f"{HOSTFILE} needs a file: {HOSTFILE} FILE")
            rest = [*words[:place], *words[end:]]
            break
    return rest, hostfile


def find_command(words: Sequence[str], *, devices: int, verbose: bool, hostfile: str = "") -> list[str]:
    """The command line of the training itself; verbose: the launcher's own words too."""
    launch = find_spec("tarpon.train.launch").origin  # found, not imported: importing it would load DeepSpeed here
    where = [HOSTFILE, hostfile] if hostfile else ["--num_accelerators", str(devices)]
    launcher = ["-m", "deepspeed.launcher.runner", *where, *([] if verbose else ["--quiet"])]
    return [sys.executable, *(launcher if devices > 1 or hostfile else []), launch, *words]


def count_devices() -> int:
    """GPUs that PyTorch sees, at least 1. It is imported only where the machine has several: it takes seconds."""
    if len(glob("/dev/nvidia[0-9]*")) < 2:
        return 1
    import torch

    return max(torch.cuda.device_count(), 1)
