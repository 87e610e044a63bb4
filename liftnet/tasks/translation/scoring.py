"""How translated images are scored: CT in Hounsfield units, MR as contrasts in [0, 1]."""

from dataclasses import replace
from types import MappingProxyType, ModuleType

from liftnet.core.errors import DatasetError
from liftnet.core.scores import CaseScore, Compared, Comparison, Protocol
from liftnet.metrics import ct_protocols, mr_protocols
from liftnet.metrics.regions import AIR_HU

__all__ = ["PROTOCOLS", "as_compared", "score_case"]


def _both(name: str) -> Protocol:
    """A protocol with what it does for CT and for MR."""
    parts = {"CT": ct_protocols.PROTOCOLS.get(name), "MR": mr_protocols.PROTOCOLS.get(name)}
    found = {modality: part for modality, part in parts.items() if part is not None}
    return Protocol(
        name,
        " ".join(f"{modality}: {part.description}" for modality, part in found.items()),
        needs_source=any(part.needs_source for part in found.values()),
        needs_mask=any(part.needs_mask for part in found.values()),
    )


PROTOCOLS = MappingProxyType(
    {name: _both(name) for name in (*mr_protocols.PROTOCOLS, *ct_protocols.SYNTHRAD_LIMITS_HU)}
)


def as_compared(comparison: Comparison, protocol: str) -> Compared:
    """Both images of a target as the protocol compares them, in HU or in [0, 1].

    Raises:
        DatasetError: If the protocol is not for the target's modality, or the reference is bad.
    """
    return _protocols_for(comparison, protocol).as_compared(comparison, protocol)


def score_case(comparison: Comparison, protocol: str) -> CaseScore:
    """The metrics of one translated image.

    Where the modality is not known, a SynthRAD protocol, or a reference with values as low as
    air's, says that it is CT; the notes tell.

    Raises:
        DatasetError: If the protocol is not for the target's modality, or the reference is bad.
        GeometryError: If the grid is not the protocol's, or too small for SSIM.
    """
    protocols = _protocols_for(comparison, protocol)
    score = protocols.score_case(comparison, protocol)
    if comparison.modality is None and protocols is ct_protocols:
        return replace(score, notes=score.notes | {"modality": "not named, taken for CT"})
    return score


def _protocols_for(comparison: Comparison, protocol: str) -> ModuleType:
    """The conventions of the image's modality.

    Raises:
        DatasetError: If it is MR and the protocol is for CT.
    """
    for_mr = protocol in mr_protocols.PROTOCOLS
    taken_for_ct = not for_mr or comparison.reference.min() < AIR_HU
    if comparison.modality == "CT" or (comparison.modality is None and taken_for_ct):
        return ct_protocols
    if not for_mr:
        raise DatasetError(
            f"Channel {comparison.channel} is MR, protocol {protocol} is for CT",
            remedy=f"Use one of {', '.join(mr_protocols.PROTOCOLS)}.",
        )
    return mr_protocols
