"""The date rule of a data set, month first or day first: found from all its dates or given by the user, never guessed."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from tarpon.shards.sources.star.dates import DAY_FIRST, MONTH_FIRST, read_both_days
from tarpon.shards.store import find_place

RULES = (MONTH_FIRST, DAY_FIRST)
RULE_NAMES = {MONTH_FIRST: "month first", DAY_FIRST: "day first"}


@dataclass(frozen=True, kw_only=True)
class Evidence:
    """Names of one data set whose dates have day and month as numbers, by the rules they allow."""

    month_first: tuple[str, ...]  # names that are a date only month first
    day_first: tuple[str, ...]  # names that are a date only day first
    either: tuple[str, ...]  # names that are two different dates

    @property
    def rule(self) -> str | None:
        """The rule that all names allow and some require; None where none is required, or both are."""
        if bool(self.month_first) == bool(self.day_first):
            return None
        return MONTH_FIRST if self.month_first else DAY_FIRST

    @property
    def open(self) -> bool:
        """True when a rule is needed and these names do not determine it."""
        return self.rule is None and bool(self.month_first or self.either)


def parse_dates(text: str | None) -> tuple[str | None, Path | str | None]:
    """`--dates` as (rule, path or URL of a CSV of folder,date): either, or both with a comma between; ValueError otherwise."""
    rule, path = None, None
    first, _, rest = (text or "").partition(",")
    if first in RULES:
        rule, path = first, find_place(rest) if rest else None
    elif text:
        path = find_place(text)
    if isinstance(path, Path) and not path.suffix and not path.exists():
        raise ValueError(f"dates={text!r} must be {' or '.join(RULES)}, or a CSV of folder,date, or both with a comma between")
    return rule, path


def collect_evidence(names: Iterable[str]) -> Evidence:
    """The evidence in the names of a data set."""
    days = {name: read_both_days(name) for name in sorted(set(names))}
    return Evidence(
        month_first=tuple(name for name, (first, other) in days.items() if first and not other),
        day_first=tuple(name for name, (first, other) in days.items() if other and not first),
        either=tuple(name for name, (first, other) in days.items() if first and other and first != other),
    )


def decide_rules(names: Mapping[str, Sequence[str]], *, asked: str | None = None) -> tuple[dict[str, str], list[str]]:
    """Data set -> rule, and lines that explain the choices.

    A data set that requires a rule gets it. One that requires none gets the rule that was asked for, else the only rule that
    the others require.

    Args:
        names: data set -> all names that dates are read from.
        asked: the rule that the user gave.

    Raises:
        ValueError: a data set is left without a rule, or what was asked for fits none that needs one.
    """
    found = {name: collect_evidence(own) for name, own in names.items()}
    demanded = {own.rule for own in found.values() if own.rule}
    common = next(iter(demanded)) if len(demanded) == 1 else None
    if asked and demanded and asked not in demanded and not any(own.open for own in found.values()):
        name, own = next((name, own) for name, own in found.items() if own.rule)
        raise ValueError(
            f"dates={asked}: {(own.month_first or own.day_first)[0]!r} of {name} is a day only {RULE_NAMES[own.rule]}, and no "
            f"other date contradicts it; leave --dates out"
        )
    rules, lines = {}, []
    for name, own in found.items():
        rules[name] = own.rule or asked or common or MONTH_FIRST
        if own.open and not (asked or (common and not own.month_first)):
            raise ValueError(_describe_undecided(name, own))
        if own.rule or own.open:
            lines.append(f"dates of {name} are read {RULE_NAMES[rules[name]]}: {_describe_reason(own, rules[name], asked)}")
    return rules, lines


def _describe_undecided(name: str, own: Evidence) -> str:
    if own.month_first:
        return (
            f"dates of {name}: {own.month_first[0]!r} is a day only month first and {own.day_first[0]!r} only day first; say "
            f"which one the data set has with --dates {' or --dates '.join(RULES)} (the others become undated)"
        )
    return (
        f"dates of {name}: {own.either[0]!r} and all others ({len(own.either)} in all) may be read month first or day first; "
        f"say which with --dates {' or --dates '.join(RULES)}"
    )


def _describe_reason(own: Evidence, rule: str, asked: str | None) -> str:
    if own.rule:
        return f"{(own.month_first or own.day_first)[0]!r} can be nothing else"
    misfits = own.day_first if rule == MONTH_FIRST else own.month_first
    reason = "as --dates says" if asked else "as the other data sets demand"
    return reason + (f"; {len(misfits)} names such as {misfits[0]!r} are no day that way" if misfits else "")
