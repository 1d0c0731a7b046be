"""The `start` message from agent to reaper, including the job's environment variables."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from operator import attrgetter
from typing import Final

from mythjobs.agent.core.attempt import Key
from mythjobs.agent.core.lease_terms import ReaperAction
from mythjobs.agent.core.turn import Json
from mythjobs.protocol.run_spec import RunSpec

# Fields that a message has only if they differ from their defaults. Of a job with few settings that
# is half of the message, and decoding it was a tenth of the reaper's work.
_OPTIONAL: Final = (
    "cwd", "stdin", "wall_s", "cpu_s", "idle_s", "memory_bytes", "output_bytes", "processes",
    "nice", "io", "contain", "best_effort", "leave_daemons", "scratch",
)  # fmt: skip
_read_optional: Final = attrgetter(*_OPTIONAL)
_PATH: Final = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"


def build_base_environment(
    environ: Mapping[str, str], *, user: str, home: str, shell: str, programs: str = ""
) -> dict[str, str]:
    """Return the environment variables of every job, to which the job's command adds its own.

    programs: a directory to search last, "" for none. No other variables of the agent's environment
    `environ` are passed to jobs.
    """
    path = environ.get("PATH") or _PATH
    env = {
        "PATH": f"{path}:{programs}" if programs else path,
        "HOME": home,
        "USER": user,
        "LOGNAME": user,
        "SHELL": shell or "/bin/sh",
        "LANG": environ.get("LANG") or "C.UTF-8",
    }
    if zone := environ.get("TZ"):
        env["TZ"] = zone
    return env


def has_output_progress(run: RunSpec) -> bool:
    """Return whether the job's progress is read from its output, not from $MYTHJOBS_STATUS."""
    return bool(run.progress) and run.progress != "status"


def build_start_message(
    key: Key, run: RunSpec, base: Mapping[str, str], actions: Sequence[ReaperAction] = ()
) -> Json:
    """Return the `start` message of docs/reaper.md. `base` are the variables of every job. For a
    job with a scratch directory, an empty `cwd` makes the reaper start it in that directory."""
    job, n = key
    env = run.env if run.bare_env else {**base, **run.env}
    message: Json = {
        "type": "start",
        "job": job,
        "n": n,
        "argv": run.argv,
        "env": {**env, "MYTHJOBS_JOB": str(job), "MYTHJOBS_ATTEMPT": str(n)},
        "keep": run.keep,
        "grace_s": run.grace_s,
    }
    for name, value in zip(_OPTIONAL, _read_optional(run), strict=True):
        if value is not None and value is not False and value != "":
            message[name] = value
    if not run.scratch:
        message.setdefault("cwd", "/")
    if run.separate_stderr:
        message["streams"] = 2
    if actions:
        message["acts"] = actions
    if run.progress:
        # A program whose output has the progress may report a comment, too.
        message["status"] = True
        message["watch"] = has_output_progress(run)
    return message
