"""A memorization probe for reading: a table per channel, the verdict and what it rests on."""

import shutil
from collections.abc import Iterator
from pathlib import Path

from liftnet.core.probe import COPIES, NO_COPY, Probe, ProbeChannel, ProbeDistances
from liftnet.host.progress import mention, say
from liftnet.host.text_table import aligned, say_wrapped
from liftnet.metrics.memorization import ENOUGH
from liftnet.pipeline.evaluate.table import TABLE_WIDTH

__all__ = ["probe_lines", "probe_table", "report", "verdict"]

SHOWN = 5  # ours: predicted volumes nearest to training; all are in probe.json
SHOWN_OF_SEVERAL = 2  # ours: the same, of each of several channels


def report(probe: Probe, path: Path) -> None:
    """Print the table of each channel with what it rests on, and the verdicts last."""
    width = shutil.get_terminal_size((TABLE_WIDTH, 24)).columns
    several = len(probe.channels) > 1
    for text in dict.fromkeys(_distance(own) for own in probe.channels):
        say_wrapped(text, width, mention)
    for channel in probe.channels:
        say("")
        say(
            f"Channel {channel.channel}: {channel.num_predicted} predicted, "
            f"{channel.num_held_out} held-out, {channel.num_training} training volumes"
        )
        if channel.distances is not None:
            say(probe_table(channel.distances))
        for line in probe_lines(channel, brief=several):
            say_wrapped(line, width, mention)
    say("")
    pictures = [own.distances.picture for own in probe.channels if own.distances is not None]
    what = "closest pairs" if len(pictures) > 1 else "closest pair"
    say_wrapped(f"All distances: {path}; {what}: {', '.join(pictures)}", width)
    for channel in probe.channels:
        name = f", {channel.channel}" if several else ""
        say_wrapped(f"Verdict{name}: {verdict(channel)}", width)


def probe_table(found: ProbeDistances) -> str:
    """Distances to the nearest training volume: of predicted, held-out and training volumes."""
    groups = [found.predicted, found.held_out, *([found.training] if found.training else [])]
    rows = [["", "predicted", "held out", "training"][: len(groups) + 1]]
    for label, name in (
        ("mean", "mean"),
        ("minimum", "minimum"),
        ("5th percentile", "percentile_5"),
    ):
        rows.append([label, *(f"{getattr(group, name):.4g}" for group in groups)])
    rows.append(["mean / that of held out", f"{found.ratio_of_means:.3f}"])
    rows.append(["minimum / that of held out", f"{found.ratio_of_minima:.3f}"])
    if found.predicted_by_training is not None and found.held_out_by_training is not None:
        ratios = (found.predicted_by_training, found.held_out_by_training)
        rows.append(["mean / that of training", *(f"{ratio:.3f}" for ratio in ratios)])
    return "\n".join(aligned([row + [""] * (len(groups) + 1 - len(row)) for row in rows]))


def probe_lines(channel: ProbeChannel, *, brief: bool = False) -> Iterator[str]:
    """What a channel's numbers rest on, its nearest volumes, and warnings.

    Brief is for several channels: the sentences are in probe.json.
    """
    found = channel.distances
    if found is not None:
        if brief:
            yield (
                f"a copy: nearest distance below {found.rule.distance_limit:.4g}, or ratio below "
                f"{found.rule.ratio_limit:.3f}; grid: {'x'.join(map(str, found.shape))} voxels"
            )
        else:
            yield f"grid: {found.grid}"
            yield found.rule.description
        for one in found.predicted.volumes[: SHOWN_OF_SEVERAL if brief else SHOWN]:
            yield (
                f"{one.volume}: {one.distance:.4g} from {one.nearest}, then "
                f"{one.second_distance:.4g} from {one.second} (ratio {one.ratio:.3f})"
            )
    for warning in channel.warnings:
        yield f"warning: {warning}"


def _distance(channel: ProbeChannel) -> str:
    """What the table of a channel shows, in a sentence."""
    text = f"Distance to the nearest training volume: {channel.measure.description}"
    if channel.distances is not None and channel.distances.training is not None:
        text += "; of a training volume, to the nearest other one"
    return text


def verdict(channel: ProbeChannel) -> str:
    """The verdict of a channel in a sentence."""
    found = channel.distances
    volumes = found.predicted.volumes if found is not None else ()
    nearest = {one.volume: one.nearest for one in volumes}
    listed = ", ".join(f"{name} (of {nearest[name]})" for name in channel.copies)
    if channel.verdict == COPIES and found is not None:
        return f"{COPIES}: {listed}. Look at {found.picture}"
    if channel.verdict == NO_COPY:
        return (
            f"{NO_COPY} among {_volumes(channel.num_predicted, 'predicted')}. That rules out "
            "neither copies of parts nor other leaks"
        )
    looks = f"; suspect: {listed}" if listed else ""
    return (
        f"{channel.verdict}: {channel.num_held_out} held-out and "
        f"{_volumes(channel.num_training, 'training')}, {ENOUGH} of each are the least{looks}"
    )


def _volumes(count: int, what: str) -> str:
    return f"{count} {what} volume{'' if count == 1 else 's'}"
