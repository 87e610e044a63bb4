"""Which channels of a case are given, and which are made of them."""

from dataclasses import dataclass

__all__ = ["Request"]


@dataclass(frozen=True)
class Request:
    """What a method has of one case, and what it is to make."""

    given: tuple[str, ...]
    made: tuple[str, ...]
