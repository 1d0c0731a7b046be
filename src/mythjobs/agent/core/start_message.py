"""The `start` message from agent to reaper, including the job's environment variables."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Final

from mythjobs.agent.core.attempt import Key
from mythjobs.agent.core.lease_terms import ReaperAction
from mythjobs.agent.core.turn import Json
from mythjobs.protocol.run_spec import RunSpec

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
    return {
        "type": "start",
        "job": job,
        "n": n,
        "argv": run.argv,
        "env": {**env, "MYTHJOBS_JOB": str(job), "MYTHJOBS_ATTEMPT": str(n)},
        "cwd": run.cwd or ("" if run.scratch else "/"),
        "stdin": run.stdin,
        "streams": 2 if run.separate_stderr else 1,
        "keep": run.keep,
        "wall_s": run.wall_s,
        "grace_s": run.grace_s,
        "cpu_s": run.cpu_s,
        "idle_s": run.idle_s,
        "memory_bytes": run.memory_bytes,
        "output_bytes": run.output_bytes,
        "processes": run.processes,
        "nice": run.nice,
        "io": run.io,
        "contain": run.contain,
        "best_effort": run.best_effort,
        "leave_daemons": run.leave_daemons,
        "acts": actions,
        "watch": has_output_progress(run),
        "scratch": run.scratch,
        # A program whose output has the progress may report a comment, too.
        "status": bool(run.progress),
    }
