"""Left and right: the spellings of labs, what only looks like a side, a missing partner, and lists by hand."""

import pytest

from tarpon.shards.sources.mouse.pose_mirror import mirror_pairs

PAIRS = [
    ("Lpaw", "Rpaw"),
    ("LF", "RF"),
    ("lEar", "rEar"),
    ("ear.L", "ear.R"),
    ("ear-left", "ear-right"),
    ("FL_paw", "FR_paw"),
    ("forepaw L", "forepaw R"),
    ("frontleft", "frontright"),
    ("left_ear", "right_ear"),
    ("EarLeft", "EarRight"),
    ("L_ear", "R_ear"),
    ("hindpaw_R", "hindpaw_L"),
    ("LeftHindPaw", "RightHindPaw"),
    ("leftear", "rightear"),
    ("LEFT_KNEE", "RIGHT_KNEE"),
    ("wingL", "wingR"),
    ("hindlegL4", "hindlegR4"),
    ("paw1LH_top", "paw1RH_top"),
    ("lfrontpaw", "rfrontpaw"),
    ("paw_l", "paw_r"),
    ("RL", "RR"),
    ("L1", "R1"),
    ("earl", "earr"),
    ("L eye right corner", "R eye left corner"),
    ("LFpaw", "RFpaw"),
    ("left hüfte", "right hüfte"),
]
MIDDLE = (
    "tail",
    "belly",
    "ball",
    "lower",
    "ear",
    "nose",
    "rear",
    "collar",
    "rump",
    "lip",
    "rail",
    "upright",
    "Lower_lip",
    "centre",
)


@pytest.mark.parametrize("pair", PAIRS)
def test_pairs_change_places_and_the_middle_stays(pair):
    points = (MIDDLE[0], pair[0], *MIDDLE[1:], pair[1])
    got = mirror_pairs(points)
    want = list(range(len(points)))
    want[1], want[-1] = want[-1], want[1]
    assert got == tuple(want)


def test_all_pairs_at_once_are_told_apart():
    few = [pair for pair in PAIRS if pair[0] not in ("L_ear", "EarLeft", "leftear", "ear-left", "ear.L", "lEar", "earl")]
    points = [name for pair in few for name in pair]
    got = mirror_pairs(points)
    assert [points[to] for to in got] == [name for one, two in few for name in (two, one)]


def test_two_spellings_of_one_part_pair_with_their_own():
    points = ("L_ear", "ear_left", "R_ear", "ear_right")
    assert mirror_pairs(points) == (2, 3, 0, 1)


@pytest.mark.parametrize("name", [name for pair in PAIRS for name in pair if name not in ("RL", "RR")])
def test_a_side_without_its_partner_is_an_error(name):
    with pytest.raises(ValueError, match="--mirror_pairs"):
        mirror_pairs(("nose", name, "tail"))
    assert mirror_pairs(("nose", name, "tail"), need_partners=False) == (0, 1, 2)
    assert mirror_pairs(("nose", name, "tail"), pairs="none") == (0, 1, 2)


def test_names_without_a_side_are_no_error():
    assert mirror_pairs(MIDDLE) == tuple(range(len(MIDDLE)))


def test_a_list_by_hand_replaces_the_names():
    assert mirror_pairs(("paw1", "paw2", "L_ear", "R_ear"), pairs="paw1:paw2") == (1, 0, 2, 3)
    assert mirror_pairs(("a", "b", "c", "d"), pairs=" a:c , d:b ") == (2, 3, 0, 1)


@pytest.mark.parametrize(
    ("pairs", "told"),
    [
        ("a", "'a' must be two names"),
        ("a:a", "'a:a' must be two names"),
        ("a:x", "no point 'x'; the points are a, b, c"),
        ("a:b,b:c", "b stands in two pairs"),
    ],
)
def test_a_list_that_does_not_fit_is_told(pairs, told):
    with pytest.raises(ValueError, match=told):
        mirror_pairs(("a", "b", "c"), pairs=pairs)
