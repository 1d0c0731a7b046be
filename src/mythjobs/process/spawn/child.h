/* Start of one program for the spawner (child.c): the request, and its result. */
#ifndef MYTHJOBS_CHILD_H
#define MYTHJOBS_CHILD_H
#include <stdint.h>
#define STACK_BYTES (64 * 1024)
#define MAX_PIPES 2

/* The caller's memory, which stays valid until the reply. After the struct follow `rlimits` times
 * three numbers (which, soft, hard), the record, and strings that end with NUL: the path of the
 * working directory (empty to inherit it), then `joins`, `files`, `args` and `variables` strings. */
struct request {
    int64_t id;
    struct request *next; /* NULL; used while the request waits */
    volatile int32_t is_cancelled;
    int32_t journal, record_bytes; /* descriptor, and length of the record; 0 for no record */
    int32_t streams[3];            /* descriptors above 2 that become 0, 1 and 2 */
    int32_t pipes;                 /* output pipes to create: 0; 1 for stdout and stderr; or 2 */
    int32_t umask, nice, ioprio;   /* umask and ioprio: -1 to inherit */
    int32_t cgroup;                /* directory of the cgroup whose cgroup.procs is the first join */
    int32_t joins;                 /* cgroup.procs files of the cgroups to join */
    int32_t rlimits;
    int32_t files;                 /* paths of the program, to be tried in this order */
    int32_t args, variables;
    int32_t directory;             /* descriptor of the working directory, or -1 */
    /* Only with pipes: the time to wait for the end of the program, 0 for none; cgroup.events of its
     * cgroup, or -1; and the offset and length of memory for its output. */
    int32_t wait_ms, events, output_at, output_bytes;
    int32_t unused;
};

/* Times in ms: born_after on CLOCK_BOOTTIME before the start, then the three clocks after it.
 * step: 0 if the program was started; otherwise the failed step.
 *
 * is_ended: the program has ended and is reaped; `status` and the usage are from wait4(2), `output`
 * has the number of bytes that were read from each pipe. */
struct reply {
    int64_t id, born_after_ms, boot_ms, run_ms, wall_ms;
    int64_t user_us, system_us, max_rss_kib, read_blocks, written_blocks, switches;
    int32_t pid, pidfd, is_watched, error, step;
    int32_t pipes[MAX_PIPES]; /* read ends; -1 for none, or if it is closed after end of file */
    int32_t is_ended, status;
    int32_t output[MAX_PIPES];
    int32_t unused;
};

/* One start. */
struct start {
    const struct request *request;
    const uint64_t *rlimits;
    const char *record, *directory;
    char **joins, **files, **args, **variables;
    int streams[3];
    /* The kernel has put the child into the first cgroup; it has reset the signal handlers. */
    int is_in_cgroup, has_no_handlers;
    volatile int error, step, is_ready;
};

/* A host program or a preloaded library may have functions with these names, which the dynamic
 * linker would prefer. */
#pragma GCC visibility push(hidden)

/* Start the program; set the reply's pid and pidfd, or its step and error. stack: STACK_BYTES for
 * the child, until it executes the program. */
void spawn_child(struct start *start, char *stack, struct reply *reply);

/* Create the pipes; set the reply's `pipes`, and the start's `streams` to their write ends. Returns
 * 0, or -1 with errno. */
int create_pipes(struct start *start, struct reply *reply);

/* Close the write ends, which only the program needs; if it was not started, the read ends, too. */
void close_pipes(const struct start *start, struct reply *reply);

/* Wait for the end of the program for at most the request's time. If it ends and leaves nothing
 * behind, reap it and read its output. orphans: /proc/self/task/TID/children of the thread whose
 * children the orphans of all programs become, or -1. */
void await_end(struct request *request, int orphans, struct reply *reply);

#pragma GCC visibility pop
#endif
