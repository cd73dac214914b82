"""Which point becomes which in a mirror."""

import re
from collections.abc import Sequence


def mirrored(points: Sequence[str]) -> tuple[int, ...]:
    """For each point the one it becomes in a mirror: left and right (L_x, x_left, wingL, hindlegL4 ...) change places."""
    other = {"l": "r", "r": "l", "left": "right", "right": "left"}
    pattern = re.compile(r"(?:^|(?<=_))(?i:left|right|l|r)(?=_|$)|(?<=[a-z])(?:Left|Right|[LR](?=\d*$|_))|^(?i:left|right)")

    def turn(match: re.Match) -> str:
        side = other[match.group(0).lower()]
        return side.upper() if match.group(0).isupper() else side.capitalize() if match.group(0)[0].isupper() else side

    index = {name: i for i, name in enumerate(points)}
    return tuple(index.get(pattern.sub(turn, name, count=1), i) for i, name in enumerate(points))
