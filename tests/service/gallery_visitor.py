"""A browser in little: keeps the cookie, says where its requests come from, and sends the token of its pages."""

from __future__ import annotations

import json
import re
import secrets
from collections.abc import Mapping, Sequence
from html.parser import HTMLParser
from typing import Any
from urllib.parse import urlencode

import aiohttp
import attrs
import yarl
from multidict import CIMultiDictProxy


@attrs.frozen
class Answer:
    path: str
    status: int
    headers: CIMultiDictProxy[str]
    body: bytes

    @property
    def text(self) -> str:
        return self.body.decode("utf-8", "replace")

    @property
    def document(self) -> Any:
        return json.loads(self.body)

    @property
    def page(self) -> Page:
        assert self.headers["Content-Type"] == "text/html; charset=utf-8"
        return Page(self.text)


class Page(HTMLParser):
    """The elements and the text of a page, as a browser reads it."""

    def __init__(self, text: str) -> None:
        super().__init__(convert_charrefs=True)
        self.elements: list[tuple[str, dict[str, str]]] = []
        self.names: list[str] = []
        self.text = ""
        self._in_name = False
        self.feed(text)
        self.close()

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.elements.append((tag, {name: value or "" for name, value in attrs}))
        if tag == "bdi":
            self._in_name = True
            self.names.append("")

    def handle_endtag(self, tag: str) -> None:
        if tag == "bdi":
            self._in_name = False

    def handle_data(self, data: str) -> None:
        self.text += data
        if self._in_name:
            self.names[-1] += data

    def all(self, tag: str, **wanted: str) -> list[dict[str, str]]:
        return [a for t, a in self.elements if t == tag and wanted.items() <= {k: a.get(k) for k in wanted}.items()]

    def tiles(self) -> list[str]:
        """The addresses of the assets in a grid."""
        return [attributes["href"] for attributes in self.all("a") if attributes.get("class") == "tile"]

    def link(self, relation: str) -> str | None:
        found = self.all("a", rel=relation)
        return found[0]["href"] if found else None


class Visitor:
    def __init__(self, service: Any, session: aiohttp.ClientSession) -> None:
        self.service = service
        self.token = ""
        self._session = session

    async def log_in(self, key: str) -> None:
        assert (await self.post("/gallery/login", {"key": key})).status == 303
        found = re.search(r'<meta name="csrf" content="([0-9a-f]{64})">', (await self("GET", "/")).text)
        assert found
        self.token = found[1]

    @property
    def cookies(self) -> str:
        return "; ".join(f"{cookie.key}={cookie.value}" for cookie in self._session.cookie_jar)

    async def __call__(
        self, method: str, path: str, *, headers: Mapping[str, str | None] | None = None, **sent: Any
    ) -> Answer:
        """Send a request; a header of None is left out."""
        given: dict[str, str | None] = {} if method in ("GET", "HEAD") else {"Origin": self.service.url}
        given.update(headers or {})
        present = {name: value for name, value in given.items() if value is not None}
        url = yarl.URL(self.service.url + path, encoded=True)
        async with self._session.request(method, url, headers=present, allow_redirects=False, **sent) as answer:
            return Answer(path, answer.status, answer.headers, await answer.read())

    async def post(
        self, path: str, fields: Mapping[str, str | None], *, headers: Mapping[str, str | None] | None = None
    ) -> Answer:
        """Send a form as a page of the gallery does; a field of None is left out."""
        present = {name: value for name, value in {"csrf": self.token, **fields}.items() if value is not None}
        form = {"Content-Type": "application/x-www-form-urlencoded"}
        return await self("POST", path, data=urlencode(present), headers={**form, **(headers or {})})

    async def send_form(self, path: str, fields: Sequence[tuple[str, str | None, bytes]], *, cut: int = 0) -> Answer:
        """Send a form with files: names, file names and contents, in this order; *cut* bytes of the end are missing."""
        boundary = secrets.token_hex(16)
        body = b""
        for name, filename, data in fields:
            file = "" if filename is None else '; filename="' + filename.replace('"', "%22") + '"'
            head = f'--{boundary}\r\nContent-Disposition: form-data; name="{name}"{file}\r\n\r\n'
            body += head.encode() + data + b"\r\n"
        body += f"--{boundary}--\r\n".encode()
        headers = {"Content-Type": f"multipart/form-data; boundary={boundary}"}
        return await self("POST", path, data=body[: len(body) - cut], headers=headers)
