"""Which file is a video's track: every lab's names, the exact stem, one scorer, and what was taken."""

import pytest

from tarpon.shards.sources.mouse.pose_files import find_track

DLC = "scorer,s,s\nbodyparts,a,a\ncoords,x,y\n0,1,2\n"
SLEAP = "track,frame_idx,instance.score,a.x,a.y,a.score\n,0,1,1,2,1\n"


def folder(tmp_path, *names, text=DLC):
    for name in names:
        (tmp_path / name).write_text(text)
    return tmp_path


@pytest.mark.parametrize(
    "name",
    [
        "mDLC_resnet50_projMay7shuffle1_500000.csv",
        "mDLC_x.CSV",
        "mDLC_x.h5",
        "mDeepCut_resnet50_projMay7shuffle1_500000.csv",
        "m_DLC_x.csv",
        "m_superanimal_quadruped_hrnet_w32_fasterrcnn_resnet50_fpn_v2_.csv",
        "mDLC_x_el.h5",
        "mDLC_x_bx.csv",
        "m_eks.csv",
        "m.csv",
        "m.analysis.h5",
        "m.mp4.predictions.analysis.h5",
        "labels.v001.000_m.analysis.h5",
    ],
)
def test_names_of_tracks(tmp_path, name):
    folder(tmp_path, name, "m1DLC_x.csv", "xmDLC_x.csv", "m.2DLC_x.csv", "._mDLC_x.csv", "m.2.analysis.h5", "m.mp4")
    found = find_track("m", tmp_path)
    assert found.path == tmp_path / name
    assert found.remark is None


@pytest.mark.parametrize(
    "name",
    [
        "mDLC_x_skeleton.csv",
        "mDLC_x_meta.pickle",
        "mDLC_x_assemblies.csv",
        "m10DLC_x.csv",
        "m_predictions.csv",
        "m_bouts.csv",
        "mDLC_x_labeled.mp4",
    ],
)
def test_names_of_no_tracks(tmp_path, name):
    found = find_track("m", folder(tmp_path, name))
    assert found.path is None
    assert found.missing
    assert "no pose file mDLC_*.csv" in found.problem


def test_a_table_of_the_videos_own_name_must_be_a_track(tmp_path):
    assert find_track("m", folder(tmp_path, "m.csv", text="Frame,Time\n0,0.0\n")).missing
    assert find_track("m", folder(tmp_path, "m.csv", text=SLEAP)).path == tmp_path / "m.csv"


def test_the_filtered_table_only_when_asked_for(tmp_path):
    folder(
        tmp_path, "mDLC_x.csv", "mDLC_x_filtered.csv", "mDLC_x.h5", "mDLC_x_filtered.h5", "mDLC_x_skeleton.csv", "mDLC_x_el.h5"
    )
    found = find_track("m", tmp_path)
    assert found.path.name == "mDLC_x.csv"
    assert found.remark == "took the unfiltered table and left the others beside it (--track unfiltered|filtered)"
    assert find_track("m", tmp_path, track="filtered").path.name == "mDLC_x_filtered.csv"
    (tmp_path / "mDLC_x_filtered.csv").unlink()
    assert find_track("m", tmp_path, track="filtered").path.name == "mDLC_x_filtered.h5"
    (tmp_path / "mDLC_x_filtered.h5").unlink()
    assert "no filtered pose file" in find_track("m", tmp_path, track="filtered").problem
    with pytest.raises(ValueError, match="unfiltered or filtered"):
        find_track("m", tmp_path, track="best")


def test_a_filtered_table_alone_is_not_taken_in_silence(tmp_path):
    found = find_track("m", folder(tmp_path, "mDLC_x_filtered.csv"))
    assert found.path is None
    assert not found.missing
    assert "only mDLC_x_filtered.csv; take it with --track filtered" in found.problem


def test_two_scorers_are_refused_unless_one_is_named(tmp_path):
    folder(tmp_path, "mDLC_net1.csv", "mDLC_net1_filtered.csv", "mDLC_net2.csv")
    problem = find_track("m", tmp_path).problem
    assert "2 pose files of different scorers" in problem
    assert "mDLC_net2.csv" in problem
    assert find_track("m", tmp_path, scorer="DLC_net2").path.name == "mDLC_net2.csv"
    assert find_track("m", tmp_path, scorer="net1").path.name == "mDLC_net1.csv"
    assert "no pose file of the scorer net3" in find_track("m", tmp_path, scorer="net3").problem


def test_two_trackers_are_refused(tmp_path):
    assert "2 trackers" in find_track("m", folder(tmp_path, "mDLC_x_el.h5", "mDLC_x_sk.h5")).problem


def test_our_own_predictions_are_left_out_unless_named(tmp_path):
    folder(tmp_path, "mDLC_tarpon.csv")
    found = find_track("m", tmp_path)
    assert found.missing
    assert "mDLC_tarpon.csv is Tarpon's own prediction" in found.problem
    assert find_track("m", tmp_path, scorer="DLC_tarpon").path.name == "mDLC_tarpon.csv"
    folder(tmp_path, "mDLC_net.csv")
    assert find_track("m", tmp_path).path.name == "mDLC_net.csv"
    assert find_track("m", tmp_path, scorer="DLC_tarpon").path.name == "mDLC_tarpon.csv"


def test_a_sleap_project_is_named(tmp_path):
    assert (
        "m.mp4.predictions.slp is a SLEAP project: export" in find_track("m", folder(tmp_path, "m.mp4.predictions.slp")).problem
    )
