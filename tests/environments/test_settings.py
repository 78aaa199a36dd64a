"""Programs where no home folder is known, the current folder is gone, or a setting is odd."""

from __future__ import annotations

import os
import stat
import tempfile
from collections.abc import Callable
from pathlib import Path

import pytest

import vi
from tests.environments.conftest import Program
from tests.support.pictures import tiny
from tests.support.systems import WINDOWS
from vi import _paths
from vi._transfer.journals import locked_lines
from vi.config import default_config_path

ROUND = """
import os, sys, vi, vi.transfers

def round(client, folder):
    dataset = client.datasets.create(name="odd").dataset_id
    uploaded = client.assets.upload(dataset, sys.argv[1], show_progress=False).total_succeeded
    downloaded = client.assets.download(dataset, folder, show_progress=False).total_downloaded
    left = [one for one in vi.transfers.unfinished() if one.dataset_id == dataset]
    print(uploaded, downloaded, client.assets.verify(dataset, folder).ok, len(left))

{before}
with vi.Client({arguments}) as client:
    round(client, sys.argv[2])
"""
DONE = "4 4 True 0\n"

# Whoever the program becomes may not be able to read the interpreter's own files: all that is needed is loaded before.
UNKNOWN = """
with vi.Client() as client:
    round(client, sys.argv[3])
os.setgroups([]); os.setgid(54321); os.setuid(54321)
"""


def a_round(before: str = "", arguments: str = "") -> str:
    return ROUND.format(before=before, arguments=arguments)


@pytest.mark.skipif(not hasattr(os, "setuid") or os.getuid() != 0, reason="only root may become nobody")
@pytest.mark.parametrize("given", ["environment", "arguments"])
def test_a_user_without_a_name_and_a_home_needs_neither(program: Program, images: Path, given: str) -> None:
    with tempfile.TemporaryDirectory() as place:
        Path(place).chmod(0o777)
        images = images.rename(Path(place, "images"))
        names = ("DATATURE_VI_SECRET_KEY", "DATATURE_VI_ORGANIZATION_ID") if given == "arguments" else ()
        arguments = "os.environ.pop('DATATURE_VI_SECRET_KEY'), os.environ.pop('DATATURE_VI_ORGANIZATION_ID')"
        ended = program(
            a_round(UNKNOWN, arguments if names else ""),
            images,
            Path(place, "copy"),
            Path(place, "first copy"),
            without=("HOME", "XDG_CONFIG_HOME", "XDG_CACHE_HOME", "VI_CACHE_DIR"),
            env={"TMPDIR": place},
            cwd="/",
        )
        assert (ended.returncode, ended.stdout, ended.stderr) == (0, DONE * 2, "")
        status = Path(place, "vi-54321").stat()
        assert (status.st_uid, stat.S_IMODE(status.st_mode)) == (54321, 0o700)


def without_home(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("HOME", "XDG_CONFIG_HOME", "XDG_CACHE_HOME", "VI_CACHE_DIR", "VI_CONFIG"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setattr(os, "getuid", lambda: 54321)


@pytest.mark.skipif(os.name == "nt", reason="accounts are of Unix")
def test_without_a_home_folder_there_is_no_settings_file(monkeypatch: pytest.MonkeyPatch) -> None:
    without_home(monkeypatch)
    assert default_config_path({}) is None
    with pytest.raises(vi.ViConfigurationError, match="No secret key was found"):
        vi.Client()
    with pytest.raises(vi.ViConfigurationError, match="no home folder"):
        vi.Client(profile="work")


@pytest.mark.skipif(os.name == "nt", reason="accounts are of Unix")
@pytest.mark.parametrize("taken", ["by a file", "by a link", "open to others"])
def test_a_temporary_folder_that_is_not_ours_alone_is_not_used(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, taken: str
) -> None:
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    place = tmp_path / f"vi-{os.getuid()}"
    if taken == "by a file":
        place.touch()
    elif taken == "by a link":
        (tmp_path / "theirs").mkdir(mode=0o700)
        place.symlink_to(tmp_path / "theirs")
    else:
        place.mkdir()
        place.chmod(0o777)
    _paths._folder_of_process.cache_clear()
    folder = _paths.temporary_folder()
    assert folder != place
    assert folder == _paths.temporary_folder()
    assert stat.S_IMODE(folder.stat().st_mode) == 0o700
    _paths._folder_of_process.cache_clear()


stays = pytest.mark.skipif(WINDOWS, reason="Windows removes no folder that a process is in")


@stays
def test_with_a_deleted_current_folder_whole_paths_work(program: Program, images: Path, tmp_path: Path) -> None:
    gone = "os.mkdir(sys.argv[3]); os.chdir(sys.argv[3]); os.rmdir(sys.argv[3])"
    ended = program(a_round(gone), images, tmp_path / "copy", tmp_path / "gone")
    assert (ended.returncode, ended.stdout, ended.stderr) == (0, DONE, "")


CALLS = {
    "upload": "client.assets.upload(dataset, {path!r})",
    "download": "client.assets.download(dataset, {path!r})",
    "verify": "client.assets.verify(dataset, {path!r})",
    "sync": "client.assets.sync(dataset, {path!r})",
    "local": "vi.Client.local({path!r})",
    "settings": "vi.Client(config_file={path!r})",
    "plan": "vi.TransferPlan.load({path!r})",
    "cache": "os.environ.__setitem__('VI_CACHE_DIR', {path!r}); vi.transfers.unfinished()",
    "VI_CONFIG": "os.environ.update(VI_CONFIG={path!r}); vi.Client(profile='a')",
}
EACH = """
import os, sys, vi, vi.transfers
from vi.api.resources.datasets.assets.plans import TransferPlan
vi.TransferPlan = TransferPlan
with vi.Client() as client:
    dataset = client.datasets.create(name="each").dataset_id
    {before}
    for number, call in enumerate({calls!r}):
        try:
            exec(call)
        except vi.ViError as error:
            print(number, type(error).__name__, error)
        else:
            print(number, "no error")
"""


@pytest.mark.parametrize(
    ("path", "before", "said"),
    [
        ("~nosuchuser/x", "", "nosuchuser"),
        pytest.param(
            *("relative/x", "os.mkdir('gone'); os.chdir('gone'); os.rmdir('../gone')", "current folder was deleted"),
            marks=stays,
        ),
    ],
    ids=["a user that is not known", "a deleted current folder"],
)
def test_a_path_that_cannot_be_is_one_error_of_ours_in_every_call(
    program: Program, path: str, before: str, said: str
) -> None:
    calls = [call.format(path=path) for call in CALLS.values()]
    ended = program(EACH.format(before=before, calls=calls))
    assert ended.returncode == 0, ended.stderr
    lines = ended.stdout.splitlines()
    assert len(lines) == len(calls)
    assert [line for line in lines if said not in line] == []


def test_home_stands_for_a_folder_in_every_call(program: Program, images: Path, tmp_path: Path) -> None:
    home = tmp_path / "home"
    home.mkdir()
    images.rename(home / "images")
    ended = program(
        "import vi, vi.transfers\nwith vi.Client.local('~/data') as client:\n"
        "    dataset = client.datasets.create(name='home').dataset_id\n"
        "    client.assets.upload(dataset, '~/images', show_progress=False)\n"
        "    client.assets.download(dataset, '~/copy', show_progress=False)\n"
        "    print(client.assets.verify(dataset, '~/copy').ok, vi.transfers.folder())\n",
        env={"HOME": str(home), "USERPROFILE": str(home), "VI_CACHE_DIR": "~/cache"},
    )
    assert (ended.returncode, ended.stderr) == (0, "")
    assert ended.stdout == f"True {home / 'cache' / 'transfers'}\n"
    assert {"data", "copy", "images"} <= {path.name for path in home.iterdir()}
    assert not [path for path in tmp_path.iterdir() if path.name.startswith("~")]


def test_a_file_whose_name_begins_with_a_tilde_is_a_file(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "~draft").mkdir()
    assert _paths.as_path("~draft/x", "save_dir") == Path("~draft/x")


@pytest.mark.skipif(WINDOWS, reason="users without a home folder are those that Python does not find there")
def test_a_home_folder_that_is_not_there_is_refused() -> None:
    import pwd

    for user in (one for one in pwd.getpwall() if not Path(one.pw_dir).is_dir()):
        with pytest.raises(vi.ViPathError, match="has no home folder here"):
            _paths.as_path(f"~{user.pw_name}/x", "save_dir")


@pytest.mark.parametrize("value", [5, b"x", None, "", "a\0b", ["x"]])
def test_what_cannot_be_a_path_is_refused(value: object) -> None:
    with pytest.raises(vi.ViInvalidParameterError, match=r"save_dir (must be a path|must not be empty|holds a NUL)"):
        _paths.as_path(value, "save_dir")


KEY, ORGANIZATION = "dtvi_" + "a" * 98, "acme"


@pytest.mark.parametrize("kind", [vi.Client, vi.AsyncClient])
@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("timeouts", 3),
        ("timeouts", 0),
        ("timeouts", False),
        ("limits", 5),
        ("limits", {}),
        ("retries", "0"),
        ("retries", -1),
        ("retries", False),
        ("retries", 1.5),
        ("secret_key", 5),
        ("secret_key", b""),
        ("organization_id", 0),
        ("endpoint", 5),
        ("endpoint", Path("x")),
        ("config_file", 5),
        ("config_file", ""),
        ("profile", 5),
        ("ssl_context", True),
        ("ssl_context", 0),
        ("allow_http", "no"),
        ("allow_http", None),
    ],
)
def test_an_argument_of_the_wrong_type_is_refused_by_name(kind: type, name: str, value: object) -> None:
    with pytest.raises(vi.ViInvalidParameterError, match=name) as refused:
        kind(**{"secret_key": KEY, "organization_id": ORGANIZATION, name: value})
    assert refused.value.parameter == name
    assert "dtvi_" not in str(refused.value)


@pytest.mark.parametrize(("given", "attempts"), [(0, 1), (3, 4), (vi.RetryPolicy(max_attempts=2), 2), (None, 5)])
def test_retries_may_be_a_number_and_none_is_none(given: vi.RetryPolicy | int | None, attempts: int) -> None:
    assert vi.Client(KEY, ORGANIZATION, retries=given).settings.retries.max_attempts == attempts


def test_without_retries_a_refused_connection_is_an_error_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    waits: list[float] = []

    async def sleep(seconds: float) -> None:
        waits.append(seconds)

    monkeypatch.setattr("anyio.sleep", sleep)
    with vi.Client(KEY, ORGANIZATION, "http://127.0.0.1:9", retries=0) as client, pytest.raises(vi.ViNetworkError):
        client.datasets.list()
    assert waits == []


@pytest.mark.parametrize(
    ("given", "used"),
    [
        (" https://vi.example/\n", "https://vi.example"),
        ("https://vi.example/\r", "https://vi.example"),
        ("\thttps://vi.example//\r\n", "https://vi.example"),
        ("https://bücher.example/a/", "https://xn--bcher-kva.example/a"),
        ("https://BÜCHER.example:8443", "https://xn--bcher-kva.example:8443"),
        ("https://[2001:db8::1]:8443/", "https://[2001:db8::1]:8443"),
        ("http://[::1]:8787", "http://[::1]:8787"),
        ("http://[0:0:0:0:0:0:0:1]:8787", "http://[0:0:0:0:0:0:0:1]:8787"),
    ],
)
def test_an_endpoint_is_cleaned_of_what_a_file_or_a_shell_adds(given: str, used: str) -> None:
    assert vi.Client(KEY, ORGANIZATION, given).settings.endpoint == used


@pytest.mark.parametrize(
    "given",
    [
        "https://vi .example",
        "https://vi.exam\nple",
        "https://vi.example/a b",
        "https://[::1",
        "https://xn--\u00df\u00fc..example",
        "https://a:pw@bücher.example",
        "https://\u200b.example",
        "http://[2001:db8::1]",
    ],
)
def test_an_endpoint_that_cannot_be_one_is_an_error_of_ours(given: str) -> None:
    with pytest.raises(vi.ViConfigurationError):
        vi.Client(KEY, ORGANIZATION, given)


def test_the_cache_is_in_the_temporary_folder_where_there_is_no_home(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    if os.name == "nt":
        pytest.skip("accounts are of Unix")
    uid = os.getuid()
    without_home(monkeypatch)
    monkeypatch.setattr("vi._paths._home_of_account", lambda: "")
    monkeypatch.setattr(os, "getuid", lambda: uid)
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    assert locked_lines.cache_folder() == tmp_path / f"vi-{uid}" / "transfers"


@pytest.mark.skipif(os.name == "nt", reason="every text is a name there")
def test_a_path_of_characters_that_file_names_here_lack_is_refused_by_name(tmp_path: Path, client: vi.Client) -> None:
    """A lone surrogate is such a character where names are in UTF-8, as any other is in a locale without it."""
    path = f"{tmp_path}/\ud800"
    assets, plan = client.assets, vi.TransferPlan(dataset_id="d", direction="down", entries=[])
    dataset = client.datasets.create(name="paths").dataset_id
    calls: list[Callable[[], object]] = [
        lambda: assets.download(dataset, path),
        lambda: assets.verify(dataset, path),
        lambda: assets.sync(dataset, path),
        lambda: assets.watch(dataset, path),
        lambda: assets.set_metadata(dataset, f"{path}.csv"),
        lambda: plan.save(path),
        lambda: vi.TransferPlan.load(path),
        lambda: vi.Client.local(path),
        lambda: vi.Client(config_file=path),
    ]
    for call in calls:
        with pytest.raises(vi.ViError, match="cannot be used: file names here are in"):
            call()


def test_a_name_that_the_locale_cannot_read_is_told_with_what_to_set(
    program: Program, client: vi.Client, dataset: str, images: Path
) -> None:
    (images / "\u65e5\u672c.png").write_bytes(tiny(1))
    code = (
        "import sys, vi\nwith vi.Client() as client:\n"
        "    sent = client.assets.upload(sys.argv[1], sys.argv[2], failure_mode='FailAfterAll', show_progress=False)\n"
        "    print(sent.total_succeeded, sent.failures[0].code, sent.failures[0].message)\n"
    )
    locale = {"LC_ALL": "C", "PYTHONCOERCECLOCALE": "0", "PYTHONUTF8": "0"}
    ended = program(code, dataset, images, env=locale)
    assert ended.stdout.startswith("4 EBADNAME"), ended.stderr
    assert "File names are read as ascii here: set PYTHONUTF8=1." in ended.stdout
