"""The story: what is made, started and submitted, and that all of it ends."""

import shutil
import signal
import sys
import tempfile
import time
from pathlib import Path

import descendants
import recording
import report
from display import Display, Row
from mythjobs_cli import DemoError, Queue

EXAMPLES = Path(__file__).resolve().parent.parent
FINAL = ("succeeded", "failed", "cancelled")
LONGEST_S = 1800
_ENDS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)


def main() -> int:
    missing = [each for each in ("ffmpeg", "ffprobe", "comskip") if shutil.which(each) is None]
    if missing:
        print(f"demo: {', '.join(missing)} missing; `make demo` installs it", file=sys.stderr)
        return 1
    descendants.adopt_orphans()
    directory = Path(tempfile.mkdtemp(prefix="mythjobs-demo-"))
    queue = Queue(directory / "state")
    try:
        for each in _ENDS:
            signal.signal(each, signal.default_int_handler)
        return demonstrate(queue, directory)
    except KeyboardInterrupt:
        print("\ndemo: interrupted, ending everything that was started", file=sys.stderr)
        return 130
    except (DemoError, RuntimeError) as error:
        print(f"demo: {error}", file=sys.stderr)
        return 1
    finally:
        # From here on a second Ctrl-C would only leave something behind.
        for each in _ENDS:
            signal.signal(each, signal.SIG_IGN)
        queue.stop()
        descendants.end_all()
        shutil.rmtree(directory, ignore_errors=True)


def demonstrate(queue: Queue, directory: Path) -> int:
    source = directory / "news.ts"
    with Display() as display:
        recording.make(source, lambda percent: display.show([_making(percent)]))
        display.show([_making(100.0)])
    print(queue.start(), flush=True)
    for name in ("transcode-h264", "flag-commercials", "thumbnail"):
        queue.call("command", "add", str(EXAMPLES / f"{name}.toml"))

    video, picture = directory / "news.mp4", directory / "news.jpg"
    flag = queue.submit(
        "flag-commercials", "--priority", "10",
        source=source, folder=directory, ini=EXAMPLES / "comskip.ini",
    )  # fmt: skip
    transcode = queue.submit("transcode-h264", "--priority", "5", source=source, target=video)
    thumbnail = queue.submit("thumbnail", "--after", str(transcode), source=video, target=picture)

    ids = [flag, transcode, thumbnail]
    watch(queue, ids)
    return report.tell(queue, ids, directory)


def watch(queue: Queue, ids: list[int]) -> None:
    """Show the jobs until all of them are over."""
    until = time.monotonic() + LONGEST_S
    with Display() as display:
        while time.monotonic() < until:
            jobs = queue.jobs(ids)
            display.show([Row(f"{job.id} {job.command}", job.state, job.progress) for job in jobs])
            if all(job.state in FINAL for job in jobs):
                return
            time.sleep(0.5)
    raise DemoError(f"the jobs were not over after {LONGEST_S / 60:.0f} minutes")


def _making(percent: float) -> Row:
    state = "made" if percent == 100 else "being made"
    return Row(f"recording of {recording.SECONDS} s", state, percent)
