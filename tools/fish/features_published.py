"""`tarpon features --dataset-root ...`: the published extraction command as it stands.

The images are packed first, into `<output-dir>/shards`, unless that folder holds shards already; again, it goes on.
"""

import json
from collections import Counter
from pathlib import Path

from tarpon.shards import atomic
from tarpon.shards.features import FeatureTable, open_features
from tarpon.shards.manifest import MANIFEST, SPLITS
from tarpon.tools import features
from tarpon.tools.fish import pack
from tarpon.train.engine import agree_with_rank0, connect

HUB = {  # names of the published repository -> timm's
    "dinov3_vits16": "vit_small_patch16_dinov3",
    "dinov3_vits16plus": "vit_small_plus_patch16_dinov3",
    "dinov3_vitb16": "vit_base_patch16_dinov3",
    "dinov3_vitl16": "vit_large_patch16_dinov3",
    "dinov3_vith16plus": "vit_huge_plus_patch16_dinov3",
    "dinov3_vit7b16": "vit_7b_patch16_dinov3",
    **{f"dinov3_convnext_{size}": f"convnext_{size}.dinov3_lvd1689m" for size in ("tiny", "small", "base", "large")},
}
METADATA = "metadata.json"


def run(
    *,
    dataset_root: str,
    output_dir: str,
    ann_root: str | None = None,
    hub_name: str = "dinov3_vits16",
    weights: str | None = None,
    pretrained: bool = True,
    batch_size: int = 128,
    num_workers: int = 8,
    resize_size: int = 256,
    crop_size: int = 224,
    seed: int = 17,
    val_ratio: float = 0.15,
    test_ratio: float = 0.15,
    distributed: bool = False,
    disable_normalize: bool = False,
    multi_scale: bool = False,
    fp16: bool = False,
) -> int:
    """Compute every image's vector once, by the names of the published extraction.

    Args:
        dataset_root: folder of <family>/<image>, or shards that `tarpon pack fish` wrote.
        output_dir: folder for the features, the shards that they are made from, and metadata.json.
        ann_root: folder of train.csv and test.csv; unset: anns beside the data set's folder.
        hub_name: name of the published repository, such as dinov3_vitl16, or timm's.
        weights: local .safetensors, .pt or .pth file of the backbone.
        pretrained: without weights, those of the hub or its cache; false: random ones.
        batch_size: images a pass, in each process.
        num_workers: decoding threads and packing processes.
        resize_size: shorter side before the crop, in pixels.
        crop_size: side of the crop in the middle, in pixels.
        seed: of the cut into train and val.
        val_ratio: of the training images, for validation: the same share of each family, species whole.
        test_ratio: adds nothing, for test is test.csv.
        distributed: adds nothing, for all processes that a launcher starts take part.
        disable_normalize: vectors as they are, not of length 1.
        multi_scale: mean over the image at 1, 0.707 and 0.5 of its size.
        fp16: stored in half precision; unset: in single.
    """
    if num_workers < 0:
        raise ValueError(f"num_workers={num_workers} must be at least 0")
    root, out = Path(dataset_root), Path(output_dir)
    annotations = Path(ann_root) if ann_root else root.resolve().parent / "anns"
    shards = root if (root / MANIFEST).exists() else out / "shards"
    if shards != root:
        packing = {"val_share": val_ratio, "seed": seed, "workers": num_workers}
        if status := pack_once(root, annotations=annotations, shards=shards, **packing):
            return status
    status = features.run(
        str(shards), backbone=HUB.get(hub_name, hub_name), out=str(out), weights=weights, pretrained=pretrained,
        multi_scale=multi_scale, dtype="fp16" if fp16 else "fp32", l2=not disable_normalize, batch=batch_size,
        image_size=crop_size, resize=resize_size, threads=num_workers,
    )  # fmt: skip
    if status == 0 and connect().first:
        given = {"dataset_root": dataset_root, "ann_root": str(annotations), "hub_name": hub_name, "weights": weights}
        write_metadata(out, given, resize=resize_size, crop=crop_size)
    return status


def pack_once(root: Path, *, annotations: Path, shards: Path, **packing: object) -> int:
    """Pack the images on the first process while the others wait; exit status of packing, the same on every process.

    Args:
        packing: further options of `tarpon pack fish`.
    """
    context, status = connect(), 0
    if context.first:
        status = pack.fish(images=str(root), annotations=str(annotations), out=str(shards), **packing)
    return agree_with_rank0(context, lambda: status)


def write_metadata(out: Path, given: dict, *, resize: int, crop: int) -> None:
    """metadata.json beside the features in `out`; `given`: the options to record."""
    content = make_metadata(open_features(out), given, resize=resize, crop=crop)
    atomic.write_text(out / METADATA, json.dumps(content, indent=2) + "\n")


def make_metadata(table: FeatureTable, given: dict, *, resize: int, crop: int) -> dict:
    """Content of metadata.json as the published program writes it; class numbers are those of our own card."""
    classes = list(table.card["classes"]["families"])
    counts = Counter(table.labels["split"].to_pylist())
    return {
        **given,
        "class_to_idx": {name: number for number, name in enumerate(classes)},
        "classes": classes,
        "transform": {"resize_size": resize, "crop_size": crop},
        "splits": {name: {"count": counts[name], "features_file": "features.arrow"} for name in SPLITS if counts[name]},
    }
