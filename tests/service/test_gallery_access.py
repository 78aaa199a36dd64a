"""Who gets into the gallery, what may change something there, and what a page of it may do."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Any

import pytest

from tests.service.gallery_visitor import Visitor
from vi.server.gallery import paths
from vi.server.gallery.access import HEADERS, IDLE_SECONDS

pytestmark = pytest.mark.anyio

Visit = Callable[..., Awaitable[Visitor]]

ADDRESSES = {
    name: template.replace("{name}", "gallery.css")
    .replace("{dataset}", "d")
    .replace("{asset}", "a")
    .replace("{session}", "s")
    for name, template in vars(paths).items()
    if name.isupper() and name != "PREFIX"
}
OPEN = {"HOME", "LOGIN", "STATIC"}


async def test_without_the_key_there_is_a_form_and_nothing_else(
    api: Any, dataset_path: str, picture: Any, visit: Visit
) -> None:
    await api.ingest(dataset_path, {"secret name.png": picture(1)})
    stranger = await visit(api.service, key=None)
    (asset,) = await api.assets(dataset_path)
    dataset = dataset_path.rpartition("_")[2]
    for name, address in ADDRESSES.items():
        for method in ("GET", "HEAD", "POST", "PUT", "DELETE"):
            answer = await stranger(method, address)
            assert "secret name" not in answer.text, (method, address)
            if method in ("GET", "HEAD"):
                assert answer.status == (200 if name in OPEN else 401), (method, name)
            else:
                assert answer.status in (401, 405), (method, name)
    for address in (
        f"/gallery/datasets/{dataset}",
        f"/gallery/datasets/{dataset}/assets/{asset['assetId']}",
        f"/gallery/datasets/{dataset}/assets/{asset['assetId']}/file",
        f"/gallery/datasets/{dataset}/assets/{asset['assetId']}/thumbnail",
        f"/gallery/datasets/{dataset}/sessions/state",
        "/gallery/",
        "/gallery",
        "/gallery/anything/else",
    ):
        answer = await stranger("GET", address)
        assert answer.status == 401
        assert 'type="password"' in answer.text
        assert "secret name" not in answer.text
    assert (await stranger("GET", "/gallery/sessions/state", headers={"Accept": "application/json"})).document[
        "message"
    ] == "You are no longer logged in"


async def test_the_key_is_exchanged_for_a_cookie_that_no_script_reads(api: Any, visit: Visit) -> None:
    stranger = await visit(api.service, key=None)
    wrong = await stranger.post("/gallery/login", {"key": "dtvi_" + "x" * 98})
    assert wrong.status == 401
    assert "not the key" in wrong.text
    assert "Set-Cookie" not in wrong.headers
    right = await stranger.post(
        "/gallery/login", {"key": f" '{api.service.secret_key}' ", "next": "/gallery/sessions?p="}
    )
    assert (right.status, right.headers["Location"]) == (303, "/gallery/sessions?p=")
    cookie = right.headers["Set-Cookie"]
    for part in ("HttpOnly", "SameSite=Strict", "Path=/"):
        assert part in cookie
    assert "Secure" not in cookie
    assert "Max-Age" not in cookie
    assert api.service.secret_key not in cookie + right.text
    home = await stranger("GET", "/")
    assert "Log out" in home.text
    assert api.service.secret_key not in home.text


async def test_behind_https_the_cookie_is_secure(start_service: Any, visit: Visit) -> None:
    stranger = await visit(start_service(public_url="https://vi.example"), key=None)
    answer = await stranger.post(
        "/gallery/login", {"key": stranger.service.secret_key}, headers={"Origin": "https://vi.example"}
    )
    assert answer.status == 303
    assert "Secure" in answer.headers["Set-Cookie"]


@pytest.mark.parametrize(
    "wanted",
    [
        "//evil.example",
        "https://evil.example",
        "/\\evil.example",
        "/workspaces",
        "javascript:alert(1)",
        "",
        "/gallery/a\r\nX: y",
        "/gallery/login",
        "/gallery/\\x",
    ],
)
async def test_a_login_leads_only_into_the_gallery(api: Any, visit: Visit, wanted: str) -> None:
    stranger = await visit(api.service, key=None)
    answer = await stranger.post("/gallery/login", {"key": api.service.secret_key, "next": wanted})
    assert (answer.status, answer.headers["Location"]) == (303, "/")


async def test_a_logout_ends_it_for_whoever_kept_the_cookie(api: Any, visit: Visit) -> None:
    visitor, other = await visit(api.service), await visit(api.service)
    kept = visitor.cookies
    assert (await visitor.post("/gallery/logout", {})).status == 303
    assert "Log out" not in (await visitor("GET", "/")).text
    assert "Log out" not in (await visitor("GET", "/", headers={"Cookie": kept})).text
    assert "Log out" in (await other("GET", "/")).text, "another browser stays"


async def test_it_ends_unused_and_with_the_service(start_service: Any, visit: Visit) -> None:
    service = start_service()
    visitor = await visit(service)
    for _ in range(3):
        service.clock.advance(IDLE_SECONDS - 60)
        assert "Log out" in (await visitor("GET", "/")).text, "each use makes it last"
    service.clock.advance(IDLE_SECONDS + 1)
    assert "Log out" not in (await visitor("GET", "/")).text
    visitor = await visit(service)
    service.stop()
    again = start_service(port=int(service.url.rpartition(":")[2]))
    visitor.service = again
    assert "Log out" not in (await visitor("GET", "/")).text


async def test_of_too_many_logins_the_one_unused_for_longest_ends(
    fresh_service: Any, visit: Visit, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("vi.server.gallery.visitors._MAX_SESSIONS", 2)
    first, second = await visit(fresh_service), await visit(fresh_service)
    assert "Log out" in (await first("GET", "/")).text
    third = await visit(fresh_service)
    shown = ["Log out" in (await one("GET", "/")).text for one in (first, second, third)]
    assert shown == [True, False, True]


async def test_a_made_up_cookie_is_worth_nothing(api: Any, visit: Visit) -> None:
    visitor = await visit(api.service)
    name, _, value = visitor.cookies.partition("=")
    for made_up in (value[:-1], value + "x", "", api.service.secret_key, "\udcff"):
        stranger = await visit(api.service, key=None)
        cookie = f"{name}={made_up}".encode("utf-8", "surrogateescape").decode("latin-1")
        assert "Log out" not in (await stranger("GET", "/", headers={"Cookie": cookie})).text


async def test_the_cookie_opens_neither_api_nor_storage(
    api: Any, dataset_path: str, picture: Any, visit: Visit
) -> None:
    await api.ingest(dataset_path, {"a.png": picture(1)})
    (asset,) = await api.assets(dataset_path, contents="y")
    visitor = await visit(api.service)
    organization = {"Organization-Id": api.service.organization_id}
    for path in ("/workspaces", dataset_path, dataset_path + "/assets"):
        assert (await visitor("GET", path, headers=organization)).status == 401
        assert (await api("GET", path, headers={"Cookie": visitor.cookies})).status == 200
    for address in (asset["contents"]["asset"]["url"], asset["contents"]["thumbnail"]["url"]):
        path = address.removeprefix(api.service.url).partition("?")[0]
        assert (await visitor("GET", path)).status == 403
    answer = await api("GET", dataset_path)
    assert "Set-Cookie" not in answer.headers
    assert "Content-Security-Policy" not in answer.headers


REFUSED: dict[str, tuple[dict[str, str | None], dict[str, str | None]]] = {
    "another origin": ({"Origin": "http://evil.example", "Sec-Fetch-Site": "cross-site"}, {}),
    "another origin, in an old browser": ({"Origin": "http://evil.example"}, {}),
    "another port": ({"Origin": "http://127.0.0.1:1", "Sec-Fetch-Site": "same-site"}, {}),
    "a port that claims to be ours": ({"Sec-Fetch-Site": "same-site"}, {}),
    "no origin": ({"Origin": "null"}, {}),
    "the address bar": ({"Origin": None, "Sec-Fetch-Site": "none"}, {}),
    "nothing said": ({"Origin": None}, {}),
    "no token": ({}, {"csrf": None}),
    "an empty token": ({}, {"csrf": ""}),
    "another token": ({}, {"csrf": "0" * 64}),
    "a token that is no ASCII": ({}, {"csrf": "\u00e9" * 64}),
}


@pytest.mark.parametrize("what", REFUSED)
async def test_only_its_own_pages_change_anything(fresh_api: Any, visit: Visit, what: str) -> None:
    visitor = await visit(fresh_api.service)
    headers, fields = REFUSED[what]
    answer = await visitor.post("/gallery/datasets", {"name": "made", **fields}, headers=headers)
    assert answer.status == 403
    assert (await fresh_api("GET", fresh_api.organization + "/datasets")).document["items"] == []
    assert (await visitor.post("/gallery/datasets", {"name": "made"})).status == 303, "the same as its own page does it"


async def test_a_token_is_for_one_login(api: Any, visit: Visit) -> None:
    visitor, other = await visit(api.service), await visit(api.service)
    assert visitor.token != other.token
    assert (await visitor.post("/gallery/datasets", {"name": "x", "csrf": other.token})).status == 403


async def test_a_form_with_files_shows_its_token_before_them(
    api: Any, dataset_path: str, picture: Any, visit: Visit
) -> None:
    visitor = await visit(api.service)
    address = f"/gallery/datasets/{dataset_path.rpartition('_')[2]}/uploads"
    files = [("files", "a.png", picture(1))]
    for fields in ([], [("csrf", None, b"0" * 64)], [("other", None, b"x"), ("csrf", None, visitor.token.encode())]):
        assert (await visitor.send_form(address, [*fields, *files])).status == 403
    late = [*files, ("csrf", None, visitor.token.encode())]
    assert (await visitor.send_form(address, late)).status == 403
    assert await api.total(dataset_path) == 0


async def test_a_session_is_opened_by_the_script_with_its_token_alone(
    api: Any, dataset_path: str, visit: Visit
) -> None:
    visitor = await visit(api.service)
    address = f"/gallery/datasets/{dataset_path.rpartition('_')[2]}/sessions"
    body = api.announce({"a.png": b"x"})
    for token in (None, "", "0" * 64):
        answer = await visitor(
            "POST", address, json=body, headers={"X-CSRF-Token": token, "Accept": "application/json"}
        )
        assert (answer.status, answer.document["code"]) == (403, "PermissionDenied")
    answer = await visitor("POST", address, json=body, headers={"X-CSRF-Token": visitor.token})
    assert answer.status == 201
    assert answer.document["status"]["assets"][0]["upload"]["method"] == "PUT"


async def test_no_other_page_embeds_or_fetches_what_is_here(api: Any, visit: Visit) -> None:
    visitor = await visit(api.service)
    for site in ("cross-site", "same-site"):
        for mode, status in (("no-cors", 403), ("cors", 403), ("navigate", 200)):
            answer = await visitor("GET", "/", headers={"Sec-Fetch-Site": site, "Sec-Fetch-Mode": mode})
            assert answer.status == status, (site, mode)
            assert not [name for name in answer.headers if name.lower().startswith("access-control")]


async def test_a_link_from_another_site_leads_on_in_one_step(api: Any, visit: Visit) -> None:
    stranger = await visit(api.service, key=None)
    headers = {"Sec-Fetch-Site": "cross-site", "Sec-Fetch-Mode": "navigate"}
    answer = await stranger("GET", "/gallery/sessions?p=x", headers=headers)
    assert answer.page.all("a", href="/gallery/sessions?p=x")
    assert "another site" not in (await stranger("GET", "/gallery/sessions")).text


async def test_every_answer_says_what_a_page_may_do(api: Any, visit: Visit) -> None:
    visitor, stranger = await visit(api.service), await visit(api.service, key=None)
    policy = HEADERS["Content-Security-Policy"]
    for part in (
        "default-src 'none'",
        "script-src 'self'",
        "base-uri 'none'",
        "frame-ancestors 'none'",
        "form-action 'self'",
    ):
        assert part in policy
    assert "unsafe" not in policy
    answers = [
        await visitor("GET", "/"),
        await visitor("GET", "/gallery/sessions"),
        await visitor("GET", "/gallery/sessions/state"),
        await visitor("GET", "/gallery/none"),
        await visitor("GET", "/gallery/datasets/none"),
        await visitor("GET", "/?p=none"),
        await visitor("DELETE", "/gallery/sessions", headers={"X-CSRF-Token": visitor.token}),
        await visitor("GET", "/", headers={"Host": "evil.example"}),
        await visitor.post("/gallery/datasets", {"name": ""}),
        await visitor.post("/gallery/datasets", {"name": "x"}),
        await visitor("GET", "/gallery/static/gallery.js"),
        await visitor("GET", "/gallery/static/none.js"),
        await stranger("GET", "/"),
        await stranger("GET", "/gallery/sessions"),
        await stranger.post("/gallery/login", {"key": "x"}),
    ]
    assert [answer.status for answer in answers] == [
        200,
        200,
        200,
        404,
        404,
        400,
        405,
        403,
        400,
        303,
        200,
        404,
        200,
        401,
        401,
    ]
    for answer in answers:
        for name, value in HEADERS.items():
            if name == "Cache-Control" and "static" in answer.path and answer.status == 200:
                continue
            assert answer.headers.getall(name) == [value], (answer.path, name)


async def test_a_request_that_is_refused_is_worded_for_who_asked(api: Any, visit: Visit) -> None:
    visitor = await visit(api.service)
    page = await visitor("GET", "/gallery/datasets/%3Cscript%3E")
    assert (page.status, page.headers["Content-Type"]) == (404, "text/html; charset=utf-8")
    assert "Dataset &lt;script&gt; not found" in page.text
    script = await visitor("GET", "/gallery/datasets/x/sessions/state", headers={"Accept": "application/json"})
    assert (script.status, script.document["code"]) == (404, "ResourceNotFound")


async def test_sessions_from_here_count_against_the_rate(start_service: Any, connect: Any, visit: Visit) -> None:
    service = start_service(sessions_per_minute=2)
    api = await connect(service)
    dataset = (await api.create_dataset()).rpartition("_")[2]
    visitor, stranger = await visit(service), await visit(service, key=None)
    address = f"/gallery/datasets/{dataset}/sessions"
    for _ in range(5):
        assert (await stranger("POST", address, json={})).status == 401, "a stranger takes nothing from it"
    answers = [
        await visitor("POST", address, json=api.announce({"a.png": b"x"}), headers={"X-CSRF-Token": visitor.token})
        for _ in range(3)
    ]
    assert [answer.status for answer in answers] == [201, 201, 429]
    assert "Retry-After" in answers[-1].headers


async def test_a_form_that_is_too_long_is_not_read(api: Any, visit: Visit) -> None:
    stranger = await visit(api.service, key=None)
    assert (await stranger.post("/gallery/login", {"key": "x" * 100_000})).status == 413
