"""`tarpon upgrade`: a set of an earlier version gets what it lacks and nothing else changes; lint proves what was written."""

import hashlib
import json
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from tarpon.shards.lazy_manifest import open_lazily
from tarpon.shards.manifest import CARD, SPLITS, open_manifest, write_card, write_manifest
from tarpon.shards.shard_table import BY_SHARD, SHARDS
from tarpon.shards.store import Store
from tarpon.tools.bench.plan_sets import write_set
from tarpon.tools.lint_listing import Listing
from tarpon.tools.lint_shards import check_shard_table, tell_lacking
from tarpon.tools.mouse.bench_plan import PLAN
from tarpon.tools.upgrade import run


@pytest.fixture
def old(tmp_path) -> Path:
    """A set of trials as an earlier version wrote it: a manifest and a card."""
    root = tmp_path / "set"
    write_set(root, PLAN.drawn, rows=60, shards=10)
    return root


def findings(root: Path) -> list[tuple[str, str]]:
    manifest = open_manifest(root)
    told = {"store": Store(root), "tars": {}, "broken": {}, "missing": frozenset()}
    return list(check_shard_table(Listing(manifest=manifest, schema=PLAN.drawn.schema, **told)))


def test_an_old_set_is_opened_by_its_shards_afterwards(old, capsys):
    before = open_manifest(old)
    manifest = (old / "manifest.parquet").read_bytes()
    with pytest.raises(ValueError, match=r"no shards\.parquet here; `tarpon upgrade"):
        open_lazily(old)
    assert findings(old) == []
    assert run(str(old)) == 0
    assert "shards.parquet with 10 shards of 60 samples" in capsys.readouterr().out
    lazy = open_lazily(old, kind="mouse")
    assert lazy.fingerprint() == before.fingerprint() == open_manifest(old).fingerprint()
    assert (old / "manifest.parquet").read_bytes() == manifest
    assert {name: value for name, value in lazy.card.items() if name in before.card and name != "card_sha256"} == {
        name: value for name, value in before.card.items() if name != "card_sha256"
    }
    for split in SPLITS:
        assert (lazy.sum_lists("histogram", split, length=8) == before.sum_lists("histogram", split, length=8)).all()
    assert lazy.count_kinds("codec", "clip_width") == before.count_kinds("codec", "clip_width")
    assert findings(old) == []
    card = (old / CARD).read_bytes()
    assert run(str(old)) == 0
    assert (old / CARD).read_bytes() == card


def test_lint_finds_rows_and_sums_that_are_not_the_manifests(old):
    run(str(old))
    lines, card = pq.read_table(old / SHARDS), json.loads((old / CARD).read_text())
    part = old / "shard-00002.parquet"
    rows = part.read_bytes()
    part.write_bytes(rows[:-1])
    assert [where for where, _ in findings(old)] == ["shard-00002.parquet"]
    part.write_bytes(rows)
    counts = lines["train"].to_pylist()
    changed = lines.set_column(lines.column_names.index("train"), "train", pa.array([counts[0] + 1, *counts[1:]]))
    with Store(old).replace(SHARDS) as draft:
        pq.write_table(changed, draft)
    (found,) = findings(old)
    assert "checksum differs from dataset.json" in found[1]
    card[BY_SHARD]["sha256"] = hashlib.sha256((old / SHARDS).read_bytes()).hexdigest()
    write_card(Store(old), card)
    assert findings(old) == [(SHARDS, "shard-00000.tar: train is 7, the rows come to 6")]


def test_what_is_of_another_manifest_is_not_opened_and_no_finding(old):
    run(str(old))
    manifest = open_manifest(old)
    write_manifest(old, manifest.table.slice(6), manifest.card)
    with pytest.raises(ValueError, match="is of another manifest"):
        open_lazily(old)
    assert findings(old) == []
    run(str(old))
    assert len(open_lazily(old)) == 54


def lacking(root: Path) -> list[str]:
    return tell_lacking(open_manifest(root), PLAN.drawn.schema)


def rewrite(root: Path, lines: pa.Table, **told: object) -> None:
    """Another `shards.parquet` with a card that speaks of it."""
    pq.write_table(lines, root / SHARDS)
    card = open_manifest(root).card
    told |= {"sha256": hashlib.sha256((root / SHARDS).read_bytes()).hexdigest()}
    write_card(Store(root), card | {BY_SHARD: card[BY_SHARD] | told})


def test_lint_says_what_a_set_of_an_earlier_version_lacks_and_no_finding_is_made_of_it(old):
    assert lacking(old) == [f"no shards.parquet, which --plan shards needs; `tarpon upgrade {old}` writes it"]
    run(str(old))
    whole = pq.read_table(old / SHARDS)
    assert lacking(old) == findings(old) == []
    rewrite(old, whole.drop_columns(["val_histogram", "test_histogram"]), kinds={"columns": ["codec"], "counts": []})
    (line,) = lacking(old)
    assert line.startswith("shards.parquet lacks val_histogram, test_histogram, counts of clip_width in the card, counts of ")
    assert line.endswith(f" in the card, which --plan shards needs; `tarpon upgrade {old}` adds them")
    assert findings(old) == []
    run(str(old))
    assert lacking(old) == []
    assert pq.read_table(old / SHARDS).equals(whole)


def test_lint_says_that_shards_parquet_is_of_another_manifest(old):
    run(str(old))
    manifest = open_manifest(old)
    write_manifest(old, manifest.table.slice(6), manifest.card)
    assert lacking(old) == [
        f"shards.parquet is of another manifest, and --plan shards refuses it; `tarpon upgrade {old}` writes it anew"
    ]


def test_a_web_server_is_refused():
    with pytest.raises(ValueError, match="nothing is written to a web server"):
        run("http://127.0.0.1:1/set")
