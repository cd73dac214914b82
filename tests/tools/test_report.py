"""A run folder is written, reported, and the page is parsed as a browser would: sections, tables, images, addresses."""

import base64
import io
import json
from html.parser import HTMLParser

import numpy as np
import pytest
from PIL import Image

from tarpon.tools.report import run, write_report
from tarpon.train.tasks.mouse.metrics.sequence import score
from tarpon.train.tasks.mouse.metrics.trial import Trial, save_trials

CLASSES = ["rest", "paw_withdraw", "walk"]
POINTS = ["mouth", "tail_base"]
SECTIONS = [
    "result",
    "how-the-split-was-made",
    "training",
    "classes",
    "bouts",
    "trials",
    "ethograms",
    "keypoints",
    "all-metrics",
    "configuration-and-machine",
]


class Page(HTMLParser):
    """What a reader sees: text, table rows and images by section, and every address that would be fetched."""

    def __init__(self, path):
        super().__init__()
        self.text, self.rows, self.images, self.addresses, self.tags = {}, {}, {}, [], set()
        self.section, self.style, self.cell = "head", False, False
        self.feed(path.read_text(encoding="utf-8"))

    def handle_starttag(self, tag, attrs):
        attrs = dict(attrs)
        self.tags.add(tag)
        self.style = tag == "style"
        if tag == "section":
            self.section = attrs["id"]
        if tag == "tr":
            self.rows.setdefault(self.section, []).append([])
        if tag in ("td", "th"):
            self.cell = True
            self.rows[self.section][-1].append("")
        if tag == "img":
            self.images.setdefault(self.section, []).append(attrs["src"])
        self.addresses += [value for name, value in attrs.items() if name in ("src", "href", "srcset", "data", "action")]

    def handle_data(self, data):
        if self.style:
            return
        self.text[self.section] = self.text.get(self.section, "") + data
        if self.cell:
            self.rows[self.section][-1][-1] += data

    def handle_endtag(self, tag):
        self.style = False
        self.cell = self.cell and tag not in ("td", "th")

    def pictures(self, section):
        """The images of a section, decoded; each must be a PNG inside the page."""
        found = []
        for source in self.images.get(section, []):
            head, data = source.split(",", 1)
            assert head == "data:image/png;base64"
            image = Image.open(io.BytesIO(base64.b64decode(data, validate=True)))
            assert image.format == "PNG"
            found.append(np.asarray(image.convert("RGB")))
        return found


def make_trial(key, group, *, seed, frames=40, keypoints=True):
    rng = np.random.default_rng(seed)
    actions = np.repeat(rng.permutation([0, 0, 0, 1, 2]), frames // 5).astype(np.int64)
    probs = (np.eye(3)[actions] + 1.6 * rng.random((frames, 3))).astype(np.float32)
    places = rng.uniform(0.2, 0.8, (frames, 2, 2)).astype(np.float32)
    seen = np.concatenate([places, np.ones((frames, 2, 1), np.float32)], axis=2)
    return Trial(
        key=key,
        group=group,
        actions=actions,
        probs=probs / probs.sum(1, keepdims=True),
        size=(64, 48),
        keypoints=seen if keypoints else None,
        keypoints_pred=places + np.float32(0.01) if keypoints else None,
    )


def make_run(folder, *, splits=("val", "test"), keypoints=True, classes=CLASSES, groups=("m1", "m2"), curves=False):
    """A finished run: one trial a group, each group named after its split; drawing curves is slow, so most tests do without."""
    (folder / "predictions").mkdir(parents=True)
    metrics = {}
    for place, split in enumerate(splits):
        trials = [
            make_trial(f"{split}_trial_{i}", f"{split} {group}", seed=10 * place + i, keypoints=keypoints)
            for i, group in enumerate(groups)
        ]
        points = POINTS if keypoints else []
        save_trials(folder / "predictions" / f"{split}.npz", trials, classes=classes, points=points)
        metrics[split] = score(trials, classes=classes, points=points)
    (folder / "metrics.json").write_text(json.dumps(metrics))
    (folder / "run.yaml").write_text("task: mouse\noptim:\n  lr: 5.0e-05\n")
    lines = [{"step": step, "epoch": 0, "loss": 1.0 / step, "val/macro_f1": 0.4} for step in (1, 2, 3)] if curves else []
    (folder / "metrics.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))
    (folder / "run.json").write_text(
        json.dumps({"task": "mouse", "machine": {"gpu": "one H200"}, "versions": {"torch": "2.11"}})
    )
    return folder


def grey_frames(asked):
    """Stored frames of a 64 x 48 video, and a note of what was asked for."""

    def frames(key, places):
        asked[key] = list(places)
        return np.full((len(places), 48, 64, 3), 90, np.uint8)

    return frames


@pytest.fixture(scope="module")
def whole(tmp_path_factory):
    """(run folder, its page, the frames that were asked for)"""
    run = make_run(tmp_path_factory.mktemp("runs") / "mouse-7", groups=("m1", "m2", "m3"), curves=True)
    asked = {}
    return run, Page(write_report(run, frames=grey_frames(asked))), asked


def test_every_section_is_there_in_order_with_its_pictures(whole):
    run, page, _ = whole
    assert [name for name in page.text if name != "head"] == SECTIONS
    assert "Run mouse-7" in page.text["head"]
    assert {name: len(page.pictures(name)) for name in SECTIONS} == {
        "result": 0,
        "how-the-split-was-made": 0,
        "training": 1,
        "classes": 2,
        "bouts": 0,
        "trials": 0,
        "ethograms": 1,
        "keypoints": 3,
        "all-metrics": 0,
        "configuration-and-machine": 0,
    }
    assert all(picture.std() > 5 for name in SECTIONS for picture in page.pictures(name))  # not blank
    assert (run / "report.html").stat().st_size < 3e6


def test_nothing_is_fetched_and_nothing_runs(whole):
    run, page, _ = whole
    assert page.addresses
    assert all(address.startswith("data:image/png;base64,") for address in page.addresses)
    assert not page.tags & {"script", "link", "iframe", "object", "base"}
    text = (run / "report.html").read_text()
    assert "http://" not in text
    assert "https://" not in text
    assert "url(" not in text
    assert "@import" not in text


def test_headlines_are_the_test_scores_with_interval_and_bar(whole):
    run, page, _ = whole
    scores = json.loads((run / "metrics.json").read_text())["test"]
    text = page.text["result"]
    for name in (
        "macro_f1",
        "f1_paw_withdraw",
        "accuracy",
        "segment_f1_50",
        "edit",
        "keypoint_mae",
        "macro_f1_low",
        "macro_f1_high",
        "majority_macro_f1",
    ):
        assert f"{scores[name]:.3f}" in text, name
    assert f"95% interval over groups {scores['macro_f1_low']:.3f} to {scores['macro_f1_high']:.3f}" in text
    assert "always the commonest class: 0.600" in text  # three fifths of every trial are rest
    assert f"{scores['keypoint_mae_px']:.1f} px" in text


def test_the_split_is_told_in_words(whole):
    text = whole[1].text["how-the-split-was-made"]
    assert "test: 3 trials of 3 groups (test m1, test m2, test m3)." in text
    assert "Test was read once" in text
    assert "Leak" not in text


def test_the_class_table_agrees_with_the_metrics(whole):
    run, page, _ = whole
    scores = json.loads((run / "metrics.json").read_text())["test"]
    header, *rows = page.rows["classes"]
    assert header == ["class", "true frames", "share", "precision", "recall", "F1"]
    assert [row[0] for row in rows] == CLASSES
    for name, frames, share, precision, recall, f1 in rows:
        assert int(frames) == scores[f"support_{name}"]
        assert share == f"{scores[f'support_{name}'] / 120:.1%}"
        got = (float(precision), float(recall), float(f1))
        assert got == pytest.approx([scores[f"{kind}_{name}"] for kind in ("precision", "recall", "f1")], abs=6e-4)


def test_the_bout_table_agrees_with_the_metrics(whole):
    run, page, _ = whole
    scores = json.loads((run / "metrics.json").read_text())["test"]
    rows = page.rows["bouts"][: 1 + len(CLASSES)]
    assert rows[0][:4] == ["class", "true bouts", "predicted bouts", "found"]
    for name, true, predicted, found, length, *_ in rows[1:]:
        assert int(true) == scores[f"bouts_true_{name}"]
        assert int(predicted) == scores[f"bouts_pred_{name}"]
        assert int(found) <= int(true)
        assert int(length) % 4 == 0  # every bout of the made trials is 8, 16 or 24 frames long


def test_every_bout_of_the_rare_class_is_told(tmp_path):
    run = make_run(tmp_path / "run", splits=("test",), groups=("m1",))
    true = np.array([0, 0, 1, 1, 1, 1, 0, 0, 0, 1, 0, 0])
    answers = np.array([0, 0, 0, 0, 1, 1, 1, 1, 0, 0, 0, 0])
    blind = Trial(key="blind", group="m", actions=true, probs=np.eye(3, dtype=np.float32)[0 * true], size=(64, 48))
    seen = Trial(key="seen", group="m", actions=true, probs=np.eye(3, dtype=np.float32)[answers], size=(64, 48))
    save_trials(run / "predictions" / "test.npz", [blind, seen], classes=CLASSES, points=[])
    rows = Page(write_report(run)).rows["bouts"][1 + len(CLASSES) :]
    assert rows == [
        ["trial with paw_withdraw", "true onset", "true offset", "predicted onset", "predicted offset", "overlap"],
        ["blind", "2", "5", "–", "–", "0.00"],
        ["blind", "9", "9", "–", "–", "0.00"],
        ["seen", "2", "5", "4", "7", "0.33"],
        ["seen", "9", "9", "4", "7", "0.00"],
    ]


def test_a_long_list_of_rare_bouts_is_cut_and_says_so(tmp_path):
    run = make_run(tmp_path / "run", splits=("test",), groups=("m1",))
    true = np.arange(140) % 2
    trial = Trial(key="flicker", group="m", actions=true, probs=np.eye(3, dtype=np.float32)[true], size=(64, 48))
    save_trials(run / "predictions" / "test.npz", [trial], classes=CLASSES, points=[])
    page = Page(write_report(run))
    assert len(page.rows["bouts"]) == 1 + len(CLASSES) + 1 + 50
    assert "The first 50 of 70 are listed." in page.text["bouts"]


def test_a_run_that_names_no_task_gets_what_every_task_has_and_an_unknown_task_is_refused(tmp_path):
    run = make_run(tmp_path / "run", splits=("test",))
    (run / "run.json").unlink()
    page = Page(write_report(run))
    general = ["result", "how-the-split-was-made", "training", "all-metrics", "configuration-and-machine"]
    assert [name for name in page.text if name != "head"] == general
    assert "does not say which task" in page.text["result"]
    assert "test: 2 samples of 2 groups" in page.text["how-the-split-was-made"]
    assert "not recorded" in page.text["configuration-and-machine"]
    (run / "run.json").write_text('{"task": "weather"}')
    with pytest.raises(ValueError, match=r"'weather' run; there is: mouse"):
        write_report(run)


def test_the_trial_table_has_one_row_a_trial(whole):
    header, *rows = whole[1].rows["trials"]
    assert [row[:3] for row in rows] == [[f"test_trial_{i}", f"test m{i + 1}", "40"] for i in range(3)]
    assert {len(row) for row in rows} == {len(header)}
    assert all(row[-1] == "0.010" for row in rows)  # every predicted point is 0.01 off


def test_frames_are_asked_for_in_order_and_the_points_table_has_the_error(whole):
    _, page, asked = whole
    assert list(asked) == [f"test_trial_{i}" for i in range(3)]
    assert all(places == sorted(set(places)) and {10, 30} <= set(places) for places in asked.values())
    rows = {row[0]: row[1:] for row in page.rows["keypoints"]}
    assert rows["mouth"][:3] == ["120", "0.0100", f"{0.01 * (64 + 48) / 2:.1f}"]
    assert rows["all points"][0] == "240"
    yellow = [(np.abs(image.astype(int) - (255, 213, 0)).max(-1) < 40).sum() for image in page.pictures("keypoints")]
    assert min(yellow) > 20


def test_the_frame_with_the_largest_error_is_shown(tmp_path):
    run = make_run(tmp_path / "run", splits=("test",), groups=("m1",))
    trial = make_trial("only", "m", seed=1)
    trial.keypoints_pred[17] += 0.3
    save_trials(run / "predictions" / "test.npz", [trial], classes=CLASSES, points=POINTS)
    asked = {}
    write_report(run, frames=grey_frames(asked))
    assert asked == {"only": [10, 17, 30]}


def test_configuration_machine_and_all_scores_are_listed(whole):
    run, page, _ = whole
    assert (run / "run.yaml").read_text() in page.text["configuration-and-machine"]
    assert ["machine.gpu", "one H200"] in page.rows["configuration-and-machine"]
    assert ["versions.torch", "2.11"] in page.rows["configuration-and-machine"]
    metrics = json.loads((run / "metrics.json").read_text())
    assert {row[0] for row in page.rows["all-metrics"][1:]} == set(metrics["test"]) | set(metrics["val"])


def test_words_from_the_folder_are_text_and_never_markup(tmp_path):
    evil = "<script>alert(1)</script>"
    classes = ["rest", f"{evil}\"'&", "walk"]
    run = make_run(tmp_path / "a <b>&amp; run", classes=classes, groups=(evil, "m2"))
    (run / "run.yaml").write_text(f"note: '</pre>{evil}'\n")
    (run / "run.json").write_text(json.dumps({"task": "mouse", evil: {"<img src=x onerror=y>": evil}}))
    (run / "metrics.json").write_text(json.dumps({"test": {"macro_f1": 0.5, evil: 0.25}}))
    path = write_report(run)
    page = Page(path)
    assert "<script" not in path.read_text()
    assert "<img src=x" not in path.read_text()
    assert "script" not in page.tags
    assert page.rows["classes"][2][0] == classes[1]
    assert page.rows["trials"][1][1] == f"test {evil}"
    assert [evil, "0.2500"] in page.rows["all-metrics"]
    assert evil in page.text["configuration-and-machine"]
    assert "a <b>&amp; run" in page.text["head"]


def test_without_a_test_split_val_is_shown_and_said_to_flatter(tmp_path):
    page = Page(write_report(make_run(tmp_path / "run", splits=("val",))))
    assert "val: Macro F1" in page.text["result"]
    assert "There is no test split" in page.text["result"]
    assert "Test was read once" not in page.text["how-the-split-was-made"]
    assert page.rows["trials"][1][0] == "val_trial_0"


def test_without_keypoints_their_figures_are_left_out_with_a_sentence(tmp_path):
    page = Page(write_report(make_run(tmp_path / "run", keypoints=False), frames=grey_frames({})))
    assert "no predicted keypoints" in page.text["keypoints"]
    assert "Not defined in this run: Keypoint error." in page.text["result"]
    assert page.pictures("keypoints") == []
    assert page.rows["trials"][1][-1] == "–"


def test_without_stored_frames_the_points_table_stays(tmp_path):
    page = Page(write_report(make_run(tmp_path / "run")))
    assert "No stored frames were given" in page.text["keypoints"]
    assert page.pictures("keypoints") == []
    assert page.rows["keypoints"][1][0] == "mouth"


def test_a_run_that_has_just_begun_has_a_report_of_sentences(tmp_path):
    page = Page(write_report(begun(tmp_path)))
    assert [name for name in page.text if name != "head"] == SECTIONS
    assert page.images == {}
    assert "no bouts to compare" in page.text["bouts"]
    assert "training has not finished" in page.text["result"]
    assert "no curves" in page.text["training"]


def test_one_group_has_no_interval_and_says_so(tmp_path):
    page = Page(write_report(make_run(tmp_path / "run", groups=("m1",))))
    assert "no interval" in page.text["result"]
    assert "test: 1 trial of 1 group (test m1)." in page.text["how-the-split-was-made"]


def test_a_leak_and_a_test_split_read_twice_are_told(tmp_path):
    run = make_run(tmp_path / "run", groups=("m1",))
    save_trials(run / "predictions" / "val.npz", [make_trial("v", "test m1", seed=0)], classes=CLASSES, points=POINTS)
    (run / "metrics.jsonl").write_text('{"step": 4, "test/macro_f1": 0.4}\n{"step": 5, "test/macro_f1": 0.5}\n')
    text = Page(write_report(run)).text["how-the-split-was-made"]
    assert "Leak: test m1" in text
    assert "never by frame" not in text
    assert "2 readings of test" in text
    assert "Test was read once" not in text


def begun(folder):
    """The folder of a run that has just begun."""
    folder.mkdir(exist_ok=True)
    (folder / "run.yaml").write_text("seed: 1\n")
    (folder / "run.json").write_text('{"task": "mouse"}')
    (folder / "metrics.jsonl").write_text("")
    return folder


def test_the_command_says_where_the_page_is(tmp_path, capsys):
    assert run(str(begun(tmp_path))) == 0
    assert str(tmp_path / "report.html") in capsys.readouterr().out


def test_another_place_can_be_asked_for_and_no_draft_stays(tmp_path):
    run = begun(tmp_path / "run")
    assert write_report(run, out=tmp_path / "page.html") == tmp_path / "page.html"
    assert sorted(path.name for path in tmp_path.iterdir()) == ["page.html", "run"]
    assert not (run / "report.html").exists()


def test_what_could_not_be_read_is_told_with_the_scores_and_listed(tmp_path):
    folder = make_run(tmp_path / "run")
    metrics = json.loads((folder / "metrics.json").read_text())
    metrics["test"] |= {"rows": 7.0, "rows_of": 9.0}
    (folder / "metrics.json").write_text(json.dumps(metrics))
    line = {"tar": "shard-00001.tar", "key": "<b>k7</b>", "offset": 512, "error": "clip: checksum differs", "process": 1}
    (folder / "quarantine.jsonl").write_text(json.dumps(line) + "\n")
    html = write_report(folder).read_text()
    assert "over 7 of 9 rows of test" in html
    assert "1 sample could not be read" in html
    assert "shard-00001.tar" in html
    assert "<b>k7</b>" not in html
    (folder / "quarantine.jsonl").unlink()
    assert "could not be read. In training" not in write_report(folder).read_text()
