"""How the headlines of a mouse report are measured, in words."""

MEASURED = {  # name in metrics.json -> how it is made
    "macro_f1": "F1 (the harmonic mean of precision and recall) of each class over all labelled frames of the split together, "
    "then the plain mean over the classes that occur. A frame's class is the most probable one; unlabelled frames do not "
    "count.",
    "f1_paw_withdraw": "F1 of this class over all labelled frames of the split together.",
    "accuracy": "Labelled frames whose most probable class is the true one, of all labelled frames. Frequent classes decide.",
    "segment_f1_50": "Bouts (unbroken runs of one class in a trial) are matched within their class, the best overlap first; a "
    "match counts when the two share half or more of the frames that either covers (IoU 0.5). F1 of all bouts of the split.",
    "edit": "1 minus the Levenshtein distance between the true and the predicted sequence of bouts, divided by the longer of "
    "the two; lengths of bouts do not count. Mean over trials.",
    "keypoint_mae": "Absolute difference of x and of y, in shares of the frame's width and height, mean over both and over all "
    "points that the tracking calls visible.",
}
