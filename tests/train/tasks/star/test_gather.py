"""Two processes with half of the step each learn what one with the whole step does."""

import os
import socket
import subprocess
import sys
from functools import partial
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file

from tarpon.models.backbones.frame_backbone import FrameBackbone
from tarpon.models.groups import group_parameters
from tarpon.models.reid.embedder import ReidModel
from tarpon.train.config import EngineOptions, Optim
from tarpon.train.engine import DistContext, Engine, connect
from tarpon.train.tasks.star.gather import gather_rows
from tarpon.train.tasks.star.losses import MetricLoss, metric_losses

PEOPLE, EACH, STEPS = 4, 3, 2
LOSSES = {
    "pairs": MetricLoss(),
    "identity": MetricLoss(circle_weight=0.5, triplet_weight=0.2, identity_weight=0.3),
}


def learn(context: DistContext, *, identities: int, options: MetricLoss) -> dict[str, torch.Tensor]:
    """Losses and gradients of some steps on this process's share of the photographs, and the model afterwards."""
    torch.manual_seed(0)
    encoder = FrameBackbone(name="test_vit", pretrained=False, image_size=32).build()
    gather = partial(gather_rows, context)
    model = ReidModel(encoder, width=16, embedding_dim=8, dropout=0.0, identities=identities, gather=gather)
    share = PEOPLE * EACH // context.world
    engine = Engine(
        context,
        model,
        group_parameters(model),
        optim=Optim(clip_norm=1e9),
        options=EngineOptions(dtype="fp32"),
        micro_batch=share,
        accumulation=1,
    )
    engine.train()
    engine.set_rate(1e-3, backbone=True)
    told = {}
    for step in range(STEPS):
        photos = torch.randn(PEOPLE * EACH, 3, 32, 32, generator=torch.Generator().manual_seed(step))
        people = torch.arange(PEOPLE).repeat(EACH)
        mine = slice(context.rank * share, (context.rank + 1) * share)  # half of everybody's pairs reach over the processes
        out = engine(image=photos[mine])
        told[f"{step}/embedding"] = out["embedding"].detach().clone()
        terms = metric_losses(out, gather_rows(context, people[mine]), options=options)
        for name, value in terms.items():
            told[f"{step}/{name}"] = value.detach().reshape(1)
        engine.backward(sum(terms.values()))
        for name, parameter in model.named_parameters():
            if parameter.grad is not None:
                told[f"{step}/grad/{name}"] = parameter.grad.clone()
        engine.step()
    return told | {f"after/{name}": value.clone() for name, value in model.state_dict().items()}


def both(context: DistContext) -> dict[str, torch.Tensor]:
    """Without and with an identity loss."""
    return {
        f"{name}/{key}": value
        for name, options in LOSSES.items()
        for key, value in learn(context, identities=PEOPLE if options.identity_weight else 0, options=options).items()
    }


@pytest.fixture(scope="module")
def two_processes(tmp_path_factory) -> list[dict[str, torch.Tensor]]:
    folder = tmp_path_factory.mktemp("gathered")
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = str(free.getsockname()[1])
    standing = {"WORLD_SIZE": "2", "LOCAL_SIZE": "2", "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": port, "OMP_NUM_THREADS": "1"}
    started = [
        subprocess.Popen(
            [sys.executable, __file__, str(folder)],
            env=os.environ | standing | {"RANK": str(rank), "LOCAL_RANK": str(rank)},
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )
        for rank in range(2)
    ]
    try:
        said = [process.communicate(timeout=300)[0] for process in started]
    finally:
        for process in started:
            process.kill()
    assert [process.returncode for process in started] == [0, 0], "\n".join(said)
    return [load_file(folder / f"{rank}.safetensors") for rank in range(2)]


@pytest.mark.parametrize("name", LOSSES)
def test_two_processes_are_as_one(context, two_processes, name):
    alone = {
        f"{name}/{key}": value
        for key, value in learn(context, identities=PEOPLE if name == "identity" else 0, options=LOSSES[name]).items()
    }
    assert any("/0/grad/encoder." in key for key in alone)
    assert ("identity/after/neck.running_mean" in alone) == (name == "identity")
    for theirs in two_processes:
        assert {key for key in theirs if key.startswith(f"{name}/")} == set(alone)
        for key, value in alone.items():
            if key.startswith(f"{name}/0/") or "running" in key:
                torch.testing.assert_close(theirs[key], value, rtol=1e-5, atol=1e-5, msg=lambda text, key=key: f"{key}: {text}")


def test_alone_nothing_is_done(context):
    rows = torch.randn(3, 2)
    assert gather_rows(context, rows) is rows


if __name__ == "__main__":
    torch.set_num_threads(1)
    here = connect()
    save_file(both(here), Path(sys.argv[1]) / f"{here.rank}.safetensors")
