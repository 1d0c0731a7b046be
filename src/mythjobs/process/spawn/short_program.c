/* Output pipes of a program, and the end of a program that runs for a few milliseconds only.
 *
 * Most of the cost of such a program was in Python, which registered its pipes and its pidfd, was
 * woken by its exit, and made a dozen system calls: 0.1 of 0.36 ms of CPU time. The thread that has
 * started it waits instead, and hands it over to the event loop if it runs longer.
 */
#define _GNU_SOURCE
#include "child.h"
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <unistd.h>
/* Longest wait for end of file of each pipe after the program's end: a program that another thread is
 * starting has a copy of the pipe until its exec. */
#define EOF_WAIT_MS 5

int create_pipes(struct start *start, struct reply *reply)
{
    int count = start->request->pipes, ends[2];
    memcpy(start->streams, start->request->streams, sizeof start->streams);
    for (int i = 0; i < count; i++) {
        if (pipe2(ends, O_CLOEXEC))
            return -1;
        reply->pipes[i] = ends[0];
        start->streams[i + 1] = ends[1];
        if (fcntl(ends[0], F_SETFL, O_NONBLOCK))
            return -1;
    }
    if (count == 1)
        start->streams[2] = start->streams[1];
    return 0;
}

void close_pipes(const struct start *start, struct reply *reply)
{
    for (int i = 0; i < MAX_PIPES && reply->pipes[i] >= 0; i++) {
        close(start->streams[i + 1]);
        if (reply->pid < 0) {
            close(reply->pipes[i]);
            reply->pipes[i] = -1;
        }
    }
}

/* Return whether processes that the program has started may be left, dead or alive. */
static int has_descendants(const struct request *request, int orphans)
{
    char text[256];
    ssize_t size = pread(orphans, text, sizeof text, 0);
    if (size)
        return 1;
    if (request->events < 0)
        return 0;
    size = pread(request->events, text, sizeof text - 1, 0);
    text[size < 0 ? 0 : size] = 0;
    return !strstr(text, "populated 0");
}

/* Read a pipe up to end of file, which sets *fd to -1, or until the memory is full or EOF_WAIT_MS
 * have passed. Returns the number of bytes.
 *
 * It waits once only: more output after the program's end comes from a process to which the program
 * has passed the pipe, and which may write for as long as it likes. */
static int read_pipe(int32_t *fd, char *memory, int size)
{
    int done = 0, has_waited = 0;
    while (done < size) {
        ssize_t part = read(*fd, memory + done, size - done);
        struct pollfd pipe = {*fd, POLLIN, 0};
        if (!part) {
            close(*fd);
            *fd = -1;
            break;
        }
        if (part > 0)
            done += part;
        else if (errno != EAGAIN || has_waited++ || poll(&pipe, 1, EOF_WAIT_MS) <= 0)
            break;
    }
    return done;
}

void await_end(struct request *request, int orphans, struct reply *reply)
{
    struct pollfd leader = {reply->pidfd, POLLIN, 0};
    char *memory = (char *)request + request->output_at;
    int left = request->output_bytes, status;
    struct rusage usage;
    if (poll(&leader, 1, request->wait_ms) != 1 || has_descendants(request, orphans))
        return;
    /* 0 if a debugger traces the program and has not waited for it. */
    if (wait4(reply->pid, &status, WNOHANG, &usage) != reply->pid)
        return;
    close(reply->pidfd);
    reply->pidfd = -1;
    reply->is_ended = 1;
    reply->status = status;
    reply->user_us = usage.ru_utime.tv_sec * 1000000LL + usage.ru_utime.tv_usec;
    reply->system_us = usage.ru_stime.tv_sec * 1000000LL + usage.ru_stime.tv_usec;
    reply->max_rss_kib = usage.ru_maxrss;
    reply->read_blocks = usage.ru_inblock;
    reply->written_blocks = usage.ru_oublock;
    reply->switches = usage.ru_nvcsw + usage.ru_nivcsw;
    for (int i = 0; i < request->pipes; i++) {
        reply->output[i] = read_pipe(&reply->pipes[i], memory, left);
        memory += reply->output[i];
        left -= reply->output[i];
    }
}
