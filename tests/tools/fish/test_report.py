"""The page of a fish run: its numbers are those of metrics.json and of hand-counted rows."""

import html
import json
import re

import numpy as np
import pyarrow as pa
import pytest

from tarpon.shards.features import FeatureCache
from tarpon.tools.fish import report
from tarpon.tools.fish.report import SECTIONS_OF_RUN
from tarpon.tools.report import run, write_report
from tarpon.train.tasks.fish.figures import orders
from tarpon.train.tasks.fish.metrics.predictions import AttributeNames, AttributeRows, save_rows
from tarpon.train.tasks.fish.metrics.scores import score

NAMES = AttributeNames(
    families=("Apidae", "Bovidae", "Canidae", "Dodo"),
    orders=("Left", "Right", "Up"),
    habitats=("Tropical", "Polar"),
    feedings=("benthic", "pelagic"),
    tasks=("family", "order", "habitat", "troph", "feeding"),
    family_order=np.array([0, 0, 1, -1]),
    train_images=np.array([200, 40, 5, 0]),
)
SECTIONS = ["Result", "How the split was made", "Training", "Families", "Orders", "Habitats", "Trophic level", "Feeding path"]
SECTIONS += ["Gates", "How the scores are measured", "All metrics", "Configuration and machine"]


def rows_of(*, gates=True, split="test"):
    """Twelve rows: Apidae 6 of 6 right, Bovidae 1 of 3, Canidae 0 of 3 (taken for Apidae twice, for Bovidae once)."""
    count = 12
    known = np.arange(count) > 0
    tropical, polar = np.arange(count) % 2, np.zeros(count, int)
    weights = np.tile(np.array([[0.9, 0.05, 0.05]], np.float32), (count, len(NAMES.tasks), 1))
    return AttributeRows(
        names=NAMES,
        key=np.array([f"{split}-{i}" for i in range(count)]),
        group=np.array([f"species {i // 2}" for i in range(count)]),
        family=np.array([0] * 6 + [1] * 3 + [2] * 3),
        family_pred=np.array([0] * 6 + [1, 0, 0] + [0, 0, 1]),
        family_rank=np.array([0] * 6 + [0, 1, 1] + [1, 1, 3]),
        family_confidence=np.full(count, 0.5, np.float32),
        order=np.array([0] * 9 + [1] * 3),
        order_pred=np.array([0] * 9 + [1, 1, 0]),
        habitat=np.where(known[:, None], np.stack([tropical, polar], 1), -1),
        habitat_prob=np.stack([np.where(tropical, 0.8, 0.3), np.full(count, 0.1)], 1).astype(np.float32),
        troph=np.where(known, 3.0, np.nan).astype(np.float32),
        troph_pred=np.full(count, 3.25, np.float32),
        feeding=np.where(known, tropical, -1),
        feeding_pred=np.ones(count, int),
        gates=weights if gates else None,
    )


def write_cache(out, *, groups):
    """Features of one row a (split, species)."""
    count = len(groups)
    cache = FeatureCache(out=out, card={"count": count, "dim": 2, "dtype": "fp32"})
    cache.begin()
    for chunk in cache.chunks():
        cache.write(chunk, np.ones((len(chunk), 2)))
    splits, species = zip(*groups, strict=True)
    cache.finish(pa.table({"split": list(splits), "group": list(species)}))
    return out


def make_run(folder, *, splits=("val", "test"), data="nowhere", gates=True):
    metrics = {}
    for split in splits:
        rows = rows_of(gates=gates, split=split)
        save_rows(folder / "predictions" / f"{split}.npz", rows)
        metrics[split] = score(rows, resamples=50)
    folder.mkdir(exist_ok=True)
    (folder / "metrics.json").write_text(json.dumps(metrics))
    (folder / "run.yaml").write_text(f"data: {data}\n")
    (folder / "run.json").write_text('{"task": "fish"}')
    lines = [{"step": 1, "loss": 2.0, "val/acc_family": 0.5, "val/mae_troph": 0.3, "val/f1_habitat_low": 0.1}]
    (folder / "metrics.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))
    return folder


def sections(path):
    """Heading -> (words, table rows, number of images)."""
    found = {}
    for part in re.findall(r"<section.*?</section>", path.read_text(), flags=re.S):
        heading, body = re.search(r"<h2>(.*?)</h2>(.*)", part, flags=re.S).groups()
        lines = [re.findall(r"<t[dh][^>]*>(.*?)</t[dh]>", line) for line in re.findall(r"<tr>(.*?)</tr>", body)]
        words = html.unescape(re.sub(r"<[^>]+>", " ", re.sub(r'src="[^"]*"', "", body)))
        found[html.unescape(heading)] = (words, [[html.unescape(cell) for cell in line] for line in lines], body.count("<img"))
    return found


@pytest.fixture(scope="module")
def page(tmp_path_factory):
    folder = make_run(tmp_path_factory.mktemp("runs") / "mmoe")
    return folder, sections(write_report(folder))


def test_every_section_is_there_in_order_with_its_pictures(page):
    _, found = page
    assert list(found) == SECTIONS
    assert [found[name][2] for name in SECTIONS] == [0, 0, 2, 1, 1, 1, 1, 0, 1, 0, 0, 0]


def test_headlines_are_the_scores_with_their_intervals(page):
    folder, found = page
    scores = json.loads((folder / "metrics.json").read_text())["test"]
    words = found["Result"][0]
    for name, label, _ in report.HEADLINES:
        assert re.search(rf"test: {label}\s+{scores[name]:.3f}\s", words), name
    for name in ("acc_family", "acc_order", "f1_habitat", "mae_troph"):
        assert f"{scores[f'{name}_low']:.3f} to {scores[f'{name}_high']:.3f}" in words


def test_families_are_counted_by_how_often_they_were_seen(page):
    words, lines, _ = page[1]["Families"]
    assert lines[:5] == [
        ["families by", "training images", "number", "rows", "rows right", "mean of families"],
        ["common", "100 or more", "1", "6", "1.000", "1.000"],
        ["medium", "10 to 99", "1", "3", "0.333", "0.333"],
        ["rare", "1 to 9", "1", "3", "0.000", "0.000"],
        ["all", "", "3", "12", "0.583", "0.444"],
    ]
    assert "(Apidae) would be right on 50.0%" in words
    assert "blind guess on 25.0%" in words


def test_the_worst_families_say_what_they_are_taken_for(page):
    lines = page[1]["Families"][1][5:]
    assert lines[1:] == [["Canidae", "5", "3", "0", "0.000", "Apidae (2)"], ["Bovidae", "40", "3", "1", "0.333", "Apidae (2)"]]


def test_orders_habitats_levels_and_feeding_agree_with_the_rows(page):
    _, found = page
    assert "right on 75.0%" in found["Orders"][0]
    assert "on 0.833 of the rows" in found["Orders"][0]  # of 12 rows two Canidae are called Apidae of order Right
    assert found["Habitats"][1][1:] == [
        ["Tropical", "6", "54.5%", "1.000", "1.000", "0.706"],
        ["Polar", "0", "0.0%", "–", "–", "–"],
    ]
    assert "known for 11 of 12 rows" in found["Habitats"][0]
    assert "error 0.250, root mean square error 0.250, over 11 rows" in found["Trophic level"][0]
    assert found["Feeding path"][1][1:] == [["benthic", "5", "45.5%", "0.000"], ["pelagic", "6", "54.5%", "1.000"]]


def test_experts_that_no_task_uses_are_named(page):
    assert "Hardly used by any task: expert 1, 2" in page[1]["Gates"][0]


def test_without_gates_it_says_so(tmp_path):
    found = sections(write_report(make_run(tmp_path / "run", gates=False)))
    assert "no gates" in found["Gates"][0]
    assert found["Gates"][2] == 0


def test_the_split_is_counted_in_the_features(tmp_path):
    groups = [("train", "a"), ("train", "a"), ("train", "b"), ("val", "c"), ("test", "a"), ("test", "d"), ("test", "a")]
    data = write_cache(tmp_path / "features", groups=groups)
    words, _, _ = sections(write_report(make_run(tmp_path / "run", data=data)))["How the split was made"]
    assert "train: 3 images of 2 species or single images; val: 1 images of 1" in words
    assert "all images of a named species on one side" in words
    assert "2 of its 3 images are of a named species that has images in train or val" in words
    assert "Leak" not in words
    assert "Test was read once" in words
    torn = write_cache(tmp_path / "torn", groups=[*groups, ("val", "a")])
    words, _, _ = sections(write_report(make_run(tmp_path / "other", data=torn)))["How the split was made"]
    assert "1 species are in train and in val, so val flatters the model" in words


def test_features_that_are_gone_and_a_run_that_has_just_begun_are_sentences(page, tmp_path):
    assert "The features are not at hand" in page[1]["How the split was made"][0]
    found = sections(write_report(make_run(tmp_path / "begun", splits=())))
    for name in ("Families", "Orders", "Habitats", "Trophic level", "Gates"):
        assert "no predictions" in found[name][0]
    found = sections(write_report(make_run(tmp_path / "val", splits=("val",))))
    assert "val: Family accuracy" in found["Result"][0]


def test_curves_are_those_a_reader_follows():
    drawn = ("acc_family", "f1_habitat_polar", "f1_habitat_low", "mae_troph", "acc_family_low", "loss")
    assert [SECTIONS_OF_RUN.has_curve(name) for name in drawn] == [True, True, False, False, False, True]


def test_the_command_prints_the_headlines(page, capsys):
    folder, _ = page
    assert run(str(folder)) == 0
    out = capsys.readouterr().out
    assert "test Family accuracy" in out
    assert str(folder / "report.html") in out


def test_order_counts_keep_the_largest_and_gather_the_rest():
    rows = rows_of()
    counts, names = orders.count_orders(rows, shown=1)
    assert names == ["Left", "all others"]
    np.testing.assert_array_equal(counts, [[9, 0], [1, 2]])
    counts, names = orders.count_orders(rows)
    assert names == ["Left", "Right", "Up"]
    np.testing.assert_array_equal(counts, [[9, 0, 0], [1, 2, 0], [0, 0, 0]])
    figure = orders.orders(rows)
    assert [text.get_text() for text in figure.axes[0].texts] == ["9", "1", "2"]
