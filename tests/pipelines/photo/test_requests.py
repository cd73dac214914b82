"""Delivery of photographs: repeatable draws, padding, normalisation, presets by row, and a GPU beside a CPU."""

import numpy as np
import pytest

from tarpon.pipelines.photo.feed import PhotoRequest, request_photos
from tarpon.pipelines.photo.graph import PhotoGraph
from tarpon.shards.sampling.photo_augment import PhotoAugment, wildlife
from tarpon.shards.sampling.photo_draws import IDENTITY_DRAW

SIZE = 64


def test_a_draw_gives_its_pixels_again_wherever_it_stands_and_whoever_is_beside_it(contents, deliver, request_all):
    work = request_all([0, 1, 2, 3, 4, 5], [10, 11, 12, 13, 14, 15])
    together = deliver(contents, work)
    np.testing.assert_array_equal(together, deliver(contents, work))
    np.testing.assert_array_equal(together[::-1], deliver(contents, work[::-1]))
    for place in (2, 3):
        (alone,) = deliver(contents, [work[place]])
        np.testing.assert_array_equal(alone, together[place])
    other = deliver(contents, request_all([0, 1, 2, 3, 4, 5], [20, 21, 22, 23, 24, 25]))
    assert (np.abs(other - together).mean((1, 2, 3)) > 5).all()


def test_a_short_last_batch_and_padding_are_told_by_their_rows(contents, make_loader):
    run = make_loader(contents, batch=4)
    work = [
        request_photos([0, 1, 2, 3], augments=(wildlife(),), slots=range(4)),
        request_photos([4, -1, -1, -1], augments=(wildlife(),), slots=range(4)),
    ]
    for _ in range(2):  # a loader can be run again
        assert [batch["row"].tolist() for batch in run.run(work)] == [[0, 1, 2, 3], [4, -1, -1, -1]]


def test_what_is_delivered_is_normalised(contents, deliver):
    mean, std = (0.5, 0.4, 0.3), (0.2, 0.25, 0.5)
    (got,) = deliver(contents, [PhotoRequest(row=0)], mean=mean, std=std)
    (grey,) = deliver(contents, [PhotoRequest(row=0)])
    np.testing.assert_allclose(got, (grey / 255 - mean) / std, atol=1e-5)


def test_sets_go_to_the_rows_that_ask_for_them():
    made_of = request_photos([3, 4, -1], augments=(PhotoAugment(), wildlife()), sets=[0, 1, 1], slots=[7, 8, 9])
    assert [shot.row for shot in made_of] == [3, 4, -1]
    assert np.array_equal(made_of[0].draw.matrix, np.eye(3))
    assert made_of[1].draw.colour is not None
    assert made_of[2].draw is IDENTITY_DRAW
    assert all(shot.draw is IDENTITY_DRAW for shot in request_photos([1, 2]))


def test_a_square_too_small_is_refused():
    with pytest.raises(ValueError, match="image_size=4 must be 8 or more"):
        PhotoGraph(batch=1, size=4)


@pytest.mark.gpu
def test_a_gpu_gives_the_pixels_of_a_cpu(contents, make_loader, deliver, request_all):
    work = request_all([0, 1, 2, 3, 4, 5], [10, 11, 12, 13, 14, 15])
    (batch,) = make_loader(contents, batch=len(work), device=0).run([work])
    assert batch["image"].is_cuda
    on_gpu = batch["image"].cpu().numpy().transpose(0, 2, 3, 1)
    # grey levels: JPEG, CLAHE and the weights of a warp are rounded otherwise on a GPU
    assert np.abs(on_gpu - deliver(contents, work)).mean() < 2
