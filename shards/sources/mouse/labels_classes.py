"""What a label table calls a class -> the class's number."""

import re
from dataclasses import dataclass
from pathlib import Path

from tarpon.shards.sources.mouse.labels_text import column_names, read_cells

UNSCORED = -1
BACKGROUND = "background"  # what DeepEthogram and Lightning Action call frames that nobody gave a class


def plain(name: str) -> str:
    return re.sub(r"[\s_\-.]+", "", name).lower()


@dataclass(frozen=True, kw_only=True)
class ClassNames:
    """The classes, in the order of their numbers, and other names for them."""

    names: tuple[str, ...]
    renamed: tuple[tuple[str, str], ...] = ()  # (name in the tables, class); an empty class: such frames are not scored
    background: str = ""  # class of the frames that a one-hot or interval table gives none; empty: not scored

    def __post_init__(self) -> None:
        if not 2 <= len(self.names) <= 127 or len({plain(name) for name in self.names}) != len(self.names):
            raise ValueError(f"classes={','.join(self.names)} must be 2 to 127 different names")
        for name, meaning in (*self.renamed, ("background", self.background)):
            if meaning and meaning not in self.names:
                raise ValueError(f"{name} is to be {meaning!r}, which is none of the classes {', '.join(self.names)}")
        if len({name for name, _ in self.renamed}) != len(self.renamed):
            raise ValueError("class_map names one label twice")

    def number(self, text: str) -> int:
        """Number of a class by name or number. ValueError, in words that follow the column's name."""
        renamed = {plain(name): meaning for name, meaning in self.renamed}
        if plain(text) in renamed:
            text = renamed[plain(text)]
            return self.names.index(text) if text else UNSCORED
        if text in self.names:
            return self.names.index(text)
        if re.fullmatch(r"-?\d+([.,]\d*)?", text):
            if re.fullmatch(r"\d+([.,]0*)?", text) and (found := int(re.split("[.,]", text)[0])) < len(self.names):
                return found
            raise ValueError(f"{text} is not one of 0 to {len(self.names) - 1}")
        for place, name in enumerate(self.names):
            if plain(name) == plain(text):
                return place
        if plain(text) == BACKGROUND:
            return self.gap()
        raise ValueError(f"{text} is none of {', '.join(self.names)} (--classes, or rename it with --class_map)")

    def gap(self) -> int:
        """Number of what no class covers."""
        return self.names.index(self.background) if self.background else UNSCORED


def read_class_map(path: Path) -> tuple[tuple[str, str], ...]:
    """(name in the tables, class) of a CSV of two columns; with or without a header `label,class`. Blank class: not scored."""
    rows = [(*row, "")[:2] for row in read_cells(path) if any(row)]
    if not rows:
        raise ValueError(f"{path}: is empty; a line is: name in the tables, class")
    column_names(rows[0])
    if [plain(cell) for cell in rows[0]] in (["label", "class"], ["from", "to"], ["name", "class"], ["old", "new"]):
        rows = rows[1:]
    return tuple((name, meaning) for name, meaning in rows)
