"""Reader of MythTV's shell commands: arguments, quotes, tokens, as /bin/sh reads them. Pure.

MythTV replaces tokens in the text and gives the result to the shell. Here the tokens are found
first, each with the quotes around it, so that the shell can read the value from a variable.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from typing import Final, NamedTuple

from mythjobs.mythtv.parameters import TOKENS

_TOKEN: Final = re.compile(r"%[A-Z][A-Z0-9_]*%")
_VARIABLE: Final = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")
# Characters that end an argument or a command.
_SEPARATORS: Final = frozenset(";&|()\n")
_BLANKS: Final = frozenset(" \t")
# Outside quotes the shell replaces arguments with these by file names.
_PATTERN: Final = frozenset("*?[")
_SPLIT_TOKEN: Final = "verbosemode"


class NotConvertibleError(ValueError):
    """A command cannot be converted safely; the text says why."""


class Token(NamedTuple):
    """A token in an argument: the name of its parameter."""

    name: str


@dataclass
class ShellArgument:
    """An argument of a command. parts: literal text without its quotes, and tokens. is_constant:
    the shell expands nothing in it. begin, end: where it stands in the rewritten text."""

    parts: list[str | Token] = field(default_factory=list)
    is_constant: bool = True
    begin: int = 0
    end: int = 0

    @property
    def literal(self) -> str | None:
        """The argument's text if it is constant and has no token, else None."""
        if not self.is_constant or self.tokens:
            return None
        return "".join(each for each in self.parts if isinstance(each, str))

    @property
    def tokens(self) -> list[str]:
        return [each.name for each in self.parts if isinstance(each, Token)]


@dataclass
class SimpleCommand:
    """Words between two separators. follows_pipe: its input is the output of the one before."""

    arguments: list[ShellArgument] = field(default_factory=list)
    follows_pipe: bool = False


@dataclass
class ShellText:
    """A command as it was read. text: with a variable in place of each token. needs_shell: it is
    more than one command. tokens: parameters, in order. unknown: `%X%` that are no tokens."""

    text: str
    commands: list[SimpleCommand]
    needs_shell: bool
    tokens: list[str]
    unknown: list[str]


def read_shell_text(text: str) -> ShellText:
    """Raises NotConvertibleError for a text that the shell would refuse, or whose tokens stand
    where a variable would not be read as one text."""
    reader = _ShellReader(text)
    reader.read_commands(closing="")
    return ShellText(
        "".join(reader.out),
        [each for each in reader.commands if each.arguments],
        reader.needs_shell,
        list(dict.fromkeys(reader.tokens)),
        list(dict.fromkeys(reader.unknown)),
    )


class _ShellReader:
    def __init__(self, text: str) -> None:
        self.text = text
        self.at = 0
        self.out: list[str] = []
        self.commands: list[SimpleCommand] = [SimpleCommand()]
        self.argument: ShellArgument | None = None
        self.needs_shell = False
        self.tokens: list[str] = []
        self.unknown: list[str] = []
        self._length = 0
        self._depth = 0

    def read_commands(self, closing: str) -> None:
        """Read up to the character `closing`, or to the end of the text if it is empty."""
        while True:
            if self.at >= len(self.text):
                if closing:
                    raise NotConvertibleError(f"a closing {closing} is missing")
                self._end_argument()
                return
            char = self.text[self.at]
            if char == closing:
                self._end_argument()
                self._copy(1)
                return
            self._read_plain(char, closing)

    def _read_plain(self, char: str, closing: str) -> None:
        if char in _BLANKS:
            self._end_argument()
            self._copy(1)
        elif char in _SEPARATORS:
            self._read_separator(char)
        elif char in "<>":
            self._read_redirection()
        elif char == "#" and self.argument is None:
            end = self.text.find("\n", self.at)
            self.needs_shell = True
            self._copy((len(self.text) if end < 0 else end) - self.at)
        elif char == "'":
            self._read_single()
        elif char == '"':
            self._read_double()
        elif char == "\\":
            if self.at + 1 >= len(self.text):
                raise NotConvertibleError("it ends with a backslash")
            self._check_escaped()
            if self.text[self.at + 1] != "\n":  # else the line goes on
                self._add(self.text[self.at + 1])
            self._copy(2)
        elif char == "`":
            self._read_backquotes(in_double=False, in_backquotes=closing == "`")
        elif char == "$":
            self._read_dollar(in_double=False)
        elif char == "%" and (name := self._token_here()):
            self._put_token(name, f'"$MYTHJOBS_P_{name.upper()}"')
        else:
            starts = self.argument is None
            if char in _PATTERN or (char == "~" and starts):
                self._expand()
            self._add(char)
            self._copy(1)

    def _read_separator(self, char: str) -> None:
        self._end_argument()
        self.needs_shell = True
        double = self.text[self.at : self.at + 2] == char * 2
        self.commands.append(SimpleCommand(follows_pipe=char == "|" and not double))
        self._copy(1)
        if char == "(":
            # A subshell: its closing bracket is a separator too.
            self._depth += 1
        elif char == ")":
            self._depth -= 1

    def _read_redirection(self) -> None:
        self._end_argument()
        self.needs_shell = True
        if self.text[self.at : self.at + 2] == "<<":
            raise NotConvertibleError("it has a here-document (<<)")
        self._copy(1)
        while self.at < len(self.text) and self.text[self.at] in "<>&|":
            self._copy(1)

    def _read_single(self) -> None:
        end = self.text.find("'", self.at + 1)
        if end < 0:
            raise NotConvertibleError("a closing ' is missing")
        self._begin_argument()
        self._copy(1)
        while self.at < end:
            if name := self._token_here():
                self._put_token(name, f"'\"$MYTHJOBS_P_{name.upper()}\"'")
            else:
                self._add(self.text[self.at])
                self._copy(1)
        self._copy(1)

    def _read_double(self) -> None:
        self._begin_argument()
        self._copy(1)
        while True:
            if self.at >= len(self.text):
                raise NotConvertibleError('a closing " is missing')
            char = self.text[self.at]
            if char == '"':
                self._copy(1)
                return
            if char == "\\":
                following = self.text[self.at + 1 : self.at + 2]
                if not following:
                    raise NotConvertibleError('a closing " is missing')
                self._check_escaped()
                if following != "\n":
                    self._add(following if following in '$`"\\' else f"\\{following}")
                self._copy(2)
            elif char == "`":
                self._read_backquotes(in_double=True, in_backquotes=False)
            elif char == "$":
                self._read_dollar(in_double=True)
            elif name := self._token_here():
                self._put_token(name, f"${{MYTHJOBS_P_{name.upper()}}}")
            else:
                self._add(char)
                self._copy(1)

    def _check_escaped(self) -> None:
        if _token_at(self.text, self.at + 1):
            raise NotConvertibleError("a backslash stands before a token; remove it")

    def _read_backquotes(self, *, in_double: bool, in_backquotes: bool) -> None:
        end = self.text.find("`", self.at + 1)
        if end < 0 or in_backquotes:
            raise NotConvertibleError("a closing ` is missing")
        inner = self.text[self.at + 1 : end]
        if "\\" in inner or (in_double and _has_token(inner)):
            raise NotConvertibleError(
                "it has backquotes whose quotation the shell may read in several ways; write $(…)"
            )
        self._expand()
        self._nest("`", opening=1)

    def _read_dollar(self, *, in_double: bool) -> None:
        rest = self.text[self.at :]
        if rest.startswith("$(("):
            self._skip_balanced("$((", "))", "arithmetic")
        elif rest.startswith("$("):
            end = self.text.find(")", self.at)
            if re.search(r"\bcase\b", rest) and _has_token(rest):
                raise NotConvertibleError("it has `case` in or after $(…)")
            if end < 0:
                raise NotConvertibleError("a closing ) is missing")
            self._expand()
            self._nest(")", opening=2)
        elif rest.startswith("${"):
            self._skip_balanced("${", "}", "${…}")
        else:
            following = rest[1:2]
            name = _VARIABLE.match(rest, 1)
            if _token_at(rest, name.end() if name else 1):
                raise NotConvertibleError(
                    "a value would be part of a variable's name; write ${X} before the token"
                )
            if following == "[" and _has_token(rest):
                raise NotConvertibleError("a token follows $[, where some shells would evaluate it")
            if name or following.isdigit() or following in tuple("?!$#@*-["):
                self._expand()
            elif following in ("'", '"') and not in_double:
                raise NotConvertibleError(f"it has ${following}, which shells read in several ways")
            self._add("$")
            self._copy(1)

    def _skip_balanced(self, opening: str, closing: str, what: str) -> None:
        end = self.text.find(closing, self.at + len(opening))
        if end < 0:
            raise NotConvertibleError(f"a closing {closing} is missing")
        inner = self.text[self.at + len(opening) : end]
        if _has_token(inner):
            raise NotConvertibleError(f"a token stands in {what}, where it would be evaluated")
        if any(each in inner for each in "$`'\"{\\"):
            raise NotConvertibleError(f"it has nested {what}")
        self._expand()
        self._copy(end + len(closing) - self.at)

    def _nest(self, closing: str, opening: int) -> None:
        """Read a command substitution; its commands are read like others."""
        argument, outer = self.argument, self.commands
        self.argument, self.commands = None, [SimpleCommand()]
        depth, self._depth = self._depth, 0
        self._copy(opening)
        if closing == ")":
            self._read_to_bracket()
        else:
            self.read_commands(closing)
        inner, self.commands = self.commands, outer
        self._depth = depth
        self.commands[-1:-1] = inner
        self.argument = argument

    def _read_to_bracket(self) -> None:
        """Read to the bracket that closes $(; subshells inside have brackets of their own."""
        while True:
            if self.at >= len(self.text):
                raise NotConvertibleError("a closing ) is missing")
            char = self.text[self.at]
            if char == ")" and self._depth == 0:
                self._end_argument()
                self._copy(1)
                return
            self._read_plain(char, ")")

    def _token_here(self) -> str:
        found = _TOKEN.match(self.text, self.at)
        if found is None:
            return ""
        name = TOKENS.get(found[0], "")
        if not name:
            self.unknown.append(found[0])
        return name

    def _put_token(self, name: str, shell: str) -> None:
        self._begin_argument()
        assert self.argument is not None
        if name == _SPLIT_TOKEN and shell.startswith('"'):
            # A list of options: only the shell splits it, and its value is not of the recording.
            shell = shell.strip('"')
            self._expand()
        self.argument.parts.append(Token(name))
        self.tokens.append(name)
        end = self.text.index("%", self.at + 1) + 1
        self._emit(shell)
        self.at = end

    def _expand(self) -> None:
        self._begin_argument()
        assert self.argument is not None
        self.argument.is_constant = False
        self.needs_shell = True

    def _add(self, text: str) -> None:
        self._begin_argument()
        assert self.argument is not None
        if self.argument.parts and isinstance(self.argument.parts[-1], str):
            self.argument.parts[-1] += text
        else:
            self.argument.parts.append(text)

    def _begin_argument(self) -> None:
        if self.argument is None:
            self.argument = ShellArgument(begin=self._length)

    def _end_argument(self) -> None:
        if self.argument is not None:
            self.argument.end = self._length
            self.commands[-1].arguments.append(self.argument)
            self.argument = None

    def _copy(self, count: int) -> None:
        self._emit(self.text[self.at : self.at + count])
        self.at += count

    def _emit(self, text: str) -> None:
        self.out.append(text)
        self._length += len(text)


def _token_at(text: str, at: int) -> bool:
    found = _TOKEN.match(text, at)
    return found is not None and found[0] in TOKENS


def _has_token(text: str) -> bool:
    return any(each in TOKENS for each in _TOKEN.findall(text))
