"""Training mice on a GPU: speed from shards and on a resident batch, freezing in bf16, a stop and a resume."""

import tempfile
from functools import partial
from pathlib import Path

from tarpon.tools.gpu.prepared_shards import find_shards
from tarpon.tools.gpu.step_runner import Rows, Step, Visit
from tarpon.tools.mouse.gpu_workload import Workload

SHARDS = "mouse_vp9"  # of all steps but those that name a codec
RESIDENT = "resident batch"
CPU = Workload(backbone="test_vit", size=32, frames=8, batch=1, steps=4, warm_up=2, log_every=1, dtype="fp32")
HEAD_PLAIN, HEAD_GRAPHS = "small backbone, resident", "small backbone, resident, head as CUDA graphs"
HEAD_BOUND = Workload(backbone="vit_tiny_patch16_224", size=64, steps=200, warm_up=50)
COMPARED = 5  # steps whose losses are compared
LOSS_DIFFERENCE = 0.05  # share of a loss by which bf16 and atomic sums may change it
SMALL_SIZE = 64  # pixels of the checks of weights
MAX_DIFFERENCE = 0.25  # of what one step changes, that a resumed run may differ by


def list_train_steps() -> list[Step]:
    return [
        Step(name="resident", make=time_resident, seconds=30),
        Step(name="from shards h264", make=partial(time_from_shards, codec="h264"), seconds=40),
        Step(name="from shards vp9", make=partial(time_from_shards, codec="vp9"), seconds=40),
        Step(name="freeze and unfreeze", make=check_freezing, seconds=10),
        Step(name="resume", make=check_resume, seconds=20),
        Step(name="head as CUDA graphs", make=time_graph_head, seconds=15),
    ]


def choose_workload(visit: Visit) -> Workload:
    import torch

    if not visit.gpu:
        return CPU
    return Workload.on(torch.cuda.get_device_properties(0).total_memory / 2**30)


def time_resident(visit: Visit) -> Rows:
    """The same steps on one batch that stays on the device: what training could reach with no loading at all."""
    import torch

    from tarpon.tools.gpu.stepper import Stepper, connect_once

    work = choose_workload(visit)
    one = Stepper("mouse", connect_once(), find_shards(visit) / SHARDS, work.settings())
    rate = one.speed(steps=work.steps, warm_up=work.warm_up)
    peak = torch.cuda.max_memory_allocated() / 2**20 if visit.gpu else None
    yield {"kind": "speed", "name": RESIDENT, "per_second": rate, "unit": "frames", "torch_mib": peak}
    del one
    if visit.gpu:
        torch.cuda.empty_cache()  # the next training is another process


def time_from_shards(visit: Visit, *, codec: str) -> Rows:
    """As people start it, in a process of its own."""
    from tarpon.tools.gpu.journal import read_rows
    from tarpon.tools.mouse.gpu_workload import train_in_child

    folder = find_shards(visit) / f"mouse_{codec}"
    if not visit.gpu and codec == "h264":
        yield {"kind": "fact", "name": f"from shards {codec}", "value": "DALI decodes it on a GPU alone"}
        return
    with tempfile.TemporaryDirectory(prefix="tarpon_gpu_") as out:
        row = train_in_child(folder, Path(out) / "run", choose_workload(visit), seconds=max(visit.seconds_left(), 1))
    top = [line["per_second"] for line in read_rows(visit.out / "train.jsonl") if line["name"] == RESIDENT]
    share = {"of_resident": row["per_second"] / top[-1]} if top else {}
    yield {"kind": "speed", "name": f"from shards {codec}", **row, **share}


def small_options(visit: Visit) -> list[str]:
    """Options of a network that is quick and has every kind of layer."""
    on_gpu = visit.gpu
    return [
        f"--model.backbone.name={'vit_tiny_patch16_224' if on_gpu else 'test_vit'}",
        "--model.backbone.pretrained=false",
        f"--model.backbone.image_size={SMALL_SIZE if on_gpu else 32}",
        "--model.hidden=32",
        "--window.train_frames=16",
        "--window.val_frames=120",
        f"--engine.dtype={'bf16' if on_gpu else 'fp32'}",
        "--engine.compile=off",
        "--optim.lr=1e-3",
        "--schedule.kind=constant",
        "--schedule.warmup_epochs=0",
        "--freeze_backbone_epochs=0",
        "--early_stop_patience=0",
        "--eval_every=1000",
        "--micro_batch=1",
        "--global_batch=1",
    ]


def check_freezing(visit: Visit) -> Rows:
    """A frozen backbone stays to the bit while the rest learns; after the thaw nearly all of it moves."""
    from tarpon.tools.gpu.stepper import Stepper, connect_once, measure_changes

    one = Stepper("mouse", connect_once(), find_shards(visit) / SHARDS, small_options(visit))
    one.freeze(True)
    backbone, rest = one.weights("backbone"), one.weights("rest")
    one.steps(4)
    still = max(measure_changes(backbone, one.weights("backbone")).values())
    yield {"kind": "check", "name": "frozen backbone", "ok": still == 0, "said": f"moved by {still:g} at most"}
    most = max(measure_changes(rest, one.weights("rest")).values())
    yield {"kind": "check", "name": "the rest while it is frozen", "ok": most > 1e-4, "said": f"moved by {most:.2e} at most"}
    one.freeze(False)
    one.steps(4)
    changes = list(measure_changes(backbone, one.weights("backbone")).values())
    share = sum(change > 1e-4 for change in changes) / len(changes)
    message = f"{share:.0%} of its parameters moved; bf16 {one.engine.bf16}"
    yield {"kind": "check", "name": "thawed backbone", "ok": share > 0.8, "said": message}


def time_graph_head(visit: Visit) -> Rows:
    """Steps bound by the head, with and without `engine.cuda_graph_head`: a small backbone, a head of the usual size."""
    import torch

    from tarpon.tools.gpu.stepper import Stepper, connect_once

    work = HEAD_BOUND if visit.gpu else CPU
    losses: dict[str, list[float]] = {}
    for name, on in ((HEAD_PLAIN, False), (HEAD_GRAPHS, True)):
        options = [*work.settings(), "--engine.compile=off", f"--engine.cuda_graph_head={str(on).lower()}"]
        one = Stepper("mouse", connect_once(), find_shards(visit) / SHARDS, options)
        losses[name] = one.steps(COMPARED)
        if visit.gpu:
            torch.cuda.reset_peak_memory_stats()
        rate = one.speed(steps=work.steps, warm_up=work.warm_up)
        mib = torch.cuda.max_memory_allocated() / 2**20 if visit.gpu else None
        yield {"kind": "speed", "name": name, "per_second": rate, "unit": "frames", "torch_mib": mib, "said": one.engine.speed}
        del one
    plain, graphed = losses.values()
    off = max(abs(a - b) / abs(a) for a, b in zip(plain, graphed, strict=True))
    message = f"losses of {COMPARED} steps differ by {off:.1e} at most, {LOSS_DIFFERENCE:g} allowed"
    yield {"kind": "check", "name": "losses with the head as CUDA graphs", "ok": off < LOSS_DIFFERENCE, "said": message}


def check_resume(visit: Visit) -> Rows:
    from tarpon.tools.gpu import resume
    from tarpon.tools.gpu.stepper import connect_once

    connect_once()  # this process stays connected for both trainings
    with tempfile.TemporaryDirectory(prefix="tarpon_gpu_") as folder:
        straight, again = resume.train_both("mouse", find_shards(visit) / SHARDS, Path(folder), small_options(visit))
    off = resume.relative_difference(straight, again)
    message = f"losses after the stop differ by {off:.3f} of a step, {MAX_DIFFERENCE} allowed"
    yield {
        "kind": "check",
        "name": "resumed run",
        "ok": off < MAX_DIFFERENCE,
        "said": message,
        "straight": straight,
        "resumed": again,
    }
