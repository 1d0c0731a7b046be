"""`mythjobs agent` without click, which would stay in the agent's memory: parses only the usual
command lines, and runs these."""

from __future__ import annotations

from typing import NamedTuple

from mythjobs.cli import quick_arguments

_FLAGS = ("--no-scaling", "--stop-jobs")


class AgentOptions(NamedTuple):
    """jobs: how many at once at most; None: no maximum."""

    state_dir: str | None = None
    jobs: int | None = None
    no_scaling: bool = False
    stop_jobs: bool = False
    name: str | None = None


def run(options: AgentOptions) -> None:
    """Run `mythjobs agent` until a signal ends it. Raises MythJobsError."""
    from mythjobs.agent.service import run_agent
    from mythjobs.config.state import open_state

    run_agent(
        open_state(options.state_dir),
        name=options.name,
        jobs=options.jobs,
        stop_jobs=options.stop_jobs,
        has_scaling=not options.no_scaling,
    )


def parse(arguments: list[str]) -> AgentOptions | None:
    """Return the options of `mythjobs agent`, of which only --name and --log-format are missing.

    Return None for any other command line, which click has to parse.
    """
    if (found := quick_arguments.split(arguments, "agent", ("--jobs",))) is None:
        return None
    jobs: int | None = None
    flags: set[str] = set()
    rest = iter(found[1])
    for each in rest:
        if each in _FLAGS:
            flags.add(each)
        elif each == "--jobs":
            number = next(rest, "")
            if not (number.isascii() and number.isdecimal() and len(number) < 5):
                return None
            jobs = int(number)
        else:
            return None
    return AgentOptions(found[0], jobs, "--no-scaling" in flags, "--stop-jobs" in flags)
