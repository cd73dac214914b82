"""DeepLabCut files: every header variant, exact names, nothing guessed."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest

from tarpon.shards.sources.mouse.dlc import MOUSE_POINTS, body_length, find_point, read_track


def write(
    path: Path,
    parts: Sequence[str],
    values: np.ndarray,
    *,
    animals: Sequence[str] | None = None,
    likelihood: bool = True,
    scorer: str = "DLC_resnet50_pawtracking",
    index: Sequence | None = None,
    end: str = "",
    bom: bool = False,
) -> Path:
    """values (T, columns); columns are animals x parts x coordinates. NaN is written as a blank."""
    coords = ["x", "y", "likelihood"] if likelihood else ["x", "y"]
    names = [(a, p, c) for a in animals or [None] for p in parts for c in coords]
    lines = [["scorer"] + [scorer] * len(names)]
    if animals:
        lines.append(["individuals"] + [name[0] for name in names])
    lines += [["bodyparts"] + [name[1] for name in names], ["coords"] + [name[2] for name in names]]
    for number, row in enumerate(values):
        lines.append(
            [str(index[number] if index is not None else number)] + ["" if np.isnan(v) else repr(float(v)) for v in row]
        )
    path.write_text(("\ufeff" if bom else "") + "\n".join(",".join(line) for line in lines) + "\n" + end)
    return path


@pytest.fixture
def values() -> np.ndarray:
    return np.random.default_rng(0).random((5, 9)).round(3)


def test_three_header_rows_in_the_order_asked(tmp_path, values):
    path = write(tmp_path / "a.csv", ["tail_base", "mouth", "ear"], values)
    track = read_track(path, ("mouth", "tail_base"))
    assert track.points == ("mouth", "tail_base")
    np.testing.assert_allclose(track.xyl, np.stack([values[:, 3:6], values[:, 0:3]], 1), rtol=1e-6)
    assert track.xyl.dtype == np.float32


def test_four_header_rows_pick_one_animal(tmp_path):
    values = np.arange(24.0).reshape(2, 12)
    path = write(tmp_path / "a.csv", ["mouth", "tail"], values, animals=["one", "two"])
    np.testing.assert_array_equal(read_track(path, ("tail", "mouth"), individual="two").xyl[0], [[9, 10, 11], [6, 7, 8]])
    with pytest.raises(ValueError, match="holds the animals one, two; pick one with --individual"):
        read_track(path, ("mouth",))
    with pytest.raises(ValueError, match="no animal 'three'; it holds one, two"):
        read_track(path, ("mouth",), individual="three")


def test_a_single_animal_needs_no_name(tmp_path):
    path = write(tmp_path / "a.csv", ["mouth"], np.ones((2, 3)), animals=["only"])
    np.testing.assert_array_equal(read_track(path, ("mouth",)).xyl, np.ones((2, 1, 3)))


def test_blanks_are_not_labelled(tmp_path, values):
    values[1, 3], values[2, 5] = np.nan, np.nan
    track = read_track(write(tmp_path / "a.csv", ["a", "b", "c"], values), ("b",)).xyl
    assert np.isnan(track[1, 0, :2]).all()
    assert track[1, 0, 2] == 0
    np.testing.assert_allclose(track[2, 0], [values[2, 3], values[2, 4], 0], rtol=1e-6)
    assert (track[[0, 3, 4], 0, 2] > 0).all()


def test_no_likelihood_column_is_certain(tmp_path):
    values = np.array([[1.0, 2, 3, 4], [np.nan, np.nan, 5, 6]])
    track = read_track(write(tmp_path / "a.csv", ["a", "b"], values, likelihood=False), ("a", "b")).xyl
    np.testing.assert_array_equal(track[:, :, 2], [[1, 1], [0, 1]])


@pytest.mark.parametrize(
    ("asked", "held"),
    [
        ("nose", "mouth"),
        ("mouth", "snout"),
        ("R_frontpaw", "right_front_paw"),
        ("left_hind_paw", "L_hindpaw"),
        ("tail_base", "TailBase"),
        ("Mouth", "mouth"),
    ],
)
def test_aliases_work_both_ways(asked, held):
    assert find_point(asked, ["other", held]) == held
    assert find_point(held, ["other", asked]) == asked


def test_the_exact_name_wins_and_two_aliases_are_a_question():
    assert find_point("mouth", ["nose", "mouth", "snout"]) == "mouth"
    with pytest.raises(ValueError, match="nose, snout all mean mouth"):
        find_point("mouth", ["nose", "snout"])


@pytest.mark.parametrize("held", ["tail_tip", "tail", "mouth1", "L_frontpaw_tip", "paw"])
def test_a_part_of_a_name_is_not_the_name(held):
    assert all(find_point(asked, [held]) is None for asked in MOUSE_POINTS)


def test_a_scorer_that_holds_a_part_name_is_no_point(tmp_path, values):
    path = write(tmp_path / "a.csv", ["a", "b", "mouth"], values, scorer="mouth_tail_base_x")
    np.testing.assert_allclose(read_track(path, ("mouth",)).xyl[:, 0], values[:, 6:9], rtol=1e-6)
    with pytest.raises(ValueError, match="no body part 'tail_base'; the file has a, b, mouth"):
        read_track(path, ("tail_base",))


def test_a_byte_order_mark_and_blank_lines_do_no_harm(tmp_path, values):
    path = write(tmp_path / "a.csv", ["a", "b", "c"], values, bom=True, end="\n\n")
    assert read_track(path, ("a",)).xyl.shape == (5, 1, 3)


@pytest.mark.parametrize(
    ("index", "told"),
    [
        ([0, 1, 3, 4, 5], "row 3 is frame 3, frame 2 was expected"),
        ([1, 2, 3, 4, 5], "row 1 is frame 1"),
        ([0, 1, 1, 2, 3], "row 3 is frame 1"),
    ],
)
def test_missing_frames_are_told(tmp_path, values, index, told):
    with pytest.raises(ValueError, match=told):
        read_track(write(tmp_path / "a.csv", ["a", "b", "c"], values, index=index), ("a",))


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("Frame,x\n0,1\n", "not a DeepLabCut file"),
        ("", "not a DeepLabCut file"),
        ("scorer,s,s\nbodyparts,a,a\ncoords,x,y\n", "holds no coordinates"),
        ("scorer,s,s\nbodyparts,a,a\ncoords,x,y\n0,1\n", "row 1 has 2 cells, the header 3"),
        ("scorer,s,s\nbodyparts,a,a\ncoords,x,y\n0,1,oops\n", "row 1: 'oops' is not a number"),
    ],
)
def test_what_is_no_track_is_told(tmp_path, text, told):
    (tmp_path / "a.csv").write_text(text)
    with pytest.raises(ValueError, match=told):
        read_track(tmp_path / "a.csv", ("a",))


def test_body_length_by_hand():
    xyl = np.zeros((5, 3, 3), np.float32)
    xyl[:, 1, 0], xyl[:, 2, 1], xyl[..., 2] = 3, 4, 1  # a right triangle of sides 3, 4, 5
    assert body_length(xyl) == pytest.approx(5)
    xyl[4, 2, :2] = 1000  # one jump of five frames
    assert body_length(xyl) == pytest.approx(5)
    xyl[:, 2, 2] = 0.1  # unseen: the pair at distance 3 is left
    assert body_length(xyl) == pytest.approx(3)
    xyl[..., 2] = 0
    assert np.isnan(body_length(xyl))


def test_the_real_track_jumps_where_trials_begin(shared_data):
    path = next((shared_data / "mouse_pain_real").glob("*DLC_*.csv"))
    xyl = read_track(path, MOUSE_POINTS).xyl
    assert xyl.shape == (1080, 6, 3)
    step = np.linalg.norm(np.diff(xyl[:, MOUSE_POINTS.index("tail_base"), :2], axis=0), axis=-1)
    assert np.flatnonzero(step > 50).tolist() == [359]  # the only such step of the tail: row 360
    mouth = np.linalg.norm(np.diff(xyl[:, 0, :2], axis=0), axis=-1)
    assert mouth[[359, 719]] == pytest.approx([191, 208], abs=1)
    raw = np.loadtxt(path, delimiter=",", skiprows=3)
    np.testing.assert_allclose(xyl[:, 1], raw[:, 16:19], rtol=1e-6)  # tail_base is the file's last point


def test_real_hand_labels_with_blanks_and_image_names(shared_data):
    path = shared_data / "mirror_mouse" / "CollectedData.csv"
    xyl = read_track(path, ("nose_bot", "paw1LH_top")).xyl
    assert xyl.shape == (len(path.read_text().splitlines()) - 3, 2, 3)
    assert xyl[-1, 1, 2] == xyl[-2, 1, 2] == 0  # blank in the file's last two rows
    seen = xyl[..., 2] == 1
    assert (np.isfinite(xyl[..., 0]) == seen).all()
    assert seen.any(0).all()


def test_h5_is_the_csv(shared_data):
    pytest.importorskip("tables", reason="the h5 extra is not installed")
    folder = shared_data / "mouse_pain_real"
    one, two = (read_track(next(folder.glob(f"*DLC_*.{kind}")), MOUSE_POINTS).xyl for kind in ("h5", "csv"))
    np.testing.assert_array_equal(one, two)
