"""Weights of networks that were trained elsewhere, fetched only when asked for."""

import hashlib
import urllib.error
import urllib.request
from dataclasses import dataclass
from pathlib import Path

from liftnet.core.errors import LiftnetError
from liftnet.core.files import written_whole
from liftnet.core.jsonable import did_you_mean
from liftnet.core.workspace import find_workspace
from liftnet.networks.features import RESNET18_FILE, RESNET18_SHA256
from liftnet.pipeline.progress import progress, say

__all__ = ["WEIGHTS", "download"]

CHUNK = 2**20  # ours: bytes between two updates of the progress bar
TIMEOUT = 60  # ours: seconds without an answer


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
    if path.is_file() and _digest(path) == weights.sha256:
        say(f"Already there: {path}")
        return path
    folder.mkdir(parents=True, exist_ok=True)
    with written_whole(path) as temporary:
        _fetch(weights, temporary)
        found = _digest(temporary)
        if found != weights.sha256:
            raise LiftnetError(
                f"What was fetched has SHA-256 {found}, not {weights.sha256}",
                where=weights.url,
                remedy="Try again later; nothing was kept.",
            )
    say(f"Fetched {path}; use it with {weights.use} {path}")
    return path


def _fetch(weights: Weights, path: Path) -> None:
    try:
        with (
            urllib.request.urlopen(weights.url, timeout=TIMEOUT) as answer,
            path.open("wb") as file,
        ):
            size = int(answer.headers.get("Content-Length") or 0)
            with progress(f"Fetch {weights.file}", -(-size // CHUNK), unit="MiB") as advance:
                while block := answer.read(CHUNK):
                    file.write(block)
                    advance()
    except (urllib.error.URLError, TimeoutError, ConnectionError) as error:
        raise LiftnetError(
            f"The weights cannot be fetched: {getattr(error, 'reason', error)}",
            where=weights.url,
            remedy=f"Fetch {weights.file} on another machine and give its path to {weights.use}.",
        ) from None


def _digest(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
