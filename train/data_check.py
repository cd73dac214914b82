"""A wrong data folder is refused before PyTorch and DeepSpeed are imported."""

from tarpon.shards.manifest import read_card


def check_packed(root: str, *, kind: str) -> None:
    """ValueError unless a folder holds packed data of this kind; a URL is left to be opened once, later."""
    if "://" not in root:
        read_card(root, kind=kind)
