"""Checksums of files."""

from liftnet.core.storage.checksum import file_sha256


def test_sha256_of_a_file(tmp_path):
    """The digest of "abc" that FIPS 180-2 gives."""
    path = tmp_path / "abc"
    path.write_bytes(b"abc")
    wanted = "ba7816bf 8f01cfea 414140de 5dae2223 b00361a3 96177a9c b410ff61 f20015ad"
    assert file_sha256(path) == wanted.replace(" ", "")
