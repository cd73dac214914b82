"""Options as people type them: dashes for underscores within a name, a flag without `true`."""

from collections.abc import Iterable, Sequence

from tarpon.train.option import Option


def spell_words(words: Sequence[str], options: Iterable[Option]) -> list[str]:
    """The words as the parser takes them; what is no option stays as it is, to be refused under the name that was given."""
    known = {option.name: option for option in options}
    spelt: list[str] = []
    for i, word in enumerate(words):
        dashes, equals, value = word.partition("=")
        name = dashes[2:].replace("-", "_") if dashes.startswith("--") else ""
        if name not in known:
            spelt.append(word)
            continue
        spelt.append(f"--{name}{equals}{value}")
        if known[name].kind is bool and not equals and (i + 1 == len(words) or words[i + 1].startswith("-")):
            spelt.append("true")
    return spelt
