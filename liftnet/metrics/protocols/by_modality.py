"""How translated images are scored: CT by the protocols of CT, MR by those of MR."""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from types import MappingProxyType

from liftnet.core.errors import DatasetError
from liftnet.core.scores import CaseScore, Compared, Comparison, Protocol
from liftnet.metrics.protocols import ct_protocols, mr_protocols
from liftnet.metrics.protocols.base import PairProtocol
from liftnet.metrics.regions import AIR_HU

__all__ = ["PROTOCOLS", "ByModality"]


@dataclass(frozen=True)
class ByModality(PairProtocol):
    """A convention for CT and MR, of the same name for both.

    Where the modality is not known, a protocol that is for CT only, or a reference with values as
    low as air's, says that it is CT; the notes tell.
    """

    stated: Protocol
    ct: PairProtocol | None
    mr: PairProtocol | None

    def as_compared(self, comparison: Comparison) -> Compared:
        """Both images as the protocol of their modality compares them.

        Raises:
            DatasetError: If there is none, or the reference is bad.
        """
        return self._own(comparison).as_compared(comparison)

    def score_case(self, comparison: Comparison) -> CaseScore:
        """The metrics of one translated image.

        Raises:
            DatasetError: If the protocol is not for the target's modality, or the reference is bad.
            GeometryError: If the grid is not the protocol's, or too small for SSIM.
        """
        own = self._own(comparison)
        score = own.score_case(comparison)
        if comparison.modality is None and own is self.ct:
            return replace(score, notes=score.notes | {"modality": "not named, taken for CT"})
        return score

    def _own(self, comparison: Comparison) -> PairProtocol:
        taken_for_ct = self.mr is None or comparison.reference.min() < AIR_HU
        is_ct = comparison.modality == "CT" or (comparison.modality is None and taken_for_ct)
        if (own := self.ct if is_ct else self.mr) is None:
            kind, other = ("CT", "MR") if is_ct else ("MR", "CT")
            known = ct_protocols.PROTOCOLS if is_ct else mr_protocols.PROTOCOLS
            raise DatasetError(
                f"Channel {comparison.channel} is {kind}, protocol {self.stated.name} is for "
                f"{other}",
                remedy=f"Use one of {', '.join(known)}.",
            )
        return own


def _both(name: str) -> ByModality:
    ct, mr = ct_protocols.PROTOCOLS.get(name), mr_protocols.PROTOCOLS.get(name)
    parts = {"CT": ct, "MR": mr}
    found = {modality: part.stated for modality, part in parts.items() if part is not None}
    stated = Protocol(
        name,
        " ".join(f"{modality}: {part.description}" for modality, part in found.items()),
        needs_source=any(part.needs_source for part in found.values()),
        needs_mask=any(part.needs_mask for part in found.values()),
    )
    return ByModality(stated, ct, mr)


PROTOCOLS: Mapping[str, PairProtocol] = MappingProxyType(
    {name: _both(name) for name in (*mr_protocols.PROTOCOLS, *ct_protocols.PROTOCOLS)}
)
