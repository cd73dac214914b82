"""The review sheet: the hardest photographs in order, each match called what it is, in a file that stands alone."""

import base64
import html
import io
import re
from dataclasses import replace

import numpy as np
import pytest
from PIL import Image

from tarpon.tools.star import report, review
from tarpon.train.tasks.star.metrics.embeddings import GALLERY, QUERY, EmbeddingRows, search_split
from tarpon.train.tasks.star.metrics.search_options import SearchOptions

ANGLES = {  # degrees on the circle, by what a row is: (identity, role, angle)
    "gallery": (("D__a", 0), ("D__b", 20), ("D__c<i>", 50), ("D__a", 170)),
    "query": (("D__a", 2), ("D__b", 48), ("D__c<i>", 1), ("D__z", 3)),
}


def hand_made():
    """Four photographs asked of four: a is found at once, b second, c third, z never."""
    listed = [(name, role, angle) for role, key in ((GALLERY, "gallery"), (QUERY, "query")) for name, angle in ANGLES[key]]
    turn = np.deg2rad([angle for _, _, angle in listed])
    identity = np.array([name for name, _, _ in listed])
    rows = EmbeddingRows(
        protocol="q < g",
        row=np.arange(len(listed)),
        key=np.array([f"k{i}" for i in range(len(listed))]),
        identity=identity,
        outing=np.array([f"D/{name}/day & {i}" for i, name in enumerate(identity)]),
        dataset=np.full(len(listed), "D"),
        role=np.array([role for _, role, _ in listed], np.int8),
        embedding=np.stack([np.cos(turn), np.sin(turn)], 1).astype(np.float32),
    )
    return search_split(rows, SearchOptions(top=20))


def tiles(path):
    """Rows of the sheet: (title, [(class, head, lines, whether there is a picture)])."""
    rows = []
    for row in path.read_text().split('<div class="row">')[1:]:
        title = html.unescape(re.sub(r"<[^>]+>", "", re.search(r"<h3>(.*?)</h3>", row)[1]))
        found = re.findall(r'<div class="tile (\w+)" title="[^"]*">(<img[^>]*>)?<b>(.*?)</b>(.*?)</div>', row)
        told = [(kind, head, re.findall(r"<i>(.*?)</i>", rest), bool(seen)) for kind, seen, head, rest in found]
        rows.append((title, told))
    return rows


def test_the_latest_found_come_first_and_those_never_found_are_left_out():
    found = hand_made()
    assert found.plain.first_rank.tolist() == [1, 2, 3, 0]
    assert review.find_hardest(found, count=40) == [2, 1, 0]
    assert review.find_hardest(found, count=2) == [2, 1]


def test_of_those_found_alike_the_lowest_precision_comes_first():
    found = hand_made()
    alike = replace(found.plain, first_rank=np.array([2, 2, 2, 0]), average_precision=np.array([0.5, 0.4, 0.6, np.nan]))
    assert review.find_hardest(replace(found, plain=alike), count=3) == [1, 0, 2]


def test_the_first_match_is_the_most_similar_photograph_of_the_own_animal():
    place, similarity = review.find_first_match(hand_made(), 0)
    assert place == 0
    assert similarity == pytest.approx(np.cos(np.deg2rad(2)))


def test_matches_are_called_what_they_are_and_the_first_right_one_is_shown_beyond_them(tmp_path):
    path = tmp_path / "review.html"
    said = review.write_review(path, hand_made(), name="r", split="val", manifest=None, matches=2)
    assert "the 3 hardest of 3 photographs" in said
    assert said.endswith("left out.")
    (title, latest), (_, second), (_, easy) = tiles(path)
    assert title.startswith("1. D__c<i> first right match at rank 3 of 4")
    assert [kind for kind, *_ in latest] == ["asked", "wrong", "wrong", "right"]
    similar = [np.cos(np.deg2rad(angle)) for angle in (1, 19, 49)]
    heads = [f"1. wrong, {similar[0]:.3f}", f"2. wrong, {similar[1]:.3f}", f"first right: rank 3, {similar[2]:.3f}"]
    assert [head for _, head, *_ in latest] == ["asked", *heads]
    assert [kind for kind, *_ in second] == ["asked", "wrong", "right"]
    assert [kind for kind, *_ in easy] == ["asked", "right", "wrong"]


def test_names_are_escaped(tmp_path):
    path = tmp_path / "review.html"
    review.write_review(path, hand_made(), name="<r>", split="val", manifest=None)
    words = path.read_text()
    assert "c<i>" not in words
    assert "c&lt;i&gt;" in words
    assert "day &amp; 2" in words
    assert "Review of &lt;r&gt;" in words
    assert "q &lt; g" in words


@pytest.fixture(scope="module")
def sheet(star_run, tmp_path_factory):
    path = tmp_path_factory.mktemp("sheet") / "review.html"
    found = report.search_run(star_run.folder).found
    review.write_review(path, found, name="r", split="test", manifest=star_run.shards)
    return path, found


def test_every_tile_of_a_run_has_its_small_picture_and_its_day(sheet, star_run):
    path, found = sheet
    rows = tiles(path)
    assert len(rows) == min(review.COUNT, int(found.plain.valid.sum()))
    assert all(seen for _, told in rows for *_, seen in told)
    assert {len(told) for _, told in rows} <= {1 + review.MATCHES, 2 + review.MATCHES}
    queries = review.find_hardest(found, count=review.COUNT)
    for query, (_, told) in zip(queries, rows, strict=True):
        assert told[0][2][1] == star_run.shards.value(found.rows.row[found.query[query]], "date")
    content = re.findall(r'src="data:image/jpeg;base64,([^"]+)"', path.read_text())
    for encoded in content:
        with Image.open(io.BytesIO(base64.b64decode(encoded))) as picture:
            assert max(picture.size) <= review.SIDE
    assert path.stat().st_size < 15 * 2**20
    assert "http" not in path.read_text()


def test_distractors_are_marked_and_no_others(sheet, star_run):
    path, _ = sheet
    table = star_run.shards
    alone = set(table.column("identity")[table.column("distractor")])
    marked = [
        (lines[0].replace("__<wbr>", "__") in alone, "distractor" in lines)
        for _, told in tiles(path)
        for _, _, lines, _ in told
    ]
    assert any(mark for _, mark in marked)
    assert all(truth == mark for truth, mark in marked)


def test_shards_packed_anew_are_not_looked_at(sheet, star_run):
    _, found = sheet
    assert review.match_rows(found, star_run.shards) is not None
    other = star_run.shards.table.slice(1)
    assert review.match_rows(found, replace(star_run.shards, table=other)) is None
