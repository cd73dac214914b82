"""What labs use today, to compare with: Pillow and torchvision, or OpenCV and Albumentations, in a PyTorch DataLoader.

Both sets are as published (see each function), on JPEG files that were made smaller beforehand, as published. Workers have one
thread each and keep running. S = size.
"""

from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

import torch
from PIL import Image
from torch import Tensor
from torch.utils.data import DataLoader, Dataset

from tarpon.tools.bench.sampler import EndlessSampler

MEAN, STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)


def make_pillow_reader(size: int) -> Callable[[Path], Tensor]:
    """File -> (3, S, S) float32, by the published training on WildlifeReID-10k."""
    from torchvision import transforms

    steps = transforms.Compose(
        [
            transforms.RandomResizedCrop(
                size, scale=(0.7, 1.0), ratio=(0.8, 1.2), interpolation=transforms.InterpolationMode.BICUBIC
            ),
            transforms.RandomHorizontalFlip(),
            transforms.RandomVerticalFlip(),
            transforms.RandomRotation(30),
            transforms.ColorJitter(brightness=0.2, contrast=0.2, saturation=0.2, hue=0.1),
            transforms.RandomGrayscale(0.1),
            transforms.RandomApply([transforms.GaussianBlur(5, (0.1, 2.0))], 0.1),
            transforms.ToTensor(),
            transforms.Normalize(MEAN, STD),
            transforms.RandomErasing(0.2, scale=(0.02, 0.15)),
        ]
    )

    def read(path: Path) -> Tensor:
        with Image.open(path) as image:
            return steps(image.convert("RGB"))

    return read


def make_albumentations_reader(size: int) -> Callable[[Path], Tensor]:
    """File -> (3, S, S) float32, by the published training on sea stars, in the arguments of Albumentations 2."""
    import albumentations as A
    import cv2
    from albumentations.pytorch import ToTensorV2
    from torchvision import transforms

    large = int(size * 1.3)
    steps = A.Compose(
        [
            A.LongestMaxSize(large),
            A.PadIfNeeded(large, large, border_mode=cv2.BORDER_CONSTANT, fill=0),
            A.RandomCrop(size, size),
            A.HorizontalFlip(p=0.5),
            A.VerticalFlip(p=0.5),
            A.RandomRotate90(p=0.5),
            A.Affine(scale=(0.75, 1.75), translate_percent=(-0.1, 0.1), rotate=(-45, 45), shear=(-10, 10), p=0.5),
            A.Perspective(scale=(0.02, 0.08), p=0.3),
            A.OneOf([A.OpticalDistortion(0.3), A.GridDistortion(5, 0.3), A.ElasticTransform(1, 50)], p=0.3),
            A.OneOf(
                [A.ColorJitter((0.8, 1.2), (0.8, 1.2), (0.7, 1.3), (-0.3, 0.3)), A.RGBShift(20, 20, 30),
                 A.HueSaturationValue(30, 30, 20)], p=0.5,
            ),
            A.OneOf([A.CLAHE(4.0, (8, 8)), A.Equalize()], p=0.2),
            A.ToGray(p=0.1),
            A.OneOf([A.GaussianBlur((3, 7)), A.MotionBlur(5), A.MedianBlur(5)], p=0.15),
            A.OneOf([A.Sharpen((0.2, 0.4), (0.5, 1.0)), A.UnsharpMask((3, 7))], p=0.2),
            A.Spatter(
                mean=(0.5, 0.6), std=(0.1, 0.2), gauss_sigma=(2, 3), cutout_threshold=(0.6, 0.7), intensity=(0.3, 0.5),
                mode="mud", p=0.15,
            ),
            A.CoarseDropout((1, 12), (0.01, 0.05), (0.01, 0.05), fill=0, p=0.2),
            A.PixelDropout(0.02, p=0.1),
            A.OneOf(
                [A.GaussNoise((0.02, 0.08)), A.ISONoise((0.01, 0.05), (0.1, 0.3)), A.ImageCompression("jpeg", (70, 95))],
                p=0.2,
            ),
            A.Normalize(MEAN, STD),
            ToTensorV2(),
        ]
    )  # fmt: skip
    erase = transforms.RandomErasing(0.2, scale=(0.02, 0.2), ratio=(0.3, 3.3), value="random")

    def read(path: Path) -> Tensor:
        return erase(steps(image=cv2.cvtColor(cv2.imread(str(path)), cv2.COLOR_BGR2RGB))["image"])

    return read


READERS = {"pillow": make_pillow_reader, "albumentations": make_albumentations_reader}


class Photographs(Dataset):
    """Files as ready tensors (3, S, S). reader: of READERS."""

    def __init__(self, files: Sequence[Path], *, reader: str, size: int) -> None:
        self.files, self.read = list(files), READERS[reader](size)

    def __len__(self) -> int:
        return len(self.files)

    def __getitem__(self, index: int) -> Tensor:
        return self.read(self.files[index])


def _single_thread(_worker: int) -> None:
    import cv2

    torch.set_num_threads(1)
    cv2.setNumThreads(0)


def make_loader(dataset: Photographs, *, batch: int, workers: int, pin: bool = False) -> Iterator[Tensor]:
    """Endless batches (B, 3, S, S)."""
    # fork, PyTorch's usual way on Linux, said because a spawned process hands "spawn" on to its own workers
    return iter(
        DataLoader(
            dataset,
            batch_size=batch,
            sampler=EndlessSampler(len(dataset)),
            num_workers=workers,
            prefetch_factor=4 if workers else None,  # as published
            persistent_workers=workers > 0,
            pin_memory=pin,
            worker_init_fn=_single_thread,
            multiprocessing_context="fork" if workers else None,
        )
    )
