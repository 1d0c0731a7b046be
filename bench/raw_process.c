// Baseline of process_bench.py: children started and watched by one thread in plain C.
//
// raw_process JOBS IN_FLIGHT runs /bin/true JOBS times, IN_FLIGHT at once, and prints jobs per
// second. Each is started by posix_spawn in its own session, stdin from /dev/null, stdout and
// stderr in two pipes that epoll watches and that are read to their end, and is reaped with
// wait4 once its pidfd is readable.
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <spawn.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/resource.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#define MOST 256
#define PROGRAM "/bin/true"

struct job {
	pid_t pid;
	int fds[3]; // pidfd, stdout, stderr; -1 once closed
	int left;
};

static struct job jobs[MOST];
static int nothing, poll_fd;
static posix_spawnattr_t attributes;

static void fail(const char *what, int error)
{
	fprintf(stderr, "raw_process: %s: %s\n", what, strerror(error));
	exit(1);
}

static double now_s(void)
{
	struct timespec now;
	clock_gettime(CLOCK_MONOTONIC, &now);
	return now.tv_sec + now.tv_nsec / 1e9;
}

static void watch(int slot, int which)
{
	struct epoll_event event = {.events = EPOLLIN, .data.u32 = slot * 3 + which};
	if (epoll_ctl(poll_fd, EPOLL_CTL_ADD, jobs[slot].fds[which], &event) < 0)
		fail("epoll_ctl", errno);
}

static void start(int slot)
{
	char *argv[] = {PROGRAM, NULL};
	char *env[] = {"PATH=/usr/bin:/bin", NULL};
	posix_spawn_file_actions_t actions;
	struct job *job = &jobs[slot];
	int out[2], err[2], error;

	if (pipe2(out, O_CLOEXEC | O_NONBLOCK) < 0 || pipe2(err, O_CLOEXEC | O_NONBLOCK) < 0)
		fail("pipe2", errno);
	posix_spawn_file_actions_init(&actions);
	posix_spawn_file_actions_adddup2(&actions, nothing, 0);
	posix_spawn_file_actions_adddup2(&actions, out[1], 1);
	posix_spawn_file_actions_adddup2(&actions, err[1], 2);
	error = posix_spawn(&job->pid, PROGRAM, &actions, &attributes, argv, env);
	if (error)
		fail(PROGRAM, error);
	posix_spawn_file_actions_destroy(&actions);
	close(out[1]);
	close(err[1]);
	job->fds[0] = syscall(SYS_pidfd_open, job->pid, 0);
	if (job->fds[0] < 0)
		fail("pidfd_open", errno);
	job->fds[1] = out[0];
	job->fds[2] = err[0];
	job->left = 3;
	for (int i = 0; i < 3; i++)
		watch(slot, i);
}

static void forget(struct job *job, int which)
{
	// Before close(): a child before its exec still holds a copy of the descriptor.
	epoll_ctl(poll_fd, EPOLL_CTL_DEL, job->fds[which], NULL);
	close(job->fds[which]);
	job->fds[which] = -1;
	job->left--;
}

// Return whether the job has ended with this event.
static int read_event(struct job *job, int which)
{
	char buffer[65536];
	struct rusage usage;
	ssize_t count;
	int status;

	if (job->fds[which] < 0)
		return 0;
	if (which == 0) {
		if (wait4(job->pid, &status, 0, &usage) < 0)
			fail("wait4", errno);
		if (!WIFEXITED(status) || WEXITSTATUS(status) != 0) {
			fprintf(stderr, "raw_process: " PROGRAM " did not exit with 0\n");
			exit(1);
		}
	} else {
		while ((count = read(job->fds[which], buffer, sizeof buffer)) > 0)
			;
		if (count < 0)
			return 0;
	}
	forget(job, which);
	return job->left == 0;
}

int main(int argc, char **argv)
{
	long wanted = argc == 3 ? atol(argv[1]) : 0, in_flight = argc == 3 ? atol(argv[2]) : 0;
	struct epoll_event events[MOST];
	long started = 0, over = 0;
	double began;

	if (wanted < 1 || in_flight < 1 || in_flight > MOST) {
		fprintf(stderr, "usage: raw_process JOBS IN_FLIGHT\n");
		return 2;
	}
	nothing = open("/dev/null", O_RDONLY | O_CLOEXEC);
	poll_fd = epoll_create1(EPOLL_CLOEXEC);
	posix_spawnattr_init(&attributes);
	posix_spawnattr_setflags(&attributes, POSIX_SPAWN_SETSID);

	began = now_s();
	while (started < in_flight && started < wanted)
		start(started++);
	while (over < wanted) {
		int count = epoll_wait(poll_fd, events, MOST, -1);
		for (int i = 0; i < count; i++) {
			int slot = events[i].data.u32 / 3;
			if (!read_event(&jobs[slot], events[i].data.u32 % 3))
				continue;
			over++;
			if (started < wanted) {
				start(slot);
				started++;
			}
		}
	}
	printf("%.1f\n", wanted / (now_s() - began));
	return 0;
}
