"""Names of scores as a reader says them: in legends, tables and alternative texts."""

import re

SPELT = {
    "acc": "accuracy",
    "auc": "AUC",
    "auroc": "AUROC",
    "ece": "calibration error",
    "f1": "F1",
    "lr": "learning rate",
    "mae": "mean absolute error",
    "map": "mAP",
    "minp": "mINP",
    "pck": "PCK",
    "px": "in px",
    "rmse": "root mean square error",
    "segment": "segmental",
    "troph": "trophic level",
}
PERCENT = re.compile(r"\b(F1|PCK|CMC|cmc) (\d+)\b")


def in_words(name: str) -> str:
    """`loss/keypoints` -> `training loss: keypoints`, `val/segment_f1_50` -> `segmental F1@50`."""
    group, _, rest = name.partition("/")
    if name == "loss" or group == "loss":
        return f"training loss: {spell(rest)}" if rest else "training loss"
    if group == "val" and (rest == "loss" or rest.startswith("loss_")):
        return f"validation loss: {spell(rest[5:])}" if rest[5:] else "validation loss"
    return spell(rest if group == "val" else name)


def spell(name: str) -> str:
    """`mae_troph` -> `mean absolute error trophic level`; what is no known short form stays as it is."""
    words = " ".join(SPELT.get(word, word) for word in re.split(r"[_/]+", name))
    return PERCENT.sub(lambda found: f"{found[1].upper()}@{found[2]}", words)
