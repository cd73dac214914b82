"""Parameter groups of a model for the optimiser: learning rate of the backbone or the rest, with or without weight decay."""

from torch import nn

# Last parts of the names of parameters that have two or more axes and no weight decay.
NO_DECAY_SUFFIXES = ("temperature", "token", "tokens", "embed", "embedding", "bias", "scale", "shift", "gamma", "bias_table")


def group_parameters(model: nn.Module, *, backbone: str | None = "encoder") -> dict[str, dict[str, nn.Parameter]]:
    """Trainable parameters by learning rate and weight decay.

    Norms, biases, everything with one axis, temperatures, tokens and embeddings have no decay.

    Args:
        backbone: name of the submodule with a learning rate of its own; its `no_weight_decay()`, if any, is heeded.
            None: a model without one, all of which is "rest".

    Returns:
        Parameter name -> parameter for "backbone/decay", "backbone/no_decay", "rest/decay", "rest/no_decay",
        in the order of `named_parameters`; empty groups are left out.
    """
    listed = set() if backbone is None else getattr(model.get_submodule(backbone), "no_weight_decay", set)()
    spared = {f"{backbone}.{name}" for name in listed}
    groups = {f"{part}/{kind}": {} for part in ("backbone", "rest") for kind in ("decay", "no_decay")}
    for name, parameter in model.named_parameters():
        if not parameter.requires_grad:
            continue
        part = "backbone" if backbone is not None and name.startswith(f"{backbone}.") else "rest"
        last = name.rpartition(".")[2]
        no_decay = parameter.ndim <= 1 or name in spared or last.endswith(NO_DECAY_SUFFIXES)
        groups[f"{part}/{'no_decay' if no_decay else 'decay'}"][name] = parameter
    return {name: group for name, group in groups.items() if group}
