"""The page of a star run: the summary's numbers, chance counted from the shards, all files made from the run folder alone."""

import csv
import html
import json
import re
import shutil

import numpy as np
import pytest

from tarpon.tools import cli
from tarpon.tools.record import read_run
from tarpon.tools.star import report, review
from tarpon.train.tasks.star.metrics.open_set import RATES

SECTIONS = ["Result", "How the split was made", "Training", *report.SECTIONS]
SECTIONS += ["How the scores are measured", "All metrics", "Configuration and machine"]
WRITTEN = {
    *("star_identity_metrics.csv", "star_folder_metrics.csv", "star_evaluation_summary.json"),
    *("cmc.png", "ranks_by_identity.png", "similarities.png", "report.html", "review.html"),
}
KEYS = ("map", "cmc_1", "cmc_5", "cmc_10", "cmc_20")


def sections(path):
    """Heading -> (words, table rows, number of images)."""
    found = {}
    for part in re.findall(r"<section.*?</section>", path.read_text(), flags=re.S):
        heading, body = re.search(r"<h2>(.*?)</h2>(.*)", part, flags=re.S).groups()
        lines = [re.findall(r"<t[dh][^>]*>(.*?)</t[dh]>", line) for line in re.findall(r"<tr>(.*?)</tr>", body)]
        body = re.sub(r'src="[^"]*"', "", body)
        found[heading] = (html.unescape(re.sub(r"<[^>]+>", " ", body)), lines, body.count("<img"))
    return found


def copied(star_run, folder):
    """The run without what a report writes."""
    shutil.copytree(star_run.folder, folder, ignore=shutil.ignore_patterns(*WRITTEN, "checkpoints", "tensorboard", "*.pth"))
    return folder


@pytest.fixture(scope="module")
def reported(star_run, tmp_path_factory):
    """(run folder, its page, what training itself wrote as the summary)."""
    folder = copied(star_run, tmp_path_factory.mktemp("reported") / "run")
    assert cli.main(["report", str(folder)]) == 0
    return folder, sections(folder / "report.html"), json.loads((star_run.folder / "star_evaluation_summary.json").read_text())


def test_sections_are_there_in_order_with_their_pictures(reported):
    assert list(reported[1]) == SECTIONS
    assert [reported[1][name][2] for name in SECTIONS] == [0, 0, 4, 2, 0, 1, 0, 0, 1, 0, 0, 0]


def test_all_files_are_made_again_from_the_run_folder_alone(reported, star_run):
    folder, _, summary = reported
    assert {path.name for path in folder.iterdir()} >= WRITTEN
    assert json.loads((folder / "star_evaluation_summary.json").read_text()) == summary
    for name in ("star_identity_metrics.csv", "star_folder_metrics.csv"):
        assert (folder / name).read_text() == (star_run.folder / name).read_text()


def test_headlines_and_ways_are_the_summary_s(reported):
    _, page, summary = reported
    names = {"map": "mAP"} | {f"cmc_{k}": f"CMC@{k}" for k in (1, 5, 10, 20)}
    for key, name in names.items():
        assert re.search(rf"test: {name}\s+{summary[name]:.3f}\s", page["Result"][0]), name
        assert summary[name] == summary["plain"][key]
    low, high = summary["plain"]["map_low"], summary["plain"]["map_high"]
    assert f"95% interval over identities {low:.3f} to {high:.3f}" in page["Result"][0]
    told = {line[0]: line[1:] for line in page["Ways of searching"][1]}
    assert {way for way in report.WAYS if way in summary} == {"flips", "reranked"}  # the others are off
    for way, words in {"plain": "plain", "flips": "with mirror images", "reranked": "re-ranked"}.items():
        scores = summary[way]
        assert told[words][:6] == [f"{scores[key]:.3f}" for key in (*KEYS, "minp")]
        assert told[words][6] == f"{scores['mean_rank']:.1f}"
    assert "transductive" in page["Ways of searching"][0]


def test_chance_is_the_share_of_the_own_animal_in_the_gallery(reported, star_run):
    table = star_run.shards
    identity, split, novel = (table.column(name) for name in ("identity", "split", "novel"))
    gallery = identity[np.isin(split, ("train", "val"))]
    asked = identity[(split == "test") & ~novel]
    expected = np.mean([(gallery == name).mean() for name in asked])
    words = reported[1]["Result"][0]
    assert re.search(rf"test: CMC@1\s+\S+\s+95% [^.]+\S+ to \S+\s+a random order: {expected:.3f}\s", words)
    assert {line[0]: line[2] for line in reported[1]["Ways of searching"][1]}["a random order"] == f"{expected:.3f}"


def test_the_protocol_and_the_sheet_stand_by_the_numbers(reported, star_run):
    folder, page, summary = reported
    assert f"Protocol: {star_run.shards.card['protocol']}." in page["Result"][0]
    assert f"Asked: {summary['num_queries']} photographs of {summary['num_identities']} animals, among" in page["Result"][0]
    assert 'href="review.html"' in (folder / "report.html").read_text()


def test_tables_hold_the_csv_s_rows_the_worst_first(reported):
    folder, page, _ = reported
    for name, heading in (("identity", "Animals"), ("folder", "Outings")):
        rows = list(csv.DictReader((folder / f"star_{name}_metrics.csv").open()))[::-1]
        lines = page[heading][1][1:]
        assert [html.unescape(line[0]) for line in lines] == [row[name] for row in rows]
        shares = [line[2:7] if name == "identity" else line[3:8] for line in lines]
        for told, row in zip(shares, rows, strict=True):
            stored = [float(row[key]) for key in ("mAP", "CMC@1", "CMC@5", "CMC@10", "CMC@20")]
            np.testing.assert_allclose([float(share) for share in told], stored, atol=6e-4)


def test_the_split_and_the_data_sets_are_counted_in_the_shards(reported, star_run):
    card, page = star_run.shards.card, reported[1]
    words, lines, _ = page["How the split was made"]
    assert [line[1] for line in lines[1:]] == [str(card["splits"][name]) for name in ("train", "val", "test")]
    assert f"{card['distractors']} animals are distractors" in words
    assert "each animal's earliest days train" in words
    told = page["Data sets"][1][1:]
    assert [line[0] for line in told] == card["datasets"]
    assert sum(int(line[2]) for line in told) == card["samples"]
    assert sum(int(line[7]) for line in told) == reported[2]["num_queries"]


def test_new_animals_are_scored_where_there_are_some(reported, star_run):
    _, page, summary = reported
    words, lines, _ = page["New animals"]
    assert f"{int(star_run.shards.column('novel').sum())} photographs are of animals that are in no gallery" in words
    keys = ["open_auroc", *(f"open_tpr_at_fpr_{round(100 * rate)}" for rate in RATES)]
    assert [line[1] for line in lines[1:5]] == [f"{summary['open_set'][key]:.3f}" for key in keys]
    assert f"as similar to it as {summary['new_animal']['threshold']:.3f}" in words


def test_without_the_shards_the_rest_is_told_and_one_line_says_so(star_run, tmp_path, capsys):
    folder = copied(star_run, tmp_path / "run")
    config = (folder / "run.yaml").read_text()
    (folder / "run.yaml").write_text(config.replace(str(star_run.shards.root), str(tmp_path / "gone")))
    assert cli.main(["report", str(folder)]) == 0
    said = [line for line in capsys.readouterr().out.splitlines() if line.startswith("review: ")]
    assert len(said) == 1
    assert said[0].endswith("the pictures are left out.")
    assert "<img" not in (folder / review.NAME).read_text()
    page = sections(folder / "report.html")
    assert "The shards are not at hand" in page["How the split was made"][0]
    assert page["Data sets"][1][1][1] == "–"


def test_a_run_that_has_just_begun_is_sentences(star_run, tmp_path):
    folder = copied(star_run, tmp_path / "run")
    shutil.rmtree(folder / "predictions")
    (folder / "metrics.json").unlink()
    assert cli.main(["report", str(folder)]) == 0
    page = sections(folder / "report.html")
    for name in report.SECTIONS:
        assert "no predictions" in page[name][0]
    assert not (folder / review.NAME).exists()


def test_a_search_is_made_again_only_where_the_run_has_changed(star_run, tmp_path):
    folder = copied(star_run, tmp_path / "run")
    first = report.search_run(folder)
    assert report.search_run(folder) is first
    (folder / "predictions" / "test.parquet").unlink()
    assert report.search_run(folder).split == "val"
    assert read_run(folder).predictions == {"val": folder / "predictions" / "val.parquet"}
