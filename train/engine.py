"""The only importer of DeepSpeed and reader of rank and world size.

DeepSpeed gives the launcher, gradient averaging and ZeRO; the schedule, checkpoints and freezing are ours, because its
own ways fail in silence: a parameter that thaws after `initialize` never moves, a plateau scheduler is stepped with the
batch size for a metric, and optimizer files need another world's size and unpickling to load.
"""

import os
import socket
import sys
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path

import torch
from torch import Tensor, nn

from tarpon.models.acceleration import accelerate
from tarpon.train import optimizer_state, shared_memory_op
from tarpon.train.clipping import clip_parts
from tarpon.train.config import EngineOptions, Optim, Run
from tarpon.train.deepspeed_config import deepspeed_dict
from tarpon.train.launchers import LaunchedRank, choose_gpu, read_launched

STANDING = ("RANK", "WORLD_SIZE", "MASTER_ADDR", "MASTER_PORT", "LOCAL_RANK")


@dataclass(frozen=True, kw_only=True)
class DistContext:
    """Where this process stands."""

    rank: int
    world: int
    local_rank: int
    local_world: int
    device: torch.device

    @property
    def gpu(self) -> int | None:
        """GPU ordinal for DALI, None on a CPU."""
        return self.device.index if self.device.type == "cuda" else None

    @property
    def first(self) -> bool:
        return self.rank == 0


def connect(*, timeout_min: float = EngineOptions.collective_timeout_min) -> DistContext:
    """Join the launcher's processes, or stand alone when started without a launcher.

    Args:
        timeout_min: minutes after which a sum over processes fails.

    Raises:
        ValueError: this is one of several processes, and which is not told.
    """
    launched = read_launched(os.environ)
    if alone := launched is None:
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            port = free.getsockname()[1]
        launched = LaunchedRank(rank=0, world=1, local_rank=0, local_world=1, address="127.0.0.1", port=port)
    values = (launched.rank, launched.world, launched.address, launched.port, launched.local_rank)
    added = {name: str(value) for name, value in zip(STANDING, values, strict=True) if name not in os.environ}
    os.environ |= added
    if not torch.cuda.is_available():
        os.environ.setdefault("DS_ACCELERATOR", "cpu")
    # the ninja beside this Python: without one DeepSpeed's op cannot be compiled, and another's version compiles it anew
    os.environ["PATH"] = f"{Path(sys.executable).parent}{os.pathsep}{os.environ.get('PATH', '')}"
    import deepspeed
    import deepspeed.comm

    device = torch.device("cpu")
    if torch.cuda.is_available():
        device = torch.device("cuda", choose_gpu(launched, torch.cuda.device_count()))
    if device.type == "cuda":
        torch.cuda.set_device(device)
    else:
        shared_memory_op.say_if_it_compiles()
    deepspeed.init_distributed(verbose=False, timeout=timedelta(minutes=timeout_min))
    if device.type == "cpu":
        shared_memory_op.remove_name(rank=launched.rank, world=launched.world)
    if alone:
        for name in added.keys() - {"LOCAL_RANK"}:  # or a training started from here would try to join this one on its port
            del os.environ[name]
    return DistContext(
        rank=launched.rank,
        world=launched.world,
        local_rank=launched.local_rank,
        local_world=launched.local_world,
        device=device,
    )


def cores(context: DistContext) -> int:
    """Decoding threads a process: this machine's usable cores, shared out among its processes."""
    return max(1, len(os.sched_getaffinity(0)) // max(context.local_world, 1))


def agree_with_rank0(context: DistContext, make: Callable[[], object]) -> object:
    """What rank 0 makes, on every rank; where it raises ValueError or OSError, every rank raises ValueError."""
    held: list = [None, None]
    if context.first:
        try:
            held = [make(), None]
        except (ValueError, OSError) as error:
            held = [None, str(error)]
    if context.world > 1:
        torch.distributed.broadcast_object_list(held, src=0)
    if held[1] is not None:
        raise ValueError(held[1])
    return held[0]


def disconnect() -> None:
    """Leave the processes; only at the end of this one: DeepSpeed keeps hold of a group and cannot join another."""
    if torch.distributed.is_initialized():
        torch.distributed.destroy_process_group()


class Engine:
    """A model under DeepSpeed.

    Args:
        groups: group name -> parameter name -> parameter. Names start with "backbone/" or "rest/" and end with "/decay" or
            "/no_decay". Every group is built up front; a frozen one has rate 0 until it thaws.
    """

    def __init__(
        self,
        context: DistContext,
        model: nn.Module,
        groups: Mapping[str, Mapping[str, nn.Parameter]],
        *,
        optim: Optim,
        options: EngineOptions,
        micro_batch: int,
        accumulation: int,
    ) -> None:
        import deepspeed

        self.context, self.model, self._groups = context, model, groups
        self.bf16 = options.dtype == "bf16" or (options.dtype == "auto" and context.device.type == "cuda")
        self.tf32 = options.tf32 and not self.bf16 and context.device.type == "cuda"
        model.to(context.device)
        self._adam = torch.optim.AdamW(
            [
                {
                    "params": list(group.values()),
                    "name": name,
                    "weight_decay": 0.0 if name.endswith("/no_decay") else optim.weight_decay,
                }
                for name, group in groups.items()
            ],
            lr=optim.lr,
            betas=(optim.beta1, optim.beta2),
            fused=True,  # one pass over memory: 0.19 s against 0.61 for 34 M parameters on two CPU cores
        )
        config = deepspeed_dict(
            options,
            micro_batch=micro_batch,
            accumulation=accumulation,
            world=context.world,
            clip_norm=optim.clip_norm,
            bf16=self.bf16,
        )
        # Ours is the same to rounding, in a few launches and without a wait; DeepSpeed's loops over parameters and copies two
        # numbers from the host, and with ZeRO looks at the norm on the host, once a step and once more a group of parameters.
        self._clip_norm, self._zero = optim.clip_norm, options.zero_stage > 0
        self.gradient_norm: Tensor | None = None  # of the last optimizer step before clipping
        config["gradient_clipping"] = 0.0
        if self._zero and "compute_grad_norm" in deepspeed.runtime.zero.config.DeepSpeedZeroConfig.model_fields:  # 0.19.7 on
            config["zero_optimization"]["compute_grad_norm"] = False
        self._engine, *_ = deepspeed.initialize(model=model, optimizer=self._adam, config=config, dist_init_required=False)
        # after DeepSpeed has sent the weights around, which it can only if they lie in their usual order; ZeRO keeps them in
        # one flat piece, which must stay as it is
        self.speed = accelerate(
            model,
            compile=options.compile,
            channels_last=context.device.type == "cuda" and options.zero_stage == 0,
            device=context.device,
        )
        # alone, DeepSpeed copies all gradients into one piece and back to share them with nobody
        self._engine.enable_backward_allreduce = context.world > 1 or options.zero_stage > 0
        self._scale = {"backbone": optim.backbone_lr_scale, "rest": 1.0}

    @classmethod
    def of(cls, run: Run, context: DistContext, model: nn.Module, groups: Mapping[str, Mapping[str, nn.Parameter]]) -> "Engine":
        """The engine of a run."""
        return cls(
            context,
            model,
            groups,
            optim=run.optim,
            options=run.engine,
            micro_batch=run.micro_batch,
            accumulation=run.accumulation(context.world),
        )

    def __call__(self, **inputs: Tensor) -> dict[str, Tensor]:
        with self.matrix_precision():
            return self._engine(**inputs)

    def backward(self, loss: Tensor) -> None:
        with self.matrix_precision():
            self._engine.backward(loss)

    def step(self) -> bool:
        """Advance; True when that completed an optimizer step."""
        stepped = self._engine.is_gradient_accumulation_boundary()  # ask before step() moves the counter
        if stepped and self._clip_norm:  # gradients are averaged over processes and micro-batches by now
            self.gradient_norm = self._clip()
        self._engine.step()
        return stepped

    def _clip(self) -> Tensor:
        """Returns the norm before."""
        if not self._zero:
            return nn.utils.clip_grad_norm_(self.model.parameters(), self._clip_norm, foreach=True)
        parts = (part for group in self._engine.optimizer.averaged_gradients.values() for part in group)
        return clip_parts(parts, limit=self._clip_norm, world=self.context.world)

    def set_rate(self, rate: float, *, backbone: bool) -> None:
        """Learning rate of the next optimizer step; the backbone's is 0 while it is frozen."""
        for group in self._engine.optimizer.param_groups:
            part = group["name"].partition("/")[0]
            group["lr"] = rate * self._scale[part] if part == "rest" or backbone else 0.0

    def restart(self, part: str) -> None:
        """Forget the optimizer's past of a part that begins to learn: its step counter may have run on zero gradients."""
        for group in self._engine.optimizer.param_groups:
            if group["name"].startswith(f"{part}/"):
                for parameter in group["params"]:
                    self._adam.state.get(parameter, {}).get("step", torch.zeros(())).zero_()

    def train(self, on: bool = True) -> None:
        self._engine.train(on)

    @contextmanager
    def autocast(self) -> Iterator[None]:
        """For forwards outside of training steps."""
        with self.matrix_precision(), torch.autocast(self.context.device.type, torch.bfloat16, enabled=self.bf16):
            yield

    @contextmanager
    def matrix_precision(self) -> Iterator[None]:
        """Matrix products of float32 by tf32 inside, where that is wanted; distances and scores outside stay float32."""
        before = torch.get_float32_matmul_precision()
        if self.tf32:
            torch.set_float32_matmul_precision("high")
        try:
            yield
        finally:
            torch.set_float32_matmul_precision(before)

    # What the processes agree on.

    def mean(self, values: Tensor) -> Tensor:
        """Mean over processes."""
        if self.context.world == 1:
            return values
        total = values.to(self.context.device, torch.float64)
        torch.distributed.all_reduce(total)
        return total / self.context.world

    def share_buffers(self) -> None:
        """Give every rank the mean of the model's float buffers: batch-norm statistics are each rank's own in training."""
        buffers = [buffer for buffer in self.model.buffers() if buffer.is_floating_point()]
        if self.context.world == 1 or not buffers:
            return
        means = self.mean(torch.cat([buffer.flatten() for buffer in buffers]))
        for buffer, mean in zip(buffers, means.split([buffer.numel() for buffer in buffers]), strict=True):
            buffer.copy_(mean.view_as(buffer))

    def gather(self, value: object) -> list:
        """Everybody's value, in rank order, on every rank."""
        if self.context.world == 1:
            return [value]
        values: list = [None] * self.context.world
        torch.distributed.all_gather_object(values, value)
        return values

    def barrier(self) -> None:
        if self.context.world > 1:
            torch.distributed.barrier()

    # Optimizer state as plain tensors, the same for every ZeRO stage and number of processes.

    def optimizer_state(self) -> dict[str, Tensor]:
        """name of state / parameter -> CPU tensor. Collective: every rank must call it."""
        return optimizer_state.read(self._adam, self._groups, self._engine.optimizer.param_groups)

    def load_optimizer_state(self, state: Mapping[str, Tensor]) -> None:
        """Go on from `optimizer_state` of an earlier run."""
        optimizer_state.write(
            self._adam, self._groups, self._engine.optimizer.param_groups, state=state, device=self.context.device
        )
