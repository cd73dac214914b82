"""Where a page is written, and how: whole or not at all."""

import os
from pathlib import Path


def place_page(out: str | None, *, name: str, default: Path) -> Path:
    """The file that --out means: itself, or `name` in a folder; ValueError where it cannot be told."""
    if out is None:
        return default
    path = Path(out)
    page = path if path.suffix.lower() in (".html", ".htm") else path / name
    if page.is_dir() or (page.parent.exists() and not page.parent.is_dir()):
        raise ValueError(f"--out {out}: give a folder, or a file that ends with .html")
    page.parent.mkdir(parents=True, exist_ok=True)
    return page


def write_page(path: Path, text: str) -> None:
    """By a draft beside it that takes its place."""
    draft = Path(f"{path}.draft")
    draft.write_text(text, encoding="utf-8")
    os.replace(draft, path)
