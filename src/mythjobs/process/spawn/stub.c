/* Stub: applies settings to its own process (cgroup, rlimits, user, ...), then executes a program.
 *
 *   stub FD WORD... -- PROGRAM ARGUMENT...
 *
 * The stub writes "." to FD once all settings are applied, just before exec. On failure it writes
 * "ERRNO STEP" and exits with 127; a successful exec closes FD.
 * The program's environment is in the stub's own, each name prefixed with a dot: all users may
 * read arguments (/proc/PID/cmdline), only the owner the environment. Without the prefix the
 * program's LD_PRELOAD would act on the stub, which may be root.
 * WORDs are settings, applied in the order given:
 *   jPATH             join the cgroup whose cgroup.procs this is
 *   rRES:SOFT:HARD    setrlimit(2), by number
 *   nNICE             setpriority(2)
 *   iCLASS:LEVEL      ioprio_set(2)
 *   mMASK             umask(2), octal
 *   uUID:GID:G,G,...  setresuid(2), setresgid(2), setgroups(2)
 *   pDIR:DIR...       search path for a PROGRAM without a slash, as in execvp(3)
 *   xFILE             execute FILE in place of PROGRAM, which is only its argv[0]
 * stub_fallback.py does the same on machines without a C compiler.
 */
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <grp.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

extern char **environ;
static int report;

static void fail(const char *step)
{
    char text[64];
    int length = snprintf(text, sizeof text, "%d %.40s", errno, step);
    if (write(report, text, length) < 0)
        _exit(126);
    _exit(127);
}

/* Turn the stub's environment into the program's: remove the prefix, drop names without it. */
static void strip_prefix(char **to)
{
    for (char **from = to; *from; from++)
        if (**from == '.')
            *to++ = *from + 1;
    *to = NULL;
}

static void join(const char *path)
{
    int fd = open(path, O_WRONLY | O_CLOEXEC);
    if (fd < 0 || write(fd, "0", 1) != 1)
        fail("join");
    close(fd);
}

static void limit(const char *text)
{
    char *end;
    struct rlimit new;
    int which = strtol(text, &end, 10);
    new.rlim_cur = strtoull(end + 1, &end, 10);
    new.rlim_max = strtoull(end + 1, &end, 10);
    if (setrlimit(which, &new))
        fail("rlimit");
}

static void become(const char *text)
{
    static gid_t groups[65536];
    size_t count = 0;
    char *end;
    uid_t user = strtoul(text, &end, 10), real, effective, saved;
    gid_t group = strtoul(end + 1, &end, 10), rgid, egid, sgid;
    while (*end && end[1] && count < sizeof groups / sizeof *groups)
        groups[count++] = strtoul(end + 1, &end, 10);
    if (setgroups(count, groups) || setresgid(group, group, group) || setresuid(user, user, user))
        fail("user");
    if (getresuid(&real, &effective, &saved) || getresgid(&rgid, &egid, &sgid))
        fail("user");
    errno = EPERM;
    if (real != user || effective != user || saved != user)
        fail("user");
    if (rgid != group || egid != group || sgid != group)
        fail("user");
    /* Check that the process cannot become root again. */
    if (user != 0 && (setuid(0) == 0 || seteuid(0) == 0))
        fail("user");
}

static void start(const char *search, const char *file, char **argv)
{
    char path[PATH_MAX];
    int denied = 0, length;
    if (write(report, ".", 1) != 1)
        _exit(126);
    if (strchr(file, '/')) {
        execve(file, argv, environ);
        fail("exec");
    }
    for (const char *end = search; search; search = end ? end + 1 : NULL) {
        end = strchr(search, ':');
        length = end ? (int)(end - search) : (int)strlen(search);
        if (snprintf(path, sizeof path, "%.*s%s%s", length, search,
                     length && search[length - 1] != '/' ? "/" : "", file) >= PATH_MAX) {
            denied = denied ? denied : ENAMETOOLONG;
            continue;
        }
        execve(path, argv, environ);
        if (errno != ENOENT && errno != ENOTDIR && !denied)
            denied = errno;
    }
    errno = denied ? denied : ENOENT;
    fail("exec");
}

int main(int argc, char **argv)
{
    const char *search = "", *file = NULL;
    char *end;
    int i;
    if (argc < 4)
        return 126;
    report = atoi(argv[1]);
    if (fcntl(report, F_SETFD, FD_CLOEXEC))
        return 126;
    for (i = 2; i < argc && strcmp(argv[i], "--"); i++) {
        const char *text = argv[i] + 1;
        switch (argv[i][0]) {
        case 'j': join(text); break;
        case 'r': limit(text); break;
        case 'n': if (setpriority(PRIO_PROCESS, 0, atoi(text))) fail("nice"); break;
        case 'i':
            /* IOPRIO_WHO_PROCESS is 1; the class is above the 13 bits of the level. */
            if (syscall(SYS_ioprio_set, 1, 0, strtol(text, &end, 10) << 13 | atoi(end + 1)))
                fail("io");
            break;
        case 'm': umask(strtol(text, NULL, 8)); break;
        case 'u': become(text); break;
        case 'p': search = text; break;
        case 'x': file = text; break;
        default: errno = EINVAL; fail("word");
        }
    }
    if (i + 1 >= argc) {
        errno = EINVAL;
        fail("word");
    }
    strip_prefix(environ);
    argv += i + 1;
    start(search, file ? file : argv[0], argv);
}
