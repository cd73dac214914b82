"""What is written of an option where it is defined: the comment beside a dataclass's field, the Args of a function's docstring.

Both are read from the source, so that a sentence stands in one place and --help shows it.
"""

import ast
import inspect
import io
import re
import textwrap
import tokenize
from collections.abc import Callable

ARGUMENT = re.compile(r"((?:\w+, )*\w+): (.*)")


def read_field_comments(owner: type) -> dict[str, str]:
    """Field -> the comment behind it or, where none is there, the comment lines above it; "" without any."""
    source = textwrap.dedent(inspect.getsource(owner))
    tokens = tokenize.generate_tokens(io.StringIO(source).readline)
    comments = {token.start: token.string.lstrip("# ") for token in tokens if token.type == tokenize.COMMENT}
    behind = {line: text for (line, column), text in comments.items() if not _is_alone(source, line, column)}
    alone = {line: text for (line, column), text in comments.items() if _is_alone(source, line, column)}
    found = {}
    for node in ast.parse(source).body[0].body:
        if isinstance(node, ast.AnnAssign) and isinstance(node.target, ast.Name):
            found[node.target.id] = behind.get(node.end_lineno, "") or _read_above(alone, node.lineno)
    return found


def _is_alone(source: str, line: int, column: int) -> bool:
    return not source.splitlines()[line - 1][:column].strip()


def _read_above(alone: dict[int, str], line: int) -> str:
    """Comment lines that end right above a line."""
    lines = []
    while (line := line - 1) in alone:
        lines.insert(0, alone[line])
    return " ".join(lines)


def read_argument_sentences(function: Callable) -> dict[str, str]:
    """Parameter -> what the docstring's Args say of it."""
    lines = (inspect.getdoc(function) or "").splitlines()
    found: dict[str, str] = {}
    names: list[str] = []
    for line in lines[lines.index("Args:") + 1 :] if "Args:" in lines else ():
        if line and not line.startswith(" "):
            break  # the next section
        if (begun := ARGUMENT.fullmatch(line.strip())) and line.startswith("    ") and not line.startswith("     "):
            names = begun[1].split(", ")
            found |= dict.fromkeys(names, begun[2])
        elif line.strip():
            found |= {name: f"{found[name]} {line.strip()}" for name in names}
    return found


def read_summary(described: Callable | type) -> str:
    """The docstring up to its first section: what a command does, what a record is."""
    text = inspect.getdoc(described) or ""
    return re.split(r"\n\n?(?:Args|Returns|Raises|Yields|Attributes):", text)[0].strip()
