"""The metadata of a re-identification data set: relative paths, every line a row or a fault."""

from pathlib import Path

import pytest

from tarpon.shards.sources.star.rows import match_files, read_rows


def read(folder: Path, text: str, needed=("identity",)):
    (folder / "metadata.csv").write_text(text, encoding="utf-8")
    return read_rows(folder / "metadata.csv", root=folder, needed=needed)


def test_either_way_of_telling_the_path(tmp_path):
    rows, columns, faults = read(tmp_path, "\ufeffidentity,path\n a ,./x//1.jpg\nb,y\\2.jpg\n")
    assert faults == []
    assert columns == {"identity", "path"}
    assert rows == [
        {"identity": "a", "path": "x/1.jpg", "line": "2"}, {"identity": "b", "path": "y/2.jpg", "line": "3"}
    ]  # fmt: skip
    rows, _, _ = read(tmp_path, ",identity,folder,filename,date\n0,a,x/y,1.jpg,NaN\n")
    assert (rows[0]["path"], rows[0]["date"]) == ("x/y/1.jpg", "")


def test_a_wrong_line_is_a_fault_and_later_lines_keep_their_numbers(tmp_path):
    lines = ["a,1.jpg,train", "b,2.jpg", "c,3.jpg,train,more", ",4.jpg,train", "nan,5.jpg,test", "e,,test", "f,../6.jpg,test"]
    rows, _, faults = read(tmp_path, "\n".join(["identity,path,split", *lines]))
    assert [row["identity"] for row in rows] == ["a"]
    assert [(fault.row, fault.reason.split()[0]) for fault in faults] == [
        (3, "another"), (4, "another"), (5, "identity"), (6, "identity"), (7, "path"), (8, "the")
    ]  # fmt: skip


@pytest.mark.parametrize(("path", "front"), [
    ("/home/lab/DATA/x/1.jpg", "/home/lab/DATA/"),
    ("C:\\stars\\DATA\\x\\1.jpg", "C:/stars/DATA/"),
    ("/elsewhere/x/1.jpg", "/elsewhere/x/"),
])  # fmt: skip
def test_an_absolute_path_is_refused_with_what_to_cut_off(tmp_path, path, front):
    root = tmp_path / "DATA"
    root.mkdir()
    with pytest.raises(ValueError, match=r"metadata\.csv:3: path .* is absolute") as told:
        read(root, f"identity,path\na,x/0.jpg\nb,{path}\n")
    assert repr(front) in str(told.value)
    assert "\n" not in str(told.value)


@pytest.mark.parametrize(("text", "part"), [
    ("path,split\n1.jpg,train\n", "no column identity; it has path, split"),
    ("identity,folder\na,x\n", r"no column path \(or folder and filename\)"),
    ("", "it has nothing"),
])  # fmt: skip
def test_missing_columns_are_named(tmp_path, text, part):
    with pytest.raises(ValueError, match=part):
        read(tmp_path, text)


def test_no_file_and_no_utf8(tmp_path):
    with pytest.raises(ValueError, match="no such file"):
        read_rows(tmp_path / "none.csv", root=tmp_path, needed=("identity",))
    (tmp_path / "metadata.csv").write_bytes(b"identity,path\nn\xe9,1.jpg\n")
    with pytest.raises(ValueError, match="not a CSV in UTF-8"):
        read_rows(tmp_path / "metadata.csv", root=tmp_path, needed=("identity",))


def test_rows_meet_their_files(tmp_path):
    (tmp_path / "b.jpg").write_bytes(b"123")
    (tmp_path / "a.jpg").write_bytes(b"1")
    rows, _, _ = read(tmp_path, "identity,path\nx,b.jpg\nx,a.jpg\ny,c.jpg\ny,d.jpg\nz,d.jpg\n")
    found, faults = match_files(rows, root=tmp_path)
    assert [(row["path"], row["bytes"]) for row in found] == [("a.jpg", 1), ("b.jpg", 3)]
    assert [(fault.file, fault.row, fault.reason) for fault in faults] == [
        ("c.jpg", 4, "a row without an image"),
        ("d.jpg", 5, "more than one row for this image"),
        ("d.jpg", 6, "more than one row for this image"),
    ]
