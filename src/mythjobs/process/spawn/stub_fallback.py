"""Stub in Python, for machines without a C compiler. stub.c describes its arguments.

Run as a script: python -I -S stub_fallback.py FD WORD… -- PROGRAM ARGUMENT…
"""

import errno
import os
import resource
import signal
import sys

# System call number of ioprio_set(2) by machine, as no C library has a function for it.
_IOPRIO_SET = {"x86_64": 251, "i686": 289, "armv7l": 314, "ppc64le": 273, "s390x": 282}


def main() -> None:
    report = int(sys.argv[1])
    os.set_inheritable(report, False)
    words = [os.fsencode(each) for each in sys.argv[2:]]
    search = file = b""
    step = "word"
    try:
        split = words.index(b"--")
        for each in words[:split]:
            letter, text = each[:1].decode(), each[1:]
            if letter == "p":
                search = text
                continue
            if letter == "x":
                file = text
                continue
            step, apply = _STEPS[letter]
            apply(text.decode("utf-8", "surrogateescape"))
        step = "exec"
        os.write(report, b".")
        argv = words[split + 1 :]
        _execute(search, file or argv[0], argv, _program_environment())
    except OSError as error:
        number = error.errno or errno.EINVAL
    except (KeyError, ValueError, IndexError):
        number = errno.EINVAL
    os.write(report, f"{number} {step}".encode())
    os._exit(127)


def _program_environment() -> dict[bytes, bytes]:
    # Skip names without the prefix: the interpreter may have added LC_CTYPE to its environment.
    return {name[1:]: value for name, value in os.environb.items() if name.startswith(b".")}


def _join_cgroup(path: str) -> None:
    with open(path, "wb", buffering=0) as file:
        file.write(b"0")


def _set_rlimit(text: str) -> None:
    which, soft, hard = (int(each) for each in text.split(":"))
    # The argument has C's value of RLIM_INFINITY, all 64 bits set; Python's value is -1.
    infinity = resource.RLIM_INFINITY
    soft, hard = (infinity if each >= 2**63 else each for each in (soft, hard))
    resource.setrlimit(which, (soft, hard))


def _set_nice(text: str) -> None:
    os.setpriority(os.PRIO_PROCESS, 0, int(text))


def _set_io_class(text: str) -> None:
    import ctypes

    io_class, level = (int(each) for each in text.split(":"))
    number = _IOPRIO_SET.get(os.uname().machine, 30)
    library = ctypes.CDLL(None, use_errno=True)
    if library.syscall(number, 1, 0, io_class << 13 | level):
        raise OSError(ctypes.get_errno(), "ioprio_set")


def _set_umask(text: str) -> None:
    os.umask(int(text, 8))


def _set_user(text: str) -> None:
    user, group, rest = text.split(":")
    uid, gid = int(user), int(group)
    os.setgroups([int(each) for each in rest.split(",") if each])
    os.setresgid(gid, gid, gid)
    os.setresuid(uid, uid, uid)
    if os.getresuid() != (uid, uid, uid) or os.getresgid() != (gid, gid, gid):
        raise OSError(errno.EPERM, "the user did not change")
    if uid:
        # Check that the process cannot become root again.
        try:
            os.seteuid(0)
        except OSError:
            return
        raise OSError(errno.EPERM, "the process can regain root")


def _execute(search: bytes, name: bytes, argv: list[bytes], env: dict[bytes, bytes]) -> None:
    # Reset the signals that the interpreter ignores: exec keeps ignored signals ignored.
    for number in (signal.SIGPIPE, signal.SIGXFSZ):
        signal.signal(number, signal.SIG_DFL)
    paths = [name] if b"/" in name else [os.path.join(each, name) for each in search.split(b":")]
    denied = 0
    for path in paths:
        try:
            _call_execve(path, argv, env)
        except OSError as error:
            if len(paths) == 1 and b"/" in name:
                raise
            if error.errno not in (errno.ENOENT, errno.ENOTDIR):
                denied = denied or error.errno or 0
    raise OSError(denied or errno.ENOENT, "exec")


def _call_execve(path: bytes, argv: list[bytes], env: dict[bytes, bytes]) -> None:
    if argv[0]:
        os.execve(path, argv, env)
    # os.execve() refuses an empty argv[0].
    import ctypes

    pairs = [b"%s=%s" % pair for pair in env.items()]
    arrays = [(ctypes.c_char_p * (len(each) + 1))(*each, None) for each in (argv, pairs)]
    ctypes.CDLL(None, use_errno=True).execve(path, *arrays)
    raise OSError(ctypes.get_errno(), "exec")


_STEPS = {
    "j": ("join", _join_cgroup),
    "r": ("rlimit", _set_rlimit),
    "n": ("nice", _set_nice),
    "i": ("io", _set_io_class),
    "m": ("umask", _set_umask),
    "u": ("user", _set_user),
}

if __name__ == "__main__":
    main()
