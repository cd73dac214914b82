"""A page of Markdown as a notebook: its Python blocks are the cells that run, all else is text.

`python -m tarpon.tools.notebook PAGE.md NOTEBOOK.ipynb`; `make docs` does it for docs/python.md.
"""

import json
import re
import sys
from collections.abc import Iterator
from dataclasses import asdict, dataclass, field
from pathlib import Path

from tarpon.shards import atomic

KERNEL = {"display_name": "Python 3", "language": "python", "name": "python3"}
CODE = re.compile(r"^```python\n(.*?)^```\n", re.MULTILINE | re.DOTALL)


@dataclass(frozen=True, kw_only=True)
class Notebook:
    """A notebook's file: its fields are those of nbformat 4.5."""

    cells: list[dict]
    metadata: dict = field(default_factory=lambda: {"kernelspec": KERNEL})
    nbformat: int = 4
    nbformat_minor: int = 5


def split_page(text: str) -> Iterator[tuple[str, str]]:
    """("markdown" or "code", content) of a page, in order."""
    for number, part in enumerate(CODE.split(text)):
        if part.strip():
            yield ("code" if number % 2 else "markdown"), part.strip()


def make_notebook(page: str) -> str:
    """The notebook's JSON, without outputs; the same for the same page."""
    cells = [
        {"cell_type": kind, "id": f"cell-{number}", "metadata": {}, "source": text.splitlines(keepends=True)}
        | ({"execution_count": None, "outputs": []} if kind == "code" else {})
        for number, (kind, text) in enumerate(split_page(page))
    ]
    return json.dumps(asdict(Notebook(cells=cells)), indent=1) + "\n"


def main(words: list[str]) -> int:
    """Exit status."""
    if len(words) != 2:
        print("usage: python -m tarpon.tools.notebook PAGE.md NOTEBOOK.ipynb", file=sys.stderr)
        return 2
    page, notebook = map(Path, words)
    atomic.write_text(notebook, make_notebook(page.read_text()))
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
