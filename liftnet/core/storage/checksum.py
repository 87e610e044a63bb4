"""Checksums of files: CRC-32, as in gzip, shows damage; SHA-256 that it is another file."""

import hashlib
from pathlib import Path

try:
    from zlib_ng.zlib_ng import crc32  # ten times as fast as zlib
except ImportError:  # it is not needed to train
    from zlib import crc32

__all__ = ["as_text", "crc32", "file_crc32", "file_sha256"]

BLOCK_BYTES = 2**20  # ours: stays in the processor's cache between reading and the checksum


def as_text(checksum: int) -> str:
    """A checksum as eight hexadecimal digits.

    >>> as_text(crc32(b"123456789"))
    'cbf43926'
    """
    return f"{checksum:08x}"


def file_crc32(path: Path) -> str:
    """The CRC-32 of a file, as text."""
    checksum, block = 0, bytearray(BLOCK_BYTES)
    with path.open("rb", buffering=0) as file:
        while count := file.readinto(block):
            checksum = crc32(memoryview(block)[:count], checksum)
    return as_text(checksum)


def file_sha256(path: Path) -> str:
    """The SHA-256 of a file in small hexadecimal digits."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
