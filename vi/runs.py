"""Runs: plans in folders that many processes and machines carry out, on whatever engine starts them.

``client.assets.upload(dataset, "/data", plan=RUN)`` (or `download`, `sync`) writes a run of many small shards. Any
process that can reach the folder and has the settings of the client in its environment works on a shard with
`run_shard`; `RunStatus.of` tells what is left, and `finish` deletes what a sync has planned to delete.
"""

from __future__ import annotations

import os
import socket
import sys
import time
from concurrent.futures import Future, ProcessPoolExecutor, as_completed
from concurrent.futures.process import BrokenProcessPool
from multiprocessing import get_context, spawn

import attrs

from ._checks import check_whole
from ._interpreter import is_python, starts_itself_again
from ._transfer.document_folders import DocumentFolder
from .api.resources.datasets.assets.plans import TransferPlan
from .api.resources.datasets.assets.run_plans import (
    FINISHED,
    RunFolder,
    RunPlan,
    deletions_name,
    read_head,
    read_sealed,
    report_name,
    shard_name,
)
from .api.resources.datasets.assets.run_reports import (
    RunStatus,
    ShardReport,
    check_shard,
    merged,
    number_of,
    own_key,
    read_report,
    status_of,
    write_report,
)
from .api.resources.datasets.assets.run_seals import Sealed
from .api.resources.datasets.assets.sync.run import SyncResult
from .client import Client
from .config import load_settings
from .errors import (
    ViAuthenticationError,
    ViConfigurationError,
    ViError,
    ViInvalidParameterError,
    ViNotFoundError,
    ViOperationError,
    ViPermissionError,
)

__all__ = ["RunStatus", "ShardReport", "finish", "run_shard", "run_shards"]

TRIES = 3
"""How many pools are started, one after another, while processes are killed."""
_OF_ALL = (ViAuthenticationError, ViConfigurationError, ViNotFoundError, ViPermissionError)


def run_shard(run: RunFolder, shard: int) -> ShardReport:
    """Carry out one shard of a run with a client of its own, whose settings come from the environment. Blocking.

    A shard whose report says that all was done is not done again: the report is returned after one request to the
    folder, if a worker with the same secret key has written it. Otherwise only files are moved that the other side
    lacks, whichever machine has begun the shard. Nothing is deleted. Failed requests are retried as by any client. A
    process that is killed leaves a shard without a report.

    Args:
        run: The folder of the run, a path or an address.
        shard: Its number, from 0.

    Returns:
        The report, which is in the folder now; files that failed are in its ``result``.

    Raises:
        ViPathError: The folder cannot be read or written to, or holds no run.
        ViInvalidParameterError: The run has no shard of this number, or was not planned with the secret key of the
            environment.
        ViConfigurationError: A setting is missing in the environment, or belongs to another organization.
        ViError: The shard was stopped early; its report says why, and calling again resumes.
    """
    folder, key = DocumentFolder.of(run, "run"), own_key()
    number = number_of(shard)
    stored = None if key is None or number < 0 else read_report(folder, number)
    if stored is not None and stored.report.ok and stored.counts(key):
        return stored.report
    head = read_head(folder)
    number = check_shard(shard, head)
    plan, sealed = read_sealed(folder, head, shard_name(number))
    report = ShardReport(number, head.run_id, SyncResult(plan), socket.gethostname(), _now())
    try:
        report.result = _apply(head, plan, sealed)
    except ViError as error:
        report.error, report.ended_ms = error.message, _now()
        if isinstance(error.result, SyncResult):
            report.result = error.result
        _keep(folder, report, key)
        raise
    report.ended_ms = _now()
    return _keep(folder, report, key)


def _keep(folder: DocumentFolder, report: ShardReport, key: str | None) -> ShardReport:
    """Write a report, unless another worker has done the shard in the meantime; return the one that counts."""
    if not report.ok and (stored := read_report(folder, report.shard)) is not None and stored.report.ok:
        return stored.report if key is not None and stored.counts(key) else report
    write_report(folder, report_name(report.shard), report, key or "")
    return report


def run_shards(run: RunFolder, *, processes: int = 4) -> RunStatus:
    """Carry out all shards that are left of a run, in processes of this machine. Blocking.

    A process that is killed is replaced, and its shard tried again. Each process imports the program's main module, so
    a script calls this below ``if __name__ == "__main__":``. Cancelling leaves the reports that are there; the same
    call resumes.

    Args:
        run: The folder of the run, a path or an address.
        processes: How many shards are worked on at once.

    Returns:
        How far the run is; files that failed are in its ``result``.

    Raises:
        ViPathError: The folder cannot be read or written to, or holds no run.
        ViAuthenticationError: The key was refused; also `ViPermissionError`, `ViConfigurationError` and
            `ViNotFoundError` end the call, since each shard would fail alike.
        ViConfigurationError: This program is not Python and names none by ``multiprocessing.set_executable``, or is
            frozen and does not call ``multiprocessing.freeze_support``.
        ViOperationError: Processes were killed repeatedly.
    """
    check_whole("processes", processes)
    _check_program()
    folder = DocumentFolder.of(run, "run")
    tried: set[int] = set()
    for _ in range(TRIES):
        left = [shard for shard in status_of(folder, own_key()).left if shard not in tried]
        if not left:
            break
        with ProcessPoolExecutor(min(processes, len(left)), mp_context=get_context("spawn")) as pool:
            began = {pool.submit(run_shard, run, shard): shard for shard in left}
            try:
                _gather(began, tried)
            except BaseException:
                pool.shutdown(wait=False, cancel_futures=True)
                raise
    status = status_of(folder, own_key())
    if lost := [shard for shard in status.missing if shard not in tried]:
        raise ViOperationError(
            f"{len(lost)} shards were not done: processes were killed {TRIES} times, for lack of memory perhaps.",
            suggestion="Give fewer processes, or a plan of more shards.",
        )
    return status


def _check_program() -> None:
    """Refuse to start processes where each would run this program from its beginning, and start processes in turn."""
    if starts_itself_again():
        raise ViConfigurationError(
            "This process was started to work on a shard, and runs the program again.",
            suggestion="Call multiprocessing.freeze_support() at the beginning of the program.",
        )
    program = os.fsdecode(spawn.get_executable() or b"")
    if not getattr(sys, "frozen", False) and not is_python(program):
        raise ViConfigurationError(
            f"Shards are worked on by Python processes, and this program is {program!r}.",
            suggestion="Name a Python by multiprocessing.set_executable(), or call run_shard in processes of your own.",
        )


def _gather(began: dict[Future[ShardReport], int], tried: set[int]) -> None:
    """Wait for shards; those that ended by themselves count as *tried*."""
    for future in as_completed(began):
        try:
            future.result()
        except BrokenProcessPool:
            continue
        except _OF_ALL:
            raise
        except ViError:  # the report says why
            pass
        tried.add(began[future])


def finish(run: RunFolder) -> SyncResult:
    """Delete what a run has planned to delete, once every shard is done, and return the result of the whole. Blocking.

    An asset or file that has changed since the plan was made is kept and reported; one that is gone counts as deleted,
    since an earlier call may have been cut short. A run that is finished is not finished again: the result is that of
    the first time.

    Args:
        run: The folder of the run, a path or an address.

    Returns:
        The sum of all reports, with the deletions.

    Raises:
        ViOperationError: A shard failed or is missing; nothing was deleted.
        ViPathError: The folder cannot be read or written to, or holds no run.
        ViInvalidParameterError: The run was not planned with the secret key of the environment.
        ViConfigurationError: A setting is missing in the environment, or belongs to another organization.
    """
    folder = DocumentFolder.of(run, "run")
    key = load_settings().secret_key
    status = status_of(folder, key)
    head = status.plan
    if not status.ok:
        raise ViOperationError(
            f"Nothing was deleted: shards {_shortened(status.array)} of {head.shards} are not done.",
            suggestion="Run them again, then finish; RunStatus.of(run) tells what failed.",
        )
    if status.finished:
        return status.result
    report = ShardReport(0, head.run_id, SyncResult(head.without_entries()), socket.gethostname(), _now())
    done: list[ShardReport] = []
    for number in range(head.deletion_lists):
        plan, sealed = read_sealed(folder, head, deletions_name(number))
        result = _apply(head, plan, sealed)
        result.deleted = len(plan) - len(result.failures)
        done.append(attrs.evolve(report, result=result))
    blank = attrs.evolve(head, existing=0, skipped={}, notes=[])
    report.result, report.ended_ms = merged(blank, done), _now()
    write_report(folder, FINISHED, report, key)
    return status_of(folder, key).result


def _apply(head: RunPlan, plan: TransferPlan, sealed: Sealed) -> SyncResult:
    settings = load_settings()
    if settings.organization_id != head.organization_id:
        raise ViConfigurationError(
            f"The run is of organization {head.organization_id}, the environment names {settings.organization_id}.",
            suggestion="Set DATATURE_VI_ORGANIZATION_ID and DATATURE_VI_SECRET_KEY to those of the run.",
        )
    strange = [document.name for document in (head._sealed, sealed) if not document.by(settings.secret_key)]
    with Client() as client:
        if strange:
            client.organizations.get()  # a key that the service refuses explains it
            raise ViInvalidParameterError(
                f"{strange[0]} of the run {head.address} was not written with this secret key: nothing of it was done.",
                path=head.address,
                suggestion="Make the plan again with the key of the workers, unless somebody has changed it.",
            )
        return client.assets.apply(plan, show_progress=False)


def _shortened(array: str) -> str:
    return array if len(array) <= 60 else f"{array[:57]}..."


def _now() -> int:
    return time.time_ns() // 1_000_000
