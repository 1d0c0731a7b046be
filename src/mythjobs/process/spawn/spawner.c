/* Spawner: threads that start programs without the interpreter's lock (native.py).
 *
 * A thread takes a request, appends the start record to the journal if there is one, starts the
 * program (child.c), waits a few milliseconds for its end if that is wanted (short_program.c), adds
 * the pidfd of a program that still runs to the event loop's epoll, and writes a reply to a pipe.
 */
#define _GNU_SOURCE
#include "child.h"
#include <errno.h>
#include <pthread.h>
#include <semaphore.h>
#include <signal.h>
#include <stddef.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/mman.h>
#include <time.h>
#include <unistd.h>

/* native_request.py encodes 64-bit pointers. Where they are shorter, this is not compiled, and the
 * spawn pool starts all programs. */
_Static_assert(offsetof(struct request, is_cancelled) == 16, "layout of native_request.py");

/* For native.py, which may be newer than this library. */
const int32_t spawner_sizes[2] = {sizeof(struct request), sizeof(struct reply)};

struct spawner;

struct worker {
    struct spawner *spawner;
    sem_t wake;
    struct request *request;
    struct worker *next; /* in the list of idle workers */
    char *stack;
};

/* A process has one for each event loop. After a fork, the child has none of the threads: it must
 * create a spawner of its own. */
struct spawner {
    pthread_mutex_t lock;
    /* The most recently idle worker is used next: its data is still in the CPU caches. */
    struct worker *idle;
    /* Requests that were submitted while no worker was idle. */
    struct request *backlog, **backlog_end;
    int workers, max_workers; /* changed by spawner_submit only, whose calls do not overlap */
    int blocks_sigchld;
    int epoll_fd, reply_fd, orphans_fd;
};

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

/* Start the program of a request; set the reply. */
static void start_program(struct worker *worker, struct start *start, struct reply *reply)
{
    const struct request *request = start->request;
    if (write_record(request, start->record)) {
        reply->error = errno;
        reply->step = 'w';
    } else if (request->is_cancelled) {
        reply->step = 'c';
    } else if (create_pipes(start, reply)) {
        reply->error = errno;
        reply->step = 'p';
    } else {
        reply->born_after_ms = now_ms(CLOCK_BOOTTIME);
        spawn_child(start, worker->stack, reply);
        reply->boot_ms = now_ms(CLOCK_BOOTTIME);
        reply->run_ms = now_ms(CLOCK_MONOTONIC);
        reply->wall_ms = now_ms(CLOCK_REALTIME);
    }
    close_pipes(start, reply);
}

static void serve(struct worker *worker)
{
    struct request *request = worker->request;
    struct spawner *spawner = worker->spawner;
    struct start start = {.request = request};
    struct reply reply = {.id = request->id, .pid = -1, .pidfd = -1, .pipes = {-1, -1}};
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
        start_program(worker, &start, &reply);
        free(pointers);
    }
    if (reply.pidfd >= 0 && request->wait_ms && spawner->orphans_fd >= 0)
        await_end(request, spawner->orphans_fd, &reply);
    event.data.u64 = 0;
    event.data.fd = reply.pidfd;
    if (reply.pidfd >= 0)
        reply.is_watched = !epoll_ctl(spawner->epoll_fd, EPOLL_CTL_ADD, reply.pidfd, &event);
    /* The request's memory may be gone from here on. */
    while (write(spawner->reply_fd, &reply, sizeof reply) < 0 && errno == EINTR)
        ;
}

static void *run_worker(void *argument)
{
    struct worker *worker = argument;
    struct spawner *spawner = worker->spawner;
    for (;;) {
        pthread_mutex_lock(&spawner->lock);
        if (spawner->backlog) {
            worker->request = spawner->backlog;
            spawner->backlog = spawner->backlog->next;
            if (!spawner->backlog)
                spawner->backlog_end = &spawner->backlog;
            pthread_mutex_unlock(&spawner->lock);
        } else {
            worker->next = spawner->idle;
            spawner->idle = worker;
            pthread_mutex_unlock(&spawner->lock);
            while (sem_wait(&worker->wake))
                ;
        }
        serve(worker);
    }
    return NULL;
}

/* Start one more thread. Returns 0, or -1 if memory or threads are lacking. */
static int add_worker(struct spawner *spawner)
{
    sigset_t all, before;
    pthread_t thread;
    struct worker *worker = calloc(1, sizeof *worker);
    char *stack = mmap(NULL, STACK_BYTES, PROT_READ | PROT_WRITE,
                       MAP_PRIVATE | MAP_ANONYMOUS | MAP_STACK, -1, 0);
    int failed = !worker || stack == MAP_FAILED;
    sigfillset(&all);
    /* A blocked signal is queued even if its action is to ignore it, and then wakes another thread. */
    if (!spawner->blocks_sigchld)
        sigdelset(&all, SIGCHLD);
    pthread_sigmask(SIG_SETMASK, &all, &before);
    if (!failed) {
        worker->spawner = spawner;
        worker->stack = stack;
        failed = sem_init(&worker->wake, 0, 0) ||
                 pthread_create(&thread, NULL, run_worker, worker);
    }
    pthread_sigmask(SIG_SETMASK, &before, NULL);
    if (failed) {
        if (stack != MAP_FAILED)
            munmap(stack, STACK_BYTES);
        free(worker);
        return -1;
    }
    pthread_detach(thread);
    spawner->workers++;
    return 0;
}

/* Create a spawner with `workers` threads, which spawner_submit increases up to `max_workers`.
 * epoll_fd: of the event loop. reply_fd: a pipe to it. orphans_fd: see await_end, or -1 to never
 * wait. Returns NULL if memory or threads are lacking. */
struct spawner *spawner_create(int workers, int max_workers, int blocks_sigchld, int epoll_fd,
                               int reply_fd, int orphans_fd)
{
    struct spawner *spawner = calloc(1, sizeof *spawner);
    if (!spawner)
        return NULL;
    pthread_mutex_init(&spawner->lock, NULL);
    spawner->backlog_end = &spawner->backlog;
    spawner->max_workers = max_workers;
    spawner->blocks_sigchld = blocks_sigchld;
    spawner->epoll_fd = epoll_fd;
    spawner->reply_fd = reply_fd;
    spawner->orphans_fd = orphans_fd;
    while (spawner->workers < workers)
        if (add_worker(spawner))
            /* Threads that have been started use the spawner. */
            return NULL;
    return spawner;
}

/* Have a thread serve the request. */
void spawner_submit(struct spawner *spawner, struct request *request)
{
    struct worker *worker;
    pthread_mutex_lock(&spawner->lock);
    worker = spawner->idle;
    if (worker) {
        spawner->idle = worker->next;
        worker->request = request;
    } else {
        *spawner->backlog_end = request;
        spawner->backlog_end = &request->next;
    }
    pthread_mutex_unlock(&spawner->lock);
    if (worker)
        sem_post(&worker->wake);
    else if (spawner->workers < spawner->max_workers)
        /* Without a new thread, a busy one takes the request later. */
        add_worker(spawner);
}
