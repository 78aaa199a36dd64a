"""Row A21: a service that was killed leaves its address behind, and somebody else listens there."""

from __future__ import annotations

import copy
import socket
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from urllib.parse import urlsplit

import pytest

import vi
from tests.support.pictures import tiny
from vi.server.disk.lock import FolderLock, is_held, read_address


@contextmanager
def impostor(address: str) -> Iterator[list[bytes]]:
    """Listen at the address of a service that has ended; yields what was sent there."""
    said: list[bytes] = []
    with socket.create_server(("127.0.0.1", urlsplit(address).port or 0)) as listener:

        def serve() -> None:
            while True:
                try:
                    connection, _ = listener.accept()
                except OSError:
                    return
                with connection:
                    if data := connection.recv(1 << 16):
                        said.append(data)

        thread = threading.Thread(target=serve)
        thread.start()
        try:
            yield said
        finally:
            listener.shutdown(socket.SHUT_RDWR)
            thread.join()


@contextmanager
def orphan(data: Path) -> Iterator[tuple[vi.Client, str, Callable[[], None]]]:
    """Yield a client that has joined the service of another, a dataset, and what ends that as SIGKILL would."""
    lock = data / "service.lock"
    with vi.Client.local(data) as owner:
        dataset = owner.datasets.create(name="kept").dataset_id

        def kill() -> None:
            address = lock.read_bytes()
            owner.close()
            lock.write_bytes(address)

        with vi.Client.local(data, retries=vi.RetryPolicy(connect_patience=0.2)) as joined:
            yield joined, dataset, kill


def test_A21_who_listens_at_the_address_of_a_killed_service_is_sent_nothing(tmp_path: Path) -> None:
    with orphan(tmp_path / "data") as (joined, dataset, kill):
        assert joined.datasets.get(dataset).name == "kept"
        before = joined.settings.endpoint
        copied = copy.copy(joined)
        kill()
        with impostor(before) as said:
            with copied, pytest.raises(vi.ViNetworkError):
                copied.datasets.get(dataset)
            assert joined.datasets.get(dataset).name == "kept"
            assert joined.settings.endpoint != before
            assert joined.assets.upload(dataset, ("a.png", tiny(1))).total_succeeded == 1
        assert said == []


def test_A21_a_signed_url_of_a_killed_service_is_sent_nothing_either(tmp_path: Path) -> None:
    with orphan(tmp_path / "data") as (joined, dataset, kill):
        joined.assets.upload(dataset, ("a.png", tiny(1)))
        before = joined.settings.endpoint
        with joined.assets.open(dataset, filename="a.png") as file:
            kill()
            with impostor(before) as said:
                for _ in range(2):  # the second time, the service is at another address
                    with pytest.raises(vi.ViError):
                        file.read()
                    assert joined.assets.count(dataset) == 1
            assert said == []


def test_A21_a_lock_is_held_as_long_as_its_process_has_it(tmp_path: Path) -> None:
    path = tmp_path / "service.lock"
    assert not is_held(path)
    lock = FolderLock.take(path)
    assert lock is not None
    assert is_held(path)
    assert FolderLock.take(path) is None
    lock.announce("file:///etc", embedded=True)
    assert read_address(path) is None
    lock.release()
    assert not is_held(path)
