"""Templates with placeholders, and placeholders in shell text."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mythjobs.model.template import Template, TemplateError, shell_placeholder, unset_variable

VALUES = {"source": "/tv/a b.ts", "n": "7"}


@pytest.mark.parametrize(
    "text, names, filled",
    [
        ("", [], ""),
        ("plain", [], "plain"),
        ("{source}", ["source"], "/tv/a b.ts"),
        ("-i={source}:{n}!", ["source", "n"], "-i=/tv/a b.ts:7!"),
        ("{n}{n}", ["n", "n"], "77"),
        ("{{{n}}}", ["n"], "{7}"),
        ("a{{b}}c", [], "a{b}c"),
    ],
)
def test_placeholders_are_filled_and_doubled_braces_are_literal(
    text: str, names: list[str], filled: str
) -> None:
    template = Template(text)
    assert template.names == names
    assert template.fill(VALUES) == filled


@given(st.dictionaries(st.from_regex(r"[a-z][a-z0-9_]*", fullmatch=True), st.text()), st.text())
def test_values_and_escaped_text_are_inserted_unchanged(values: dict[str, str], text: str) -> None:
    escaped = text.replace("{", "{{").replace("}", "}}")
    template = Template(escaped + "".join(f"{{{name}}}|" for name in values))
    assert template.fill(values) == text + "".join(f"{value}|" for value in values.values())


@pytest.mark.parametrize(
    "text, sole",
    [
        ("{n}", "n"),
        ("{n}{n}", None),
        ("-{n}", None),
        ("{n} ", None),
        ("n", None),
        ("{{n}}", None),
    ],
)
def test_a_sole_placeholder_is_all_of_a_template(text: str, sole: str | None) -> None:
    assert Template(text).sole_placeholder == sole


@pytest.mark.parametrize(
    "text, error",
    [
        ("{", '"{" at character 1 is neither a placeholder like {source} nor doubled'),
        ("ab}", '"}" at character 3 is neither a placeholder like {source} nor doubled'),
        ("{{{", '"{" at character 3 is neither a placeholder like {source} nor doubled'),
        ("{N}", '"{" at character 1 is neither a placeholder like {source} nor doubled'),
    ],
)
def test_a_single_brace_is_refused_with_its_position(text: str, error: str) -> None:
    with pytest.raises(TemplateError) as caught:
        Template(text)
    assert str(caught.value) == error


@pytest.mark.parametrize(
    "text, found",
    [
        ('cp "$MYTHJOBS_P_N" /srv', None),
        ("cp {n} /srv", (1, "n")),
        ("\n{n}", (2, "n")),
        ("cd /srv\ncp a {source} {n}\n", (2, "source")),
        ("echo ${n} {other} {n", None),
        ("echo ${n}\n\n{n}", (3, "n")),
    ],
)
def test_shell_text_with_a_placeholder_is_found(text: str, found: tuple[int, str] | None) -> None:
    assert shell_placeholder(text, ["source", "n"]) == found
    assert shell_placeholder(text, []) is None


@pytest.mark.parametrize(
    "text, found",
    [
        ("echo $n", "n"),
        ("echo ${n}", "n"),
        ("echo ${#n} ${!n}", "n"),
        ("n=3; echo $n", None),
        ("for n in 1 2; do echo $n; done", None),
        ("echo $nn $MYTHJOBS_P_N", None),
        ("echo $n $source", "source"),
        ("source=1; echo $n $source", "n"),
        ("echo n", None),
    ],
)
def test_a_variable_that_shell_text_never_sets_is_found(text: str, found: str | None) -> None:
    assert unset_variable(text, ["source", "n"]) == found
