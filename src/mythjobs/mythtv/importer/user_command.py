"""Conversion of MythTV's user jobs to argv or constant shell text; refused where a value would be
evaluated as a program. Pure."""

from __future__ import annotations

import re
import shlex
from dataclasses import dataclass
from typing import Final

from mythjobs.mythtv.importer.shell_text import (
    NotConvertibleError,
    ShellArgument,
    ShellText,
    SimpleCommand,
    Token,
    read_shell_text,
)

_SHELLS: Final = frozenset({"sh", "bash", "dash", "ash", "ksh", "mksh", "zsh", "busybox", "fish"})
# Everything that these get is evaluated by a shell, here or on another machine.
_EVALUATE: Final = frozenset(
    {"eval", "ssh", "rsh", "trap", "watch", "parallel", "let", ".", "source", "[[", "alias",
     "xargs", "script", "screen", "tmux", "at", "batch", "su", "runuser", "sqlite3", "expect"}
)  # fmt: skip
# Also behind a program like nice or timeout, which runs its arguments.
_EVALUATE_ANYWHERE: Final = frozenset(
    {"eval", "ssh", "rsh", "watch", "parallel", "xargs", "su", "runuser", "sqlite3", "expect"}
)
# These drop the environment, from which a nested shell would read the values.
_DROP_ENVIRONMENT: Final = frozenset({"sudo", "doas", "env", "chroot", "systemd-run"})
# Interpreters with an option whose value is program text.
_INTERPRETERS: Final = re.compile(
    r"python[\d.]*|perl[\d.]*|ruby[\d.]*|php[\d.]*|node|nodejs|lua[\d.]*|tclsh|Rscript|mysql|mariadb|"
    r"psql|sed|gsed|awk|gawk|mawk|nawk|flock|vim|emacs|gdb|bc|m4|make"
)
_CODE_OPTION: Final = re.compile(
    r"-[A-Za-z]{0,3}[ceEr]|--(?:eval|execute|command|expression|run|print|exec)"
)
# Their first argument that is no option is program text.
_PROGRAM_FIRST: Final = frozenset({"sed", "gsed", "awk", "gawk", "mawk", "nawk"})
# Options of sed that have no value.
_SED_FLAGS: Final = frozenset({"-n", "-i", "-s", "-u", "-z", "--"})
# Programs of the shell itself, and reserved names of its syntax.
_SHELL_SYNTAX: Final = frozenset(
    {"cd", "exec", "export", "set", "unset", "umask", "ulimit", "wait", "read", ":", "!", "if",
     "while", "until", "for", "case", "{", "}", "command", "type", "hash", "times", "return",
     "shift", "exit", "local", "readonly", "time", "do", "done", "then", "else", "fi", "esac"}
    | _EVALUATE
)  # fmt: skip
_ASSIGNMENT: Final = re.compile(r"[A-Za-z_][A-Za-z0-9_]*=")


@dataclass(frozen=True)
class ConvertedCommand:
    """argv (with placeholders) or shell, exactly one of them. parameters: their names, in order.
    notes: what differs from MythTV, as sentences."""

    argv: tuple[str, ...] = ()
    shell: str = ""
    parameters: tuple[str, ...] = ()
    notes: tuple[str, ...] = ()


def convert_command(text: str) -> ConvertedCommand:
    """Convert a command of MythTV. Raises NotConvertibleError with the reason."""
    text, notes = text.strip(), list[str]()
    if text.endswith("&") and not text.endswith("&&"):
        text = text[:-1].rstrip()
        notes.append("the & at its end is left out: mythjobs waits for the program")
    if not text:
        raise NotConvertibleError("it is empty")
    read = read_shell_text(text)
    if not read.commands:
        raise NotConvertibleError("it has no program")
    if read.tokens:
        _check_evaluation(read)
    if read.unknown:
        verb = "is no token" if len(read.unknown) == 1 else "are no tokens"
        notes.append(f"{', '.join(read.unknown)} {verb} of MythTV: the text stays")
    rewritten = _rewrite_nested(read)
    parameters = tuple(read.tokens)
    if _is_argument_list(read):
        arguments = read.commands[0].arguments
        argv = tuple(_template(argument, rewritten.get(id(argument))) for argument in arguments)
        return ConvertedCommand(argv=argv, parameters=parameters, notes=tuple(notes))
    shell = read.text
    for argument in sorted(_all_arguments(read), key=lambda each: -each.begin):
        if (inner := rewritten.get(id(argument))) is not None:
            shell = shell[: argument.begin] + shlex.quote(inner) + shell[argument.end :]
    return ConvertedCommand(shell=shell, parameters=parameters, notes=tuple(notes))


def _is_argument_list(read: ShellText) -> bool:
    if read.needs_shell or len(read.commands) != 1:
        return False
    first = read.commands[0].arguments[0].literal
    return first is not None and first not in _SHELL_SYNTAX and not _ASSIGNMENT.match(first)


def _template(argument: ShellArgument, rewritten: str | None) -> str:
    if rewritten is not None:
        return _escape_braces(rewritten)
    return "".join(
        f"{{{each.name}}}" if isinstance(each, Token) else _escape_braces(each)
        for each in argument.parts
    )


def _escape_braces(text: str) -> str:
    return text.replace("{", "{{").replace("}", "}}")


def _all_arguments(read: ShellText) -> list[ShellArgument]:
    return [argument for each in read.commands for argument in each.arguments]


def _check_evaluation(read: ShellText) -> None:
    """Raise NotConvertibleError if a token, or what may come from one, is evaluated again."""
    tokens_before = False
    for command in read.commands:
        tokens_before = tokens_before and command.follows_pipe
        names = [_base_name(each) for each in command.arguments]
        program = _find_program(command)
        if program is not None:
            _check_program(command, names, program)
            if tokens_before and _reads_program(names[program], command.arguments[program + 1 :]):
                raise NotConvertibleError(
                    f"a token is piped into {names[program]}, which would execute it"
                )
        for number, name in enumerate(names):
            if name in (_EVALUATE if number == program else _EVALUATE_ANYWHERE):
                _check_constant(command.arguments[number + 1 :], name)
        tokens_before = tokens_before or any(each.tokens for each in command.arguments)


def _find_program(command: SimpleCommand) -> int | None:
    """Return the position of the program's name: the first argument that is no assignment."""
    for number, argument in enumerate(command.arguments):
        begin = argument.parts[0] if argument.parts and isinstance(argument.parts[0], str) else ""
        if not _ASSIGNMENT.match(begin):
            if argument.tokens:
                raise NotConvertibleError("the program's name would come from the recording")
            return number
    return None


def _check_program(command: SimpleCommand, names: list[str], program: int) -> None:
    arguments = command.arguments
    for number in range(program, len(arguments)):
        name = names[number]
        if name in _SHELLS and (code := _find_code(names, arguments, number)) is not None:
            if not arguments[code].is_constant:
                raise NotConvertibleError(f"{name} -c gets a text that the shell composes")
            if arguments[code].tokens and any(each in _DROP_ENVIRONMENT for each in names[:number]):
                raise NotConvertibleError(
                    f"{name} -c runs without the environment, from which it would read the values"
                )
        elif name and number == program and name in _SHELLS:
            script = [each for each in arguments[number + 1 :] if not _is_option(each)]
            if script and script[0].tokens:
                raise NotConvertibleError("the script's name would come from the recording")
        elif name and _INTERPRETERS.fullmatch(name):
            _check_interpreter(name, arguments[number + 1 :])


def _find_code(names: list[str], arguments: list[ShellArgument], shell: int) -> int | None:
    """Return the position of the text that a shell gets with -c; None without -c."""
    for number in range(shell + 1, len(arguments) - 1):
        option = arguments[number].literal or ""
        if re.fullmatch(r"-[a-zA-Z]*c[a-zA-Z]*", option):
            return number + 1
        if not option.startswith("-") and names[shell] != "busybox":
            return None
    return None


def _check_interpreter(name: str, arguments: list[ShellArgument]) -> None:
    is_code = False
    # Arguments before the first file: the program, and values of options, as far as known.
    pending = 1 if name in _PROGRAM_FIRST else 0
    for argument in arguments:
        text = "".join(each for each in argument.parts if isinstance(each, str))
        joined = re.match(r"(-[ceE]|--(?:eval|execute|command|expression)=)", text)
        risky = is_code or pending > 0 or (joined is not None and len(text) > len(joined[1]))
        if risky and (argument.tokens or not argument.is_constant):
            raise NotConvertibleError(f"a value would be part of a program for {name}")
        was_code, is_code = is_code, False
        if argument.literal is not None and _CODE_OPTION.fullmatch(argument.literal):
            is_code, pending = True, 0
        elif pending and not was_code:
            if not text.startswith("-"):
                pending -= 1
            elif len(text) == 2 and text not in _SED_FLAGS:
                pending += 1  # its value is the next argument


def _check_constant(arguments: list[ShellArgument], name: str) -> None:
    if any(each.tokens or not each.is_constant for each in arguments):
        raise NotConvertibleError(f"{name} would evaluate a value as a program")


def _reads_program(name: str, arguments: list[ShellArgument]) -> bool:
    """Return whether a program executes its input: a shell or an interpreter without a script."""
    if name in _EVALUATE:
        return True
    if name not in _SHELLS and not re.fullmatch(r"python[\d.]*|perl|ruby|php|mysql|psql|bc", name):
        return False
    return all(_is_option(each) for each in arguments)


def _rewrite_nested(read: ShellText) -> dict[int, str]:
    """Return the converted text of each argument that a nested shell gets with -c, by its id."""
    found: dict[int, str] = {}
    for command in read.commands:
        names = [_base_name(each) for each in command.arguments]
        for number, name in enumerate(names):
            code = _find_code(names, command.arguments, number) if name in _SHELLS else None
            if code is None or not command.arguments[code].tokens:
                continue
            argument = command.arguments[code]
            inner = "".join(
                each if isinstance(each, str) else _token_text(each) for each in argument.parts
            )
            nested = read_shell_text(inner)
            _check_evaluation(nested)
            if _rewrite_nested(nested):
                raise NotConvertibleError("it nests shells three deep")
            found[id(argument)] = nested.text
    return found


def _token_text(token: Token) -> str:
    from mythjobs.mythtv.parameters import TOKENS

    return next(text for text, name in TOKENS.items() if name == token.name)


def _base_name(argument: ShellArgument) -> str:
    literal = argument.literal
    return "" if literal is None else literal.rpartition("/")[2]


def _is_option(argument: ShellArgument) -> bool:
    return (
        bool(argument.parts)
        and isinstance(argument.parts[0], str)
        and argument.parts[0].startswith("-")
    )
