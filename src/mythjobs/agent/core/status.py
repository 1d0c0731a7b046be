"""Status of a running job: what its output or the FIFO $MYTHJOBS_STATUS reported last."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Final, NamedTuple

from mythjobs.model.progress_formats import Reading, parse_number

# A job's comment above this length is cut, because it is shown in one line of a job list.
_MAX_COMMENT_LETTERS: Final = 500


class JobStatus(NamedTuple):
    """Progress that a job reported; a field is None until the job has reported it.

    eta_s: seconds left at `eta_from_ms` (CLOCK_BOOTTIME). While the job is frozen `eta_from_ms` is
    None, because the time left does not pass.
    """

    percent: float | None = None
    comment: str | None = None
    eta_s: float | None = None
    eta_from_ms: int | None = None

    def compute_left_s(self, now_ms: int) -> float | None:
        """Return the seconds left now, by the job's last `eta`; None if it reported none."""
        if self.eta_s is None or self.eta_from_ms is None:
            return self.eta_s
        return max(0.0, self.eta_s - (now_ms - self.eta_from_ms) / 1000)

    def with_reading(self, found: Reading, now_ms: int) -> JobStatus:
        """Return the status updated by what the output reported at `now_ms`."""
        status = self
        if found.percent is not None:
            status = status._replace(percent=found.percent)
        if found.comment is not None:
            status = status._replace(comment=_clean_comment(found.comment))
        if found.eta_s is not None:
            status = status._replace(eta_s=max(found.eta_s, 0.0), eta_from_ms=now_ms)
        return status

    def with_frozen(self, is_frozen: bool, now_ms: int) -> JobStatus:
        """Return the status of the job when it is frozen, or thawed, at `now_ms`."""
        if self.eta_s is None:
            return self
        left_s = self.compute_left_s(now_ms)
        return self._replace(eta_s=left_s, eta_from_ms=None if is_frozen else now_ms)


def parse_status_lines(status: JobStatus, lines: Iterable[str], now_ms: int) -> JobStatus:
    """Return `status` updated by the lines that the job wrote at `now_ms` (CLOCK_BOOTTIME).

    Ignore lines in another format.
    """
    for line in lines:
        word, _, rest = line.strip().partition(" ")
        rest = rest.strip()
        if word == "comment":
            status = status._replace(comment=_clean_comment(rest))
        elif word in ("progress", "eta"):
            # printf writes a decimal comma in some locales.
            number = parse_number(rest.removesuffix("%"))
            if number is None:
                continue
            if word == "eta":
                status = status._replace(eta_s=max(number, 0.0), eta_from_ms=now_ms)
            else:
                status = status._replace(percent=round(min(max(number, 0.0), 100.0), 1))
    return status


def _clean_comment(text: str) -> str:
    printable = (each if each.isprintable() else "\ufffd" for each in text)
    return "".join(printable)[:_MAX_COMMENT_LETTERS]
