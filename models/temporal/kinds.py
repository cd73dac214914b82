"""Which networks over time there are, and what restricts their sizes: for options too, which import no PyTorch."""

TEMPORAL = ("tcn", "transformer")
HEADS = 4  # of the transformer's attention; its width is a multiple
