"""Which point of a pose becomes which in a mirror, by the points' names or by a list.

A name is cut into words at separators, digits and capitals: `hindpaw_R`, `LeftHindPaw`, `ear.L`, `wingL2`. A word that
means a side (left, l, LF ...), that begins or ends with left or right, or that is l or r with the name of a paired part
(`Lpaw`, `forepawR`) makes the point a sided one, which must have a partner. Another word that begins or ends with an l or r is
sided only where both spellings are there: `tail`, `lower`, `ear`, `ball` are no sides.
"""

import re
from collections.abc import Sequence

WORDS = {"left": "left", "l": "left", "right": "right", "r": "right"}
# A side and front or hind in two letters, in either order; rear and middle need both spellings, for RR and ML could mean more.
WORDS |= {letters: WORDS[side] + part for side in "lr" for part in "fh" for letters in (side + part, part + side)}
PAIRED = "ankle|arm|cheek|ear|elbow|eye|eyebrow|fin|flank|foot|forelimb|forepaw|frontpaw|hand|haunch|hindlimb|hindpaw|hip|hoof|"
PAIRED += "knee|leg|limb|nostril|paw|shoulder|thigh|thumb|toe|whisker|wing|wrist"  # parts that an animal has on both sides
GLUED = re.compile(
    rf"(?P<s1>left|right)(?P<p1>.+)|(?P<p2>.+)(?P<s2>left|right)|(?P<s3>[lr])(?P<p3>{PAIRED})|(?P<p4>{PAIRED})(?P<s4>[lr])"
)
NO_SIDE = ("bright", "upright", "cleft", "rear")  # words that only look so


def mirror_pairs(points: Sequence[str], *, pairs: str = "auto", need_partners: bool = True) -> tuple[int, ...]:
    """For each point the index of the one it becomes when left and right change places; its own where it has no side.

    Args:
        points: names, in the model's order.
        pairs: auto: by name; none: no pairs; or a list by hand, `a:b,c:d`, and all other points stay.
        need_partners: raise where a point named left or right has no partner; False leaves it where it is.

    Raises:
        ValueError: a missing partner, or a list that does not fit the points.
    """
    if pairs == "none":
        return tuple(range(len(points)))
    if pairs != "auto":
        return _by_hand(points, pairs)
    partner = list(range(len(points)))
    alone = []
    keys = [_sided(name) for name in points]
    for i, (sides, rest) in enumerate(keys):
        if not sides:
            continue
        other = [j for j, key in enumerate(keys) if key == (_turned(sides), rest)]
        twins = [j for j, key in enumerate(keys) if key == (sides, rest)]
        if len(other) == 1 and len(twins) == 1:
            partner[i] = other[0]
        elif (same := _same_spelling(points, i)) is not None or (same := _by_letter(points[i], points)) is not None:
            partner[i] = same
        else:
            alone.append(points[i])
    for i, name in enumerate(points):
        if not keys[i][0] and (found := _by_letter(name, points)) is not None:
            partner[i] = found
    mutual = [partner[to] == i for i, to in enumerate(partner)]
    partner = [to if ok else i for i, (to, ok) in enumerate(zip(partner, mutual, strict=True))]
    alone += [points[i] for i, ok in enumerate(mutual) if not ok]
    if alone and need_partners:
        raise ValueError(
            f"{', '.join(alone)}: named left or right, but not exactly one other side is among the points; "
            f"name the pairs with --mirror_pairs a:b,c:d (or none), or train without flips (--augment.flip_p 0)"
        )
    return tuple(partner)


def _by_hand(points: Sequence[str], pairs: str) -> tuple[int, ...]:
    partner = list(range(len(points)))
    seen: list[str] = []
    for pair in (text.strip() for text in pairs.split(",") if text.strip()):
        names = [name.strip() for name in pair.split(":")]
        if len(names) != 2 or names[0] == names[1]:
            raise ValueError(f"mirror_pairs: {pair!r} must be two names with a colon between them, a:b")
        for name in names:
            if name not in points:
                raise ValueError(f"mirror_pairs: no point {name!r}; the points are {', '.join(points)}")
            if name in seen:
                raise ValueError(f"mirror_pairs: {name} stands in two pairs")
            seen.append(name)
        one, two = (points.index(name) for name in names)
        partner[one], partner[two] = two, one
    return tuple(partner)


def words_of(name: str) -> list[str]:
    """A name cut at separators, digits and changes to capitals, with the case kept."""
    return re.findall(r"[A-Z]+(?![^\W\d_A-Z])|[A-Z]?[^\W\d_A-Z]+|\d+", name)


def _sided(name: str) -> tuple[tuple[str, ...], str]:
    """The sides that a name speaks of, in order, and the rest of the name; no sides: not a sided point."""
    sides, rest = [], []
    for word in words_of(name):
        low = word.lower()
        if low in WORDS:
            side = "left" if WORDS[low].startswith("left") else "right"
            sides.append(side)
            rest.append(WORDS[low].removeprefix(side))
            continue
        match = None if low in NO_SIDE else GLUED.fullmatch(low)
        if match:
            (side,) = (text for name, text in match.groupdict().items() if text and name[0] == "s")
            (part,) = (text for name, text in match.groupdict().items() if text and name[0] == "p")
            sides.append(WORDS[side])
            rest.append(part)
        else:
            rest.append(low)
    return tuple(sides), "".join(rest)


def _turned(sides: tuple[str, ...]) -> tuple[str, ...]:
    return tuple("right" if side == "left" else "left" for side in sides)


def _same_spelling(points: Sequence[str], i: int) -> int | None:
    """Among several of the same meaning (L_ear and ear_left), the partner that differs in the side alone."""
    swap = {"left": "right", "right": "left", "l": "r", "r": "l"}

    def turn(match: re.Match) -> str:
        side = swap[match[0].lower()]
        return side.upper() if match[0].isupper() else side.capitalize() if match[0][0].isupper() else side

    turned = re.sub(r"(?i:left|right)|(?<![A-Za-z])[lrLR](?![A-Za-z])|(?<=[a-z])[LR](?![a-z])", turn, points[i])
    return points.index(turned) if turned != points[i] and turned in points else None


def _by_letter(name: str, points: Sequence[str]) -> int | None:
    """The point that differs only in an l or r which begins or ends a word; None where there is none or are several."""
    swap = str.maketrans("lrLR", "rlRL")
    found = set()
    for match in re.finditer(r"[A-Za-z]+", name):
        edges = {match.start(), match.end() - 1}
        place = match.start()
        for word in words_of(match[0]):
            edges |= {place, place + len(word) - 1}
            place += len(word)
        for at in edges:
            turned = name[:at] + name[at].translate(swap) + name[at + 1 :]
            if turned != name and turned in points:
                found.add(points.index(turned))
    return found.pop() if len(found) == 1 else None
