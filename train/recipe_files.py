"""The recipes that come with Tarpon, by name: `--config demo` is train/recipes/TASK/demo.yaml, wherever Tarpon is installed."""

from collections.abc import Sequence
from pathlib import Path

from tarpon.train.usage import UsageError

RECIPES = Path(__file__).parent / "recipes"


def list_recipes(task: str) -> list[str]:
    """Names of a task's recipes."""
    return sorted(path.stem for path in (RECIPES / task).glob("*.yaml"))


def resolve_recipes(words: Sequence[str], *, task: str) -> list[str]:
    """The words with names of recipes after --config as paths; a file of that name comes first.

    Raises:
        UsageError: neither a file nor a recipe.
    """
    found: list[str] = []
    for word in words:
        option, equals, value = word.partition("=")
        if found and found[-1] == "--config":
            found.append(_resolve(word, task=task))
        elif option == "--config" and equals:
            found.append(f"--config={_resolve(value, task=task)}")
        else:
            found.append(word)
    return found


def _resolve(value: str, *, task: str) -> str:
    if Path(value).name != value or Path(value).suffix or Path(value).is_file() or value.startswith("-"):
        return value  # a path; what is wrong with it is said where it is read
    if value in (names := list_recipes(task)):
        return str(RECIPES / task / f"{value}.yaml")
    raise UsageError(f"no file {value!r} for --config, and the recipes of {task} are {', '.join(names)}")
