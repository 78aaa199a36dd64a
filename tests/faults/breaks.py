"""The faults themselves: each function returns what a rule does with the request that it takes."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Callable
from typing import Any

from tests.faults.proxy import Break, Exchange, Headers, Reply


def named(name: str, action: Break) -> Break:
    action.__name__ = name  # type: ignore[attr-defined]
    return action


def reset_at_head() -> Break:
    async def act(x: Exchange) -> None:
        x.reset()

    return named("reset before the body", act)


def reset_inside_body(after: int) -> Break:
    async def act(x: Exchange) -> None:
        await x.read(after)
        x.reset()

    return named(f"reset after {after} body bytes", act)


def reset_after_body() -> Break:
    async def act(x: Exchange) -> None:
        await x.read()
        x.reset()

    return named("reset after the body", act)


def lose_answer(*, close: bool = False) -> Break:
    """Let the service act, then end the connection without its answer."""

    async def act(x: Exchange) -> None:
        await x.forward()
        if close:
            await x.close()
        x.reset()

    return named("answer lost", act)


def cut_head(after: int = 12) -> Break:
    async def act(x: Exchange) -> None:
        reply = await x.forward()
        await x.write(reply.head(len(reply.body))[:after])
        x.reset()

    return named("cut inside the head", act)


def cut_answer(after: int, *, close: bool = False) -> Break:
    """Announce the whole body, send *after* bytes of it, and end the connection."""

    async def act(x: Exchange) -> None:
        reply = await x.forward()
        x.answer_begins(reply)
        await x.write(reply.head(len(reply.body)) + reply.body[:after])
        # What has been written must have left before the connection is torn.
        await asyncio.sleep(0.02)
        if close or len(reply.body) <= after:
            await x.close()
        x.reset()

    return named(f"cut after {after} answer bytes", act)


def raw(data: bytes, *, hang: bool = False) -> Break:
    """Answer with bytes that need not be HTTP, then close or say no more."""

    async def act(x: Exchange) -> None:
        await x.read()
        await x.write(data)
        if hang:
            await x.hang()
        await x.close()

    return named("raw bytes", act)


def stall() -> Break:
    """Read nothing and say nothing."""

    async def act(x: Exchange) -> None:
        await x.hang()

    return named("stall", act)


def stall_after_body() -> Break:
    async def act(x: Exchange) -> None:
        await x.read()
        await x.hang()

    return named("stall after the body", act)


def stall_in_answer(after: int) -> Break:
    async def act(x: Exchange) -> None:
        reply = await x.forward()
        x.answer_begins(reply)
        await x.write(reply.head(len(reply.body)) + reply.body[:after])
        await x.hang()

    return named(f"stall after {after} answer bytes", act)


def drip_in(rate: float) -> Break:
    """Take the request's body at *rate* bytes a second."""

    async def act(x: Exchange) -> None:
        for count in range(1, x.length + 1):
            await x.read(count)
            await x.pause(1 / rate)

    return named("drip in", act)


def drip_out(rate: float) -> Break:
    async def act(x: Exchange) -> None:
        await x.send(await x.forward(), drip=rate)

    return named("drip out", act)


def slowly(piece: int, seconds: float) -> Break:
    """Take the request's body *piece* bytes every *seconds*, then pass it on."""

    async def act(x: Exchange) -> None:
        for count in range(piece, x.length + piece, piece):
            await x.read(count)
            await x.pause(seconds)
        await x.send(await x.forward())

    return named("slowly", act)


def answer(
    status: int, headers: Headers | None = None, body: bytes | Any = b"", *, forward: bool = False, read: bool = True
) -> Break:
    """Answer in the service's place, after letting it act where *forward* is set."""
    data = body if isinstance(body, bytes) else json.dumps(body).encode()

    async def act(x: Exchange) -> None:
        if forward:
            await x.forward()
        elif read:
            await x.read()
        await x.send(Reply(status, list(headers or []), data))
        if not read:
            await x.until_closed()

    return named(f"status {status}", act)


def edit(change: Callable[[Reply], Reply], name: str = "edited") -> Break:
    """Change the service's answer."""

    async def act(x: Exchange) -> None:
        await x.send(change(await x.forward()))

    return named(name, act)


def edit_json(change: Callable[[Any], Any], name: str = "edited document") -> Break:
    """Change the service's document: *change* alters it in place, or returns another."""

    def changed(reply: Reply) -> Reply:
        document = json.loads(reply.body)
        replaced = change(document)
        reply.body = json.dumps(document if replaced is None else replaced).encode()
        return reply

    return edit(changed, name)


def damage_request(at: int) -> Break:
    """Flip a bit of the request's body on its way."""

    async def act(x: Exchange) -> None:
        body = bytearray(await x.read())
        body[at] ^= 0x10
        await x.send(await x.forward(bytes(body)))

    return named("damaged on the way up", act)


def flip(reply: Reply, at: int) -> Reply:
    body = bytearray(reply.body)
    body[at] ^= 0x10
    reply.body = bytes(body)
    return reply


def redirect(location: str, status: int = 302) -> Break:
    return answer(status, [("Location", location)])


def first(call: Callable[[], Any], then: Break | None = None, *, after_body: int = 0) -> Break:
    """Run *call* in a thread once *after_body* bytes have come, then go on."""

    async def act(x: Exchange) -> None:
        await x.read(after_body)
        await asyncio.to_thread(call)
        if then is not None:
            await then(x)
        else:
            await x.send(await x.forward())

    return named("meanwhile", act)
