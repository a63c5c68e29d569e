"""The group figures of the authors' notebook, as it computes them, under its own names.

For comparison with published figures only. The notebook hands predictions and labels to
`confusion_matrix` in the wrong order, so what it calls false positives are the positives that
were missed, and the reverse. Its "TPR" is therefore precision, its "TNR" the share of predicted
negatives that are right; and its "DP" is a gap of that "TPR": how often a class is predicted
does not enter.
"""

from __future__ import annotations

import numpy as np


def authors_fairness(counts: np.ndarray) -> dict[str, float | None]:
    """The notebook's figures of (2, 2, 2) counts by group, true class and predicted class.

    With tp, fp, fn, tn as they are properly counted, for each group `tpr = tp / (tp + fp)`,
    `tnr = tn / (tn + fn)`, `fpr = fn / (tn + fn)`. Then `Accuracy` is the mean of the two
    groups' accuracies, `DP_Acc` their distance, `DP` that of tpr, `BA` the mean of tpr and tnr
    over groups, `Equal Odds` half the distances of tpr and of fpr, `Difference BA` that of
    balanced accuracies. None where a denominator is 0.

    Source: CelebA_IA_ViT.ipynb of github.com/qiangyao1988/IA-ViT.
    Raises `ValueError` for more than two groups or classes, which the notebook does not have.
    """
    if counts.shape != (2, 2, 2):
        raise ValueError("the notebook's figures are of two groups and two classes")
    (tn, fp), (fn, tp) = np.moveaxis(counts.astype(float), 0, -1)  # (2,) each, by group
    with np.errstate(invalid="ignore"):  # 0 / 0 becomes None
        accuracy = (tp + tn) / (tp + fp + fn + tn)
        tpr, tnr, fpr = tp / (tp + fp), tn / (tn + fn), fn / (tn + fn)
    balanced = (tpr + tnr) / 2
    figures = {
        "Accuracy": accuracy.mean(),
        "DP_Acc": _distance(accuracy),
        "DP": _distance(tpr),
        "BA": balanced.mean(),
        "Equal Odds": (_distance(tpr) + _distance(fpr)) / 2,
        "Difference BA": _distance(balanced),
    }
    return {name: None if np.isnan(value) else float(value) for name, value in figures.items()}


def _distance(pair: np.ndarray) -> float:
    return float(abs(pair[1] - pair[0]))
