/* Start of one program for the spawner (child.c): the request, and its result. */
#ifndef MYTHJOBS_CHILD_H
#define MYTHJOBS_CHILD_H
#include <stdint.h>
#define STACK_BYTES (64 * 1024)

/* The caller's memory, which stays valid until the reply. After the struct follow `rlimits` times
 * three numbers (which, soft, hard), the record, and strings that end with NUL: the path of the
 * working directory (empty to inherit it), then `joins`, `files`, `args` and `variables` strings. */
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
    int32_t directory;             /* descriptor of the working directory, or -1 */
};

/* Times in ms: born_after on CLOCK_BOOTTIME before the start, then the three clocks after it.
 * step: 0 if the program runs; otherwise the failed step. */
struct reply {
    int64_t id, born_after_ms, boot_ms, run_ms, wall_ms;
    int32_t pid, pidfd, is_watched, error, step;
    int32_t unused;
};

/* One start. */
struct start {
    const struct request *request;
    const uint64_t *rlimits;
    const char *record, *directory;
    char **joins, **files, **args, **variables;
    /* The kernel has put the child into the first cgroup; it has reset the signal handlers. */
    int is_in_cgroup, has_no_handlers;
    volatile int error, step, is_ready;
};

/* Start the program; set the reply's pid and pidfd, or its step and error. stack: STACK_BYTES for
 * the child, until it executes the program. */
void spawn_child(struct start *start, char *stack, struct reply *reply);
#endif
