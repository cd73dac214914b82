"""A star folder: the depth tells the layout, days the sessions; what does not fit is told, and no identity is cut wrongly."""

import io
from collections import defaultdict
from collections.abc import Iterable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from tarpon.shards.manifest import Manifest
from tarpon.shards.pack import Packing, pack
from tarpon.shards.quarantine import Fault
from tarpon.shards.reader import Reader
from tarpon.shards.sources.star import reid
from tarpon.shards.sources.star import source as star
from tarpon.shards.sources.star.source import StarSource


def jpeg(seed: int, *, size=(24, 16), form="JPEG", **options) -> bytes:
    buffer = io.BytesIO()
    Image.fromarray(np.random.default_rng(seed).integers(0, 255, (*size[::-1], 3), np.uint8)).save(buffer, form, **options)
    return buffer.getvalue()


def write(root: Path, names: Iterable[str]) -> Path:
    """A picture of its own under every name."""
    for number, name in enumerate(names):
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_bytes(jpeg(number, form="PNG" if name.lower().endswith("png") else "JPEG"))
    return root


def packed(root: Path, out: Path, source: StarSource | None = None, **options) -> tuple[Manifest, list[Fault]]:
    source = source or StarSource()
    found = star.scan(root, source, **options)
    with ThreadPoolExecutor(1) as pool:
        packing = Packing(out=out, split=(0.8, 0, 0.2), given=("test",) if source.split == "given" else ())
        return pack(star.STAR, found, options=source, packing=packing, executor=pool, progress=False)


def listed(found: reid.ReidScan) -> dict[str, dict]:
    return {row["source"]: row for unit in found.units for row in unit.rows.to_pylist()}


def told(faults: list[Fault]) -> dict[str, list[str]]:
    reasons = defaultdict(list)
    for fault in faults:
        reasons[fault.file].append(fault.reason)
    return dict(reasons)


TREE = (
    "PWS/s1/3_23_2022_am/a.JPG", "PWS/s1/3_23_2022_pm/b.png", "PWS/s1/2022-05-01/c.jpeg", "PWS/s1/6_2_2023/d.jpg",
    "PWS/s2/5_1_2022/a.jpg", "CAMA/s1/5_1_2022/a.jpg", "CAMA/s1/PWS_2023_JU/b.jpg", "CAMA/s1/shore/c.jpg",
)  # fmt: skip


def test_the_tree_with_data_sets(tmp_path):
    found = star.scan(write(tmp_path / "star_dataset", TREE), StarSource())
    rows = listed(found)
    assert found.faults == []
    assert set(rows) == set(TREE)
    assert {row["identity"] for row in rows.values()} == {"PWS__s1", "PWS__s2", "CAMA__s1"}
    assert rows[TREE[0]]["session"] == rows[TREE[1]]["session"] == "2022-03-23"  # two folders of a day are one session
    assert rows[TREE[0]]["group"] == rows[TREE[1]]["group"] == "PWS__s1|2022-03-23"
    assert [rows[name]["split"] for name in TREE] == ["train", "train", "val", "test", "train", "train", "train", "train"]
    assert [rows[name]["distractor"] for name in TREE] == [False] * 4 + [True] * 4
    assert rows[TREE[6]]["session"] == "undated:PWS_2023_JU"
    assert rows[TREE[3]]["outing"] == "PWS/s1/6_2_2023"
    assert found.undated == ("CAMA/s1/PWS_2023_JU",)
    assert "2 pictures in 2 folders are undated" in found.notes
    assert found.stars


def test_the_tree_of_one_data_set_and_pictures_of_another_depth(tmp_path):
    root = write(tmp_path / "FHL", ["s1/3_23_2022/a.jpg", "s1/3_24_2022/a.jpg", "s2/3_23_2022/x.jpg", "s1/loose.jpg",
                                    "s1/3_23_2022/deep/b.jpg", ".thumbs/a/b.jpg", "s1/3_23_2022/._a.jpg"])  # fmt: skip
    (root / "readme.txt").write_text("x")
    (root / "s1/3_23_2022/notes.txt").write_text("x")
    found = star.scan(root, StarSource())
    assert {row["identity"] for row in listed(found).values()} == {"FHL__s1", "FHL__s2"}
    assert {row["dataset"] for row in listed(found).values()} == {"FHL"}
    assert set(told(found.faults)) == {
        "s1/loose.jpg", "s1/3_23_2022/deep/b.jpg", "s1/3_23_2022/notes.txt", "s1/3_23_2022/._a.jpg",
    }  # fmt: skip
    assert "begins with a dot" in told(found.faults)["s1/3_23_2022/._a.jpg"][0]
    assert "read as <individual>/<outing>/<image>, data set FHL" in found.notes


def test_a_file_of_days_wins_over_names(tmp_path):
    root = write(tmp_path / "stars", TREE)
    days = tmp_path / "days.csv"
    days.write_text("folder,date\nPWS_2023_JU,2023-07-15\nPWS/s1/6_2_2023,2020-01-01\nnowhere,2020-01-01\n")
    found = star.scan(root, StarSource(), dates=days)
    rows = listed(found)
    assert rows[TREE[6]]["date"] == "2023-07-15"
    assert rows[TREE[6]]["split"] == "test"
    assert rows[TREE[3]]["split"] == "train"  # the earliest day now
    assert found.undated == ()
    assert told(found.faults) == {"days.csv": ["no pictures in a folder nowhere"]}


def test_copies_under_two_identities_are_all_left_out(tmp_path):
    root = write(tmp_path / "stars", TREE)
    for name in ("PWS/s2/5_1_2022/copy.jpg", "CAMA/s1/5_1_2022/copy.jpg"):
        (root / name).write_bytes(jpeg(99))
    for name in ("PWS/s1/6_2_2023/again.jpg", "PWS/s1/3_23_2022_am/first.jpg"):
        (root / name).write_bytes(jpeg(98))
    found = star.scan(root, StarSource())
    assert told(found.faults) == {
        "PWS/s2/5_1_2022/copy.jpg": ["the same picture is there under another identity"],
        "CAMA/s1/5_1_2022/copy.jpg": ["the same picture is there under another identity"],
        "PWS/s1/6_2_2023/again.jpg": ["the same picture as another one of this identity"],
    }
    assert "PWS/s1/3_23_2022_am/first.jpg" in listed(found)


def test_what_is_stored_and_what_the_quarantine_takes_away(tmp_path):
    root = write(tmp_path / "stars", TREE)
    exif = Image.Exif()
    exif[0x0112] = 6
    (root / TREE[0]).write_bytes(jpeg(0, size=(900, 600), exif=exif))
    clear = Image.new("RGBA", (20, 20), (255, 0, 0, 255))
    clear.paste((0, 0, 0, 0), (0, 0, 10, 20))
    clear.save(root / TREE[1])
    for name in (TREE[2], "PWS/s3/5_1_2022/a.jpg"):
        (root / name).parent.mkdir(exist_ok=True, parents=True)
        (root / name).write_bytes(b"no picture")
    (root / "PWS/s3/5_2_2022").mkdir()
    (root / "PWS/s3/5_2_2022/b.jpg").write_bytes(jpeg(77))
    manifest, faults = packed(root, tmp_path / "out")
    assert set(told(faults)) == {TREE[2], "PWS/s3/5_1_2022/a.jpg"}
    rows = {row["source"]: (i, row) for i, row in enumerate(manifest.table.to_pylist())}
    reader = Reader(manifest)
    assert (rows[TREE[0]][1]["width"], rows[TREE[0]][1]["height"]) == (413, 620)
    with Image.open(io.BytesIO(reader.read(rows[TREE[1]][0], "jpg"))) as picture:
        assert np.asarray(picture)[:, :8].max() < 20  # clear parts are black
    assert reader.read(rows[TREE[3]][0], "jpg") == (root / TREE[3]).read_bytes()
    assert rows["PWS/s3/5_2_2022/b.jpg"][1]["split"] == "train"  # its only other day is lost: nothing could be found
    assert len({row["key"] for _, row in rows.values()}) == len(rows)
    card = manifest.card
    assert (card["identities"], card["evaluable"], card["stars"]) == (4, {"val": 0, "test": 1}, True)
    assert any("validated" in line for line in card["warnings"])


def test_another_packing_gives_the_same_bytes(tmp_path):
    root = write(tmp_path / "stars", TREE)
    first, second = (packed(root, tmp_path / name)[0] for name in ("one", "two"))
    assert first.table.equals(second.table)
    for path in (tmp_path / "one").glob("shard-*"):
        assert path.read_bytes() == (tmp_path / "two" / path.name).read_bytes()


def test_open_set_identities_are_tested_whole(tmp_path):
    names = [f"D/s{i}/{day}_1_2022/a.jpg" for i in range(6) for day in (1, 2, 3)] + [
        "D/s0/1_1_2022_b/u.jpg",
        "D/solo/1_1_2022/a.jpg",
    ]
    found = star.scan(write(tmp_path / "stars", names), StarSource(open_set=0.34), rule="month_first")
    where = defaultdict(set)
    for row in listed(found).values():
        where[row["identity"], row["novel"]].add(row["split"])
    assert [parts for (_, novel), parts in where.items() if novel] == [{"test"}] * 2
    assert [parts for (name, novel), parts in where.items() if not novel and name != "D__solo"] == [
        {"train", "val", "test"}
    ] * 4


def test_the_days_of_a_set_that_writes_the_day_first(tmp_path):
    names = ["EU/s1/3_5_2024/a.jpg", "EU/s1/13_4_2024/a.jpg", "EU/s1/1_7_2024/a.jpg"]
    found = star.scan(write(tmp_path / "stars", names), StarSource())
    rows = listed(found)
    assert [rows[name]["date"] for name in names] == ["2024-05-03", "2024-04-13", "2024-07-01"]
    assert [rows[name]["split"] for name in names] == ["val", "train", "test"]
    assert "dates of EU are read day first: '13_4_2024' can be nothing else" in found.notes


def test_a_set_whose_days_may_be_months_is_asked_about(tmp_path):
    root = write(tmp_path / "stars", ["EU/s1/3_5_2024/a.jpg", "EU/s1/4_2_2024/a.jpg"])
    with pytest.raises(ValueError, match="--dates month_first or --dates day_first"):
        star.scan(root, StarSource())
    days = tmp_path / "days.csv"
    days.write_text("folder,date\n4_2_2024,14.2.2024\n")  # its dates are of the same set
    ways = (({"rule": "day_first"}, "2024-05-03"), ({"rule": "month_first"}, "2024-03-05"), ({"dates": days}, "2024-05-03"))
    for options, want in ways:
        assert listed(star.scan(root, StarSource(), **options))["EU/s1/3_5_2024/a.jpg"]["date"] == want


def test_days_that_the_chosen_rule_does_not_read_are_undated_and_listed(tmp_path):
    names = ["EU/s1/3_5_2024/a.jpg", "EU/s1/13_4_2024/a.jpg", "EU/s1/4_30_2024/a.jpg"]
    found = star.scan(write(tmp_path / "stars", names), StarSource(), rule="day_first")
    assert listed(found)[names[2]]["date"] == ""
    assert found.undated == ("EU/s1/4_30_2024",)


CSV = """identity,path,dataset,split,date
PWS__s1,PWS/s1/x/a.jpg,PWS,train,1/5/2022
PWS__s1,PWS/s1/x/b.jpg,PWS,train,10/2/2021
PWS__s1,PWS/s1/x/c.jpg,PWS,train,9/13/2021
PWS__s1,PWS/s1/x/d.jpg,PWS,test,2021-01-01
PWS__s2,PWS/s2/y/a.jpg,PWS,test,
PWS__s2,PWS/s2/y/b.jpg,PWS,gallery,
"""


def test_metadata_by_days_and_as_given(tmp_path):
    root = write(
        tmp_path / "stars", [f"PWS/{name}.jpg" for name in ("s1/x/a", "s1/x/b", "s1/x/c", "s1/x/d", "s2/y/a", "s2/y/b")]
    )
    table = root / "metadata.csv"
    table.write_text(CSV)
    found = star.scan(root, StarSource(), metadata=table)
    splits = {source: row["split"] for source, row in listed(found).items()}
    assert [splits[f"PWS/s1/x/{name}.jpg"] for name in "abcd"] == ["test", "val", "train", "train"]  # in time, not as text
    assert "the split column of metadata.csv is not used; --split given uses it" in found.notes
    found = star.scan(root, StarSource(split="given"), metadata=table)
    rows = listed(found)
    assert [rows[f"PWS/s1/x/{name}.jpg"]["split"] for name in "abcd"] == ["val", "train", "train", "test"]
    assert (rows["PWS/s2/y/a.jpg"]["split"], rows["PWS/s2/y/a.jpg"]["novel"]) == ("test", True)
    assert told(found.faults) == {"PWS/s2/y/b.jpg": ["split 'gallery' is not train, val, test"]}


def test_a_given_split_that_cuts_a_session_is_told(tmp_path):
    root = write(tmp_path / "stars", ["s1/x/a.jpg", "s1/x/b.jpg"])
    (root / "m.csv").write_text("identity,path,split\ns1,s1/x/a.jpg,train\ns1,s1/x/b.jpg,test\n")
    manifest, faults = packed(root, tmp_path / "out", StarSource(split="given"), metadata=root / "m.csv")
    assert faults == []
    assert set(manifest.table["identity"].to_pylist()) == {"stars__s1"}
    assert any("1 sessions are in test and in train" in line for line in manifest.card["warnings"])


@pytest.mark.parametrize(("options", "part"), [
    ({"split": "random"}, "temporal or given"),
    ({"train_ratio": 1.0}, "train_ratio=1.0"),
    ({"min_sessions": 1}, "min_sessions=1"),
    ({"open_set": 1.0}, "open_set=1.0"),
    ({"longest_side": 8}, "longest_side=8"),
])  # fmt: skip
def test_options_that_make_no_sense(options, part):
    with pytest.raises(ValueError, match=part):
        StarSource(**options)


def test_nothing_and_nowhere(tmp_path):
    with pytest.raises(ValueError, match="no such folder"):
        star.scan(tmp_path / "none", StarSource())
    with pytest.raises(ValueError, match="--metadata"):
        star.scan(tmp_path, StarSource(split="given"))
    assert star.scan(tmp_path, StarSource()).units == []
