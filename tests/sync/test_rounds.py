"""What goes up comes down the same: rounds of every command are no-ops, whatever the names and the file system."""

from __future__ import annotations

import hashlib
import random
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

import vi
from tests.support.counting_service import CountingService
from tests.support.systems import WINDOWS, needs_names
from tests.sync.disks import KINDS, OtherDisk
from vi import _samples
from vi.api.resources.datasets.assets.plans import TransferPlan
from vi.cli import main

ODD = (
    "2024-01-01T12:00:00.png", "what?.png", "a|b.png", 'say "x".png', "<x>.png", "star*.png", "back\\slash.png",
    "IMG_1.png", "img_1.png", "Img_1.PNG", "caf\u00e9.png", "cafe\u0301.png", "CAF\u00c9.png", "stra\u00dfe.png",
    "STRASSE.png", "con.png", "CON.png", "aux/x.png", "com1.tar.png", "dot./x.png", "blank /x.png", " lead.png",
    ".hidden.png", ".a/b.png", ".x.0123abcd0001.part.png", "%{3A}.png", "%{2E}%{2e}.png", "a%3Ab.png", "%{-}/x.png",
    "a%{+}/b.png", "x" * 251 + ".png", "y" * 252 + ".png", "\u3042" * 200 + ".png", "z" * 600 + ".png",
    ("e\u0301" * 120) + ".png", "a/b.png", "a/c/b.png", "A/b.png", "a/B.png", "cat.png", "cat.png/1.png", "Cat.png/1.png",
    "../up.png", "../../up.png", "/root.png", "a//b.png", "a/./b.png", "./x.png", "tab\tnew\nline.png", "\x1b[31m.png",
    "\u202egnp.png", "~/x.png", "~.png", "-rf.png", "50%25#1.png", "thumbs.db/x.png", "a_b.png", "emoji\U0001f600.png",
    "\u2764.png", "\u2764\ufe0f.png", "a\u200db.png", "ab.png", "AB.png",
)  # fmt: skip


LETTERS = ["a", "A", "b", "B", "\u00e9", "e\u0301", "\u00c9", "\u00df", "ss", "/", "/", ":", "?", "\\", " ", ".", "%", "{41}",
           "%{41}", "%{+}", "\u3042", "\n", "con", "~", "_", "-", "\U0001f600", "x" * 60]  # fmt: skip
ENDS = (".png", ".PNG")


def random_names(count: int, seed: int) -> list[str]:
    """Names of all that is odd, many of which some file system takes for one."""
    chance = random.Random(seed)
    names = dict.fromkeys(ODD)
    while len(names) < count:
        name = "".join(chance.choice(LETTERS) for _ in range(chance.randint(1, 9))) + chance.choice(ENDS)
        if len(name) <= 300:
            names[name] = None
    return list(names)[:count]


def image(number: int) -> bytes:
    return _samples.encode(number, ".png", (4, 4)) + number.to_bytes(4, "big")


DISKS: dict[str, Callable[[Path], OtherDisk | None]] = {"this": lambda root: None}
if not WINDOWS:  # whose disks cannot play the others: they hold fewer names
    DISKS |= {name: lambda root, kind=kind: OtherDisk(str(root), kind) for name, kind in KINDS.items()}


@pytest.fixture(scope="module")
def many(counting: CountingService, request: pytest.FixtureRequest) -> tuple[str, dict[str, str]]:
    """A dataset with odd names, and the digests that belong to them."""
    names = random_names(request.param, request.param)
    with counting.client() as client:
        dataset = client.datasets.create(name="odd").dataset_id
        result = client.assets.upload(
            dataset, [(name, image(number)) for number, name in enumerate(names)], show_progress=False
        )
        assert result.total_succeeded == len(names)
        held = {asset.filename: asset.metadata.hash.contents for asset in client.assets.list(dataset).all_items()}
    assert len(set(held.values())) == len(names)
    return dataset, held


def held_by(client: vi.Client, dataset: str) -> dict[str, str]:
    return {asset.filename: asset.metadata.hash.contents for asset in client.assets.list(dataset).all_items()}


def check_round(client: vi.Client, dataset: str, folder: Path, count: int, *, links: bool = False) -> None:
    """Every comparison says that nothing is to be done."""
    checked = client.assets.verify(dataset, folder)
    assert checked.ok, checked.summary()
    assert checked.matching == count
    for direction in ("up", "down"):
        plan = client.assets.sync(dataset, folder, direction, delete=True, max_delete=0, show_progress=False).plan
        assert (len(plan), plan.existing) == (0, count), plan.summary()
    if links:  # a download replaces none, and says so
        return
    again = client.assets.download(dataset, folder, dry_run=True).plan
    assert again is not None
    assert (len(again), again.existing) == (0, count), again.summary()


@pytest.mark.timeout(300)
@pytest.mark.parametrize(
    ("many", "disk"),
    [(2000 if disk in ("this", "ZFS") and not WINDOWS else 300, disk) for disk in DISKS],
    indirect=["many"],
)
def test_rounds_of_odd_names_are_no_ops(
    client: vi.Client, many: tuple[str, dict[str, str]], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, disk: str
) -> None:
    dataset, held = many
    folder = tmp_path / "copy"
    folder.mkdir()
    with monkeypatch.context() as patch:
        if (other := DISKS[disk](folder)) is not None:
            other.install(patch)
        if disk == "this":
            result = client.assets.sync(dataset, folder, "down", show_progress=False).download
        else:
            result = client.assets.download(dataset, folder, show_progress=False)
        assert result is not None
        assert (result.total_downloaded, result.failures, result.conflicts) == (len(held), [], [])
        for _ in range(3):
            check_round(client, dataset, folder, len(held))
    assert sum(path.is_file() for path in folder.rglob("*")) == len(held), "each has a file of its own"
    if disk != "this":  # the disk is carried to this machine, and a tool copies what is on it
        shutil.copytree(folder, tmp_path / "carried")
        check_round(client, dataset, tmp_path / "carried", len(held))
        assert client.assets.download(dataset, folder, show_progress=False).total_existing == len(held)
    assert held_by(client, dataset) == held


def digests(folder: Path) -> dict[str, str]:
    """SHA-256 of each file by its path below the folder."""
    paths = [path for path in folder.rglob("*") if path.is_file()]
    return {str(path.relative_to(folder)): hashlib.sha256(path.read_bytes()).hexdigest() for path in paths}


def make_tree(root: Path, count: int) -> Path:
    """Equal names in many folders, odd names, a link to a file and one to a folder."""
    for number in range(count):
        below = root / f"class {number % 50}" / f"{number % 7}:x" / ("CAM" if number % 2 else "cam")
        below.mkdir(parents=True, exist_ok=True)
        (below / f"{number // 50 % 40}.png").write_bytes(image(number))
    for number, name in enumerate(
        ("a/what?.png", "A/what?.png", "caf\u00e9/1.png", "cafe\u0301/1.png", "pic.png/pic.png", " b/c .png")
    ):
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_bytes(image(count + number))
    (root / "a" / "link.png").symlink_to(root / "A" / "what?.png")
    return root


@needs_names
@pytest.mark.timeout(300)
def test_a_tree_of_two_thousand_files_goes_round(
    client: vi.Client, service: CountingService, dataset: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    tree = make_tree(tmp_path / "tree", 2000)
    wanted = digests(tree)
    sent = client.assets.sync(dataset, tree, names="relative", show_progress=False)
    assert sent.ok
    assert held_by(client, dataset).keys() == wanted.keys()
    for name, value in service.environment.items():
        monkeypatch.setenv(name, value)
    (tmp_path / "by shell").mkdir()
    shell = tmp_path / "by shell" / "copy"
    assert client.assets.sync(dataset, tmp_path / "copy", "down", show_progress=False).ok
    assert main(["assets", "sync", dataset, str(shell), "--direction", "down", "--quiet", "--no-progress"]) == 0
    for copy in (tmp_path / "copy", shell, tree):
        assert digests(copy) == wanted
        check_round(client, dataset, copy, len(wanted), links=copy == tree)
        assert main(["assets", "verify", dataset, str(copy), "--quiet"]) == 0
        for direction in ("up", "down"):
            command = [
                "assets",
                "sync",
                dataset,
                str(copy),
                "--direction",
                direction,
                "--delete",
                "--yes",
                "--fail-if-nothing",
            ]
            assert main([*command, "--quiet", "--no-progress"]) == 9, "nothing was to be done"
    assert held_by(client, dataset).keys() == wanted.keys()


@pytest.mark.parametrize("disk", DISKS)
def test_saved_plans_of_odd_names_do_what_they_say_on_every_disk(
    client: vi.Client, dataset: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, disk: str
) -> None:
    """Names that a disk takes for one, or refuses, are downloaded, replaced and deleted apart, by shards and whole."""
    names = random_names(90, 7)
    folder = tmp_path / "copy"
    folder.mkdir()

    def store(numbers: range, shade: int) -> None:
        items = [(names[number], image(number + shade)) for number in numbers]
        client.assets.upload(
            dataset, items, names="relative", on_asset_overwritten="RemoveLinkedResource", show_progress=False
        )

    def carry_out(direction: str) -> dict[str, int]:
        plan = client.assets.sync(dataset, folder, direction, delete=True, max_delete=100, dry_run=True).plan
        plan.save(tmp_path / "plan.jsonl")
        plan = TransferPlan.load(tmp_path / "plan.jsonl")
        for index in range(3):
            assert client.assets.apply(plan.shard(index, 3), show_progress=False).ok
        assert client.assets.apply(plan, show_progress=False).ok
        check_round(client, dataset, folder, len(held_by(client, dataset)))
        return dict(plan.counts)

    with monkeypatch.context() as patch:
        if (other := DISKS[disk](folder)) is not None:
            other.install(patch)
        store(range(60), 0)
        assert carry_out("down") == {"download": 60}
        store(range(20, 40), 1000)
        store(range(60, 90), 0)
        doomed = {asset.asset_id for asset in client.assets.list(dataset).all_items() if asset.filename in names[:20]}
        client.assets.delete_many(dataset, sorted(doomed))
        assert carry_out("down") == {"download": 50, "delete_file": 20}
        paths = sorted(path for path in folder.rglob("*") if path.is_file())
        assert len(paths) == 70
        name_of = {image(number + shade): names[number] for number in range(90) for shade in (0, 1000)}
        gone = {name_of[path.read_bytes()] for path in paths[::4]}
        for path in paths[::4]:
            path.unlink()
        assert carry_out("up") == {"delete_asset": len(gone)}
        assert set(held_by(client, dataset)) == set(names[20:]) - gone


@pytest.mark.parametrize("disk", [name for name in ("APFS", "HFS+", "ZFS") if name in DISKS])
def test_an_accent_that_the_dataset_writes_in_another_form_is_the_same_file(
    client: vi.Client, dataset: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, disk: str
) -> None:
    table = {"caf\u00e9.png": {"lot": 1}, "\u00c9.png": {"lot": 2}}
    client.assets.upload(dataset, [(name, image(number)) for number, name in enumerate(table)], show_progress=False)
    folder = tmp_path / "copy"
    folder.mkdir()
    OtherDisk(str(folder), KINDS[disk]).install(monkeypatch)
    (folder / "sub").mkdir()
    (folder / "cafe\u0301.png").write_bytes(image(0))
    (folder / "sub" / "E\u0301.png").write_bytes(image(1))
    for told in (table, {"cafe\u0301.png": {"lot": 3}}):
        sent = client.assets.upload(dataset, folder, skip_existing=True, custom_metadata=told, show_progress=False)
        assert (sent.total_existing, sent.total_succeeded) == (2, 0)
    assert client.assets.verify(dataset, folder).matching == 2
    for direction in ("up", "down"):
        plan = client.assets.sync(dataset, folder, direction, delete=True, max_delete=0, show_progress=False).plan
        assert (len(plan), plan.existing) == (0, 2), plan.summary()
    stored = {asset.filename: asset.metadata.custom_metadata for asset in client.assets.list(dataset).all_items()}
    assert stored == {"caf\u00e9.png": {"lot": 3}, "\u00c9.png": {"lot": 2}}


def test_a_table_may_write_an_accent_in_another_form_than_the_disk(
    client: vi.Client, dataset: str, tmp_path: Path
) -> None:
    (tmp_path / "cafe\u0301.png").write_bytes(image(0))
    (tmp_path / "table.csv").write_text("filename,lot\ncaf\u00e9.png,7\n", "utf-8")
    client.assets.upload(dataset, tmp_path, custom_metadata=tmp_path / "table.csv", show_progress=False)
    [asset] = client.assets.list(dataset).all_items()
    assert (asset.filename, asset.metadata.custom_metadata) == ("cafe\u0301.png", {"lot": 7})


any_name = st.sampled_from(ODD) | st.builds(
    "{}{}".format, st.lists(st.sampled_from(LETTERS), min_size=1, max_size=6).map("".join), st.sampled_from(ENDS)
)


@settings(max_examples=12, suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow])
@given(names=st.lists(any_name, min_size=2, max_size=10, unique=True), disk=st.sampled_from(list(DISKS)))
@example(names=["a.png", "A.png", "A/a.png", "\u00e9/a.png", "e\u0301/A.PNG"], disk="HFS+")
@example(names=["con.png", "a:b.png", "end. /x.png", "B.png", "b.PNG"], disk="NTFS")
def test_a_saved_plan_of_any_names_is_carried_out_on_any_disk(
    client: vi.Client, tmp_path_factory: pytest.TempPathFactory, names: list[str], disk: str
) -> None:
    place = tmp_path_factory.mktemp("disk")
    (folder := place / "copy").mkdir()
    dataset = client.datasets.create(name="any").dataset_id
    items = [(name, image(number)) for number, name in enumerate(names)]
    client.assets.upload(dataset, items, names="relative", show_progress=False)
    with pytest.MonkeyPatch.context() as patch:
        if (other := DISKS.get(disk, DISKS["this"])(folder)) is not None:
            other.install(patch)
        plan = client.assets.sync(dataset, folder, "down", dry_run=True, show_progress=False).plan
        assert plan is not None
        plan.save(place / "plan.jsonl")
        assert client.assets.apply(TransferPlan.load(place / "plan.jsonl"), show_progress=False).ok
        check_round(client, dataset, folder, len(names))
    stored = {path.read_bytes() for path in folder.rglob("*") if path.is_file()}
    assert stored == {contents for _, contents in items}
