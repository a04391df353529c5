"""What each metric means, in one or two sentences for a reader who does not know the field."""

from __future__ import annotations

from samis.evaluation.labels import label

_CUT = (
    "Marked is where the map is above one half, after stretching it to its whole range (protocol published: as it is; "
    "inspection: at or above the row's threshold)."
)
_WITH_CUT = (
    "iou",
    "dice",
    "precision",
    "recall",
    *(f"{name}_pooled" for name in ("iou", "dice", "precision", "recall")),
)
_OBJECTS = "share of the single defects that are detected, with an overlap (IoU) of at least"

MEANINGS = {
    "s_measure": "Structure measure: how well the map has the shape and place of the defects as a whole; 1 is perfect.",
    "weighted_f": "Weighted F-measure: balance of precision and recall, where marks far from a defect cost more; 1 is perfect.",
    "mae": "Mean absolute error: mean difference of map and truth over all pixels; 0 is perfect. Small defects make it small.",
    "f": "F-measure: balance of precision and recall, with more weight on precision; 1 is perfect.",
    "e": "Enhanced alignment measure: agreement of map and truth, pixel by pixel and over the whole image; 1 is perfect.",
    "iou": "Overlap: area that is both marked and defect, divided by the area that is either; 1 is perfect.",
    "dice": "Overlap: twice the area that is both marked and defect, divided by the sum of both areas; 1 is perfect.",
    "precision": "Share of the marked area that is defect; 1 is perfect.",
    "recall": "Share of the defect area that is marked; 1 is perfect, and marking everything reaches it too.",
    "overlap_ratio": "Overlap (IoU), where marked is what is at or above twice the map's mean.",
    "pratt": "Pratt's figure of merit: how near the outline of the marked area is to the outline of the defects; 1 is perfect.",
    "boundary_f": "Share of the outlines of map and truth that agree within 2 px, as F-measure; 1 is perfect. For thin defects.",
    "false_positive_area": "Share of the pixels of a defect-free image that are marked; 0 is perfect.",
    "kept_clean": "Share of the defect-free images without a single marked pixel.",
    "defect_recall": "Share of the defective images whose marked area overlaps the defect (IoU of at least 0.1).",
    "image_auroc": "How often a defective image has a higher score than a clean one, over all pairs; 1 is perfect, 0.5 is chance.",
    "image_ap": "Average precision of the images' scores: mean share of defective images among the highest scores; 1 is perfect.",
    "miss_rate": "Escapes: share of the defective images that are called OK; 0 is perfect.",
    "false_alarm_rate": "Overkill: share of the clean images that are called defective; 0 is perfect.",
    "aupro": "Mean share of each defect that is marked, up to 30 % of false marks; 1 is perfect, a constant map has 0.15.",
    "object_recall_10": f"Defects detected: {_OBJECTS} 0.1.",
    "object_recall_50": f"Defects detected: {_OBJECTS} 0.5.",
    "small_recall_10": f"Small defects detected: {_OBJECTS} 0.1.",
    "small_recall_50": f"Small defects detected: {_OBJECTS} 0.5.",
    "false_alarms_10": "Marked areas that match no defect (IoU of at least 0.1), mean count for each image; 0 is perfect.",
    "false_alarms_50": "Marked areas that match no defect (IoU of at least 0.5), mean count for each image; 0 is perfect.",
    "accuracy": "Share of the pixels that are right; a clean image without marks makes it high.",
    "specificity": "Share of the background that is not marked; 1 is perfect.",
    "ber": "Balanced error rate: mean of the shares of defect area and of background that are wrong; 0 is perfect.",
    "kappa": "Share of right pixels beyond chance, as PySODMetrics counts it; 1 is perfect.",
    "cohen_kappa": "Cohen's kappa: share of right pixels beyond chance; 1 is perfect.",
    "context_measure": "Hits and misses, weighted by their place relative to the defect's shape; 1 is perfect.",
    "human_correction_effort": "About how many clicks it takes to correct the marked area; 0 is perfect.",
    "msiou": "How much of the truth's outline the map's outline covers, on grids of 1 to 512 px; 1 is perfect.",
}  # fmt: skip
"""Metric -> what it means. Variants of a metric (``VARIANTS``) have the metric's text and their own."""

VARIANTS = {
    "adaptive": "Here marked is what is at or above twice the map's mean.",
    "mean": "Here the mean over 256 thresholds.",
    "max": "Here at the best of 256 thresholds, the same for all images.",
    "pooled": "Here counted over the pixels of all images together.",
}
"""End of a metric's name -> what it changes."""

COLUMNS = {
    "Prompt": "What SAM was given with the image, and the rule by which its masks became one map.",
    "No mask": "Images for which SAM gave no mask, scored as an empty map.",
    "Parameters, M": "Size of the network, in millions of parameters.",
    "Multiply-adds, G": "Work for one image as predicted, in billions of multiply-adds.",
    "Latency, ms": "Time for one image: median, small the 95th percentile, on the device below the table.",
    "Gap closed": "Share of the way from untouched SAM to the best specialised network that tuning covers; 100 % is as good.",
    "p": "How likely a difference of this size is if tuning changed nothing (paired sign-flip test over images).",
    "Caught": "Defective images that are called defective.",
    "Escaped": "Defective images that are called OK.",
    "Passed": "Clean images that are called OK.",
    "False alarms": "Clean images that are called defective.",
    "threshold": "Value above which a pixel counts as marked.",
    "Image score": "How one number is made of an image's map, and the threshold above which the image is called defective.",
}
"""Title of a column that is no metric -> what it means."""


def meaning_of(metric: str) -> str:
    """Return what a metric means; "" for one that is not known here, as a user's own.

    >>> meaning_of("e_max")[:30], meaning_of("my_metric")
    ('Enhanced alignment measure: ag', '')
    """
    stem, _, end = metric.rpartition("_")
    parts = [MEANINGS[metric]] if metric in MEANINGS else []
    parts += [MEANINGS[stem], VARIANTS[end]] if not parts and stem in MEANINGS and end in VARIANTS else []
    return " ".join([*parts, *([_CUT] if metric in _WITH_CUT else [])])


_BY_LABEL = {
    label(name): meaning_of(name) for metric in MEANINGS for name in (metric, *(f"{metric}_{end}" for end in VARIANTS))
}


def column_meaning(title: str) -> str:
    """Return what a table's column means, by its printed title; "" if nothing is known.

    >>> column_meaning("MAE ↓")[:19], column_meaning("Caught")
    ('Mean absolute error', 'Defective images that are called defective.')
    """
    return COLUMNS.get(title) or _BY_LABEL.get(title.rstrip(" ↑↓"), "")
