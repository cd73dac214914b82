"""What each task shows of its shards and its runs, against the shards and the predictions themselves."""

import io
import json
import shutil
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from tarpon.shards.npy import read_npy
from tarpon.shards.reader import Reader
from tarpon.shards.sources.cells.pages import decode_tiff
from tarpon.shards.sources.video.clips import frames_at
from tarpon.tools.view.open import open_album
from tarpon.train.prediction_files import share_path
from tarpon.train.tasks.cells.metrics.predictions import load_rows
from tarpon.train.tasks.cells.metrics.predictions import save_rows as save_pages
from tarpon.train.tasks.fish.metrics.predictions import load_rows as load_fish
from tarpon.train.tasks.fish.metrics.predictions import save_rows as save_fish
from tarpon.train.tasks.mouse.metrics.trial import load_trials
from tarpon.train.tasks.star.metrics.embeddings import GALLERY, QUERY, SearchOptions, load_embeddings, search_split


def pixels(content: bytes) -> np.ndarray:
    with Image.open(io.BytesIO(content)) as picture:
        return np.asarray(picture.convert("RGB"), float)


def test_frames_come_in_any_order_as_they_are_stored(mouse_shards):
    album, _ = open_album(Path(mouse_shards.root))
    content = Reader(mouse_shards).read(1, "clip")
    for frame in (7, 2, 7, 0, 30):
        (stored,) = frames_at(content, [frame])
        shown, kind = album.picture(1, frame)
        assert kind == "image/jpeg"
        assert np.abs(pixels(shown) - stored).mean() < 2  # of 255: JPEG
    album.close()


def test_a_trial_shows_its_labels_and_points(mouse_shards):
    album, _ = open_album(Path(mouse_shards.root))
    detail = album.detail(0)
    (labelled,) = detail.strips
    assert labelled.values == mouse_shards.value(0, "actions")
    (points,) = detail.points
    xyl = read_npy(Reader(mouse_shards).read(0, "keypoints"))
    place = points.places[5][2]
    width, height = (mouse_shards.value(0, name) for name in ("width", "height"))
    assert place[:2] == pytest.approx([(xyl[5, 2, 0] + 0.5) / width, (xyl[5, 2, 1] + 0.5) / height], abs=1e-4)
    assert place[2] == (xyl[5, 2, 2] >= 0.9)
    json.dumps(points.places, allow_nan=False)
    album.close()


def test_a_mouse_run_shows_what_it_answered(untrained_mouse):
    album, title = open_album(untrained_mouse)
    assert title == "mouse"
    trials, classes, _ = load_trials(untrained_mouse / "predictions" / "test.npz")
    entries = {entry.key: number for number, entry in enumerate(album.entries)}
    assert {entry.key for entry in album.entries if entry.predicted} == {trial.key for trial in trials}
    detail = album.detail(entries[trials[0].key])
    assert [strip.name for strip in detail.strips] == ["labelled", "predicted"]
    assert detail.strips[1].values == trials[0].predicted.tolist()
    assert detail.strips[1].names == classes
    assert [points.name for points in detail.points] == ["labelled", "predicted"]
    assert detail.points[1].places[9][1][:2] == pytest.approx(trials[0].keypoints_pred[9, 1].tolist(), abs=1e-4)
    album.close()


def test_a_stack_is_its_pages_in_order_with_what_was_read_from_them(untrained_cells, cells_shards):
    album, _ = open_album(untrained_cells)
    held = load_rows(untrained_cells / "predictions" / "test.npz")
    number = next(number for number, entry in enumerate(album.entries) if entry.predicted)
    own = held.take(held.stack == album.entries[number].key)
    order = np.argsort(own.page)
    detail = album.detail(number)
    infected, predicted, true = detail.curves
    assert detail.steps == album.steps(number) == len(own)
    assert infected.values == pytest.approx(own.prob[order].tolist(), abs=1e-3)
    assert predicted.values == pytest.approx(own.predicted[order].tolist(), abs=1e-3)
    assert true.values == pytest.approx(own.target[order].tolist(), abs=1e-3)
    row = np.flatnonzero(cells_shards.column("key") == own.key[order][3])[0]
    page = decode_tiff(Reader(cells_shards).read(row, "tif")).astype(float)
    low, high = (cells_shards.value(row, name) for name in ("low", "high"))
    shown = pixels(album.picture(number, 3)[0])[..., 0]
    assert np.abs(shown - 255 * np.clip((page - low) / (high - low), 0, 1)).max() <= 0.5 + 1e-6
    album.close()


def test_a_fish_shows_answers_beside_labels(untrained_fish, fish_shards):
    album, _ = open_album(untrained_fish, data=fish_shards.root)
    held = load_fish(untrained_fish / "predictions" / "test.npz")
    number = next(number for number, entry in enumerate(album.entries) if entry.key == held.key[0])
    family, order, *_ = album.detail(number).answers
    assert family.predicted.startswith(held.names.families[held.family_pred[0]])
    assert family.labelled == fish_shards.value(number, "family")
    assert family.right == (held.family_pred[0] == held.family[0])
    assert order.predicted == held.names.orders[held.order_pred[0]]
    assert album.picture(number, 0)[0] == Reader(fish_shards).read(number, "jpg")
    album.close()


@pytest.mark.parametrize(("task", "load", "save"), [("cells", load_rows, save_pages), ("fish", load_fish, save_fish)])
def test_a_set_of_files_shows_as_one_does(task, load, save, request, fish_shards, tmp_path):
    """Predictions of a run of three processes."""
    run, data = request.getfixturevalue(f"untrained_{task}"), {"data": fish_shards.root} if task == "fish" else {}
    shutil.copytree(run, tmp_path / "run", ignore=shutil.ignore_patterns("tensorboard", "checkpoints"))
    path = tmp_path / "run" / "predictions" / "test.npz"
    rows = load(path)
    path.unlink()
    for place, at in enumerate(np.array_split(np.arange(len(rows)), 3)):
        own = replace(rows, **{name: getattr(rows, name)[at] for name in rows.arrays()})
        save(share_path(path, place=place, places=3), own)
    (one, _), (many, _) = (open_album(folder, **data) for folder in (run, tmp_path / "run"))
    assert many.entries == one.entries
    number = next(number for number, entry in enumerate(one.entries) if entry.predicted)
    assert many.detail(number) == one.detail(number)
    one.close()
    many.close()


def test_matches_of_a_star_are_those_that_the_scores_are_of(untrained_star):
    album, _ = open_album(untrained_star)
    rows = load_embeddings(untrained_star / "predictions" / "test.parquet")
    found = search_split(rows, SearchOptions(top=5))
    for place, query in enumerate(found.query[:4]):
        detail = album.detail(int(rows.row[query]))
        expected = rows.row[found.gallery[found.plain.nearest[place][:5]]].tolist()
        assert [match.entry for match in detail.matches[:5]] == expected
        assert [match.right for match in detail.matches[:5]] == [
            rows.identity[rows.row == entry][0] == rows.identity[query] for entry in expected
        ]
    alone = [row for row, role in zip(rows.row, rows.role, strict=True) if role & GALLERY and not role & QUERY]
    others = album.detail(int(alone[0]))
    assert others.matches_head == "Other photographs of this animal"
    assert all(match.right is None for match in others.matches)
    album.close()
