"""DeepSpeed's shared memory of a training ends with the training."""

import os
import socket
import subprocess
import sys
from pathlib import Path

import pytest
import torch

RUN = """
from pathlib import Path
from tarpon.train.engine import connect
connect()
held = [line for line in Path("/proc/self/maps").read_text().splitlines() if "deepspeed_allreduce_buffer" in line]
assert held, "the op has no shared memory: what is tested here is no more"
"""


@pytest.mark.slow
@pytest.mark.skipif(torch.cuda.is_available(), reason="the op is DeepSpeed's for CPUs")
def test_its_name_is_gone_once_all_processes_have_opened_it():
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = str(free.getsockname()[1])
    launched = {
        "RANK": "0",
        "WORLD_SIZE": "2",
        "LOCAL_RANK": "0",
        "LOCAL_SIZE": "2",
        "MASTER_ADDR": "127.0.0.1",
        "MASTER_PORT": port,
    }
    processes = [
        subprocess.Popen([sys.executable, "-c", RUN], env=os.environ | launched | {"RANK": rank, "LOCAL_RANK": rank})
        for rank in ("0", "1")
    ]
    assert [process.wait(120) for process in processes] == [0, 0]
    assert not list(Path("/dev/shm").glob(f"deepspeed_allreduce_buffer_*_{port}_*"))
