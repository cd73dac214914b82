"""Fish and stars: a picture saved again as another file is a copy, wherever it lies; a near copy in another place is told."""

import csv
import io
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
from PIL import Image
from scipy import ndimage

from tarpon.shards.pack import Packing, pack
from tarpon.shards.quarantine import Fault
from tarpon.shards.sources.star import source as star
from tarpon.tools import lint
from tarpon.tools.fish.demo.lab import COLUMNS


def photo(seed: int) -> Image.Image:
    """Soft blobs of colour, as a JPEG gives them back."""
    rng = np.random.default_rng(seed)
    soft = ndimage.gaussian_filter(rng.random((96, 128, 3)), (6, 6, 0))
    pixels = ((soft - soft.min()) / np.ptp(soft) * 255).astype(np.uint8)
    return Image.open(io.BytesIO(saved(Image.fromarray(pixels), "JPEG")))


def saved(picture: Image.Image, form: str, **options) -> bytes:
    buffer = io.BytesIO()
    picture.save(buffer, form, **options)
    return buffer.getvalue()


def jpeg(seed: int) -> bytes:
    return saved(photo(seed), "JPEG", quality=90)


def again(content: bytes, form: str = "PNG", **options) -> bytes:
    """The same pixels in another file."""
    return saved(Image.open(io.BytesIO(content)), form, **options)


def write(root: Path, files: dict[str, bytes]) -> Path:
    for name, content in files.items():
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_bytes(content)
    return root


def sort_faults(faults: list[Fault]) -> tuple[dict[str, str], dict[str, str]]:
    """Reasons of what was left out, remarks on what was packed."""
    return tuple({fault.file: fault.reason for fault in faults if fault.packed == kept} for kept in (False, True))


def test_stars_saved_again(tmp_path):
    files = {f"s{animal}/2022-0{day}-01/{day}.jpg": jpeg(10 * animal + day) for animal in (1, 2, 3) for day in (3, 4, 5)}
    one, other, near = (files[f"s{animal}/2022-03-01/3.jpg"] for animal in (1, 2, 3))
    files |= {
        "s1/2022-05-01/again.png": again(one),  # of the same animal, under another day
        "s3/2022-04-01/wrong.png": again(other),  # of another animal
        "s1/2022-04-01/like.jpg": again(near, "JPEG", quality=60),
    }
    root = write(tmp_path / "stars", files)
    found = star.scan(root, star.StarSource())
    assert found.faults == []  # no two files have the same bytes
    with ThreadPoolExecutor(1) as pool:
        packing = Packing(out=tmp_path / "out", split=(0.8, 0, 0.2))
        manifest, faults = pack(star.STAR, found, options=star.StarSource(), packing=packing, executor=pool, progress=False)
    left_out, remarks = sort_faults(faults)
    assert left_out == {
        "s1/2022-05-01/again.png": "the same picture as another one of this identity",
        "s3/2022-04-01/wrong.png": "the same picture is there under another identity",
        "s2/2022-03-01/3.jpg": "the same picture is there under another identity",
    }
    assert len(manifest) == 12 - 3
    ((name, remark),) = remarks.items()
    assert {name, remark.partition("looks like ")[2].partition(",")[0]} == {"s1/2022-04-01/like.jpg", "s3/2022-03-01/3.jpg"}
    assert "another identity (stars__s1 and stars__s3)" in remark
    assert lint.lint(str(tmp_path / "out"), workers=1) == []


def test_fish_saved_again(tmp_path, pack_fish):
    files = {f"{family}/{number}.jpg": jpeg(100 * ord(family) + number) for family in "AB" for number in range(4)}
    test = {"A/test.jpg": jpeg(7), "A/second.jpg": jpeg(8)}
    train = files | {
        "A/leak.png": again(test["A/test.jpg"]),
        "A/twice.png": again(files["A/0.jpg"]),
        "B/wrong.png": again(files["A/1.jpg"], "TIFF"),
        "B/like.jpg": again(test["A/second.jpg"], "JPEG", quality=50),
    }
    write(tmp_path / "lab/images", train | test)
    (tmp_path / "lab/anns").mkdir()
    for split, names in (("train", train), ("test", test)):
        with open(tmp_path / f"lab/anns/{split}.csv", "w", newline="") as file:
            table = csv.DictWriter(file, COLUMNS)
            table.writeheader()
            for name in names:
                family, _, image = name.partition("/")
                table.writerow(dict.fromkeys(COLUMNS, "") | {"Folder": family, "image": image, "NewOrder": "O/x"})
    manifest, faults = pack_fish(tmp_path / "lab", tmp_path / "out")
    left_out, remarks = sort_faults(faults)
    assert left_out == {
        "A/leak.png": "the same picture is a test image",
        "A/twice.png": "the same picture as another training image",
        "A/1.jpg": "the same picture is in another family's folder",
        "B/wrong.png": "the same picture is in another family's folder",
    }
    assert len(manifest) == 14 - 4
    ((name, remark),) = remarks.items()
    assert {name, remark.partition("looks like ")[2].partition(",")[0]} == {"B/like.jpg", "A/second.jpg"}
    assert "in another split (" in remark
    assert "another family (" in remark
    assert lint.lint(str(tmp_path / "out"), workers=1) == []
