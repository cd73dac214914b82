"""Local features of drawn stars: a turned copy is known again, another star and an empty picture are not."""

import io

import numpy as np
import pytest
from PIL import Image

from tarpon.tools.star.demo.drawing import paint, star
from tarpon.train.tasks.star.metrics import local_features
from tarpon.train.tasks.star.metrics.local_features import LEAST, NO_FEATURES, find_pairs

pytest.importorskip("cv2")


def encoded(picture: Image.Image) -> bytes:
    buffer = io.BytesIO()
    picture.save(buffer, format="PNG")
    return buffer.getvalue()


@pytest.fixture(scope="module")
def stars() -> list[Image.Image]:
    """Three drawn stars on black, 200 px."""
    charts = [paint(star(number, np.random.default_rng(number)), size=200) for number in range(3)]
    return [Image.fromarray((255 * np.clip(chart[..., :3] * chart[..., 3:4], 0, 1)).astype(np.uint8)) for chart in charts]


@pytest.fixture(scope="module")
def matcher() -> local_features.SiftMatcher:
    return local_features.SiftMatcher()


def test_a_turned_smaller_copy_is_known_again_and_another_star_is_not(stars, matcher):
    turned = [picture.rotate(50, Image.Resampling.BICUBIC).resize((150, 150), Image.Resampling.LANCZOS) for picture in stars]
    first, again = ([matcher.describe(encoded(picture)) for picture in pictures] for pictures in (stars, turned))
    count = np.array([[matcher.count_matches(one, other) for other in again] for one in first])
    own, others = np.diag(count), count[~np.eye(3, dtype=bool)]
    assert own.min() >= 10
    assert others.max() <= own.min() / 3


def test_whole_against_itself_every_distinct_feature_agrees(stars, matcher):
    features = matcher.describe(encoded(stars[0]))
    assert 20 < len(features.place) <= local_features.FEATURES + 10  # equal strengths at the end are all kept
    assert matcher.count_matches(features, features) == len(find_pairs(features.descriptor, features.descriptor)[0])


def test_the_score_is_the_same_again_and_much_the_same_the_other_way_round(stars, matcher):
    one, other = (matcher.describe(encoded(picture)) for picture in (stars[1], stars[1].rotate(20)))
    there, back = matcher.count_matches(one, other), matcher.count_matches(other, one)
    assert there == matcher.count_matches(one, other)
    assert abs(there - back) <= 0.1 * there
    pairs, swapped = find_pairs(one.descriptor, other.descriptor), find_pairs(other.descriptor, one.descriptor)
    assert set(zip(*pairs, strict=True)) == set(zip(*swapped[::-1], strict=True))


def test_where_there_are_no_features_nothing_is_shared(stars, matcher):
    empty = [matcher.describe(content) for content in (encoded(Image.new("RGB", (90, 60), (70, 90, 80))), b"no picture", b"")]
    features = matcher.describe(encoded(stars[0]))
    for nothing in (*empty, NO_FEATURES):
        assert len(nothing.place) == len(nothing.descriptor) == 0
        assert matcher.count_matches(nothing, features) == matcher.count_matches(features, nothing) == 0
        assert matcher.count_matches(nothing, nothing) == 0


def test_pairs_are_those_of_a_plain_loop():
    """Nearest both ways, and nearer than 0.8 of the distance to the second, both ways."""
    rng = np.random.default_rng(0)
    first = rng.integers(0, 40, (30, 128)).astype(np.uint8)
    second = np.concatenate([np.clip(first[:20] + rng.integers(0, 9, (20, 128)), 0, 255), first[:3]]).astype(np.uint8)
    distance = np.array([[np.linalg.norm(a.astype(float) - b.astype(float)) for b in second] for a in first])
    want = set()
    for i, row in enumerate(distance):
        j, column = int(row.argmin()), distance[:, row.argmin()]
        if column.argmin() == i and row[j] < 0.8 * np.sort(row)[1] and column[i] < 0.8 * np.sort(column)[1]:
            want.add((i, j))
    here, there = find_pairs(first, second)
    assert set(zip(here.tolist(), there.tolist(), strict=True)) == want
    assert len(want) == 20  # three of them by way of an exact copy


def test_fewer_pairs_than_needed_are_none(matcher):
    place = np.array([[0, 0], [9, 0], [0, 9]], np.float32)
    few = local_features.LocalFeatures(place=place, descriptor=(100 * np.eye(3, 128)).astype(np.uint8))
    assert len(find_pairs(few.descriptor, few.descriptor)[0]) == LEAST - 1
    assert matcher.count_matches(few, few) == 0


def test_without_opencv_one_line_says_what_to_install(monkeypatch):
    monkeypatch.setitem(__import__("sys").modules, "cv2", None)
    with pytest.raises(ValueError, match=r"pip install 'tarpon\[local\]'"):
        local_features.SiftMatcher()
