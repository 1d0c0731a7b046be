"""Join tokens and six words: round trips, damage, and what each hash depends on."""

from __future__ import annotations

import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mythjobs.errors import BadRequest
from mythjobs.protocol import joining
from mythjobs.protocol.joining import Endpoint, JoinToken
from mythjobs.protocol.wordlist import WORDS

_ENDPOINTS = st.sampled_from([
    Endpoint("attic.local", 6545), Endpoint("192.168.1.5", 80), Endpoint("fd00::5", 65_535),
    Endpoint("fe80::1%eth0", 1),
])  # fmt: skip
_TOKENS = st.builds(
    JoinToken,
    st.binary(min_size=16, max_size=16),
    st.integers(1, 10**17),
    st.binary(min_size=16, max_size=16),
    st.lists(_ENDPOINTS, min_size=1, max_size=4).map(tuple),
)
_TOKEN = JoinToken(bytes(16), 7, bytes(range(16)), (Endpoint("10.0.0.1", 6545),))


@given(_TOKENS)
def test_a_token_is_read_as_it_was_written(token: JoinToken) -> None:
    text = joining.format_token(token)
    assert joining.is_token(text)
    assert re.fullmatch(r"[a-z0-9.@,:%\[\]]+", text)  # needs no quotes in a shell
    assert joining.parse_token(f" {text}\n") == token


@given(st.integers(0, 70))
def test_a_cut_token_is_refused(length: int) -> None:
    text = joining.format_token(_TOKEN)
    with pytest.raises(BadRequest, match=r"incomplete or damaged|not the address"):
        joining.parse_token(text[: min(length, text.index("@") + 1)])


@pytest.mark.parametrize(
    "text, endpoint",
    [
        ("attic", Endpoint("attic", 6545)),
        ("attic.local:7000", Endpoint("attic.local", 7000)),
        ("attic.lan.", Endpoint("attic.lan.", 6545)),
        ("192.168.1.5", Endpoint("192.168.1.5", 6545)),
        ("fd00::5", Endpoint("fd00::5", 6545)),
        ("[fd00::5]", Endpoint("fd00::5", 6545)),
        ("[fe80::1%eth0]:9", Endpoint("fe80::1%eth0", 9)),
    ],
)
def test_endpoints(text: str, endpoint: Endpoint) -> None:
    assert joining.parse_endpoint(text) == endpoint


@pytest.mark.parametrize(
    "text",
    ["", "attic:", "attic:0", "attic:65536", "attic:x", "[fd00::5", "[fd00::5]x", "a b", "a@b",
     "http://attic", "attic:\u0663", "../x", "x" * 254, "attic..lan", ".lan", ".", "x" * 64],
)  # fmt: skip
def test_what_is_no_endpoint_is_refused(text: str) -> None:
    with pytest.raises(BadRequest, match="is not the address of a master"):
        joining.parse_endpoint(text)


def test_words_depend_on_every_input_and_on_where_it_ends() -> None:
    base = (b"authority", "key", b"machine", b"master")
    variants = [
        base,
        (b"authorita", "key", b"machine", b"master"),
        (b"authority", "kex", b"machine", b"master"),
        (b"authority", "key", b"machinE", b"master"),
        (b"authority", "key", b"machine", b"masteR"),
        (b"authorityk", "ey", b"machine", b"master"),
        (b"authority", "key", b"machinem", b"aster"),
    ]
    words = {joining.compute_verification_code(*each) for each in variants}
    assert len(words) == len(variants)
    assert {len(each) for each in words} == {joining.CODE_LENGTH}
    assert joining.compute_verification_code(*base) == joining.compute_verification_code(*base)


def test_the_list_has_a_word_of_its_own_for_each_byte() -> None:
    assert len(set(WORDS)) == 256
    assert all(re.fullmatch(r"[a-z]{3,8}", word) for word in WORDS)


def test_hashes_differ_by_purpose() -> None:
    data = bytes(16)
    assert joining.commit_to_nonce(data) != joining.hash_secret(data)
    assert joining.compute_pin(data).hex() == joining.hash_secret(data)[:32]
