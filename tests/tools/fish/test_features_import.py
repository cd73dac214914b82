"""Published feature files into a cache: joined by name, with their own splits, and a card that owns up to what is unknown."""

import csv
import json
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest
import torch

from tarpon.shards.features import open_features
from tarpon.tools import cli
from tarpon.tools.features import Recipe
from tarpon.tools.fish.features_import import last_two_parts

DIM = 6


def rows_of(lab: Path, split: str) -> list[dict]:
    with open(lab / "anns" / f"{split}.csv", newline="") as file:
        return list(csv.DictReader(file))


def name_of(row: dict) -> str:
    return f"{row['Folder']}/{row['image'].rpartition('/')[2]}"


@pytest.fixture
def published(fish_lab, tmp_path) -> tuple[Path, dict[str, np.ndarray]]:
    """A folder as the published program writes it, and the vector of every image."""
    rows = {split: list(dict.fromkeys(map(name_of, rows_of(fish_lab, split)))) for split in ("train", "test")}
    names = {"train": rows["train"][:-20], "val": rows["train"][-20:], "test": rows["test"]}
    families = sorted({name.partition("/")[0] for group in names.values() for name in group})
    rng, folder, vectors = np.random.default_rng(0), tmp_path / "published", {}
    folder.mkdir()
    for split, group in names.items():
        block = rng.standard_normal((len(group), DIM)).astype(np.float32)
        block /= np.linalg.norm(block, axis=1, keepdims=True)
        vectors |= dict(zip(group, block, strict=True))
        held = {
            "features": torch.from_numpy(block),
            "labels": torch.tensor([families.index(name.partition("/")[0]) for name in group]),
            "paths": [f"/home/someone/fish/{name}" for name in group],
            "indices": list(range(len(group))),
        }
        torch.save(held, folder / f"{split}_features.pt")
    told = {
        "dataset_root": "/home/someone/fish",
        "class_to_idx": {name: i for i, name in enumerate(families)},
        "transform": {"resize_size": 256, "crop_size": 224},
        "hub_name": "dinov3_vits16",
        "weights": "/home/someone/weights/dinov3_vits16.pth",
    }
    (folder / "metadata.json").write_text(json.dumps(told))
    return folder, vectors


def import_(lab: Path, folder: Path, out: Path, *options: str) -> int:
    return cli.main(["features", "import", str(folder), "--annotations", str(lab / "anns"), "--out", str(out), *options])


def test_vectors_meet_their_annotations_and_keep_their_split(fish_lab, published, tmp_path, capsys):
    folder, vectors = published
    assert import_(fish_lab, folder, tmp_path / "out") == 0
    table = open_features(tmp_path / "out")
    sources = table.labels["source"].to_pylist()
    assert len(sources) > 100
    np.testing.assert_array_equal(table.features, np.stack([vectors[name] for name in sources]))
    annotated = {name_of(row): row for split in ("train", "test") for row in rows_of(fish_lab, split)}
    for label in table.labels.to_pylist():
        row = annotated[label["source"]]
        assert label["family"] == row["Folder"]
        assert label["order"] == row["NewOrder"].partition("/")[0]
        assert (label["troph"] is None) == (row["Troph"] == "")
        assert label["troph"] is None or label["troph"] == pytest.approx(float(row["Troph"]))
    assert 0 < len(table.split("val")) <= 20
    assert f"{len(table.split('train'))} train, {len(table.split('val'))} val" in capsys.readouterr().out


def test_the_card_owns_up_to_what_is_unknown(fish_lab, published, tmp_path):
    import_(fish_lab, published[0], tmp_path / "out")
    card = open_features(tmp_path / "out").card
    assert (card["backbone"], card["l2"], card["transform"], card["multi_scale"]) == ("dinov3_vits16", True, None, None)
    assert {"multi_scale", "seed", "val_ratio"} <= set(card["imported"]["unknown"])
    assert card["imported"]["weights"] == "dinov3_vits16.pth"
    assert "/home" not in json.dumps(card)
    assert len(card["classes"]["habitats"]) == 8
    with pytest.raises(ValueError, match="how they were made is not known"):
        Recipe.from_card(card)


def test_vectors_without_a_row_are_left_out_and_told(fish_lab, published, tmp_path, capsys):
    folder, _ = published
    held = torch.load(folder / "test_features.pt", weights_only=True)
    family = held["paths"][0].split("/")[-2]
    held["paths"][0] = f"D:\\fish\\{family}\\nobody.jpg"
    torch.save(held, folder / "test_features.pt")
    assert import_(fish_lab, folder, tmp_path / "out") == 0
    assert f"{family}/nobody.jpg" not in open_features(tmp_path / "out").labels["source"].to_pylist()
    assert "vectors left out, without one sound row of annotations each" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("damage", "said"),
    [
        (lambda folder: (folder / "val_features.pt").unlink(), "val_features.pt: not a file of published features"),
        (lambda folder: (folder / "val_features.pt").write_bytes(b"torn"), "val_features.pt: not a file of published features"),
        (lambda folder: (folder / "metadata.json").unlink(), "metadata.json: cannot be read"),
        (lambda folder: torch.save({"features": 1}, folder / "val_features.pt"), "not a file of published features"),
        (lambda folder: torch.save(pa.scalar(1), folder / "val_features.pt"), "not a file of published features"),
        (lambda folder: change(folder, "val", labels=lambda x: x + 1), "metadata.json is of other files"),
        (lambda folder: change(folder, "val", features=lambda x: x[:, :3]), "the files are of two models"),
        (lambda folder: change(folder, "val", paths=twice, labels=lambda x: x[[1, *range(1, 20)]]), "comes twice"),
        (lambda folder: change(folder, "val", paths=lambda x: x[1:]), "do not agree"),
    ],
)  # fmt: skip
def test_damaged_files_are_told_in_one_line(fish_lab, published, tmp_path, capsys, damage, said):
    folder, _ = published
    damage(folder)
    assert import_(fish_lab, folder, tmp_path / "out") == 2
    error = capsys.readouterr().err.strip()
    assert said in error
    assert error.count("\n") == 0
    assert not (tmp_path / "out").exists()


def change(folder: Path, split: str, **changes) -> None:
    path = folder / f"{split}_features.pt"
    held = torch.load(path, weights_only=True)
    torch.save(held | {name: do(held[name]) for name, do in changes.items()}, path)


def twice(paths: list[str]) -> list[str]:
    return [paths[1], *paths[1:]]


def test_names_are_found_in_paths_of_any_machine():
    assert last_two_parts("/data/fish/Labridae/a.b.jpg") == "Labridae/a.b.jpg"
    assert last_two_parts("C:\\fish\\Labridae\\a.jpg") == "Labridae/a.jpg"
