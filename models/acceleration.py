"""Acceleration of a backbone: channels-last memory, torch.compile of its blocks. Weights keep their names and values."""

import torch
from torch import nn

CONVOLUTIONS = 2  # more than these make a net convolutional; a transformer has one or two to cut its patches


def accelerate(model: nn.Module, *, compile: str, channels_last: bool, device: torch.device) -> str:
    """Set up `model.encoder.net`, if the model has one, for this device.

    Args:
        compile: "on" | "off" | "auto", which is on for a GPU.
        channels_last: use channels-last memory for a convolutional net.

    Returns:
        What was done, in words for the start of a run. What cannot be compiled runs eagerly, and the words say why.
    """
    net = getattr(getattr(model, "encoder", None), "net", None)
    if net is None:
        return "no backbone"
    words = []
    if channels_last and lay_channels_last(net):
        words.append("channels last")
    if compile == "off" or (compile == "auto" and device.type != "cuda"):
        words.append("not compiled")
    elif reason := find_obstacle(device):
        words.append(f"not compiled: {reason}")
    else:
        words.append(f"{compile_blocks(net)} blocks of the backbone compiled at first use, which takes a while")
    return ", ".join(words)


def lay_channels_last(net: nn.Module) -> bool:
    """Set channels-last memory on a net with enough convolutions; True when it was changed."""
    convolutional = sum(isinstance(module, nn.Conv2d) for module in net.modules()) > CONVOLUTIONS
    if convolutional:
        net.to(memory_format=torch.channels_last)
    return convolutional


def find_obstacle(device: torch.device) -> str:
    """Why nothing can be compiled for this device, in one line; empty when a trial works."""
    trial = torch.compile(_run_trial)
    try:
        trial(torch.ones(8, device=device))
    except (RuntimeError, OSError, ImportError) as error:  # no compiler, no Triton, no folder to write to
        return (str(error).strip().splitlines() or [type(error).__name__])[0][:200]
    return ""


def compile_blocks(net: nn.Module) -> int:
    """Compile every block of the net, in place; returns their number.

    Blocks and not the whole net: those of a kind share one compilation, so the wait is that of one block, and what the backbone
    does around them (passes, maps of single stages) stays as it is. `Module.compile` puts nothing around a module, so
    parameters keep their names. A block that turns out to be beyond the compiler runs as it is.
    """
    torch._dynamo.config.suppress_errors = True
    blocks = _find_blocks(net)
    for block in blocks:
        block.compile()
    return len(blocks)


def _find_blocks(net: nn.Module) -> list[nn.Module]:
    """Members of lists of layers that are of the net's own kinds (not torch's) and have parts, the innermost ones."""
    members = [child for module in net.modules() if isinstance(module, (nn.ModuleList, nn.Sequential)) for child in module]
    own = [
        child for child in members if not type(child).__module__.startswith("torch.") and any(True for _ in child.children())
    ]
    chosen = {id(child) for child in own}
    return [child for child in own if not any(id(inner) in chosen for inner in child.modules() if inner is not child)]


def _run_trial(x: torch.Tensor) -> torch.Tensor:
    return torch.nn.functional.gelu(x) + 1
