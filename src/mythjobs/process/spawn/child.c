/* Child of the spawner: starts one program with vfork and exec. The child applies its settings
 * (cgroup, rlimits, ...) between the two, so that no stub is needed.
 *
 * Between clone(2) and execve(2) the child shares this process's memory, and the thread waits. The
 * child therefore only makes system calls and writes to its struct start.
 */
#define _GNU_SOURCE
#include "child.h"
#include <errno.h>
#include <fcntl.h>
#include <sched.h>
#include <signal.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>
/* Constants that older headers lack. */
#ifndef SYS_close_range
#define SYS_close_range 436
#endif
#ifndef SYS_clone3
#define SYS_clone3 435
#endif
#define PIDFD 0x1000ULL
#define CLEAR_SIGHAND 0x100000000ULL
#define INTO_CGROUP 0x200000000ULL

static volatile int has_clone3 = 1, can_clone_into_cgroup = 1;

static void fail(struct start *start, int step)
{
    start->error = errno;
    start->step = step;
    _exit(127);
}

static void reset_signals(const struct start *start)
{
    struct sigaction action, none = {.sa_handler = SIG_DFL};
    /* Python ignores these two, and exec would keep them ignored. */
    sigaction(SIGPIPE, &none, NULL);
    sigaction(SIGXFSZ, &none, NULL);
    for (int number = 1; number < NSIG && !start->has_no_handlers; number++)
        if (!sigaction(number, NULL, &action) && action.sa_handler != SIG_IGN)
            sigaction(number, &none, NULL);
}

static void apply_settings(struct start *start)
{
    const struct request *request = start->request;
    for (int i = start->is_in_cgroup; i < request->joins; i++) {
        int fd = open(start->joins[i], O_WRONLY | O_CLOEXEC);
        if (fd < 0 || write(fd, "0", 1) != 1)
            fail(start, 'j');
        close(fd);
    }
    for (int i = 0; i < request->rlimits; i++) {
        const uint64_t *numbers = start->rlimits + 3 * i;
        struct rlimit new = {numbers[1], numbers[2]};
        if (setrlimit(numbers[0], &new))
            fail(start, 'r');
    }
    if (request->nice && setpriority(PRIO_PROCESS, 0, request->nice))
        fail(start, 'n');
    /* IOPRIO_WHO_PROCESS is 1. */
    if (request->ioprio >= 0 && syscall(SYS_ioprio_set, 1, 0, request->ioprio))
        fail(start, 'i');
    if (request->umask >= 0)
        umask(request->umask);
    if (request->directory >= 0 ? fchdir(request->directory)
                                : *start->directory && chdir(start->directory))
        fail(start, 'd');
}

/* Code of the child. All signals are blocked until their handlers are reset: a handler would run in
 * the memory of this process. */
static int run_child(void *argument)
{
    struct start *start = argument;
    const struct request *request = start->request;
    sigset_t none;
    int denied = 0;

    setsid();
    reset_signals(start);
    sigemptyset(&none);
    sigprocmask(SIG_SETMASK, &none, NULL);
    for (int i = 0; i < 3; i++)
        if (dup2(start->streams[i], i) < 0)
            fail(start, 's');
    apply_settings(start);
    /* All descriptors of this process are close-on-exec; this is for those of libraries. */
    syscall(SYS_close_range, 3, ~0U, 0);
    start->is_ready = 1;
    for (int i = 0; i < request->files; i++) {
        execve(start->files[i], start->args, start->variables);
        if (errno != ENOENT && errno != ENOTDIR && !denied)
            denied = errno;
    }
    errno = denied ? denied : errno;
    fail(start, 'e');
    return 127;
}

#ifdef __x86_64__
/* Call clone3(2) and, in the child, run_child(start) on the child's own stack. */
static long clone3_child(uint64_t *arguments, size_t size, struct start *start)
{
    long result;
    register int (*function)(void *) __asm__("r12") = run_child;
    register struct start *argument __asm__("r13") = start;
    __asm__ volatile("syscall\n\t"
                     "test %%rax, %%rax\n\t"
                     "jnz 1f\n\t"
                     "xor %%ebp, %%ebp\n\t"
                     "mov %%r13, %%rdi\n\t"
                     "call *%%r12\n\t"
                     "hlt\n"
                     "1:"
                     : "=a"(result)
                     : "a"(SYS_clone3), "D"(arguments), "S"(size), "r"(function), "r"(argument)
                     : "rcx", "r11", "memory");
    if (result >= 0)
        return result;
    errno = -result;
    return -1;
}
#endif

/* Start the child with clone3(2), which can create it in its cgroup: to move a process into a cgroup
 * takes locks of the whole machine. Returns -1 with errno, or its pid. */
static pid_t try_clone3(struct start *start, char *stack, uint64_t flags, int *pidfd)
{
    pid_t pid = -1;
    errno = ENOSYS;
#ifdef __x86_64__
    /* The fields of struct clone_args, which older headers lack. */
    uint64_t arguments[11] = {flags | CLEAR_SIGHAND, (uintptr_t)pidfd, 0, 0, SIGCHLD,
                              (uintptr_t)stack, STACK_BYTES};
    start->is_in_cgroup = start->request->cgroup >= 0 && can_clone_into_cgroup;
    start->has_no_handlers = 1;
    if (start->is_in_cgroup) {
        arguments[0] |= INTO_CGROUP;
        arguments[10] = start->request->cgroup;
    }
    pid = clone3_child(arguments, sizeof arguments, start);
    if (pid < 0)
        start->is_in_cgroup = start->has_no_handlers = 0;
#else
    (void)start, (void)stack, (void)flags, (void)pidfd;
#endif
    return pid;
}

/* Start the child. Returns -1 with errno if there is no process. */
static pid_t clone_child(struct start *start, char *stack, int flags, int *pidfd)
{
    if (has_clone3) {
        pid_t pid = try_clone3(start, stack, flags, pidfd);
        if (pid >= 0 || errno == EAGAIN || errno == ENOMEM || errno == EMFILE || errno == ENFILE)
            return pid;
        /* A kernel before 5.7 or a seccomp filter refuses the call. Other errors are the cgroup's,
         * which the child reports when it joins. */
        if (errno == ENOSYS || errno == EINVAL || errno == E2BIG || errno == EPERM)
            has_clone3 = 0;
    }
    return clone(run_child, stack + STACK_BYTES, flags | SIGCHLD, start, pidfd);
}

/* Return the descriptor; if its number is a closed standard stream's of this process, a copy above
 * in its place, or -1 without a free number. */
static int move_above_streams(int fd)
{
    int copy;
    if (fd < 0 || fd > 2)
        return fd;
    copy = fcntl(fd, F_DUPFD_CLOEXEC, 3);
    close(fd);
    return copy;
}

void spawn_child(struct start *start, char *stack, struct reply *reply)
{
    int flags = CLONE_VM | CLONE_VFORK, pidfd = -1, was_in_cgroup, status;
    pid_t pid = clone_child(start, stack, flags | PIDFD, &pidfd);
    if (pid < 0 && (errno == EMFILE || errno == ENFILE))
        pid = clone_child(start, stack, flags, &pidfd);
    if (pid < 0) {
        reply->error = errno;
        reply->step = 'f';
        return;
    }
    if (start->is_ready && !start->error) {
        reply->pid = pid;
        reply->pidfd = move_above_streams(pidfd);
        return;
    }
    /* Without an error, the child was killed before it could execute the program. */
    close(pidfd);
    waitpid(pid, &status, 0);
    was_in_cgroup = start->is_in_cgroup;
    start->is_in_cgroup = start->has_no_handlers = 0;
    if (!start->error && was_in_cgroup && !start->request->is_cancelled) {
        /* Linux 6.14 to at least 6.18 kills a child that is created in a cgroup if cgroup.kill was
         * written more often there than in this process's cgroup (kill_seq in kernel/cgroup). */
        can_clone_into_cgroup = 0;
        spawn_child(start, stack, reply);
        return;
    }
    reply->error = start->error;
    reply->step = start->error ? start->step : 'k';
}
