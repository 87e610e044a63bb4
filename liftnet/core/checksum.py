"""The checksum that shows damage of a file: CRC-32, as in gzip."""

try:
    from zlib_ng.zlib_ng import crc32  # ten times as fast as zlib
except ImportError:  # it is not needed to train
    from zlib import crc32

__all__ = ["as_text", "crc32"]


def as_text(checksum: int) -> str:
    """A checksum as eight hexadecimal digits.

    >>> as_text(crc32(b"123456789"))
    'cbf43926'
    """
    return f"{checksum:08x}"
