"""How a Frame column counts, and which frame of its trial a table's first row therefore is.

zero: frames of the trial from 0; one: frames of the trial from 1; absolute and absolute_one: frames of the video, likewise.
A column that begins with the first number of its way of counting only numbers the rows: their count then says where they lie
(a whole trial, or one without its first 15 frames). The ways are told apart by what fits into the trial, by tables that end
exactly with it, and by the other tables of the same set.
"""

from collections.abc import Collection

WAYS = ("zero", "one", "absolute", "absolute_one")
CHOICES = ("auto", *WAYS, "ignore")
CONTEXT = 15  # frames at a trial's start that the published labels leave out


def offset_by_rows(rows: int, *, span: int, offset: int | None) -> int | None:
    """The trial's frame of the first row, by the number of rows alone; None where that is not a whole trial."""
    if offset is None:
        offset = CONTEXT if rows == span - CONTEXT else 0
    return offset if rows == span - offset else None


def offsets(begin: int, rows: int, *, trial: int, span: int, offset: int | None) -> dict[str, int | None]:
    """Each way of counting that the table allows -> the trial's frame of its first row; None: so counted, rows are missing."""
    found = {}
    for way in WAYS:
        first = begin - way.endswith("one") - (trial - 1) * span * way.startswith("absolute")
        if first == 0 and (trial == 1 or not way.startswith("absolute")):
            by_rows = offset_by_rows(rows, span=span, offset=offset)
            found[way] = 0 if way.startswith("absolute") and by_rows is not None else by_rows
        elif first >= 0 and 0 < rows <= span - first:
            found[way] = first
    return found


def proofs(begin: int, rows: int, *, trial: int, span: int, offset: int | None) -> set[str]:
    """The ways of counting that this table speaks for by itself."""
    found = offsets(begin, rows, trial=trial, span=span, offset=offset)
    if len(found) == 1:
        return {way for way, first in found.items() if first is not None}
    if begin == 0:
        return {"zero"} & set(found)
    if begin == 1 and offset_by_rows(rows, span=span, offset=offset) is not None:
        return {"one"} & set(found)
    exact = {way for way, first in found.items() if first and first + rows == span}
    return {way for way in exact if way in ("zero", "absolute")}


def place_rows(
    begin: int, rows: int, *, trial: int, span: int, offset: int | None, way: str, proven: Collection[str]
) -> tuple[int, str]:
    """The trial's frame of the first row, and the way of counting.

    Args:
        begin: what the Frame column says there.
        trial: from 1; span: frames of a trial; offset: given by the user, or None.
        way: one of CHOICES but ignore.
        proven: ways that tables of the set speak for, this one among them.

    Raises:
        ValueError: the table fits no trial, or in two places.
    """
    found = offsets(begin, rows, trial=trial, span=span, offset=offset)
    if way != "auto":
        found = {name: first for name, first in found.items() if name == way}
    counted = f"{rows} rows" + (f", Frame {begin} to {begin + rows - 1}," if rows and begin else "")
    if set(found.values()) <= {None}:
        expected = f"{span}, or {span - CONTEXT} from frame {CONTEXT}" if offset is None else f"{span - offset} from {offset}"
        raise ValueError(
            f"{counted} {'fit nowhere in' if begin else 'are not'} trial {trial}; a trial of {span} frames has {expected} "
            f"(--trial_frames, --offset, --frame_column)"
        )
    likely = {name: first for name, first in found.items() if name in proven} if len(set(found.values())) > 1 else found
    for name in ("zero", "absolute"):
        if not likely and (found.get(name) or 0) > 1:
            likely = {name: found[name]}  # above 1 the column is no count of rows: it says the frame, from 0 as everywhere here
    if set(likely.values()) == {None}:
        return place_rows(begin, rows, trial=trial, span=span, offset=offset, way=next(iter(likely)), proven=())
    if len(set(likely.values())) != 1:
        places = " or ".join(str(first) for first in sorted({first or 0 for first in found.values()}))
        raise ValueError(
            f"Frame column counts {begin} to {begin + rows - 1}: its first row may be frame {places} of the trial; say which "
            f"with --frame_column {'|'.join(found)} (or ignore)"
        )
    name = min(likely, key=WAYS.index)
    return likely[name], name
