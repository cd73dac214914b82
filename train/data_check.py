"""A wrong data folder is refused before PyTorch and DeepSpeed are imported."""

from tarpon.shards.manifest import open_manifest


def check_packed(root: str, *, kind: str) -> None:
    """ValueError unless a folder holds packed data of this kind; a URL is left to be opened once, later."""
    if "://" not in root:
        open_manifest(root, kind=kind)
