"""Whether predicted or generated volumes are copies of training volumes."""

import re
import tempfile
from pathlib import Path

from liftnet.core.arguments import checked
from liftnet.core.geometry import SLICE_AXES
from liftnet.core.probe import (
    COPIES,
    NO_COPY,
    PROBE_VERSION,
    TOO_FEW,
    Probe,
    ProbeChannel,
    ProbeDistances,
)
from liftnet.core.storage.files import write_together
from liftnet.core.storage.jsonable import json_text
from liftnet.host.failures import explained
from liftnet.host.parallel import worker_count
from liftnet.host.progress import mention
from liftnet.metrics.memorization import HU_LIMITS
from liftnet.pipeline.probe.judge import Placed, judge, place, too_few
from liftnet.pipeline.probe.setting import (
    ChannelSetting,
    Groups,
    ProbeSetting,
    find_groups,
    find_probe,
    measurable,
)
from liftnet.pipeline.probe.table import report
from liftnet.version import __version__
from liftnet.visual.figures import MontageRow, montage

__all__ = ["probe"]

SHOWN_PAIRS = 4  # ours: rows of a picture


@checked
def probe(
    predicted_folder: Path | str,
    training_folder: Path | str,
    held_out_folder: Path | str,
    output: Path | str,
    *,
    task: str | None = None,
    dataset: int | str | None = None,
    channel: str | None = None,
    num_processes: int | None = None,
    workspace: Path | str | None = None,
) -> Probe:
    """How near predicted volumes are to training volumes, beside held-out real ones, by channel.

    Also written as probe.json, with a picture of each channel's closest pair.

    Source: LiFT App. D.
    Differs: pooled descriptors are compared with those of held-out volumes too, as the other two
        distances are, and not only with those among training volumes. The box that is compared
        ends with the subject; the paper's has more background, and smaller distances.

    Args:
        predicted_folder: predicted or generated volumes CASE_0003.nii.gz of cases that are not in
            training.
        training_folder: what the network was trained on, in the same channels.
        held_out_folder: real volumes that training did not see, in the same channels.
        output: folder for the result.
        task: whose distance is taken; by default the one that the JSON files name.
        dataset: id or name; by default the one that the JSON files name.
        channel: name or number of the only one that is probed; by default all that were predicted.
        num_processes: files read at the same time.
        workspace: the workspace folder.

    Raises:
        LiftnetError: If the volumes cannot be compared.
    """
    predicted, training, held_out = (
        Path(predicted_folder),
        Path(training_folder),
        Path(held_out_folder),
    )
    setting = find_probe(
        predicted,
        training,
        held_out,
        task=task,
        dataset=dataset,
        channel=channel,
        workspace=workspace,
    )
    groups = find_groups(predicted, training, held_out, setting)
    workers, target = worker_count(num_processes), Path(output)
    with tempfile.TemporaryDirectory(prefix="liftnet_probe_") as scratch:
        pictures = Path(scratch) / "pictures"
        channels = tuple(
            _probe_channel(groups[own.digits], own, setting, pictures, workers)
            for own in setting.channels
        )
        found = Probe(
            version=PROBE_VERSION,
            verdict=_overall({own.verdict for own in channels}),
            task=setting.task,
            dataset=setting.dataset,
            channels=channels,
            predicted_folder=str(predicted.absolute()),
            training_folder=str(training.absolute()),
            held_out_folder=str(held_out.absolute()),
            liftnet=__version__,
        )
        drawn = sorted(pictures.iterdir()) if pictures.is_dir() else []
        contents = {target / picture.name: picture.read_bytes() for picture in drawn}
    write_together({**contents, target / "probe.json": json_text(found)})
    report(found, target / "probe.json")
    return found


def _probe_channel(
    groups: Groups, channel: ChannelSetting, setting: ProbeSetting, pictures: Path, workers: int
) -> ProbeChannel:
    """What is found in one channel; its volumes are on disk only as long as they are compared."""
    if not measurable(groups):
        return too_few(groups, channel)
    if len(setting.channels) > 1:
        mention(f"Channel {channel.name}")
    with tempfile.TemporaryDirectory(prefix="liftnet_probe_") as scratch:
        placed = place(groups, channel, setting, Path(scratch), workers)
        name = _picture(channel, setting)
        found = judge(placed, groups, channel, name, workers)
        assert found.distances is not None  # there are volumes enough
        with explained("picture", name):
            _draw(found, found.distances, placed, pictures / name)
    return found


def _overall(verdicts: set[str]) -> str:
    return next(verdict for verdict in (COPIES, TOO_FEW, NO_COPY) if verdict in verdicts)


def _picture(channel: ChannelSetting, setting: ProbeSetting) -> str:
    """The name of the picture: with the channel's, where there are several."""
    if len(setting.channels) == 1:
        return "closest_pair.png"
    names = [own.name for own in setting.channels]
    plain = re.fullmatch(r"[A-Za-z0-9-]+", channel.name) and names.count(channel.name) == 1
    return f"closest_pair_{channel.name if plain else channel.digits}.png"


def _draw(found: ProbeChannel, distances: ProbeDistances, placed: Placed, path: Path) -> None:
    """The closest pair side by side, and every pair that counts as a copy, up to a few."""
    volumes = distances.predicted.volumes
    pairs = [one for one in volumes if one.suspect] or [volumes[0]]
    order = [SLICE_AXES[placed.slice_axis].index(world) for world in SLICE_AXES["axial"]]
    spacing = [placed.spacing_mm[axis] for axis in order]
    in_hu = found.measure.unit == "HU"
    rows = []
    for one in pairs[:SHOWN_PAIRS]:
        images = []
        for group, name in ((placed.predicted, one.volume), (placed.training, one.nearest)):
            image = group[group.names.index(name)].transpose(order)
            images.append(image * found.measure.scale + HU_LIMITS[0] if in_hu else image)
        rows.append(
            MontageRow(
                label=f"{one.volume}: {one.distance:.4g} from {one.nearest}",
                sources=(),
                predicted=images[0],
                reference=images[1],
                spacing_mm=(spacing[0], spacing[1], spacing[2]),
                target="" if found.channel.isdigit() else found.channel,
                unit="HU" if in_hu else "share of the range",
                reference_label="nearest training",
                error_label="|difference|",
            )
        )
    title = f"Nearest training volumes: {found.verdict}"
    path.parent.mkdir(parents=True, exist_ok=True)
    montage(rows, path, title=title)
