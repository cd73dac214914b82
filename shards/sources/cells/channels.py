"""Which channels of a stack its pages are made of. A page of several holds them one below the other, in the order asked for."""

from collections.abc import Mapping, Sequence

from tarpon.shards.page_planes import KEY

COMMA = ","


def split_choice(asked: str) -> tuple[str, ...]:
    """The names or numbers of a choice, in order. ValueError where one is empty or comes twice."""
    parts = tuple(part.strip() for part in asked.split(COMMA)) if asked else ()
    if "" in parts or len(set(parts)) < len(parts):
        raise ValueError(f"channel={asked!r} must be a name or number from 1, or several by comma, each once, as in phase,gfp")
    return parts


def find_channels(names: Sequence[str], asked: str) -> list[int]:
    """Places of the chosen channels among those of a stack, in the order asked for.

    Args:
        names: of the stack's channels, empty where its file tells none.
        asked: name or number from 1, or several by comma; empty: the stack has one.

    Raises:
        ValueError: none is chosen and there are several, or the stack has not got one that is.
    """
    told = ", ".join(name or str(number) for number, name in enumerate(names, start=1))
    if not asked:
        if len(names) > 1:
            raise ValueError(
                f"{len(names)} channels of one moment ({told}); choose one with --channel NAME or its number from 1, or "
                f"several by comma"
            )
        return [0]
    parts = (asked,) if asked in names else split_choice(asked)
    if len(names) == 1:
        if len(parts) > 1:
            raise ValueError(f"one channel, and {len(parts)} are asked for ({asked})")
        return [0]  # a stack of one channel was saved without the others
    found = [_find_one(names, part, told) for part in parts]
    if len(set(found)) < len(found):
        raise ValueError(f"channel={asked!r} asks for one channel twice; there are {told}")
    return found


def _find_one(names: Sequence[str], asked: str, told: str) -> int:
    if asked in names:
        return names.index(asked)
    if asked.isdigit() and 1 <= int(asked) <= len(names):
        return int(asked) - 1
    raise ValueError(f"no channel {asked}; there are {told}")


def name_channels(names: Sequence[str], chosen: Sequence[int]) -> tuple[str, ...]:
    """Names of several chosen channels, numbers from 1 where the file tells none; empty where one is chosen."""
    return tuple(names[place] or str(place + 1) for place in chosen) if len(chosen) > 1 else ()


def list_channels(known: Mapping[str, object], settings: Mapping[str, object]) -> tuple[str, ...]:
    """What is known of the channels of pages, in order: names or numbers, "" of the only one where none was chosen."""
    return tuple(known.get(KEY, ())) or (str(settings.get("channel", "")),)


def check_channels(trained: Sequence[str], given: Sequence[str], *, where: str) -> None:
    """ValueError where pages have other channels than those trained on.

    A name and a number, or one that nobody chose, may be the same channel.

    Args:
        trained, given: as `list_channels` tells.
        where: the pages that are given.
    """
    differ = len(trained) != len(given) or any(
        old and new and old.isdigit() == new.isdigit() and old.casefold() != new.casefold()
        for old, new in zip(trained, given, strict=True)
    )
    if differ:
        raise ValueError(
            f"{where}: pages of {_join(given)}, and the weights were trained on {_join(trained)}; give pages of the same "
            f"channels in the same order (tarpon pack cells --channel)"
        )


def _join(names: Sequence[str]) -> str:
    if len(names) == 1:
        return f"one channel ({names[0]})" if names[0] else "one channel"
    return f"{len(names)} channels ({', '.join(names)})"
