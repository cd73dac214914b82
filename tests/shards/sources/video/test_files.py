"""Which files of a folder are recordings."""

import pytest

from tarpon.shards.sources.video.files import SUFFIXES, find_videos


def touch(folder, *names):
    for name in names:
        (folder / name).write_text("")


def names(found):
    used, unused = found
    return [path.name for path in used], sorted(fault.file for fault in unused)


def test_every_container_in_any_letter_case(tmp_path):
    taken = [f"{number}{suffix.upper() if number % 2 else suffix}" for number, suffix in enumerate(SUFFIXES)]
    touch(tmp_path, *taken, "._0.mp4", ".hidden.avi", "notes.txt", "0DLC_x.csv")
    (tmp_path / "folder.mp4").mkdir()
    assert names(find_videos(tmp_path)) == (sorted(taken), [])


@pytest.mark.parametrize(
    "rendering",
    [
        "mDLC_resnet50_openfieldshuffle1_100_labeled.mp4",
        "mDLC_resnet50_openfieldshuffle1_100_p60_labeled.mp4",
        "mDLC_resnet50_openfieldshuffle1_100_filtered_labeled.MP4",
        "mDLC_dlcrnetms5_shuffle1_el_filtered_id_labeled.avi",
        "mDLC_dlcrnetms5_shuffle1_100_idlabeled.mp4",
        "mDLC_dlcrnetms5_shuffle1_100_bp_labeled.mp4",
        "mDLC_dlcrnetms5_shuffle1_100_full.mp4",
        "mDeepCut_resnet50_reachingshuffle1_100_labeled.mp4",
        "elsewhere_labeled.webm",
    ],
)
def test_a_rendering_of_deeplabcut_is_no_recording(tmp_path, rendering):
    touch(tmp_path, "m.mp4", rendering)
    used, unused = find_videos(tmp_path)
    assert [path.name for path in used] == ["m.mp4"]
    assert [(fault.file, "rendering" in fault.reason) for fault in unused] == [(rendering, True)]


def test_names_that_only_look_like_renderings_are_recordings(tmp_path):
    taken = ["m_unlabeled.mp4", "labeled_mouse.mp4", "m2DLC_project_raw.mp4", "m2D.mp4"]
    touch(tmp_path, *taken)
    assert names(find_videos(tmp_path)) == (sorted(taken), [])


def test_what_is_not_used_is_told_with_the_reason(tmp_path):
    touch(tmp_path, "a.flv", "b.mp4", "b.avi", "c.seq")
    used, unused = find_videos(tmp_path)
    assert used == []
    told = {fault.file: fault.reason for fault in unused}
    assert set(told) == {"a.flv", "b.avi", "b.mp4", "c.seq"}
    assert ".flv files are not read" in told["a.flv"]
    assert "b.avi, b.mp4 share the stem b" in told["b.avi"]
    with pytest.raises(ValueError, match="no such folder"):
        find_videos(tmp_path / "gone")
