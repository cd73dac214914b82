"""The synthetic WildlifeReID-10k: real columns, sides that differ, encounters that no split cuts."""

import csv
import hashlib
from collections import defaultdict
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from tarpon.tools.star.demo import wildlife
from tarpon.tools.star.demo.cattle_drawing import cow
from tarpon.tools.star.demo.wildlife_drawing import fluke, tiger, turtle


@pytest.fixture(scope="module")
def made(tmp_path_factory) -> tuple[Path, dict]:
    out = tmp_path_factory.mktemp("wildlife")
    return out, wildlife.write(out, identities=24, images=4, size=64)


def rows(out: Path) -> list[dict]:
    with open(out / "metadata.csv", newline="") as file:
        table = csv.DictReader(file)
        assert table.fieldnames == ["identity", "path", "dataset", "species", "split", "date", "orientation", "cluster_id"]
        return list(table)


def test_rows_and_files_are_the_same(made):
    out, counts = made
    table = rows(out)
    listed = {row["path"] for row in table}
    assert listed == {str(path.relative_to(out)) for path in out.rglob("*.jpg")}
    assert len(listed) == len(table) == counts["images"] == counts["train"] + counts["test"]
    for row in table:
        assert row["identity"].startswith(f"{row['dataset']}_")
        assert row["path"].startswith(f"images/{row['dataset']}/")
        assert row["split"] in ("train", "test")
    for path in sorted(listed)[::7]:
        with Image.open(out / path) as picture:
            picture.load()
            assert 64 * 0.6 < min(picture.size) <= max(picture.size) < 64 * 1.15


def test_what_is_known_differs_by_data_set(made):
    table = rows(made[0])
    known = defaultdict(lambda: defaultdict(set))
    for row in table:
        for column in ("date", "orientation", "cluster_id"):
            known[row["dataset"]][column].add(row[column])
    assert set(known) == {"ATRW", "AmvrakikosTurtles", "HumpbackWhaleID", "SeaStarReID2023"}
    assert known["ATRW"]["orientation"] == {"left", "right"}
    assert known["AmvrakikosTurtles"]["orientation"] == {"top"}
    assert known["HumpbackWhaleID"]["orientation"] == {""}
    assert {name for name, columns in known.items() if columns["cluster_id"] != {""}} == {"ATRW"}
    assert {name for name, columns in known.items() if columns["date"] != {""}} == {"AmvrakikosTurtles", "SeaStarReID2023"}
    assert "" not in known["AmvrakikosTurtles"]["date"]


def met(count: int = 200) -> list[list[wildlife.Encounter]]:
    kind = wildlife.KINDS[0]
    return [wildlife.encounters(kind, 8, np.random.default_rng(seed), first_cluster=0) for seed in range(count)]


def test_every_test_photograph_has_a_match_in_training_of_its_side():
    single = 0
    for seen in met():
        images = sum(encounter.images for encounter in seen)
        single += images == 1
        assert images == 1 or 3 <= images <= 8
        train = [encounter for encounter in seen if not encounter.test]
        assert train
        assert any(encounter.test for encounter in seen) == (images > 1)
        assert {encounter.side for encounter in seen if encounter.test} <= {encounter.side for encounter in train}
        assert [encounter.test for encounter in seen] == sorted(encounter.test for encounter in seen)
    assert 4 < single < 40


def test_dates_and_clusters_lie_in_one_split(made):
    groups = defaultdict(set)
    for row in rows(made[0]):
        group = row["date"] or row["cluster_id"]
        if group:
            groups[row["identity"], group].add(row["split"])
    assert all(len(splits) == 1 for splits in groups.values())
    assert len(groups) > 12


def test_dates_ascend_to_the_test():
    kind = wildlife.KINDS[1]
    for seed in range(40):
        days = [one.day for one in wildlife.encounters(kind, 8, np.random.default_rng(seed), first_cluster=0)]
        assert days == sorted(set(days))


def test_a_tigers_sides_are_not_mirror_images():
    right, left = (tiger(np.random.default_rng((0, side == "left")), side=side, size=80) for side in ("right", "left"))
    same = tiger(np.random.default_rng((0, 1)), side="right", size=80)
    assert np.array_equal(left, same[:, ::-1])
    body = (right[..., 3] > 0.9) & (left[:, ::-1, 3] > 0.9)
    assert body.mean() > 0.1
    assert (np.abs(right - left[:, ::-1])[body][:, :3].max(-1) > 0.3).mean() > 0.15


@pytest.mark.parametrize("draw", [turtle, fluke, cow, lambda rng, *, size: tiger(rng, side="right", size=size)])
def test_individuals_of_a_kind_differ_where_both_are(draw):
    charts = [draw(np.random.default_rng(seed), size=64) for seed in range(4)]
    for a in range(4):
        assert not charts[a][0, :, 3].any()
        assert 0.1 < charts[a][..., 3].mean() < 0.7
        for b in range(a):
            both = (charts[a][..., 3] > 0.9) & (charts[b][..., 3] > 0.9)
            assert (np.abs(charts[a] - charts[b])[both][:, :3].max(-1) > 0.15).mean() > 0.08


def test_fewer_species_leave_the_stars_out(tmp_path):
    made = wildlife.write(tmp_path, species=2, identities=4, images=3, size=64)
    assert set(made["datasets"]) == {"ATRW", "AmvrakikosTurtles"}
    assert made["identities"] == 4


def test_cattle_are_the_fifth_data_set(made, tmp_path):
    more = wildlife.write(tmp_path, identities=30, species=5, images=4, size=64)
    assert list(more["datasets"]) == [*made[1]["datasets"], "AerialCattle2017"]
    told = [row for row in rows(tmp_path) if row["dataset"] == "AerialCattle2017"]
    assert len({row["identity"] for row in told}) == 6
    assert {row["orientation"] + row["date"] + row["cluster_id"] for row in told} == {""}


def test_named_data_sets_are_drawn_alone(tmp_path):
    told = wildlife.write(tmp_path / "a", only=["AerialCattle2017"], identities=4, images=3, size=64)
    assert list(told["datasets"]) == ["AerialCattle2017"]
    assert told["identities"] == 4
    with pytest.raises(ValueError, match="only=Cows: Cows is none of ATRW, "):
        wildlife.write(tmp_path / "b", only=["Cows"], identities=4, images=3, size=64)
    assert not (tmp_path / "b").exists()


def test_coats_of_a_herd_are_of_several_colours():
    """The mean colour of the animals spreads: what is learnt on them must not pass colour over, as with the other kinds."""

    def spread(draw) -> float:
        charts = [draw(np.random.default_rng(seed), size=48) for seed in range(16)]
        return float(np.std([chart[chart[..., 3] > 0.9][:, :3].mean(0) for chart in charts], axis=0).mean())

    assert spread(cow) > 3 * spread(turtle)


def test_the_seed_decides(tmp_path):
    def digest(name: str, **options) -> str:
        wildlife.write(tmp_path / name, identities=8, images=3, size=64, **options)
        paths = sorted(path for path in (tmp_path / name).rglob("*") if path.is_file())
        return hashlib.sha256(b"".join(path.name.encode() + path.read_bytes() for path in paths)).hexdigest()

    first = digest("one")
    assert digest("two") == first
    assert digest("other", seed=1) != first


@pytest.mark.parametrize("wrong", [{"species": 0}, {"species": 6}, {"identities": 7}, {"images": 2}, {"size": 8}])
def test_a_wrong_setting_is_named(tmp_path, wrong):
    with pytest.raises(ValueError, match=f"{next(iter(wrong))}="):
        wildlife.write(tmp_path, **wrong)
    assert not list(tmp_path.iterdir())


def test_an_occupied_folder_is_refused(made):
    with pytest.raises(ValueError, match="choose an empty folder"):
        wildlife.write(made[0])
