"""Steps of the demo: make a recording, start mythjobs, submit jobs, report, clean up."""

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
TIMEOUT_S = 1800
_SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)


def main() -> int:
    missing = [each for each in ("ffmpeg", "ffprobe", "comskip") if shutil.which(each) is None]
    if missing:
        print(f"demo: {', '.join(missing)} missing; `make demo` installs them", file=sys.stderr)
        return 1
    descendants.become_subreaper()
    directory = Path(tempfile.mkdtemp(prefix="mythjobs-demo-"))
    queue = Queue(directory / "state")
    try:
        for each in _SIGNALS:
            signal.signal(each, signal.default_int_handler)
        return run(queue, directory)
    except KeyboardInterrupt:
        print("\ndemo: interrupted; ending all started processes", file=sys.stderr)
        return 130
    except (DemoError, RuntimeError) as error:
        print(f"demo: {error}", file=sys.stderr)
        return 1
    finally:
        # Ignore a second Ctrl-C, which would interrupt the clean-up.
        for each in _SIGNALS:
            signal.signal(each, signal.SIG_IGN)
        queue.stop()
        descendants.end_all()
        shutil.rmtree(directory, ignore_errors=True)


def run(queue: Queue, directory: Path) -> int:
    source = directory / "news.ts"
    with Display() as display:
        recording.make(source, lambda percent: display.show([_recording_row(percent)]))
        display.show([_recording_row(100.0)])
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
    return report.print_report(queue, ids, directory)


def watch(queue: Queue, ids: list[int]) -> None:
    """Show the progress of the jobs until all have ended. Raises DemoError after TIMEOUT_S."""
    deadline = time.monotonic() + TIMEOUT_S
    with Display() as display:
        while time.monotonic() < deadline:
            jobs = queue.jobs(ids)
            display.show([Row(f"{job.id} {job.command}", job.state, job.percent) for job in jobs])
            if all(job.state in FINAL for job in jobs):
                return
            time.sleep(0.5)
    raise DemoError(f"the jobs have not ended after {TIMEOUT_S / 60:.0f} minutes")


def _recording_row(percent: float) -> Row:
    state = "made" if percent == 100 else "being made"
    return Row(f"recording of {recording.SECONDS} s", state, percent)
