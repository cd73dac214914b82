"""Tables for a terminal."""

from collections.abc import Iterator, Sequence


def table(head: Sequence[str], rows: Sequence[Sequence[object]]) -> Iterator[str]:
    """Aligned lines: words to the left, numbers to the right; a float is a share and printed in percent."""
    cells = [[f"{value:.1%}" if isinstance(value, float) else str(value) for value in row] for row in [head, *rows]]
    columns = list(zip(*cells, strict=True))
    sides = [str.ljust if any(_wordy(cell) for cell in column[1:]) else str.rjust for column in columns]
    sides[0] = str.ljust
    widths = [max(map(len, column)) for column in columns]
    for row in cells:
        yield "  ".join(side(cell, width) for side, cell, width in zip(sides, row, widths, strict=True)).rstrip()


def _wordy(cell: str) -> bool:
    return any(character.isalpha() for character in cell)
