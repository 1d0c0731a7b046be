"""What the reaper says of an attempt, as JSON text: once made, for journal and socket alike."""

from __future__ import annotations

from mythjobs.model.outcome import Exited, Outcome, to_json
from mythjobs.process.procfs import Key
from mythjobs.process.reaper.attempt import Attempt
from mythjobs.process.reaper.wire import encode_json

# Written out, because a general encoder takes four times as long and this is said of every
# attempt. All that is filled in is a number or is JSON already.
_STARTED = '{"type":"started","job":%d,"n":%d,"pid":%d,"at_ms":%d}'
_ENDED = (
    '{"type":"ended","seq":%d,"job":%d,"n":%d,"outcome":%s,"usage":%s,'
    '"started_ms":%s,"ended_ms":%d,"output":%s%s}'
)
_EXITED = '{"kind":"exited","code":%d}'
_USAGE = (
    '{"wall_s":%.3f,"user_s":%.6f,"system_s":%.6f,"peak_bytes":%d,'
    '"read_bytes":%d,"written_bytes":%d,"switches":%d,"processes":%d,"exact":%s%s}'
)


_START_LINE = '{"start":[%d,%d]}'
_SPAWNED_LINE = '{"pid":[%d,%d,%d,%d,%d,%d]}'
_GREW = '{"type":"grew","job":%d,"n":%d,"output":%s}'
_FROZEN = '{"type":"frozen","job":%d,"n":%d,"holders":%s}'
_STATUS = '{"type":"status","job":%d,"n":%d,"lines":%s}'

# For the journal; journal.py reads them.


def start_line(key: Key) -> str:
    return _START_LINE % key


def spawned_line(attempt: Attempt) -> str:
    born = attempt.born
    assert born
    return _SPAWNED_LINE % (
        attempt.job, attempt.n, attempt.pid, attempt.after_ms, born.steady_ms, born.wall_ms
    )  # fmt: skip


def ack_line(keys: list[Key]) -> str:
    return encode_json({"ack": keys})


# For the agent.


def grew(attempt: Attempt) -> str:
    return _GREW % (attempt.job, attempt.n, output(attempt))


def status(attempt: Attempt, lines: list[str]) -> str:
    return _STATUS % (attempt.job, attempt.n, encode_json(lines))


def frozen(attempt: Attempt) -> str:
    return _FROZEN % (attempt.job, attempt.n, encode_json(sorted(attempt.holders)))


def started(attempt: Attempt) -> str:
    assert attempt.born
    return _STARTED % (attempt.job, attempt.n, attempt.pid, attempt.born.wall_ms)


def ended(attempt: Attempt, seq: int, ended_ms: int) -> str:
    usage = attempt.usage
    return _ENDED % (
        seq, attempt.job, attempt.n, _outcome(attempt.outcome()),
        _USAGE % (
            usage.wall_s, usage.user_s, usage.system_s, usage.peak_bytes, usage.read_bytes,
            usage.written_bytes, usage.switches, usage.processes,
            "true" if usage.exact else "false",
            f',"frozen_s":{usage.frozen_s:.3f}' if usage.frozen_s else "",
        ),
        attempt.born.wall_ms if attempt.born else "null", ended_ms, output(attempt),
        f',"unenforced":{encode_json(attempt.shortcomings)}' if attempt.unenforced else "",
    )  # fmt: skip


def output(attempt: Attempt) -> str:
    """`[[written, head, tail], …]`, the second for stderr; empty if nothing was written."""
    if not any(spool.written for spool in attempt.spools):
        return "[]"
    return encode_json([spool.kept for spool in attempt.spools])


def _outcome(outcome: Outcome) -> str:
    if type(outcome) is Exited:
        return _EXITED % outcome.code
    return encode_json(to_json(outcome))
