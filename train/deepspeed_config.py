"""DeepSpeed's own configuration, derived from the run: no number stands in two places."""

import json
from pathlib import Path

from tarpon.train.config import EngineOptions


def deepspeed_dict(
    options: EngineOptions, *, micro_batch: int, accumulation: int, world: int, clip_norm: float, bf16: bool
) -> dict:
    """DeepSpeed's own configuration: the run's values over those of `deepspeed_config`.

    Raises:
        ValueError: the file contradicts the run, or configures what the run owns.
    """
    ours = {
        "train_batch_size": micro_batch * accumulation * world,
        "train_micro_batch_size_per_gpu": micro_batch,
        "gradient_accumulation_steps": accumulation,
        "gradient_clipping": clip_norm,
        "zero_optimization": {"stage": options.zero_stage},
        "torch_autocast": {"enabled": bf16, "dtype": "bfloat16"},
        "steps_per_print": 10**9,
        "timers": {"throughput": {"enabled": False}},  # it waits for the GPU at both ends of every step
        "zero_allow_untested_optimizer": True,
    }
    if options.deepspeed_config is None:
        return ours
    path = Path(options.deepspeed_config)
    try:
        theirs = json.loads(path.read_text())
    except (OSError, ValueError) as error:
        raise ValueError(f"deepspeed_config {path}: cannot be read ({error})") from error
    if not isinstance(theirs, dict):
        raise ValueError(f"deepspeed_config {path}: a JSON object is needed, got {type(theirs).__name__}")
    theirs = _given(theirs)
    for name in ("fp16", "bf16", "zero_optimization", "torch_autocast"):
        if not isinstance(theirs.get(name, {}), dict):
            raise ValueError(f'deepspeed_config {path}: {name}={theirs[name]} must be an object or "auto"')
    for name, owner in (("optimizer", "optim"), ("scheduler", "schedule")):
        if theirs.pop(name, None) is not None:
            raise ValueError(f"deepspeed_config {path}: {name!r} is the run's own; remove it and set --{owner}.*")
    if theirs.pop("fp16", {}).get("enabled"):
        raise ValueError(f"deepspeed_config {path}: fp16 is not supported; use --engine.dtype bf16")
    bf16_given = theirs.pop("bf16", {}).get("enabled", bf16)
    if bf16_given != bf16:
        raise ValueError(
            f"deepspeed_config {path}: bf16.enabled={bf16_given}, the run has engine.dtype {'bf16' if bf16 else 'fp32'}; "
            f"make them agree"
        )
    return _merge(ours, theirs, f"deepspeed_config {path}: ")


def _given(values: dict) -> dict:
    """Without what is "auto" (or null), as in files made for other trainers: the run's value, or DeepSpeed's default."""
    return {
        name: _given(value) if isinstance(value, dict) else value
        for name, value in values.items()
        if value not in ("auto", None)
    }


def _merge(ours: dict, theirs: dict, context: str) -> dict:
    merged = dict(theirs)
    for name, value in ours.items():
        other = theirs.get(name, value)
        if isinstance(value, dict):
            merged[name] = _merge(value, other, f"{context}{name}.")
        elif other != value and name != "steps_per_print":
            raise ValueError(f"{context}{name}={other} contradicts the run's {value}; remove it there or change the run")
        else:
            merged[name] = value
    return merged
