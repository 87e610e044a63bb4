"""What a number in a plan or fingerprint may be at all; what fits together the task checks."""

from typing import Annotated

from liftnet.core.storage.jsonable import Between

__all__ = [
    "Amount",
    "Count",
    "Intensity",
    "Layers",
    "Limits",
    "Range",
    "Share",
    "Size",
    "Weight",
    "Widths",
]

# ours, all of them: wider than any use
Layers = Annotated[int, Between(-100, 100)]
Size = Annotated[int, Between(0, 2**16)]
Widths = Annotated[tuple[int, ...], Between(0, 2**14)]
Count = Annotated[int, Between(0, 1e9)]
Share = Annotated[float, Between(0, 1)]
Amount = Annotated[float, Between(0, 1e9)]
Range = Annotated[tuple[float, float], Between(0, 1e9)]
Weight = Annotated[float, Between(-1e9, 1e9)]
Limits = Annotated[tuple[float, float], Between(-1e6, 1e6)]
Intensity = Annotated[float, Between(-1e30, 1e30)]
