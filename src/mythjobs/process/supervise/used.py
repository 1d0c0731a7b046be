"""What processes used: adding up what the kernel says of each when it is reaped."""

from __future__ import annotations

from resource import struct_rusage

from mythjobs.model.limits import Usage

_floor_bytes = 0


def add(usage: Usage, more: struct_rusage, wall_s: float, seen_bytes: int = 0) -> Usage:
    """With what one more process used, and the children that it waited for (getrusage(2)).

    `seen_bytes` is the peak that was seen of it while it ran. Until its exec it had our memory
    (vfork), and ru_maxrss counts that: a figure no larger than our own peak says nothing.
    """
    peak_bytes = more.ru_maxrss * 1024
    if peak_bytes <= _our_peak(peak_bytes):
        peak_bytes = seen_bytes
    return Usage(
        wall_s=max(usage.wall_s, wall_s),
        user_s=usage.user_s + more.ru_utime,
        system_s=usage.system_s + more.ru_stime,
        peak_bytes=max(usage.peak_bytes, peak_bytes),
        read_bytes=usage.read_bytes + more.ru_inblock * 512,
        written_bytes=usage.written_bytes + more.ru_oublock * 512,
        switches=usage.switches + more.ru_nvcsw + more.ru_nivcsw,
        processes=usage.processes,
        exact=usage.exact,
    )


def of_tree(usage: Usage, container: Usage) -> Usage:
    """CPU as its container counted it, which misses nothing; the rest as far as it did."""
    return Usage(
        wall_s=usage.wall_s,
        user_s=container.user_s,
        system_s=container.system_s,
        peak_bytes=max(usage.peak_bytes, container.peak_bytes),
        read_bytes=max(usage.read_bytes, container.read_bytes),
        written_bytes=max(usage.written_bytes, container.written_bytes),
        switches=usage.switches,
        processes=max(usage.processes, container.processes),
        exact=True,
    )


def at_least(usage: Usage, seen: Usage) -> Usage:
    """No less than what was seen of the tree while it ran; that there is more than what was
    waited for says that not all was."""
    return Usage(
        wall_s=usage.wall_s,
        user_s=max(usage.user_s, seen.user_s),
        system_s=max(usage.system_s, seen.system_s),
        peak_bytes=max(usage.peak_bytes, seen.peak_bytes),
        read_bytes=max(usage.read_bytes, seen.read_bytes),
        written_bytes=max(usage.written_bytes, seen.written_bytes),
        switches=usage.switches,
        processes=max(usage.processes, seen.processes),
        exact=usage.exact and seen.cpu_s <= usage.cpu_s,
    )


def _our_peak(asked_bytes: int) -> int:
    """Read again only when a figure lies above what we know: it never falls."""
    global _floor_bytes
    if asked_bytes > _floor_bytes:
        _floor_bytes = max(_floor_bytes, peak_of("self"))
    return _floor_bytes


def peak_of(pid: int | str) -> int:
    """The largest resident set that it ever had, 0 if it is gone (proc(5), VmHWM)."""
    try:
        with open(f"/proc/{pid}/status", "rb") as file:
            text = file.read()
    except OSError:
        return 0
    at = text.find(b"VmHWM:")
    return int(text[at + 6 :].split(None, 1)[0]) * 1024 if at >= 0 else 0
