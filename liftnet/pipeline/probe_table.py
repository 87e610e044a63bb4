"""A memorization probe for reading: a table, the verdict and what it rests on."""

from collections.abc import Iterator

from liftnet.core.probe import COPIES, NO_COPY, Probe, ProbeGroup
from liftnet.metrics.memorization import ENOUGH

__all__ = ["probe_lines", "probe_table"]

SHOWN = 5  # ours: predicted volumes nearest to training; all are in probe.json


def probe_table(probe: Probe) -> str:
    """Distances to the nearest training volume, predicted beside held out."""
    one, other = probe.predicted, probe.held_out
    rows = [("", "predicted", "held out", "ratio"), ("volumes", f"{one.n}", f"{other.n}", "")]
    ratios = {"mean": probe.ratio_of_means, "minimum": probe.ratio_of_minima}
    for label, name in (("mean", "mean"), ("minimum", "minimum"), ("5th perc.", "percentile_5")):
        ratio = f"{ratios[name]:.3f}" if name in ratios else ""
        rows.append((label, _value(one, name), _value(other, name), ratio))
    widths = [max(len(row[i]) for row in rows) for i in range(4)]
    return "\n".join(
        "  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip()
        for row in rows
    )


def probe_lines(probe: Probe) -> Iterator[str]:
    """The nearest volumes, what the numbers rest on, and the verdict last."""
    yield f"distance: {probe.measure.description}, to the nearest of {probe.num_training} training"
    yield f"grid: {probe.grid}"
    yield probe.rule.description
    for found in probe.predicted.volumes[:SHOWN]:
        yield (
            f"{found.volume}: {found.distance:.4g} from {found.nearest}, then "
            f"{found.second_distance:.4g} from {found.second} (ratio {found.ratio:.3f})"
        )
    for warning in probe.warnings:
        yield f"warning: {warning}"
    yield f"Verdict: {verdict(probe)}"


def verdict(probe: Probe) -> str:
    """The verdict in a sentence."""
    nearest = {found.volume: found.nearest for found in probe.predicted.volumes}
    listed = ", ".join(f"{name} (of {nearest[name]})" for name in probe.copies)
    if probe.verdict == COPIES:
        return f"{COPIES}: {listed}. Look at closest_pair.png"
    if probe.verdict == NO_COPY:
        return (
            f"{NO_COPY} among {probe.predicted.n} predicted volumes. That rules out neither "
            "copies of parts nor other leaks"
        )
    looks = f"; suspect: {listed}" if listed else ""
    return (
        f"{probe.verdict}: {probe.held_out.n} held-out and {probe.num_training} training volumes, "
        f"{ENOUGH} of each are the least{looks}"
    )


def _value(group: ProbeGroup, name: str) -> str:
    return f"{getattr(group, name):.4g}"
