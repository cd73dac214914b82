"""Images through the graph: the pixels that Pillow and torchvision give, in order, and bad ones named."""

import io
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest
import torch
from PIL import Image
from torchvision import transforms

from tarpon.pipelines.feed import Feed
from tarpon.pipelines.image.feed import ImageFields, ImageRequest, request_images
from tarpon.pipelines.image.graph import ImageGraph
from tarpon.pipelines.loader import Loader
from tarpon.shards.manifest import Manifest
from tarpon.shards.quarantine import BadSample, Budget, Fault
from tarpon.shards.sampling import plan

MEAN, STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)
# grey levels. Pillow rounds between its two passes over rows and columns, DALI once at the end: 0.12 to 0.22 on average and 6
# at most on real photographs (2026); a crop that is one pixel off differs by 2 to 10 on average
MEAN_DIFFERENCE, MOST_DIFFERENCE = 0.4, 12


class Contents:
    """Encoded images in memory; None does not read."""

    def __init__(self, contents: list[bytes | None]) -> None:
        self.contents = contents

    def read(self, row: int, column: str) -> bytes:
        assert column == "jpg"
        if self.contents[row] is None:
            raise BadSample(Fault(file=f"image{row}", reason="torn"))
        return self.contents[row]


def loader_of(
    contents: list[bytes | None],
    *,
    batch: int = 4,
    size: int = 224,
    resize: int = 256,
    limit: int = 0,
    device: int | None = None,
) -> Loader:
    manifest = Manifest(root="memory", card={}, table=pa.table({"key": [f"image{i}" for i in range(len(contents))]}))
    fields = ImageFields(column="jpg", mean=MEAN, std=STD)
    feed = Feed(manifest, Contents(contents), fields, pool=np.arange(len(contents)), budget=Budget(limit=limit))
    graph = ImageGraph(batch=batch, size=size, resize=resize)
    return Loader(graph, feed, device=device, threads=1)


def delivered(loader: Loader, count: int, *, batch: int = 4) -> list[dict]:
    return list(loader.run(request_images(plan.sequential_batches(count, micro=batch))))


def grey_levels(image: torch.Tensor) -> np.ndarray:
    """Undo the normalisation: (3, H, W) -> 0..255."""
    return ((image * torch.tensor(STD)[:, None, None] + torch.tensor(MEAN)[:, None, None]) * 255).numpy()


def expected(content: bytes, *, size: int = 224, resize: int = 256) -> np.ndarray:
    """(3, H, W) grey levels by Pillow and torchvision."""
    steps = [transforms.Resize(resize, transforms.InterpolationMode.BICUBIC), transforms.CenterCrop(size)]
    picture = transforms.Compose(steps)(Image.open(io.BytesIO(content)).convert("RGB"))
    return np.asarray(picture, float).transpose(2, 0, 1)


def encoded(pixels: np.ndarray, *, kind: str = "png") -> bytes:
    buffer = io.BytesIO()
    Image.fromarray(pixels).save(buffer, format=kind)
    return buffer.getvalue()


def noise(height: int, width: int) -> np.ndarray:
    return np.random.default_rng(height * width).integers(0, 256, (height, width, 3), dtype=np.uint8)


def photographs(folder: Path) -> list[bytes]:
    paths = sorted([*folder.glob("reid_tiny/images/*/*"), *folder.glob("seastar_tiles/tiles/*")])
    return [path.read_bytes() for path in paths]


def test_photographs_have_the_pixels_of_pillow_and_torchvision(shared_data):
    contents = photographs(shared_data)
    assert len(contents) > 10
    batches = delivered(loader_of(contents), len(contents))
    images = torch.cat([batch["image"] for batch in batches])[: len(contents)]
    assert images.shape == (len(contents), 3, 224, 224)
    assert images.dtype == torch.float32
    for image, content in zip(images, contents, strict=True):
        difference = np.abs(grey_levels(image) - expected(content))
        assert difference.mean() < MEAN_DIFFERENCE
        assert difference.max() < MOST_DIFFERENCE


@pytest.mark.gpu
def test_a_gpu_gives_the_pixels_of_a_cpu(shared_data):
    contents = photographs(shared_data)
    on_cpu = delivered(loader_of(contents), len(contents))
    on_gpu = delivered(loader_of(contents, device=0), len(contents))
    for one, two in zip(on_cpu, on_gpu, strict=True):
        assert two["image"].is_cuda
        assert one["row"].tolist() == two["row"].tolist()
        for a, b in zip(one["image"], two["image"].cpu(), strict=True):
            assert np.abs(grey_levels(a) - grey_levels(b)).mean() < 1  # JPEG decoders may differ by a grey level


@pytest.mark.parametrize("long", [32, 33, 34, 35, 36, 37])
def test_the_crop_lies_where_torchvision_puts_it(long):
    """Nothing is scaled here, so that one pixel aside would show in full."""
    contents = [encoded(noise(32, long)), encoded(noise(long, 32))]
    (batch,) = delivered(loader_of(contents, batch=2, size=24, resize=32), 2, batch=2)
    for image, content in zip(batch["image"], contents, strict=True):
        np.testing.assert_allclose(grey_levels(image), expected(content, size=24, resize=32), atol=1e-3)


@pytest.mark.parametrize(("height", "width"), [(31, 200), (201, 47), (97, 96), (1000, 333)])
def test_odd_shapes_are_scaled_as_torchvision_does(height, width):
    smooth = Image.fromarray(noise(8, 8)).resize((width, height), Image.Resampling.BICUBIC)
    content = encoded(np.asarray(smooth))
    (batch,) = delivered(loader_of([content], batch=1, size=56, resize=64), 1, batch=1)
    difference = np.abs(grey_levels(batch["image"][0]) - expected(content, size=56, resize=64))
    assert difference.mean() < MEAN_DIFFERENCE


def test_grey_and_jpeg_images_come_as_three_channels():
    content = encoded(noise(40, 60)[..., 0], kind="jpeg")
    (batch,) = delivered(loader_of([content], batch=1, size=32, resize=32), 1, batch=1)
    red, green, blue = grey_levels(batch["image"][0])
    np.testing.assert_allclose(red, green, atol=1e-3)
    np.testing.assert_allclose(red, blue, atol=1e-3)
    assert np.abs(red - expected(content, size=32, resize=32)[0]).mean() < 2  # JPEG decoders may differ by a grey level


def test_order_is_kept_and_the_last_batch_is_padded():
    contents = [encoded(np.full((20, 20, 3), 10 * i, np.uint8)) for i in range(6)]
    loader = loader_of(contents, size=16, resize=16)
    for _ in range(2):  # a loader can be run again
        batches = delivered(loader, 6)
        assert [batch["row"].tolist() for batch in batches] == [[0, 1, 2, 3], [4, 5, -1, -1]]
        levels = [grey_levels(image).mean() for batch in batches for image in batch["image"]]
        np.testing.assert_allclose(levels, [0, 10, 20, 30, 40, 50, 0, 0], atol=0.01)


def test_a_mirrored_shot_is_the_image_from_right_to_left():
    loader = loader_of([encoded(noise(20, 20))], batch=2, size=16, resize=16)
    (batch,) = loader.run([[ImageRequest(row=0), ImageRequest(row=0, mirror=True)]])
    assert torch.equal(batch["image"][0].flip(-1), batch["image"][1])
    assert not torch.equal(batch["image"][0], batch["image"][1])


def test_an_image_that_does_not_decode_is_named():
    loader = loader_of([encoded(noise(20, 20)), bytes(1000)], batch=2, size=16, resize=16)
    with pytest.raises(ValueError, match=r"1 bad samples, 0 allowed .*the first: image1: jpg: does not decode"):
        delivered(loader, 2, batch=2)
    assert [batch["row"].tolist() for batch in loader.run([[ImageRequest(row=0)]])] == [[0]]


def test_a_row_that_does_not_read_spends_the_budget():
    contents = [encoded(np.full((20, 20, 3), 10 * i, np.uint8)) for i in range(3)]
    contents[1] = None
    (batch,) = delivered(loader_of(contents, batch=3, size=16, resize=16, limit=1), 3, batch=3)
    assert batch["row"].tolist() == [0, 2, 2]
    with pytest.raises(ValueError, match=r"1 bad samples, 0 allowed .*image1"):
        delivered(loader_of(contents, batch=3, size=16, resize=16), 3, batch=3)


def test_a_crop_larger_than_the_image_is_refused():
    with pytest.raises(ValueError, match=r"image_size=300 must be .* at most resize=256"):
        ImageGraph(batch=1, size=300)
