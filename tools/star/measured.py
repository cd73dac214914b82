"""How the headlines of a star report are measured, in words."""

MEASURED = {  # name in metrics.json -> how it is made
    "map": "Each photograph is asked for among the gallery, ordered by cosine similarity. Average precision is the mean, over "
    "the photographs of the right animal, of the share of right ones down to that place. Mean over the photographs that are "
    "asked and have their animal in the gallery.",
    "minp": "Number of photographs of the right animal over the place of the last of them, mean over the photographs that are "
    "asked.",
} | {
    f"cmc_{k}": f"Photographs with one of the right animal among the {k} nearest of the gallery by cosine similarity, of those "
    "that have their animal there."
    for k in (1, 5, 10, 20)
}
