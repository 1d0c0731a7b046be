from __future__ import annotations

import pytest

from mythjobs.master.notify.sender_program import hide_secrets, remove_secrets


@pytest.mark.parametrize(
    "url, shown",
    [
        ("mailto://user:secret@example.org?to=a@b.cd", "mailto://example.org/…"),
        ("json://user:secret@localhost:8080/secret", "json://localhost:8080/…"),
        ("tgram://123456:SECRET/42", "tgram://…"),
        ("ntfy://topic", "ntfy://…"),
        ("ntfy://ntfy.sh/topic", "ntfy://ntfy.sh/…"),
        ("slack://T1JJ3T3L2/A1BRTD4JD/TIiajkdnlazkcOXrIdevi7FQ", "slack://…"),
    ],
)
def test_a_url_is_shown_without_secrets(url: str, shown: str) -> None:
    assert hide_secrets(url) == shown


def test_errors_have_no_part_of_the_url_but_scheme_and_host() -> None:
    url = "json://user:pa%20ss@example.org:8080/token?key=value1"
    text = f"cannot reach example.org:8080 ({url}): pa ss, token, value1, json"
    assert remove_secrets(text, url) == "cannot reach example.org:8080 (…): …, …, …, json"
