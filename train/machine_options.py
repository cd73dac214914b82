"""What a run asks of the machines it is on: DeepSpeed, and how data come in."""

from dataclasses import dataclass
from typing import Literal

from tarpon.shards.tar_cache import CACHE_BYTES, Cache


@dataclass(frozen=True, kw_only=True)
class EngineOptions:
    """What DeepSpeed does."""

    zero_stage: Literal[0, 1, 2] = 0  # what the processes share out: 0 nothing, 1 the optimizer's state, 2 the gradients too
    # arithmetic: bf16 (autocast over float32 weights) or fp32; auto: bf16 on a GPU, fp32 on a CPU
    dtype: Literal["auto", "fp32", "bf16"] = "auto"
    compile: Literal["auto", "on", "off"] = "auto"  # the backbone's blocks by torch.compile; auto: on a GPU
    cuda_graph_head: bool = False  # on a GPU: the head's training step replayed as CUDA graphs, for small batches; zero_stage 0
    tf32: bool = True  # fp32 on a GPU: matrix products of the network with 10 bits of mantissa, several times as fast
    deepspeed_config: str | None = None  # JSON file merged under the run's own values; a contradiction is refused
    rank_timeout_s: float = 60.0  # seconds: a process that gives no sign of life for so long ends the run
    # minutes: the last resort against a sum over processes that never ends. Long, for rank 0 may rightly be at one evaluation's
    # figures or at its files while the others wait; a process that has died is noticed by rank_timeout_s.
    collective_timeout_min: float = 30.0

    def __post_init__(self) -> None:
        if self.zero_stage not in (0, 1, 2):
            raise ValueError(f"engine.zero_stage={self.zero_stage} must be 0, 1 or 2")
        if self.dtype not in ("auto", "fp32", "bf16"):
            raise ValueError(f"engine.dtype={self.dtype!r} must be auto, fp32 or bf16")
        if self.compile not in ("auto", "on", "off"):
            raise ValueError(f"engine.compile={self.compile!r} must be auto, on or off")
        if self.cuda_graph_head and self.zero_stage:
            raise ValueError(
                f"engine.cuda_graph_head=true is for zero_stage 0 and got {self.zero_stage}: with ZeRO the weights' memory is "
                f"DeepSpeed's; leave one of the two out"
            )
        if self.collective_timeout_min * 60 < self.rank_timeout_s:
            raise ValueError(
                f"engine.collective_timeout_min={self.collective_timeout_min} must be no shorter than "
                f"rank_timeout_s={self.rank_timeout_s}"
            )
        if self.rank_timeout_s < 3:
            raise ValueError(f"engine.rank_timeout_s={self.rank_timeout_s} must be at least 3: signs of life come every second")


@dataclass(frozen=True, kw_only=True)
class LoaderOptions:
    """How data come in."""

    threads: int = 0  # decoding threads a process; 0: the cores shared out among the processes of this machine
    prefetch: int = 2  # batches made ahead
    decode_batches: int = 0  # micro-batches decoded as one; 0: one on a CPU, on a GPU as its decoders and memory ask for
    cache: str | None = None  # folder for tars of remote data sets
    cache_bytes: int = CACHE_BYTES  # bytes of that folder at most; the least recently used tars are removed
    verify_always: bool = False  # checksums at every read, not only at a sample's first since its tar was opened
    bad_rows: int = 0  # unreadable samples allowed in each process; one more ends the run
    bad_share: float = 1.0  # largest share of a split's rows that may be unreadable
    bad_run: int = 0  # most unreadable rows side by side, as a damaged tar leaves them; 0: no limit

    def __post_init__(self) -> None:
        for name in ("threads", "decode_batches", "bad_rows", "bad_run"):
            if getattr(self, name) < 0:
                raise ValueError(f"loader.{name}={getattr(self, name)} must be at least 0")
        if self.prefetch < 1:
            raise ValueError(f"loader.prefetch={self.prefetch} must be at least 1")
        if not 0 <= self.bad_share <= 1:
            raise ValueError(f"loader.bad_share={self.bad_share} must be from 0 to 1")
        self.tar_cache()

    def tar_cache(self) -> Cache | None:
        """Where fetched tars are kept; None without a folder."""
        return Cache.of(self.cache, self.cache_bytes)
