"""Class and point names as parts of score names."""

import re
from collections.abc import Sequence


def score_keys(names: Sequence[str]) -> list[str]:
    """Names as parts of keys: `Paw withdraw` and `pawWithdraw` become paw_withdraw. ValueError when two become one."""
    keys = [re.sub(r"\W+|_+", "_", re.sub(r"(?<=[a-z0-9])(?=[A-Z])", "_", name)).strip("_").lower() for name in names]
    for i, key in enumerate(keys):
        if not key or key in keys[:i]:
            raise ValueError(f"names must differ in their letters and digits; got {names[i]!r} (key {key!r}) in {list(names)}")
    return keys
