"""What stub.c is, for machines where it could not be compiled; the contract stands there.

Run by itself: python -I -S stub_fallback.py FD WORD… -- NAME=VALUE… -- PROGRAM ARGUMENT…
"""

import errno
import os
import resource
import signal
import sys

# ioprio_set(2) has no function in any C library; its number is the kernel's, by machine.
_IOPRIO_SET = {"x86_64": 251, "i686": 289, "armv7l": 314, "ppc64le": 273, "s390x": 282}


def main() -> None:
    report = int(sys.argv[1])
    os.set_inheritable(report, False)
    words = [os.fsencode(each) for each in sys.argv[2:]]
    search = b""
    doing = "word"
    try:
        split = words.index(b"--")
        last = words.index(b"--", split + 1)
        env = dict(pair.split(b"=", 1) for pair in words[split + 1 : last])
        for each in words[:split]:
            letter, text = each[:1].decode(), each[1:]
            if letter == "p":
                search = text
                continue
            doing, do = _ACTS[letter]
            do(text.decode("utf-8", "surrogateescape"))
        doing = "exec"
        _start(search, words[last + 1 :], env)
    except OSError as error:
        number = error.errno or errno.EINVAL
    except (KeyError, ValueError, IndexError):
        number = errno.EINVAL
    os.write(report, f"{number} {doing}".encode())
    os._exit(127)


def _join(path: str) -> None:
    with open(path, "wb", buffering=0) as file:
        file.write(b"0")


def _limit(text: str) -> None:
    which, soft, hard = (int(each) for each in text.split(":"))
    # The C library's "no limit" is all bits set, Python's is -1.
    most = resource.RLIM_INFINITY
    soft, hard = (most if each >= 2**63 else each for each in (soft, hard))
    resource.setrlimit(which, (soft, hard))


def _nice(text: str) -> None:
    os.setpriority(os.PRIO_PROCESS, 0, int(text))


def _io(text: str) -> None:
    import ctypes

    kind, level = (int(each) for each in text.split(":"))
    number = _IOPRIO_SET.get(os.uname().machine, 30)
    library = ctypes.CDLL(None, use_errno=True)
    if library.syscall(number, 1, 0, kind << 13 | level):
        raise OSError(ctypes.get_errno(), "ioprio_set")


def _umask(text: str) -> None:
    os.umask(int(text, 8))


def _become(text: str) -> None:
    user, group, rest = text.split(":")
    uid, gid = int(user), int(group)
    os.setgroups([int(each) for each in rest.split(",") if each])
    os.setresgid(gid, gid, gid)
    os.setresuid(uid, uid, uid)
    if os.getresuid() != (uid, uid, uid) or os.getresgid() != (gid, gid, gid):
        raise OSError(errno.EPERM, "it did not become that user")
    if uid:
        # The one proof: root cannot be had back.
        try:
            os.seteuid(0)
        except OSError:
            return
        raise OSError(errno.EPERM, "root can be had back")


def _start(search: bytes, argv: list[bytes], env: dict[bytes, bytes]) -> None:
    # The interpreter ignores these, and exec would hand that on.
    for number in (signal.SIGPIPE, signal.SIGXFSZ):
        signal.signal(number, signal.SIG_DFL)
    name = argv[0]
    paths = [name] if b"/" in name else [os.path.join(each, name) for each in search.split(b":")]
    denied = 0
    for path in paths:
        try:
            os.execve(path, argv, env)
        except OSError as error:
            if len(paths) == 1 and b"/" in name:
                raise
            if error.errno not in (errno.ENOENT, errno.ENOTDIR):
                denied = denied or error.errno or 0
    raise OSError(denied or errno.ENOENT, "exec")


_ACTS = {
    "j": ("join", _join),
    "r": ("rlimit", _limit),
    "n": ("nice", _nice),
    "i": ("io", _io),
    "m": ("umask", _umask),
    "u": ("user", _become),
}

if __name__ == "__main__":
    main()
