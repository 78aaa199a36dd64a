"""The clients: settings in, resources out, and their lifetime."""

from __future__ import annotations

import os
import ssl
import threading
import warnings
from functools import cached_property, partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, Self, TypeVar, cast

import attrs

from ._closing import AsyncClosing, Closing, Opening
from ._connections import Connections
from ._event_loop import running_loop
from ._events import Hooks
from ._http import Http
from ._loop_thread import LoopThread
from ._secret import secret
from ._show.console import log_as_asked
from .config import RetryPolicy, Settings, Timeouts, TransferLimits, check_ssl_context, load_settings
from .errors import ViError, ViOperationError

if TYPE_CHECKING:
    from .api.resources.datasets.assets.resource import Assets, AsyncAssets
    from .api.resources.datasets.assets.transfers import Transfers
    from .api.resources.datasets.resource import AsyncDatasets, Datasets
    from .api.resources.organizations.resource import AsyncOrganizations, Organizations
    from .server.following import Following

C = TypeVar("C", bound="AsyncClient | Client")


class AsyncClient(AsyncClosing):
    """The asynchronous client: ``client.assets``, ``client.datasets``, ``client.organizations``.

    Any number of tasks and event loops may share it. Connections are opened by the first request. Close it with
    ``async with`` or `aclose`; calls after that raise `ViOperationError`.

    Args:
        secret_key: The secret key. This and the next two are looked up in this order: argument, named file or profile,
            environment (``DATATURE_VI_SECRET_KEY``, ``..._ORGANIZATION_ID``, ``..._API_ENDPOINT``), default file.
        organization_id: Id of the organization that the key belongs to.
        endpoint: Address of the service. Default: the hosted service.
        config_file: Settings file to use instead of the default file.
        profile: Profile of the settings file.
        timeouts: Limits in seconds.
        retries: How often and how long failed requests are retried; a number is the count of retries, 0 means none.
        limits: Concurrency and sizes of transfers.
        ssl_context: TLS settings, such as a private certificate authority.
        allow_http: Allow an ``http`` endpoint on another machine; the key is then sent unencrypted.
        allow_private_storage: Allow signed URLs that lead to addresses of a private network. Default: the environment.

    Raises:
        ViConfigurationError: A setting is missing or malformed; the message names its source.
        ViInvalidParameterError: An argument has the wrong type.
    """

    def __init__(
        self,
        secret_key: str | None = None,
        organization_id: str | None = None,
        endpoint: str | None = None,
        *,
        config_file: str | os.PathLike[str] | None = None,
        profile: str | None = None,
        timeouts: Timeouts | None = None,
        retries: RetryPolicy | int | None = None,
        limits: TransferLimits | None = None,
        ssl_context: ssl.SSLContext | None = None,
        allow_http: bool = False,
        allow_private_storage: bool | None = None,
    ) -> None:
        secret_key = secret(secret_key)  # a traceback may show the locals
        self._connect(
            load_settings(
                secret_key,
                organization_id,
                endpoint,
                config_file=config_file,
                profile=profile,
                allow_http=allow_http,
                timeouts=timeouts,
                retries=retries,
                limits=limits,
                allow_private_storage=allow_private_storage,
            ),
            ssl_context,
        )

    def _connect(
        self, settings: Settings, ssl_context: ssl.SSLContext | None, following: Following | None = None
    ) -> None:
        check_ssl_context(ssl_context)
        log_as_asked()
        self._recipe = ClientRecipe(settings, ssl_context, following.data if following is not None else None)
        self._closed = False
        self._connections = Connections(settings, ssl_context)
        self._following = self._connections.follower = following
        self._http = Http(self._connections, self._recipe)
        self._transfers: Transfers | None = None
        self._first_use = threading.Lock()

    # Each resource is imported when it is used first: to list datasets takes nothing of what moves files.

    @cached_property
    def assets(self) -> AsyncAssets:
        """Upload, download, sync, list, open, rename and delete assets."""
        from .api.resources.datasets.assets.resource import AsyncAssets
        from .api.resources.datasets.assets.transfers import Transfers

        with self._first_use:  # threads may share a client
            if self._transfers is None:
                self._transfers = Transfers(self._http, self._connections)
            return AsyncAssets(self._http, self._transfers)

    @cached_property
    def datasets(self) -> AsyncDatasets:
        """Create, list, change and delete datasets."""
        from .api.resources.datasets.resource import AsyncDatasets

        return AsyncDatasets(self._http)

    @cached_property
    def organizations(self) -> AsyncOrganizations:
        """The organization of the key."""
        from .api.resources.organizations.resource import AsyncOrganizations

        return AsyncOrganizations(self._http)

    @classmethod
    def local(
        cls,
        data: str | os.PathLike[str] = "./vi-data",
        *,
        timeouts: Timeouts | None = None,
        retries: RetryPolicy | int | None = None,
        limits: TransferLimits | None = None,
    ) -> LocalClient:
        """Return a client of the embedded service over the folder *data*: ``async with AsyncClient.local() as client``.

        The service runs in this event loop, on a free loopback port, until the client is closed. If the folder is
        already served, the client joins that service; when another client that ran it has ended, the next request
        of this one starts it again.

        Args:
            data: Folder of the service, created if missing.
            timeouts: Limits in seconds.
            retries: How often and how long failed requests are retried; a number is the count of retries.
            limits: Concurrency and sizes of transfers.

        Returns:
            A client to be awaited or entered.

        Raises:
            ViConfigurationError: The extra ``local`` is not installed, or the folder cannot be served.
        """
        return LocalClient(partial(_open_local, data, timeouts, retries, limits))

    @property
    def settings(self) -> Settings:
        """The settings in use; the repr masks the key."""
        return self._connections.settings

    @property
    def hooks(self) -> Hooks:
        """Listeners for requests, retries and transfers: ``client.hooks.add(function)``."""
        return self._connections.hooks

    async def aclose(self) -> None:
        """Close connections, I/O threads and the service if this client runs it. Closing twice is allowed.

        Running transfers are cancelled first, and raise `ViOperationError`.
        """
        self._closed = True
        await self._http.running.end()
        if self._transfers is not None:
            self._transfers.close()
        await self._connections.aclose()
        if self._following is not None:
            await self._following.aclose()

    def __reduce__(self) -> tuple[Any, ...]:
        """Pickle only the settings: a copy opens its own connections, has no hooks, and joins a local service."""
        return self._recipe.client, (type(self),)

    def __copy__(self) -> Self:
        return self._recipe.client(type(self))

    def __deepcopy__(self, memo: object) -> Self:
        return self._recipe.client(type(self))

    def __repr__(self) -> str:
        if not hasattr(self, "_connections"):  # a traceback shows the locals of a call whose settings were refused
            return "AsyncClient()"
        settings = self.settings
        return f"AsyncClient(organization_id={settings.organization_id!r}, endpoint={settings.endpoint!r})"

    def __del__(self) -> None:
        if getattr(self, "_closed", True) or not self._connections.any_open:
            return
        warnings.warn("a vi.AsyncClient was not closed; use async with", ResourceWarning, stacklevel=2, source=self)
        if self._transfers is not None:
            self._transfers.close()
        self._connections.abandon()


@attrs.frozen
class ClientRecipe:
    """What another client is made of, here or in another process; its pickle has the settings, the key among them."""

    _settings: Settings
    _ssl_context: ssl.SSLContext | None
    _local_data: Path | None
    """The folder of the local service, None for the hosted one."""

    def client(self, cls: type[C]) -> C:
        """Make a client that has opened nothing yet."""
        client = AsyncClient.__new__(cls if issubclass(cls, AsyncClient) else AsyncClient)
        following = _follow(self._local_data)
        settings = self._settings
        if following is not None and following.address is not None:
            settings = attrs.evolve(settings, endpoint=following.address)
        client._connect(settings, self._ssl_context, following)
        if not issubclass(cls, Client):
            return cast("C", client)
        blocking = cls.__new__(cls)
        blocking._wrap(client, LoopThread(client.aclose, "vi-client"))
        return cast("C", blocking)

    def resource(self, name: str) -> Any:
        """Return the resource of class *name*, of a client of its own."""
        client = self.client(AsyncClient if name.startswith("Async") else Client)
        return getattr(client, name.removeprefix("Async").lower())

    def __reduce__(self) -> tuple[Any, ...]:
        if self._ssl_context is not None:
            raise ViOperationError(
                "A client with an ssl_context cannot be pickled.",
                suggestion="Make the client in the other process, or name the certificates in SSL_CERT_FILE.",
            )
        return _recipe_again, (self._settings, self._local_data)


def _recipe_again(settings: Settings, local_data: Path | None) -> ClientRecipe:
    return ClientRecipe(settings, None, local_data)


def _follow(local_data: Path | None) -> Following | None:
    """Return what follows the service of a folder, which a copy of a client does not start."""
    if local_data is None:
        return None
    from .server.following import Following

    return Following(local_data)


class LocalClient(Opening[AsyncClient]):
    """An `AsyncClient` of the embedded service, to be awaited or entered."""


async def _open_local(
    data: str | os.PathLike[str],
    timeouts: Timeouts | None,
    retries: RetryPolicy | int | None,
    limits: TransferLimits | None,
) -> AsyncClient:
    from .server.following import Following
    from .server.lifecycle import open_service

    running_loop()
    service = await open_service(data)
    client = AsyncClient.__new__(AsyncClient)
    try:
        settings = load_settings(
            service.secret_key,
            service.organization_id,
            service.url,
            timeouts=timeouts,
            retries=retries,
            limits=limits,
        )
        client._connect(settings, None, Following(service.data, service))
    except ViError:
        await service.aclose()
        raise
    return client


class Client(Closing):
    """The synchronous client: ``client.assets``, ``client.datasets``, ``client.organizations``, without ``await``.

    It runs an event loop in its own thread, which starts with the first call. So it works in scripts, notebooks and
    thread pools, inside a running event loop, and again after a fork. Threads may share it. Close it with ``with`` or
    `close`; calls after that raise `ViOperationError`. So do calls from the client's own callbacks (``on_progress``,
    ``custom_metadata``, hooks), which would wait for themselves.

    Args:
        secret_key: The secret key. This and the next two are looked up in this order: argument, named file or profile,
            environment (``DATATURE_VI_SECRET_KEY``, ``..._ORGANIZATION_ID``, ``..._API_ENDPOINT``), default file.
        organization_id: Id of the organization that the key belongs to.
        endpoint: Address of the service. Default: the hosted service.
        config_file: Settings file to use instead of the default file.
        profile: Profile of the settings file.
        timeouts: Limits in seconds.
        retries: How often and how long failed requests are retried; a number is the count of retries, 0 means none.
        limits: Concurrency and sizes of transfers.
        ssl_context: TLS settings, such as a private certificate authority.
        allow_http: Allow an ``http`` endpoint on another machine; the key is then sent unencrypted.
        allow_private_storage: Allow signed URLs that lead to addresses of a private network. Default: the environment.

    Raises:
        ViConfigurationError: A setting is missing or malformed; the message names its source.
        ViInvalidParameterError: An argument has the wrong type.
    """

    def __init__(
        self,
        secret_key: str | None = None,
        organization_id: str | None = None,
        endpoint: str | None = None,
        *,
        config_file: str | os.PathLike[str] | None = None,
        profile: str | None = None,
        timeouts: Timeouts | None = None,
        retries: RetryPolicy | int | None = None,
        limits: TransferLimits | None = None,
        ssl_context: ssl.SSLContext | None = None,
        allow_http: bool = False,
        allow_private_storage: bool | None = None,
    ) -> None:
        secret_key = secret(secret_key)
        client = AsyncClient(
            secret_key,
            organization_id,
            endpoint,
            config_file=config_file,
            profile=profile,
            timeouts=timeouts,
            retries=retries,
            limits=limits,
            ssl_context=ssl_context,
            allow_http=allow_http,
            allow_private_storage=allow_private_storage,
        )
        self._wrap(client, LoopThread(client.aclose, "vi-client"))

    def _wrap(self, client: AsyncClient, loop_thread: LoopThread) -> None:
        self._client = client
        self._loop_thread = loop_thread

    @cached_property
    def assets(self) -> Assets:
        """Upload, download, sync, list, open, rename and delete assets."""
        from .api.resources.datasets.assets.resource import Assets

        return Assets(self._client.assets, self._loop_thread)

    @cached_property
    def datasets(self) -> Datasets:
        """Create, list, change and delete datasets."""
        from .api.resources.datasets.resource import Datasets

        return Datasets(self._client.datasets, self._loop_thread)

    @cached_property
    def organizations(self) -> Organizations:
        """The organization of the key."""
        from .api.resources.organizations.resource import Organizations

        return Organizations(self._client.organizations, self._loop_thread)

    @classmethod
    def local(
        cls,
        data: str | os.PathLike[str] = "./vi-data",
        *,
        timeouts: Timeouts | None = None,
        retries: RetryPolicy | int | None = None,
        limits: TransferLimits | None = None,
    ) -> Self:
        """Return a client of the embedded service over the folder *data*, which runs until the client is closed.

        If the folder is already served, the client joins that service; when another client that ran it has ended, the
        next request of this one starts it again.

        Args:
            data: Folder of the service, created if missing.
            timeouts: Limits in seconds.
            retries: How often and how long failed requests are retried; a number is the count of retries.
            limits: Concurrency and sizes of transfers.

        Returns:
            The client.

        Raises:
            ViConfigurationError: The extra ``local`` is not installed, or the folder cannot be served.
        """
        started: list[AsyncClient] = []

        async def close() -> None:
            for client in started:
                await client.aclose()

        loop_thread = LoopThread(close, "vi-client")
        try:
            started.append(loop_thread.run(partial(_open_local, data, timeouts, retries, limits)))
        except BaseException:
            loop_thread.close()
            raise
        client = cls.__new__(cls)
        client._wrap(started[0], loop_thread)
        return client

    @property
    def settings(self) -> Settings:
        """The settings in use; the repr masks the key."""
        return self._client.settings

    @property
    def hooks(self) -> Hooks:
        """Listeners for requests, retries and transfers: ``client.hooks.add(function)``."""
        return self._client.hooks

    def close(self) -> None:
        """Close connections, the loop's thread, and the service if this client runs it. Closing twice is allowed."""
        self._loop_thread.close()

    def __reduce__(self) -> tuple[Any, ...]:
        """Pickle only the settings: a copy opens its own connections, has no hooks, and joins a local service."""
        return self._client._recipe.client, (type(self),)

    def __copy__(self) -> Self:
        return self._client._recipe.client(type(self))

    def __deepcopy__(self, memo: object) -> Self:
        return self._client._recipe.client(type(self))

    def __repr__(self) -> str:
        connections = getattr(getattr(self, "_client", None), "_connections", None)
        if connections is None:
            return "Client()"
        settings = connections.settings
        return f"Client(organization_id={settings.organization_id!r}, endpoint={settings.endpoint!r})"
