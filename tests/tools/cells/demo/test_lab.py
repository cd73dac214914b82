"""The synthetic experiment: no infection before its onset, much after it; wells known by their light; time in both classes."""

import hashlib
from pathlib import Path

import numpy as np
import pytest
import tifffile

from tarpon.shards.sources.cells.config import read_config, read_training_part
from tarpon.tools.cells.demo import lab
from tarpon.tools.cells.demo.drawing import culture, draw, infection, well

TIMES = np.arange(32) / 2


def course(number: int, *, onset: float | None, light: int = 0) -> np.ndarray:
    where = well(np.random.default_rng((1, light)), size=96)
    rng = np.random.default_rng((2, number))
    grown = culture(rng, size=96, times=TIMES, density=where.density)
    fate = None if onset is None else infection(np.random.default_rng((3, number)), grown, onset=onset)
    return draw(rng, where, grown, fate, times=TIMES)


def flat(pages: np.ndarray, light: int = 0) -> np.ndarray:
    """Pages as multiples of their medians, without the well's light."""
    even = pages / well(np.random.default_rng((1, light)), size=96).light
    return even / np.median(even, (1, 2), keepdims=True)


def bright(pages: np.ndarray) -> np.ndarray:
    """Share of each page's pixels that are far above the medium."""
    return (flat(pages) > 1.12).mean((1, 2))


def covered(pages: np.ndarray) -> np.ndarray:
    """Share of each page's pixels that are not medium."""
    return (np.abs(flat(pages) - 1) > 0.05).mean((1, 2))


def test_before_the_onset_an_infected_culture_is_a_healthy_one_bit_for_bit():
    healthy, early, late = (course(0, onset=onset) for onset in (None, 2.0, 8.0))
    assert np.array_equal(healthy[:5], early[:5])  # hours 0 to 2
    assert np.array_equal(healthy[:17], late[:17])
    assert not np.array_equal(healthy[5:], early[5:])


def test_after_the_onset_infection_shows_more_and_more():
    for number in range(2):
        healthy, ill = bright(course(number, onset=None)), bright(course(number, onset=4.0))
        gain = ill - healthy
        assert not gain[:9].any()
        assert gain[9:12].mean() < 0.7 * gain[14:].mean()
        assert gain[14:].mean() > 0.04


def test_time_shows_in_healthy_cultures():
    for number in range(2):
        pages = course(number, onset=None)
        assert np.corrcoef(TIMES, covered(pages))[0, 1] > 0.6


def test_a_well_is_known_by_its_light():
    """First pages, blurred to 6 x 6: nearer to another position of the same well than to any of another well."""

    def light(pages: np.ndarray) -> np.ndarray:
        return np.median(pages[:8], 0).reshape(6, 16, 6, 16).mean((1, 3)).ravel()

    seen = np.array([[light(course(10 * w + p, onset=None, light=w)) for p in range(2)] for w in range(5)])
    first, second = seen[:, 0], seen[:, 1]
    nearest = ((first[:, None] - second[None]) ** 2).sum(-1).argmin(1)
    assert (nearest == np.arange(5)).mean() >= 0.8


def test_files_names_formats_and_configuration(cells_lab):
    stacks = {folder: sorted((cells_lab / folder).iterdir()) for folder in ("infected", "uninfected")}
    assert [len(paths) for paths in stacks.values()] == [6, 6]
    assert stacks["infected"][0].name == "20251023demo10x30minintervalinfectedvsuninfected_s5_b2_p1_t0-7_ec.tiff"
    forms = set()
    for path in [*stacks["infected"], *stacks["uninfected"]]:
        with tifffile.TiffFile(path) as tif:
            assert len(tif.pages) == 8
            forms.add((str(tif.pages[0].dtype), tif.pages[0].samplesperpixel, tif.pages[0].compression.name))
    assert forms == {("uint16", 1, "NONE"), ("uint16", 1, "LZW"), ("uint16", 1, "ADOBE_DEFLATE"), ("uint8", 1, "NONE"),
                     ("uint8", 3, "NONE")}  # fmt: skip
    config = read_config(cells_lab / "cells.yaml")
    assert (config.infected_dir, config.frames_per_hour, config.unused) == (cells_lab / "infected", 2.0, ())
    part = read_training_part(cells_lab / "cells.yaml")
    assert part["multitask.infection_onset_hour"] == 1.0
    assert part["multitask.clamp_range"] == (0, 3.5)


def wells_of(folder: Path) -> set[str]:
    return {path.name.split("_")[2] for path in folder.iterdir()}


def test_wells_and_seed(tmp_path):
    def digest(name: str, **options) -> str:
        lab.write(tmp_path / name, stacks=4, pages=2, size=48, **options)
        paths = sorted(path for path in (tmp_path / name).rglob("*") if path.is_file())
        return hashlib.sha256(b"".join(path.name.encode() + path.read_bytes() for path in paths)).hexdigest()

    first = digest("one", wells=4)
    assert digest("two", wells=4) == first
    assert digest("other", wells=4, seed=1) != first
    assert wells_of(tmp_path / "one/infected") == {"b2", "b3"}
    assert wells_of(tmp_path / "one/uninfected") == {"c2", "c3"}
    digest("confounded", confounded=True)
    assert wells_of(tmp_path / "confounded/infected") == {"b2"}
    assert wells_of(tmp_path / "confounded/uninfected") == {"c4"}


@pytest.mark.parametrize("wrong", [{"wells": 3}, {"wells": 0}, {"stacks": 5}, {"pages": 1}, {"size": 8}, {"onset": -1}])
def test_a_wrong_setting_is_named(tmp_path, wrong):
    with pytest.raises(ValueError, match=f"{next(iter(wrong))}="):
        lab.write(tmp_path, **wrong)
    assert not list(tmp_path.iterdir())


def test_an_occupied_folder_is_refused(cells_lab):
    with pytest.raises(ValueError, match="choose an empty folder"):
        lab.write(cells_lab)
