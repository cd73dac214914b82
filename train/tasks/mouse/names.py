"""What a mouse run is called where several are compared."""


def run_name(*, backbone: str, batch: int, lr: float, gamma: float, smoothing: float, weight_decay: float) -> str:
    """Backbone, batch, learning rate, focal gamma, label smoothing, weight decay: `vit_small_b2_lr5e-5_g2.5_ls0.1_wd5e-2`.

    Args:
        backbone: a model's name on its hub; owner, patch size and training recipe are left out.
    """
    family = backbone.rpartition("/")[2].partition(".")[0].partition("_patch")[0]
    return f"{family}_b{batch}_lr{_scientific(lr)}_g{gamma:g}_ls{smoothing:g}_wd{_scientific(weight_decay)}"


def _scientific(value: float) -> str:
    """5e-5, 1.5e-4; 0 as it stands."""
    mantissa, _, exponent = f"{value:e}".partition("e")
    return f"{float(mantissa):g}e{int(exponent)}" if value else "0"
