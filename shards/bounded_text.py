"""Limits for text files that people or the web hand over, checked before a parser takes memory for them."""

from pathlib import Path

import yaml

YAML_BYTES = 2**20
YAML_NODES = 100_000  # with every alias written out: nine lines of nine aliases each stand for 387 million
YAML_DEPTH = 100
LINE_BYTES = 2**20  # of a table's first line: about 100,000 columns
COLUMNS = 20_000


def read_yaml(path: Path) -> object:
    """What a YAML file holds, safely loaded.

    Raises:
        ValueError: in one line: not YAML, longer than a megabyte, or of aliases that stand for a forest.
        OSError: it cannot be read.
    """
    with open(path, "rb") as file:
        content = file.read(YAML_BYTES + 1)
    if len(content) > YAML_BYTES:
        raise ValueError(f"{path}: more than {YAML_BYTES:,} bytes of YAML; give a file of options")
    if (depth := _depth(content)) > YAML_DEPTH:  # the parser's time grows with its square
        raise ValueError(f"{path}: not YAML that is read (brackets {depth} deep)")
    try:
        node = yaml.compose(content, Loader=yaml.SafeLoader)
        if node is not None and (found := _nodes(node, {}, ())) > YAML_NODES:
            raise ValueError(f"its aliases stand for {found:,} values, {YAML_NODES:,} are read; write them out")
        return yaml.safe_load(content)
    except (yaml.YAMLError, UnicodeError, RecursionError, ValueError) as error:
        raise ValueError(f"{path}: not YAML that is read ({' '.join(str(error).split())[:300]})") from error


def _depth(content: bytes) -> int:
    """How deep brackets lie in one another, those in texts too."""
    depth = most = 0
    for sign in content:
        if sign in b"[{":
            depth += 1
            most = max(most, depth)
        elif sign in b"]}":
            depth = max(depth - 1, 0)
    return most


def _nodes(node: yaml.Node, known: dict[int, int], above: tuple[int, ...]) -> int:
    """Nodes below one and itself, aliases counted as often as they are used."""
    if id(node) in above:
        raise ValueError("an alias holds itself")
    if id(node) not in known:
        below = node.value if isinstance(node, yaml.CollectionNode) else ()
        parts = [part for pair in below for part in pair] if isinstance(node, yaml.MappingNode) else below
        known[id(node)] = 1 + sum(_nodes(part, known, (*above, id(node))) for part in parts)
    return known[id(node)]


def check_header(path: Path) -> None:
    """ValueError where a table's first line is longer, or has more columns, than any lab's table."""
    with open(path, "rb") as file:
        line = file.readline(LINE_BYTES + 1).partition(b"\r")[0]
    if len(line) > LINE_BYTES:
        raise ValueError(f"{path}: its first line is longer than {LINE_BYTES:,} bytes: no table that is read")
    columns = 1 + max(line.count(mark) for mark in (b",", b";", b"\t"))
    if columns > COLUMNS:
        raise ValueError(f"{path}: {columns:,} columns, {COLUMNS:,} are read; leave out what is not used")
