"""How the headlines of a fish report are measured, in words."""

MEASURED = {  # name in metrics.json -> how it is made
    "acc_family": "Images whose most probable family is the true one, of all images with a known family. Frequent families "
    "decide it.",
    "balanced_acc_family": "The share of its images that is right, for each family that occurs, and the plain mean of those "
    "shares.",
    "acc_order": "Images whose most probable order is the true one, of all images with a known order. Order and family are "
    "answered apart.",
    "auroc_habitat": "For each habitat the chance that an image of it gets a higher probability than one not of it; the "
    "mean over the habitats that have both. Over images whose habitats are all known.",
    "f1_habitat": "F1 (the harmonic mean of precision and recall) of each habitat, yes from a probability of 0.5 on, and the "
    "mean over the habitats with a true yes.",
    "mae_troph": "Absolute difference between the predicted and the true trophic level, mean over images where it is known.",
}
