/* Spawner: threads that start programs for the reaper without the interpreter's lock (native.py).
 *
 * A thread takes a request, appends the start record to the journal, starts the program with vfork
 * and exec, writes a reply to a pipe, and adds the program's pidfd to the event loop's epoll. The
 * child applies its settings (cgroup, rlimits, ...) between the two, so that no stub is needed.
 *
 * Between clone(2) and execve(2) the child shares this process's memory, and the thread waits. The
 * child therefore only makes system calls and writes to its struct start.
 */
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <sched.h>
#include <semaphore.h>
#include <signal.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>
#define STACK_BYTES (64 * 1024)
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

/* The caller's memory, which stays valid until the reply. After the struct follow `rlimits` times
 * three numbers (which, soft, hard), the record, and strings that end with NUL: the working
 * directory, then `joins`, `files`, `args` and `variables` strings. */
struct request {
    int64_t id;
    struct request *next; /* NULL; used while the request waits */
    volatile int32_t is_cancelled;
    int32_t journal, record_bytes; /* descriptor, and length of the record; 0 for no record */
    int32_t streams[3];            /* descriptors above 2 that become 0, 1 and 2 */
    int32_t umask, nice, ioprio;   /* umask and ioprio: -1 to inherit */
    int32_t cgroup;                /* directory of the cgroup whose cgroup.procs is the first join */
    int32_t joins;                 /* cgroup.procs files of the cgroups to join */
    int32_t rlimits;
    int32_t files;                 /* paths of the program, to be tried in this order */
    int32_t args, variables;
};

/* Times in ms: born_after on CLOCK_BOOTTIME before the start, then the three clocks after it.
 * step: 0 if the program runs; otherwise the failed step. */
struct reply {
    int64_t id, born_after_ms, boot_ms, run_ms, wall_ms;
    int32_t pid, pidfd, is_watched, error, step;
    int32_t unused;
};

struct start {
    const struct request *request;
    const uint64_t *rlimits;
    const char *record, *directory;
    char **joins, **files, **args, **variables;
    /* The kernel has put the child into the first cgroup; it has reset the signal handlers. */
    int is_in_cgroup, has_no_handlers;
    volatile int error, step, is_ready;
};

struct worker {
    sem_t wake;
    struct request *request;
    struct worker *next; /* in the list of idle workers */
    char *stack;
};

static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
/* The most recently idle worker is used next: its data is still in the CPU caches. */
static struct worker *idle;
/* Requests that were submitted while no worker was idle. */
static struct request *backlog, **backlog_end = &backlog;
static int epoll_fd, reply_fd;
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
    if (*start->directory && chdir(start->directory))
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
        if (dup2(request->streams[i], i) < 0)
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
static pid_t try_clone3(struct start *start, struct worker *worker, uint64_t flags, int *pidfd)
{
    pid_t pid = -1;
    errno = ENOSYS;
#ifdef __x86_64__
    /* The fields of struct clone_args, which older headers lack. */
    uint64_t arguments[11] = {flags | CLEAR_SIGHAND, (uintptr_t)pidfd, 0, 0, SIGCHLD,
                              (uintptr_t)worker->stack, STACK_BYTES};
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
    (void)start, (void)worker, (void)flags, (void)pidfd;
#endif
    return pid;
}

/* Start the child. Returns -1 with errno if there is no process. */
static pid_t clone_child(struct start *start, struct worker *worker, int flags, int *pidfd)
{
    if (has_clone3) {
        pid_t pid = try_clone3(start, worker, flags, pidfd);
        if (pid >= 0 || errno == EAGAIN || errno == ENOMEM || errno == EMFILE || errno == ENFILE)
            return pid;
        /* A kernel before 5.7 or a seccomp filter refuses the call. Other errors are the cgroup's,
         * which the child reports when it joins. */
        if (errno == ENOSYS || errno == EINVAL || errno == E2BIG || errno == EPERM)
            has_clone3 = 0;
    }
    return clone(run_child, worker->stack + STACK_BYTES, flags | SIGCHLD, start, pidfd);
}

static int64_t now_ms(clockid_t clock)
{
    struct timespec now;
    clock_gettime(clock, &now);
    return now.tv_sec * 1000LL + now.tv_nsec / 1000000;
}

static char **take_strings(const char **text, int count, char ***pointers)
{
    char **first = *pointers;
    for (int i = 0; i < count; i++) {
        *(*pointers)++ = (char *)*text;
        *text += strlen(*text) + 1;
    }
    *(*pointers)++ = NULL;
    return first;
}

static int write_record(const struct request *request, const char *record)
{
    for (int done = 0, part; done < request->record_bytes; done += part) {
        part = write(request->journal, record + done, request->record_bytes - done);
        if (part < 0)
            return -1;
    }
    return 0;
}

/* Start the program; set the reply's pid and pidfd, or its step and error. */
static void spawn(struct start *start, struct worker *worker, struct reply *reply)
{
    int flags = CLONE_VM | CLONE_VFORK, pidfd = -1, was_in_cgroup, status;
    pid_t pid = clone_child(start, worker, flags | PIDFD, &pidfd);
    if (pid < 0 && (errno == EMFILE || errno == ENFILE))
        pid = clone_child(start, worker, flags, &pidfd);
    if (pid < 0) {
        reply->error = errno;
        reply->step = 'f';
        return;
    }
    if (start->is_ready && !start->error) {
        reply->pid = pid;
        reply->pidfd = pidfd;
        return;
    }
    /* Without an error, the child was killed before it could execute the program. */
    close(pidfd);
    waitpid(pid, &status, 0);
    was_in_cgroup = start->is_in_cgroup;
    start->is_in_cgroup = 0;
    if (!start->error && was_in_cgroup && !start->request->is_cancelled) {
        /* Linux 6.14 to at least 6.18 kills a child that is created in a cgroup if cgroup.kill was
         * written more often there than in this process's cgroup (kill_seq in kernel/cgroup). */
        can_clone_into_cgroup = 0;
        spawn(start, worker, reply);
        return;
    }
    reply->error = start->error;
    reply->step = start->error ? start->step : 'k';
}

static void serve(struct worker *worker)
{
    struct request *request = worker->request;
    struct start start = {.request = request};
    struct reply reply = {.id = request->id, .pid = -1, .pidfd = -1};
    size_t count = (size_t)request->joins + request->files + request->args + request->variables;
    char **pointers = malloc((count + 4) * sizeof *pointers), **next = pointers;
    struct epoll_event event = {.events = EPOLLIN};
    const char *text;
    if (!pointers) {
        reply.error = ENOMEM;
        reply.step = 'f';
    } else {
        start.rlimits = (const uint64_t *)(request + 1);
        start.record = (const char *)(start.rlimits + 3 * request->rlimits);
        start.directory = start.record + request->record_bytes;
        text = start.directory + strlen(start.directory) + 1;
        start.joins = take_strings(&text, request->joins, &next);
        start.files = take_strings(&text, request->files, &next);
        start.args = take_strings(&text, request->args, &next);
        start.variables = take_strings(&text, request->variables, &next);
        if (write_record(request, start.record)) {
            reply.error = errno;
            reply.step = 'w';
        } else if (request->is_cancelled) {
            reply.step = 'c';
        } else {
            reply.born_after_ms = now_ms(CLOCK_BOOTTIME);
            spawn(&start, worker, &reply);
            reply.boot_ms = now_ms(CLOCK_BOOTTIME);
            reply.run_ms = now_ms(CLOCK_MONOTONIC);
            reply.wall_ms = now_ms(CLOCK_REALTIME);
        }
        free(pointers);
    }
    event.data.u64 = 0;
    event.data.fd = reply.pidfd;
    if (reply.pidfd >= 0)
        reply.is_watched = !epoll_ctl(epoll_fd, EPOLL_CTL_ADD, reply.pidfd, &event);
    /* The request's memory may be gone from here on. */
    while (write(reply_fd, &reply, sizeof reply) < 0 && errno == EINTR)
        ;
}

static void *run_worker(void *argument)
{
    struct worker *worker = argument;
    for (;;) {
        pthread_mutex_lock(&lock);
        if (backlog) {
            worker->request = backlog;
            backlog = backlog->next;
            if (!backlog)
                backlog_end = &backlog;
            pthread_mutex_unlock(&lock);
        } else {
            worker->next = idle;
            idle = worker;
            pthread_mutex_unlock(&lock);
            while (sem_wait(&worker->wake))
                ;
        }
        serve(worker);
    }
    return NULL;
}

/* Start `count` threads. Returns 0, or -1 if memory or threads are lacking. */
int spawner_start(int count, int epoll, int replies)
{
    sigset_t all, before;
    int failed = 0;
    epoll_fd = epoll;
    reply_fd = replies;
    sigfillset(&all);
    /* A blocked signal is queued even if its action is to ignore it, and then wakes another thread. */
    sigdelset(&all, SIGCHLD);
    pthread_sigmask(SIG_SETMASK, &all, &before);
    for (int i = 0; i < count && !failed; i++) {
        struct worker *worker = calloc(1, sizeof *worker);
        char *stack = mmap(NULL, STACK_BYTES, PROT_READ | PROT_WRITE,
                           MAP_PRIVATE | MAP_ANONYMOUS | MAP_STACK, -1, 0);
        pthread_t thread;
        failed = !worker || stack == MAP_FAILED;
        if (!failed) {
            worker->stack = stack;
            failed = sem_init(&worker->wake, 0, 0) ||
                     pthread_create(&thread, NULL, run_worker, worker);
        }
    }
    pthread_sigmask(SIG_SETMASK, &before, NULL);
    return failed ? -1 : 0;
}

/* Have a thread serve the request. */
void spawner_submit(struct request *request)
{
    struct worker *worker;
    pthread_mutex_lock(&lock);
    worker = idle;
    if (worker) {
        idle = worker->next;
        worker->request = request;
    } else {
        *backlog_end = request;
        backlog_end = &request->next;
    }
    pthread_mutex_unlock(&lock);
    if (worker)
        sem_post(&worker->wake);
}
