"""Changes of the rules' file keep what its author wrote."""

import pytest

from mythjobs.errors import BadRequest, Conflict
from mythjobs.mythtv.rules import RecordingRule, parse_rules
from mythjobs.mythtv.rules_file import add_rule, enable_rule, remove_rule

NEWS = RecordingRule("news", "transcode", titles=("News*",))
TEXT = """\
# My rules.
[[rules]]
name = "flag"    # commercials
command = "mythcommflag"

[[rules]]
name = "old"
command = "x"
enabled = false
"""


def test_a_rule_is_added_to_a_new_and_to_an_own_file() -> None:
    assert parse_rules(add_rule("", NEWS)) == [NEWS]
    changed = add_rule(TEXT, NEWS)
    assert changed.startswith(TEXT)
    assert parse_rules(changed)[2] == NEWS


def test_a_rule_is_replaced_only_on_request() -> None:
    flag = RecordingRule("flag", "comskip")
    with pytest.raises(Conflict, match="replace it with --replace"):
        add_rule(TEXT, flag)
    changed = add_rule(TEXT, flag, replace=True)
    assert changed.startswith("# My rules.")
    assert [each.command for each in parse_rules(changed)] == ["comskip", "x"]


def test_a_rule_is_switched_and_removed() -> None:
    changed = enable_rule(enable_rule(TEXT, "flag", False), "old", True)
    assert [each.is_enabled for each in parse_rules(changed)] == [False, True]
    assert "# commercials" in changed
    assert [each.name for each in parse_rules(remove_rule(changed, "flag"))] == ["old"]
    for change in (remove_rule, lambda text, name: enable_rule(text, name, True)):
        with pytest.raises(BadRequest, match='there is no rule "nosuch"'):
            change(TEXT, "nosuch")
