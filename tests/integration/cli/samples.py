"""Sample responses of the API, as in docs/api.md."""

from typing import Any

from tests.integration.cli.scripted import Master, Reply, Request


def attempt(n: int = 1, **facts: Any) -> dict[str, Any]:
    return {
        "n": n,
        "machine": "attic",
        "state": "over",
        "silence": "rerun",
        "lease_s": 1800.0,
        "leased_ms": 1_800_000_000_000,
        "started_ms": 1_800_000_000_500,
        "over_ms": 1_800_000_002_500,
        "outcome": {"kind": "exited", "code": 0},
        "sentence": "exit code 0",
        "evidence": None,
        "usage": {"wall_s": 2.0, "cpu_s": 1.5, "peak_bytes": 3 * 2**20},
        "output": [],
        **facts,
    }


def job(job_id: int = 7, **facts: Any) -> dict[str, Any]:
    attempts = facts.get("attempts", [])
    return {
        "id": job_id,
        "command": "thumbnail",
        "revision": 1,
        "state": "queued",
        "reason": {"code": "held", "sentence": "held by ann"},
        "priority": 0,
        "subject": "/srv/tv/news.ts",
        "arguments": {"source": "/srv/tv/news.ts"},
        "key": None,
        "hold": False,
        "stop_requested": None,
        "batch": None,
        "submitter": "ann",
        "comment": "",
        "not_before_ms": None,
        "deadline_ms": None,
        "machine": "",
        "prefer": "",
        "labels": [],
        "semaphores": {},
        "limits": {},
        "failures": 0,
        "losses": 0,
        "frozen": [],
        "eta_ms": None,
        "estimated_progress": None,
        "estimated_end_ms": None,
        "rerun_of": None,
        "submitted_ms": 1_800_000_000_000,
        "ended_ms": None,
        "after": [],
        "progress": None,
        "attempt": attempts[-1]["n"] if attempts else 0,
        "ran_on": attempts[-1]["machine"] if attempts else "",
        "started_ms": attempts[-1]["started_ms"] if attempts else None,
        "run_s": (attempts[-1]["usage"] or {}).get("wall_s") if attempts else None,
        "attempts": [],
        "events": [],
        **facts,
    }


def succeeded(job_id: int = 7, **facts: Any) -> dict[str, Any]:
    reason = {"code": "", "sentence": ""}
    return job(job_id, **{"state": "succeeded", "reason": reason, "attempts": [attempt()], **facts})


def failed(job_id: int = 7, **facts: Any) -> dict[str, Any]:
    reason = {"code": "failed", "sentence": "exit code 3"}
    outcome = {"kind": "exited", "code": 3}
    attempts = [attempt(outcome=outcome, sentence="exit code 3")]
    return job(job_id, **{"state": "failed", "reason": reason, "attempts": attempts, **facts})


MACHINE: dict[str, Any] = {
    "id": 1,
    "name": "attic",
    "state": "up",
    "jobs": 4,
    "by_load": False,
    "running": 1,
    "leased": 0,
    "allow": {"except": ["backup"]},
    "cores": 8,
    "last_heard_ms": 1_800_000_000_000,
    "boot_id": "b",
    "clock_ms": 0,
    "control": {"drained": False, "paused": False, "until_ms": None, "enforced": True},
    "free": 3,
}
WHOLE_MACHINE: dict[str, Any] = {
    **MACHINE,
    "zone": "Europe/Berlin",
    "labels": ["ffmpeg", "ffmpeg:libx264"],
    "gpus": [],
    "mounts": [{"path": "/", "type": "ext4", "source": "/dev/sda1", "disk": "sda"}],
    "hidden_paths": [],
    "settings": {"jobs": 4, "allow": {"except": ["backup"]}},
    "overrides": [],
    "scaling": None,
    "load": None,
    "own_policy": {},
}

STATUS: dict[str, Any] = {
    "version": "0.1.0",
    "pid": 1,
    "started_ms": 1_800_000_000_000,
    "store": "sqlite",
    "counts": {
        "queued": 3,
        "leased": 0,
        "running": 1,
        "succeeded": 5,
        "failed": 0,
        "cancelled": 0,
    },
    "commands": [
        {
            "name": "thumbnail",
            "queued": 3,
            "running": 1,
            "oldest_ms": 1_800_000_000_000,
            "enabled": True,
            "put_off_ms": None,
        }
    ],
    "machines": [
        {
            "name": "attic",
            "state": "up",
            "running": 1,
            "jobs": 4,
            "by_load": False,
            "control": {"drained": False, "paused": False, "until_ms": None, "enforced": True},
        }
    ],
}


def running(n: int = 1) -> dict[str, Any]:
    return job(7, state="running", attempts=[attempt(n, outcome=None, output=[])])


def output(
    *chunks: bytes, dropped: int = 0, whole: bool = True, headers: dict[str, str] | None = None
) -> Reply:
    """Return the answer to a request for a job's output."""
    common = {"X-Attempt": "1", "X-Dropped": str(dropped)}
    return Reply(200, common | (headers or {}), chunks, whole)


def ad_hoc(master: Master, end: dict[str, Any], *, out: bytes = b"", err: bytes = b"") -> None:
    """Let a master answer `run`: the job is 7, and ends with this output."""

    def streams(request: Request) -> Reply:
        return output(out if request.query["stream"] == "1" else err)

    master.answers |= {
        "POST jobs": {"id": 7, "state": "leased", "new": True, "reason": ""},
        "GET jobs/7": end,
        "GET jobs/7/output": streams,
    }
