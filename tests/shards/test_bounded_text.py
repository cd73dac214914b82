"""Small text files that stand for huge ones are refused in one line, before memory is taken."""

import tracemalloc

import pytest

from tarpon.shards.bounded_text import YAML_NODES, check_header, read_yaml


def bomb(levels: int, width: int) -> str:
    lines = ["a0: &a0 [lol, lol]"]
    lines += [f"a{i}: &a{i} [{', '.join([f'*a{i - 1}'] * width)}]" for i in range(1, levels)]
    return "\n".join(lines)


def test_options_are_read(tmp_path):
    path = tmp_path / "a.yaml"
    path.write_text("data: {infected_dir: x}\nbase: &b [1, 2]\nother: *b\n")
    assert read_yaml(path) == {"data": {"infected_dir": "x"}, "base": [1, 2], "other": [1, 2]}
    path.write_text("")
    assert read_yaml(path) is None


@pytest.mark.parametrize(
    ("text", "match"),
    [
        (bomb(9, 9), "aliases stand for"),
        (bomb(30, 9), "aliases stand for"),
        ("a: &a [*a]", r"holds itself|undefined alias"),
        ("[" * 50_000, "not YAML"),
        ("x: " + "y" * 2**20, "more than 1,048,576 bytes"),
        ("!!python/object/apply:os.system [echo]", "not YAML"),
        ("a: [1, 2", "not YAML"),
    ],
    ids=["nine", "thirty", "itself", "deep", "long", "python", "open"],
)
def test_hostile_files_are_refused(tmp_path, text, match):
    path = tmp_path / "a.yaml"
    path.write_text(text)
    tracemalloc.start()
    with pytest.raises(ValueError, match=match) as told:
        read_yaml(path)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert "\n" not in str(told.value)
    assert str(path) in str(told.value)
    assert peak < 200 * 2**20


def test_a_file_just_below_the_limit_is_read(tmp_path):
    path = tmp_path / "a.yaml"
    times = YAML_NODES // 301 - 3
    path.write_text("a: &a [" + ", ".join(["1"] * 300) + "]\nb: [" + ", ".join(["*a"] * times) + "]")
    assert len(read_yaml(path)["b"]) == times


def test_tables_of_absurd_width_are_refused(tmp_path):
    path = tmp_path / "a.csv"
    for text in ("image,Folder\n" + "x" * 2**21, "image,Folder\r" + "x" * 2**21, ""):
        path.write_text(text, newline="")
        check_header(path)  # only the first line tells the columns
    path.write_text("," * 20_000 + "\n")
    with pytest.raises(ValueError, match=r"20,001 columns, 20,000 are read"):
        check_header(path)
    path.write_text("x" * (2**20 + 1))
    with pytest.raises(ValueError, match=r"longer than 1,048,576 bytes"):
        check_header(path)
