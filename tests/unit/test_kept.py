"""What is kept of small files between their checksum and their PUT."""

from __future__ import annotations

from pathlib import Path

import pytest

from vi._transfer.sources.kept import LIMIT, LOCAL_FILE, LOCAL_LIMIT, Keeping
from vi._transfer.sources.local import examine_path


@pytest.mark.parametrize(("local", "limit"), [(True, LOCAL_LIMIT), (False, LIMIT)])
def test_what_is_kept_has_a_limit_and_makes_room_when_it_is_sent(local: bool, limit: int) -> None:
    data, keeping = bytes(1 << 20), Keeping()
    kept = [keeping.keep(data, local=local) for _ in range(limit // len(data))]
    assert None not in kept
    assert keeping.keep(data, local=local) is None
    assert kept[0] is not None
    kept[0].release()
    assert keeping.keep(data, local=local) is not None


@pytest.mark.parametrize("size", [1, LOCAL_FILE, LOCAL_FILE + 1, 3 << 20])
def test_a_local_file_is_handed_on_whole_up_to_its_limit_and_not_above(tmp_path: Path, size: int) -> None:
    path, data = tmp_path / "a", bytes([7]) * size
    path.write_bytes(data)
    facts = examine_path(str(path), "crc32c")
    assert facts.size == size
    assert facts.data == (data if size <= LOCAL_FILE else None)
