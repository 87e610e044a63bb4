"""Weights of networks that were trained elsewhere, fetched only when asked for."""

from dataclasses import dataclass
from pathlib import Path

from liftnet.core.arguments import checked
from liftnet.core.errors import LiftnetError
from liftnet.core.storage.checksum import file_sha256
from liftnet.core.storage.files import written_whole
from liftnet.core.storage.jsonable import did_you_mean
from liftnet.core.workspace import find_workspace
from liftnet.host.progress import say
from liftnet.networks.features import RESNET18_FILE, RESNET18_SHA256
from liftnet.pipeline.share.fetch import fetch

__all__ = ["WEIGHTS", "download"]


@dataclass(frozen=True)
class Weights:
    """A file of weights and where it comes from."""

    file: str
    url: str
    sha256: str
    use: str  # the option that takes the file


WEIGHTS = {
    "resnet18": Weights(
        RESNET18_FILE,
        f"https://download.pytorch.org/models/{RESNET18_FILE}",  # torchvision
        RESNET18_SHA256,
        "liftnet_plan --features",
    )
}


@checked
def download(
    name: str, *, output: Path | str | None = None, workspace: Path | str | None = None
) -> Path:
    """Fetch a file of weights, check it against its known SHA-256, and keep it.

    A file that is there already and right is kept as it is.

    Args:
        name: which; "resnet18" was trained on ImageNet and gives the features of LiFT Sec. 5.1.
        output: a folder; by default `weights` in the workspace.
        workspace: the workspace folder.

    Returns:
        The file.

    Raises:
        LiftnetError: If there are no such weights, they cannot be fetched, or are others.
    """
    if name not in WEIGHTS:
        raise LiftnetError(f"No weights '{name}'", remedy=did_you_mean(name, list(WEIGHTS)))
    weights = WEIGHTS[name]
    folder = find_workspace(workspace).raw.parent / "weights" if output is None else Path(output)
    path = folder.absolute() / weights.file
    if path.is_file() and file_sha256(path) == weights.sha256:
        say(f"Already there: {path}")
        return path
    folder.mkdir(parents=True, exist_ok=True)
    with written_whole(path) as temporary:
        fetch(
            weights.url,
            temporary,
            what="weights",
            remedy=f"Fetch {weights.file} on another machine and give its path to {weights.use}.",
        )
        found = file_sha256(temporary)
        if found != weights.sha256:
            raise LiftnetError(
                f"What was fetched has SHA-256 {found}, not {weights.sha256}",
                where=weights.url,
                remedy="Try again later; nothing was kept.",
            )
    say(f"Fetched {path}; use it with {weights.use} {path}")
    return path
