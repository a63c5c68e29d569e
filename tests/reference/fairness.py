"""Group metrics by their words, one image at a time."""

from __future__ import annotations

Row = tuple[int, int, int]  # group, true class, predicted class


def share(yes: int, of: int) -> float:
    return yes / of


def gap(values: list[float]) -> float:
    return max(values) - min(values)


def gaps(rows: list[Row], classes: int, groups: int) -> dict[str, float]:
    """Every gap; all of them must be defined."""
    members = [[row for row in rows if row[0] == group] for group in range(groups)]

    def found(of: list[Row], label: int) -> float:
        actual = [row for row in of if row[1] == label]
        return share(sum(row[2] == label for row in actual), len(actual))

    def false(of: list[Row], label: int) -> float:
        others = [row for row in of if row[1] != label]
        return share(sum(row[2] == label for row in others), len(others))

    def chosen(of: list[Row], label: int) -> float:
        return share(sum(row[2] == label for row in of), len(of))

    result = {
        "accuracy": gap([share(sum(r[1] == r[2] for r in of), len(of)) for of in members]),
        "balanced_accuracy": gap(
            [sum(found(of, label) for label in range(classes)) / classes for of in members]
        ),
    }
    each: dict[str, list[float]] = {"demographic_parity": [], "equal_opportunity": []}
    each["equalised_odds"] = []
    for label in [1] if classes == 2 else list(range(classes)):
        opportunity = gap([found(of, label) for of in members])
        each["demographic_parity"].append(gap([chosen(of, label) for of in members]))
        each["equal_opportunity"].append(opportunity)
        each["equalised_odds"].append(max(opportunity, gap([false(of, label) for of in members])))
    for name, values in each.items():
        result[name] = max(values)
        if classes > 2:
            result[f"{name}_mean"] = sum(values) / len(values)
    return result
