/* Appender: a thread that writes records to a journal and syncs it, without the interpreter's lock
 * (native_append.py). It serves one append at a time.
 */
#define _GNU_SOURCE
#include <errno.h>
#include <pthread.h>
#include <semaphore.h>
#include <signal.h>
#include <stdint.h>
#include <stdlib.h>
#include <unistd.h>

/* The caller's memory, which stays valid until is_done. After the struct follow the bytes. */
struct append {
    int32_t fd, bytes;
    int32_t wants_sync;
    int32_t written; /* number of bytes that were written */
    int32_t error;   /* errno of the write or the sync that failed, or 0 */
    volatile int32_t is_done;
};

/* For native_append.py, which may be newer than this library. */
const int32_t appender_sizes[1] = {sizeof(struct append)};

struct appender {
    pthread_mutex_t lock;
    pthread_cond_t done;
    sem_t wake;
    struct append *current;
    int eventfd;
};

static void serve(struct append *append)
{
    const char *data = (const char *)(append + 1);
    while (append->written < append->bytes) {
        ssize_t part = write(append->fd, data + append->written, append->bytes - append->written);
        if (part < 0 && errno == EINTR)
            continue;
        if (part < 0) {
            append->error = errno;
            return;
        }
        append->written += part;
    }
    if (append->wants_sync && fdatasync(append->fd))
        append->error = errno;
}

static void *run_appender(void *argument)
{
    struct appender *appender = argument;
    const uint64_t one = 1;
    for (;;) {
        while (sem_wait(&appender->wake))
            ;
        serve(appender->current);
        pthread_mutex_lock(&appender->lock);
        appender->current->is_done = 1;
        appender->current = NULL;
        pthread_cond_broadcast(&appender->done);
        pthread_mutex_unlock(&appender->lock);
        while (write(appender->eventfd, &one, sizeof one) < 0 && errno == EINTR)
            ;
    }
    return NULL;
}

/* Start a thread, which adds 1 to the eventfd after each append. Returns NULL if memory or threads
 * are lacking. */
struct appender *appender_start(int eventfd)
{
    struct appender *appender = calloc(1, sizeof *appender);
    sigset_t all, before;
    pthread_t thread;
    int failed = !appender;
    if (appender) {
        appender->eventfd = eventfd;
        sigfillset(&all);
        pthread_sigmask(SIG_SETMASK, &all, &before);
        failed = pthread_mutex_init(&appender->lock, NULL) ||
                 pthread_cond_init(&appender->done, NULL) || sem_init(&appender->wake, 0, 0) ||
                 pthread_create(&thread, NULL, run_appender, appender);
        pthread_sigmask(SIG_SETMASK, &before, NULL);
    }
    return failed ? NULL : appender;
}

/* Have the thread serve the append. No other may be in progress. */
void appender_submit(struct appender *appender, struct append *append)
{
    pthread_mutex_lock(&appender->lock);
    appender->current = append;
    pthread_mutex_unlock(&appender->lock);
    sem_post(&appender->wake);
}

/* Wait until no append is in progress. */
void appender_wait(struct appender *appender)
{
    pthread_mutex_lock(&appender->lock);
    while (appender->current)
        pthread_cond_wait(&appender->done, &appender->lock);
    pthread_mutex_unlock(&appender->lock);
}
