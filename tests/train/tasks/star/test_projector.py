"""What TensorBoard's projector reads: as many names as points, a header above several columns, a bounded number."""

import numpy as np
import pytest
from PIL import Image

from tarpon.train.tasks.star.projector import pick_identities, write_projector


def made(rows: int = 7) -> dict:
    rng = np.random.default_rng(0)
    return {
        "embedding": rng.normal(size=(rows, 5)).astype(np.float32),
        "columns": {"identity": np.array([f"a\t{i}\n" for i in range(rows)]), "outing": np.arange(rows)},
    }


def write(folder, *, rows: int = 7, **change):
    given = made(rows) | change
    write_projector(folder, given.pop("embedding"), step=3, **given)
    return folder / "00003" / "embedding"


def test_points_have_unit_length_and_their_names(tmp_path):
    at = write(tmp_path / "p")
    points = np.loadtxt(at / "tensors.tsv", delimiter="\t")
    np.testing.assert_allclose(np.linalg.norm(points, axis=1), 1, rtol=1e-5)
    given = made()["embedding"]
    np.testing.assert_allclose(points, given / np.linalg.norm(given, axis=1, keepdims=True), atol=1e-6)
    lines = (at / "metadata.tsv").read_text().splitlines()
    assert lines[0] == "identity\touting"
    assert lines[1:] == [f"a {i}\t{i}" for i in range(7)]
    assert "00003/embedding/tensors.tsv" in (tmp_path / "p" / "projector_config.pbtxt").read_text()


def test_one_column_has_no_header(tmp_path):
    at = write(tmp_path / "p", columns={"identity": np.arange(7)})
    assert (at / "metadata.tsv").read_text().splitlines() == [str(i) for i in range(7)]


def test_thumbnails_lie_in_reading_order(tmp_path):
    pictures = np.zeros((7, 4, 4, 3), np.uint8)
    pictures[:, :, :, 0] = 30 * np.arange(7)[:, None, None]
    sheet = np.asarray(Image.open(write(tmp_path / "p", thumbnails=pictures) / "sprite.png"))
    assert sheet.shape == (12, 12, 3)
    for i in range(7):
        row, column = divmod(i, 3)
        assert abs(int(sheet[4 * row + 1, 4 * column + 1, 0]) - 30 * i) <= 1


def test_writing_again_replaces(tmp_path):
    write(tmp_path / "p")
    at = write(tmp_path / "p", rows=4)
    assert len((at / "metadata.tsv").read_text().splitlines()) == 5
    assert len(list((tmp_path / "p").glob("events*"))) == 1


@pytest.mark.parametrize(
    ("change", "part"),
    [
        ({"rows": 0}, "0 embeddings"),
        ({"columns": {}}, "with 0 columns"),
        ({"columns": {"identity": np.arange(3)}}, "column identity has 3 values for 7"),
        ({"thumbnails": np.zeros((7, 4, 5, 3), np.uint8)}, "thumbnails must be"),
        ({"thumbnails": np.zeros((7, 3000, 3000, 3), np.uint8)}, "give 4 at most"),
    ],
)
def test_mistakes_are_refused(tmp_path, change, part):
    with pytest.raises(ValueError, match=part):
        write(tmp_path / "p", **change)


def test_whole_animals_are_shown_up_to_the_limit():
    identities = np.random.default_rng(1).permutation(np.arange(500) % 50)
    chosen = pick_identities(identities, limit=75)
    assert len(chosen) == len(set(chosen)) == 75
    assert (np.diff(chosen) > 0).all()
    _, counts = np.unique(identities[chosen], return_counts=True)
    assert sorted(counts) == [5] + [10] * 7
    assert (pick_identities(identities, limit=75) == chosen).all()
    assert pick_identities(identities, limit=9999).tolist() == list(range(500))
    assert len(np.intersect1d(pick_identities(identities, limit=75, seed=1), chosen)) < 75
