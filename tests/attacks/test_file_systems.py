"""Row A24: what other libraries keep or do for us: names as paths, options with a key, states of a training."""

from __future__ import annotations

import pickle
from pathlib import Path

import pytest

from vi._directories import Entry, Names
from vi._stream_state import StreamState
from vi.errors import ViInvalidParameterError

pytest.importorskip("fsspec")
import fsspec
from fsspec.asyn import sync

from vi.filesystem import ViFileSystem

KEY = "dtvi_" + "k" * 98
ENTRY = Entry("a1", 3, "SHA256", "00", "image/png", 0, 0, "", 0, None)


def made() -> ViFileSystem:
    return ViFileSystem(
        secret_key=KEY, organization_id="o", endpoint="http://127.0.0.1:9", allow_http=True, skip_instance_cache=True
    )


@pytest.mark.parametrize("name", ["../evil.png", "a/../../evil.png", "..", "..\\evil.png"])
def test_A24_no_name_leads_out_of_the_destination(name: str, tmp_path: Path) -> None:
    fs = made()
    fs._listings["ds"] = Names({name: ENTRY})
    target = tmp_path / "below"
    # As releases of fsspec without a check of their own append the name.
    with pytest.raises(ValueError, match="outside the destination"):
        sync(fs.loop, fs._get_file, f"ds/{name}", f"{target}/{name}")
    with pytest.raises(ValueError, match="outside the destination"):
        fs.get("vi://ds/", f"{target}/", recursive=True)
    assert list(tmp_path.rglob("*.png")) == []


def test_A24_the_key_of_a_file_system_is_shown_by_no_repr() -> None:
    fs = made()
    shown = [repr(fs), repr(fs.storage_options), repr(vars(fs)), str(fs.to_dict(include_password=False))]
    shown.append(fs.to_json(include_password=False))
    assert not [text for text in shown if KEY[5:] in text]
    assert fsspec.AbstractFileSystem.from_json(fs.to_json()).storage_options["secret_key"] == KEY
    assert pickle.loads(pickle.dumps(fs)).storage_options == fs.storage_options


STATE = {"epoch": 1, "samples": 5, "seed": 7, "index": "0" * 64}


@pytest.mark.parametrize("bad", [-1, 1 << 53, 10**400, 1.0, "5", None, True, [1]])
@pytest.mark.parametrize("name", ["epoch", "samples", "taken"])
def test_A24_a_state_of_somebody_else_holds_counts(name: str, bad: object) -> None:
    assert StreamState.read(STATE).epoch == 1
    with pytest.raises(ViInvalidParameterError, match=f"its {name} is ") as refused:
        StreamState.read({**STATE, name: bad})
    assert len(refused.value.message) < 200


@pytest.mark.parametrize("state", [None, [], "epoch", 5, {}, {**STATE, "share": 5}])
def test_A24_what_is_no_state_is_refused(state: object) -> None:
    with pytest.raises(ViInvalidParameterError, match="not one of an ImageStream"):
        StreamState.read(state)  # type: ignore[arg-type]
