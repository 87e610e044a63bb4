"""Files that belong together: on a full disk none of them is new."""

import errno
import os
from pathlib import Path

import pytest

from liftnet.core.files import write_together


@pytest.mark.parametrize("full", ["a.csv", "a.json"])
def test_on_a_full_disk_all_stay_as_they_were(tmp_path, monkeypatch, full):
    """Whichever does not fit: the old ones stay beside each other, and no draft is left."""
    old = {tmp_path / "a.csv": "old\n", tmp_path / "a.json": "{}\n"}
    write_together(old)
    write = Path.write_bytes

    def write_until_full(path: Path, data: bytes) -> int:
        if path.name.startswith(".a.") and path.suffix == Path(full).suffix:
            write(path, data[:3])
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), str(path))
        return write(path, data)

    monkeypatch.setattr(Path, "write_bytes", write_until_full)
    with pytest.raises(OSError, match="No space left") as found:
        write_together(dict.fromkeys(old, "new"))
    assert found.value.filename == str(tmp_path / full)
    assert {path: path.read_text() for path in tmp_path.iterdir()} == old
