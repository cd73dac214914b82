"""Files of predictions: one or a set, in order, whole or refused."""

import pytest

from tarpon.train.prediction_files import list_shares, remove_others, share_path


def write(path, places):
    for place in range(places):
        share_path(path, place=place, places=places).write_text(f"{place}")


def test_one_process_writes_the_file_itself(tmp_path):
    path = tmp_path / "val.npz"
    assert list_shares(path) == list_shares(tmp_path / "no folder" / "val.npz") == []
    write(path, 1)
    assert list_shares(path) == [path]
    assert path.read_text() == "0"


def test_a_set_is_read_in_the_order_of_the_processes_and_only_whole(tmp_path):
    path = tmp_path / "val.npz"
    write(path, 12)
    write(tmp_path / "val-2.npz", 3)  # of another split
    (tmp_path / "val-00001-of-00002.npz.draft").touch()
    assert [file.read_text() for file in list_shares(path)] == [str(place) for place in range(12)]
    (tmp_path / "val-00004-of-00012.npz").unlink()
    with pytest.raises(ValueError, match=r"val-00004-of-00012\.npz: missing, one of 12 files"):
        list_shares(path)


@pytest.mark.parametrize("now", [1, 2, 3])
@pytest.mark.parametrize("before", [1, 2, 3])
def test_what_another_number_of_processes_left_goes(tmp_path, before, now):
    path, other = tmp_path / "val.npz", tmp_path / "test.npz"
    write(other, 2)
    write(path, before)
    write(path, now)
    remove_others(path, places=now)
    assert list_shares(path) == [share_path(path, place=place, places=now) for place in range(now)]
    assert len(list(tmp_path.iterdir())) == now + 2
