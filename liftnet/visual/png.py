"""A figure of matplotlib as a PNG file."""

import io
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from liftnet.core.storage.files import written_whole

__all__ = ["write_png"]

MAX_BYTES = 1_400_000  # ours: small enough to mail and to embed in a page


def write_png(figure: Any, path: Path, resolutions: Sequence[int]) -> None:
    """Write a figure by way of a temporary file: nobody reads half a one, parts draw at one time.

    Args:
        figure: of matplotlib, without a canvas.
        path: of the file.
        resolutions: dots per inch; the first that stays under `MAX_BYTES`, else the last.
    """
    from matplotlib.backends.backend_agg import FigureCanvasAgg

    FigureCanvasAgg(figure)
    content = b""
    for resolution in resolutions:
        buffer = io.BytesIO()
        figure.savefig(buffer, format="png", dpi=resolution)
        content = buffer.getvalue()
        if len(content) <= MAX_BYTES:
            break
    with written_whole(path, durable=False) as temporary:
        temporary.write_bytes(content)
