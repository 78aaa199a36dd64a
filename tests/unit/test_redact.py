"""Secrets are cut out of every text, and nothing else is."""

from __future__ import annotations

import string

import pytest
from hypothesis import given
from hypothesis import strategies as st

from vi._redact import limited_value, redact

KEY = "dtvi_" + "s3cr3t-s3cr3t_" * 7

HIDDEN = [
    (KEY, "dtvi_***"),
    (f"key={KEY};", "key=dtvi_***;"),
    (f"Authorization: Bearer {KEY}", "Authorization: Bearer dtvi_***"),
    ("authorization: bearer s3cr3ts3cr3t", "authorization: bearer ***"),
    ("Proxy-Authorization: Basic dXNlcjpzM2NyM3Q=", "Proxy-Authorization: Basic ***"),
    ("https://h/p?X-Signature=s3cr3t", "https://h/p?***"),
    ("GET https://h/p?a=1&sig=s3cr3t failed", "GET https://h/p?*** failed"),
    ("('https://h/p?sig=s3cr3t',)", "('https://h/p?***',)"),
    ("<https://h/p?sig=s3cr3t>", "<https://h/p?***>"),
    ('{"url": "https://h/p?sig=s3cr3t"}', '{"url": "https://h/p?***"}'),
    ("HTTPS://H/P?SIG=s3cr3t", "HTTPS://H/P?***"),
    ("https://user:s3cr3t@h/p", "https://***@h/p"),
    ("https://user:s3cr3t@h/p?q=s3cr3t", "https://***@h/p?***"),
    ("/dl/a.png?X-Goog-Signature=s3cr3t&x=1", "/dl/a.png?X-Goog-Signature=***&x=1"),
    ("x-amz-signature=s3cr3t", "x-amz-signature=***"),
    ("two https://a/b?c=s3cr3t and https://d/e?f=s3cr3t", "two https://a/b?*** and https://d/e?***"),
]

KEPT = [
    "",
    "dataset_abc123",
    "dtvi_",
    "https://api.vi.datature.com/workspaces/acme/datasets/acme_ds1/assets",
    "http://127.0.0.1:8787",
    "What now? Ask again.",
    'metadata.width: expected an integer, got "24"',
    "C:\\images\\cat.png",
    "user@example.com",
    "a bearer of news",
]


@pytest.mark.parametrize(("text", "shown"), HIDDEN)
def test_secrets_are_hidden(text: str, shown: str) -> None:
    assert redact(text) == shown
    assert "s3cr3t" not in redact(text)


@pytest.mark.parametrize("text", KEPT)
def test_other_text_stays(text: str) -> None:
    assert redact(text) == text


@given(
    st.text(max_size=60),
    st.text(string.ascii_letters + string.digits + "-_", min_size=98, max_size=98),
    st.text(max_size=60),
)
def test_a_key_is_hidden_wherever_it_stands(before: str, key: str, after: str) -> None:
    assert key not in redact(f"{before}dtvi_{key}{after}")


@given(st.text(string.ascii_letters + string.digits + "%-_.~+/=", min_size=16, max_size=60))
def test_a_signature_is_hidden_whatever_its_letters(signature: str) -> None:
    assert signature not in redact(f"PUT https://h.example/up/a.png?X-Expires=1&X-Signature={signature} failed")


@given(st.text(max_size=200))
def test_hiding_twice_hides_no_more(text: str) -> None:
    assert redact(redact(text)) == redact(text)


def test_values_are_redacted_at_any_depth() -> None:
    assert limited_value({"a": [KEY, (KEY, 7)], 1: {"b": None}}) == {
        "a": ["dtvi_***", ["dtvi_***", 7]],
        "1": {"b": None},
    }
