"""DeepLabCut files: every header variant, exact names, nothing guessed."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest

from tarpon.shards.sources.mouse.pose_track import read_track


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
    values[:, 2::3] /= 100
    path = write(tmp_path / "a.csv", ["mouth", "tail"], values, animals=["one", "two"])
    np.testing.assert_array_equal(
        read_track(path, ("tail", "mouth"), individual="two").xyl[0], np.float32([[9, 10, 0.11], [6, 7, 0.08]])
    )
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
        ([0, 1, 2, 10**12, 3], "line 7: a frame number of 10000000 or more"),
        ([0, 1, 2, 10**30, 3], "line 7: a frame number of 10000000 or more"),
        ([0, 1, 1, 2, 3], "line 6: frame 1 stands a second time"),
        ([0, 1, 2, 3, -1], "line 8: frame -1 is negative"),
        (["a.png", *range(1, 5)], "line 4: a.png is neither a frame number nor the name of an image with one"),
        (["v/img0.png", "v/img1.png", "w/img2.png", "w/img3.png", "w/img4.png"], "line 6: holds frames of several videos"),
        ([0, 1, "", 3, 4], r"\(blank\) is neither"),
    ],
)
def test_an_index_that_cannot_be_is_told(tmp_path, values, index, told):
    with pytest.raises(ValueError, match=told):
        read_track(write(tmp_path / "a.csv", ["a", "b", "c"], values, index=index), ("a",))


@pytest.mark.parametrize(
    ("index", "frames"),
    [
        ([0, 1, 3, 4, 6], [0, 1, 3, 4, 6]),
        (["labeled-data/v/img00000.png", *(f"labeled-data/v/img{n:05d}.png" for n in (4, 8, 12, 16))], [0, 4, 8, 12, 16]),
        ([f"img{n}.jpg" for n in (4, 2, 0, 1, 3)], [4, 2, 0, 1, 3]),
        (["2.0", "0.0", "1.0", "3.0", "4.0"], [2, 0, 1, 3, 4]),
    ],
)
def test_rows_go_to_the_frames_that_they_name(tmp_path, values, index, frames):
    path = write(tmp_path / "a.csv", ["a", "b", "c"], values, index=index)
    track = read_track(path, ("b",), max_blank=1)
    assert len(track.xyl) == max(frames) + 1
    np.testing.assert_allclose(track.xyl[frames, 0], values[:, 3:6], rtol=1e-6)
    rest = np.setdiff1d(np.arange(len(track.xyl)), frames)
    assert np.isnan(track.xyl[rest, 0, :2]).all()
    assert (track.xyl[rest, 0, 2] == 0).all()
    assert track.frames.tolist() == frames
    assert any("no point" in remark for remark in track.remarks) == bool(len(rest))


def test_image_names_in_three_columns(tmp_path):
    """DeepLabCut's newer tables of labelled frames: folder, video and image each in its own column."""
    lines = ["scorer,,,me,me", "bodyparts,,,a,a", "coords,,,x,y"]
    lines += [f"labeled-data,v,img{n:03d}.png,{n},{10 + n}" for n in (0, 2, 3)]
    (tmp_path / "a.csv").write_text("\n".join(lines))
    xyl = read_track(tmp_path / "a.csv", ("a",)).xyl
    np.testing.assert_array_equal(xyl[[0, 2, 3], 0], [[0, 10, 1], [2, 12, 1], [3, 13, 1]])
    assert xyl[1, 0, 2] == 0


def two_scorers(path: Path, values: np.ndarray) -> Path:
    """Body parts a, b by net1 and again by net2, whose values are larger by 100."""
    write(path, ["a", "b"], values[:, :6], scorer="net1")
    second = write(path.with_suffix(".second"), ["a", "b"], values[:, :6] + [100, 100, 0] * 2, scorer="net2")
    lines = zip(path.read_text().splitlines(), second.read_text().splitlines(), strict=True)
    path.write_text("\n".join(f"{one},{two.split(',', 1)[1]}" for one, two in lines) + "\n")
    return path


def test_two_scorers_are_a_question(tmp_path, values):
    path = two_scorers(tmp_path / "a.csv", values)
    with pytest.raises(ValueError, match="holds the scorers net1, net2; pick one with --scorer"):
        read_track(path, ("a",))
    for scorer, more in (("net1", 0), ("net2", 100)):
        track = read_track(path, ("b",), scorer=scorer)
        np.testing.assert_allclose(track.xyl[:, 0], values[:, 3:6] + [more, more, 0], rtol=1e-6)
        assert track.scorer == scorer
    with pytest.raises(ValueError, match="has no scorer 'net3'; it holds net1, net2"):
        read_track(path, ("a",), scorer="net3")


def test_columns_that_stand_twice_are_refused(tmp_path, values):
    path = write(tmp_path / "a.csv", ["a", "b", "a"], values)
    with pytest.raises(ValueError, match="columns stand twice: a x, a y, a likelihood"):
        read_track(path, ("b",))


def test_a_part_that_no_animal_owns_is_found_beside_the_only_animal(tmp_path):
    lines = ["scorer," + ",".join(["s"] * 4), "individuals,m1,m1,single,single", "bodyparts,a,a,box,box", "coords,x,y,x,y"]
    (tmp_path / "a.csv").write_text("\n".join([*lines, "0,1,2,3,4", "1,5,6,7,8"]))
    np.testing.assert_array_equal(read_track(tmp_path / "a.csv", ("box", "a")).xyl[1, :, :2], [[7, 8], [5, 6]])


@pytest.mark.parametrize("end", ["\n", "\r\n", "\r"])
@pytest.mark.parametrize(("delimiter", "decimal"), [(",", "."), (";", "."), (";", ","), ("\t", ".")])
def test_other_separators_and_line_ends(tmp_path, values, end, delimiter, decimal):
    path = write(tmp_path / "a.csv", ["a", "b", "c"], values)
    text = path.read_text().replace(",", delimiter).replace(".", decimal).replace("\n", end)
    path.write_bytes(text.encode())
    np.testing.assert_allclose(read_track(path, ("c",)).xyl[:, 0], values[:, 6:9], rtol=1e-6)


@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16", "latin-1"])
def test_encodings(tmp_path, values, encoding):
    path = write(tmp_path / "a.CSV", ["mäulchen", "b", "c"], values)
    path.write_bytes(path.read_text().encode(encoding))
    np.testing.assert_allclose(read_track(path, ("mäulchen",)).xyl[:, 0], values[:, :3], rtol=1e-6)


def test_blanks_of_any_spelling_and_rows_of_separators(tmp_path, values):
    """The fast reader does not know a blank of spaces; the slow one takes over and the other values stay."""
    path = write(tmp_path / "a.csv", ["a", "b", "c"], values)
    lines = path.read_text().splitlines()
    for row, blank in enumerate(("NaN", "nan", " ", "NA")):
        cells = lines[3 + row].split(",")
        lines[3 + row] = ",".join([*cells[:1], blank, blank, *cells[3:]])
    path.write_text("\n".join([*lines, "," * 9, ""]))
    xyl = read_track(path, ("a", "b")).xyl
    assert len(xyl) == 5
    assert np.isnan(xyl[:4, 0, 0]).all()
    np.testing.assert_allclose(xyl[:, 1], values[:, 3:6], rtol=1e-6)


EKS_COORDS = (
    "x",
    "y",
    "likelihood",
    "x_ens_median",
    "y_ens_median",
    "x_ens_var",
    "y_ens_var",
    "x_posterior_var",
    "y_posterior_var",
)


@pytest.mark.parametrize("likelihood", [0.0, 0.7])
def test_an_ensembles_other_columns_shift_nothing(tmp_path, likelihood):
    """EKS writes nine coordinates a point; a likelihood of 0 in all rows is what it writes for none."""
    values = np.arange(36.0).reshape(2, 18) + 1
    values[:, [2, 11]] = likelihood
    head = [
        ["scorer", *["ensemble-kalman_tracker"] * 18],
        ["bodyparts", *["a"] * 9, *["b"] * 9],
        ["coords", *EKS_COORDS * 2],
    ]
    rows = [[str(i), *map(str, row)] for i, row in enumerate(values)]
    (tmp_path / "a.csv").write_text("\n".join(",".join(row) for row in [*head, *rows]))
    track = read_track(tmp_path / "a.csv", ("b", "a"))
    np.testing.assert_allclose(track.xyl[..., :2], values[:, [[9, 10], [0, 1]]])
    np.testing.assert_allclose(track.xyl[..., 2], likelihood or 1)
    assert track.software == "EKS"
    assert bool(track.remarks) == (likelihood == 0)


def test_lightning_pose_with_its_column_of_sets(tmp_path, values):
    path = write(tmp_path / "a.csv", ["a", "b", "c"], values, scorer="heatmap_tracker")
    more = ["set", "", "", *["train"] * 5]
    path.write_text("\n".join(f"{line},{cell}" for line, cell in zip(path.read_text().splitlines(), more, strict=True)))
    track = read_track(path, ("a",))
    np.testing.assert_allclose(track.xyl[:, 0], values[:, :3], rtol=1e-6)
    assert track.software == "Lightning Pose"


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("Frame,x\n0,1\n", "not a DeepLabCut file"),
        ("", "not a DeepLabCut file"),
        ("scorer,s,s\nbodyparts,a,a\ncoords,x,y\n", "holds no coordinates"),
        ("scorer,s,s\nbodyparts,a,a\ncoords,x,y\n0,1\n", "line 4: 2 cells, the header has 3"),
        ("scorer,s,s\nbodyparts,a,a\ncoords,x,y\n0,1,oops\n", "line 4: 'oops' is not a number"),
        ("scorer,s,s\nbodyparts,a,a\ncoords,x,y\n0,1,2\n\n1,1,oops\n", "line 6: 'oops' is not a number"),
        ("scorer,s,s,s\nbodyparts,a,a,a\ncoords,x,y,z\n0,1,2,3\n", "points in space"),
        ("scorer,s\nbodyparts,a,a\ncoords,x,y\n0,1,2\n", "header row scorer has 2 cells, coords has 3"),
    ],
)
def test_what_is_no_track_is_told(tmp_path, text, told):
    (tmp_path / "a.csv").write_text(text)
    with pytest.raises(ValueError, match=told):
        read_track(tmp_path / "a.csv", ("a",))


@pytest.mark.parametrize("animals", [None, ["m1"], ["m1", "m2"]])
def test_h5_as_deeplabcut_writes_it(tmp_path, values, animals):
    pd = pytest.importorskip("pandas")
    pytest.importorskip("tables", reason="the h5 extra is not installed")
    levels = [["net"], *([animals] if animals else []), ["a", "b", "c"], ["x", "y", "likelihood"]]
    names = ["scorer", *(["individuals"] if animals else []), "bodyparts", "coords"]
    columns = pd.MultiIndex.from_product(levels, names=names)
    wide = np.concatenate([values + [100 * i, 100 * i, 0] * 3 for i in range(len(animals or [1]))], 1)
    pd.DataFrame(wide, columns=columns).to_hdf(tmp_path / "a.h5", key="df_with_missing")
    if animals and len(animals) > 1:
        with pytest.raises(ValueError, match="holds the animals m1, m2; pick one with --individual"):
            read_track(tmp_path / "a.h5", ("b",))
    name = animals[-1] if animals else None
    xyl = read_track(tmp_path / "a.h5", ("b",), individual=name).xyl
    np.testing.assert_allclose(xyl[:, 0, :2], wide[:, -6:-4], rtol=1e-6)
