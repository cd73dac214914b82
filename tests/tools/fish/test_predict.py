"""Loose images through an exported model: the answers of training, every image named once, nothing lost to a bad one."""

import shutil
from dataclasses import replace

import numpy as np
import pyarrow as pa
import pyarrow.csv
import pyarrow.parquet as pq
import pytest
import torch
from PIL import Image

from tarpon.shards.features import open_features
from tarpon.shards.sources.images import JpegImage
from tarpon.tools import cli
from tarpon.tools.fish import answering
from tarpon.tools.loose_images import list_images, natural_key, read_pictures
from tarpon.train import launch
from tarpon.train.tasks.fish import export

FEATURES = ["--backbone=test_vit", "--pretrained=false", "--image_size=32", "--resize=40", "--threads=1"]
TINY = ["--model.experts=2", "--model.hidden=16", "--model.tower=8", "--global_batch=32", "--micro_batch=32", "--steps=6"]


@pytest.fixture(scope="module")
def features(fish_shards, tmp_path_factory):
    out = tmp_path_factory.mktemp("predict") / "features"
    assert cli.main(["features", fish_shards.root, "--out", str(out), *FEATURES]) == 0
    return open_features(out)


@pytest.fixture(scope="module")
def checkpoint(features, tmp_path_factory):
    """An exported model of all five tasks, standardised, hardly trained."""
    out = tmp_path_factory.mktemp("runs")
    words = [f"--data={features.root}", f"--out={out}", "--standardize=true", "--include_feedingpath=true", "--optim.lr=1e-2"]
    assert launch.main(["fish", *words, *TINY]) == 0
    return next(out.iterdir()) / export.NAME


@pytest.fixture
def predict(checkpoint, tmp_path):
    """(images, options...) -> exit status and the table written."""

    def go(images, *options, name="out.parquet", checkpoint=checkpoint):
        out = tmp_path / name
        words = ["predict", "fish", f"--checkpoint={checkpoint}", f"--images={images}", f"--out={out}", "--pretrained=false"]
        status = cli.main([*words, "--threads=1", *options])
        read = pq.read_table if name.endswith("parquet") else pyarrow.csv.read_csv
        return status, read(out) if out.exists() else None

    return go


def reference(checkpoint, features):
    """source -> what the checkpoint's model answers for the cached vector."""
    held = export.load(checkpoint)
    model = answering.build_model(
        answering.FishModel(**held["args"]["task"]["model"]), held["dim"], held["outputs"], uncertainty=False
    )
    model.load_state_dict(held["model_state_dict"])
    with torch.no_grad():
        out = model.eval()(features=torch.from_numpy(features.features.astype(np.float32)))
    return {
        source: {task: out[task][i] for task in held["outputs"]}
        for i, source in enumerate(features.labels["source"].to_pylist())
    }


def test_every_packed_image_gets_the_answer_of_its_cached_vector_and_bad_ones_are_named(
    predict, checkpoint, features, fish_lab, capsys
):
    status, table = predict(fish_lab / "images", "--batch=16")  # several chunks, the last one short
    told = capsys.readouterr().out
    assert status == 1
    bad = [line for line in told.splitlines() if line.startswith("left out: ")]
    assert len(bad) == 3
    for reason in ("the file is empty", "not an image of a known format", "does not decode"):
        assert sum(reason in line for line in bad) == 1
    names = table["image"].to_pylist()
    assert len(set(names)) == len(names) == len(list_images(fish_lab / "images")) - 3
    assert names == sorted(names, key=natural_key)
    habitats, card = features.card["classes"]["habitats"], features.card["classes"]
    assert table.column_names == [
        *("image", "family", "family_prob", "order", "order_prob"),
        *(f"{name}_prob" for name in habitats),
        *("troph", "feeding", "feeding_prob"),
    ]
    rows = {row["image"]: row for row in table.to_pylist()}
    expected = reference(checkpoint, features)
    assert len(expected) > 100
    for source, out in expected.items():
        row = rows[source]
        probs = out["family"].softmax(0)
        assert row["family"] == card["families"][int(probs.argmax())]
        assert row["family_prob"] == pytest.approx(probs.max().item(), abs=1e-4)
        assert row["order"] == card["orders"][int(out["order"].argmax())]
        assert row["troph"] == pytest.approx(out["troph"].item(), abs=1e-3)
        assert row["feeding"] == card["feeding"][int(out["feeding"].argmax())]
        np.testing.assert_allclose([row[f"{name}_prob"] for name in habitats], out["habitat"].sigmoid(), atol=1e-4)


@pytest.fixture
def few(fish_lab, tmp_path):
    """Four images: nested, of several formats, beside what is none."""
    folder = tmp_path / "few"
    (folder / "deep" / "er").mkdir(parents=True)
    whole = [path for path in sorted((fish_lab / "images").rglob("*.jpg")) if path.stat().st_size > 2000][:3]
    for source, name in zip(whole, ("img10.jpg", "img2.JPG", "deep/er/a.jpg"), strict=True):
        shutil.copy(source, folder / name)
    with Image.open(whole[0]) as picture:
        picture.convert("RGBA").save(folder / "deep" / "b.png")
    (folder / "notes.txt").write_text("no image")
    (folder / ".hidden.jpg").write_text("no image")
    return folder


def test_csv_and_parquet_hold_the_same_in_natural_order(predict, few):
    status, table = predict(few)
    assert status == 0
    assert table["image"].to_pylist() == ["deep/b.png", "deep/er/a.jpg", "img2.JPG", "img10.jpg"]
    _, other = predict(few, "--batch=1", name="out.csv")
    assert other.column_names == table.column_names
    for name in table.column_names:
        if pa.types.is_floating(table[name].type):
            np.testing.assert_allclose(other[name].to_numpy(), table[name].to_numpy(), atol=1e-5)
        else:
            assert other[name].to_pylist() == table[name].to_pylist()


def test_annotated_copies_keep_the_picture_and_add_a_band(predict, few, tmp_path):
    assert predict(few, f"--annotated={tmp_path / 'copies'}")[0] == 0
    copies = sorted(path.relative_to(tmp_path / "copies").as_posix() for path in (tmp_path / "copies").rglob("*.*"))
    assert copies == ["deep/b.png.jpg", "deep/er/a.jpg", "img10.jpg", "img2.JPG"]
    with Image.open(few / "img10.jpg") as before, Image.open(tmp_path / "copies" / "img10.jpg") as after:
        left = (after.width - before.width) // 2
        kept = np.asarray(after.crop((left, 0, left + before.width, before.height)), np.int64)
        assert np.abs(kept - np.asarray(before.convert("RGB"), np.int64)).mean() < 6
        band = np.asarray(after.crop((0, before.height, *after.size)).convert("L"))
    assert band.shape[0] > 60
    assert (band > 240).mean() > 0.8
    assert (band < 100).sum() > 100  # letters


def test_where_nothing_can_be_read_the_table_is_empty_and_the_status_1(predict, tmp_path):
    (tmp_path / "bad").mkdir()
    (tmp_path / "bad" / "a.jpg").write_bytes(b"")
    status, table = predict(tmp_path / "bad")
    assert (status, len(table)) == (1, 0)
    assert "family" in table.column_names


def altered(checkpoint, out, **card):
    held = torch.load(checkpoint, weights_only=True)
    held["features"] |= card
    torch.save(held, out)
    return out


@pytest.mark.parametrize(
    ("options", "card", "said"),
    [
        (["--out=table.txt"], {}, ".parquet or .csv"),
        (["--batch=0"], {}, "batch=0 must be at least 1"),
        (["--images=nowhere"], {}, "nowhere: no such folder"),
        (["--images=."], {}, "no images"),
        (["--checkpoint=nowhere.pt"], {}, "nowhere.pt: no such checkpoint"),
        ([], {"weights_sha256": "0" * 64}, "not those that the features were made with"),
        ([], {"transform": None}, "imported"),
    ],
)
def test_mistakes_are_one_line_and_leave_nothing_behind(
    predict, few, checkpoint, tmp_path, capsys, monkeypatch, options, card, said
):
    (tmp_path / "empty").mkdir()
    monkeypatch.chdir(tmp_path / "empty")
    path = altered(checkpoint, tmp_path / "altered.pt", **card) if card else checkpoint
    status, table = predict(few, *options, checkpoint=path)
    assert status == 2
    assert table is None
    assert list((tmp_path / "empty").iterdir()) == []
    lines = [line for line in capsys.readouterr().err.splitlines() if line.startswith("tarpon: ")]
    assert len(lines) == 1
    assert said in lines[0]


def test_copies_may_not_lie_among_the_images(predict, few, capsys):
    assert predict(few, f"--annotated={few / 'copies'}")[0] == 2
    assert "would take the copies for images" in capsys.readouterr().err


def test_images_are_read_one_chunk_ahead_and_no_further(few, tmp_path):
    """What would be read too early is not there yet."""
    names = [f"{i}.jpg" for i in range(9)]
    for name in names[:6]:
        shutil.copy(few / "img10.jpg", tmp_path / name)
    stream = read_pictures(tmp_path, names, size=3, threads=1, read=answering.read_picture)
    found = [next(stream)]
    for name in names[6:]:
        shutil.copy(few / "img10.jpg", tmp_path / name)
    found += list(stream)
    assert [list(rows) for rows, _ in found] == [[0, 1, 2], [3, 4, 5], [6, 7, 8]]
    assert all(isinstance(picture, JpegImage) for _, pictures in found for picture in pictures)


def test_a_model_that_chooses_together_names_the_order_of_its_family():
    """Alone the family is b (order q) and the order p; together a of p is likelier: .4 x .9 against .6 x .1."""
    scores = {"family": torch.tensor([[0.4, 0.6]]).log(), "order": torch.tensor([[0.9, 0.1]]).log()}
    predictor = answering.FishPredictor(
        model=lambda features: scores,
        encoder=None,
        recipe=None,
        encoders={"families": ["a", "b"], "orders": ["p", "q"]},
        tasks=("family", "order"),
        family_order=None,
        stored=np.dtype(np.float32),
        device=torch.device("cpu"),
    )
    apart = answering.predict_vectors(predictor, ["x"], torch.zeros(1, 3)).to_pylist()[0]
    assert (apart["family"], apart["order"]) == ("b", "p")
    together = answering.predict_vectors(
        replace(predictor, family_order=np.array([0, 1])), ["x"], torch.zeros(1, 3)
    ).to_pylist()[0]
    assert (together["family"], together["order"]) == ("a", "p")
    assert together["family_prob"] == pytest.approx(0.36 / 0.42)
    assert together["order_prob"] == pytest.approx(0.9)
