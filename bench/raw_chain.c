// Baseline for the latency of mythjobs: the steps of a job in plain C.
//
// raw_chain PROGRAM STAMPS DIRECTORY runs once for each label read from stdin, and writes the label
// to stdout at the end. Three processes pass it on, as master, agent and reaper do: the first makes
// 32 KiB durable in a separate thread, the second writes a journal, the third starts
// `PROGRAM STAMPS LABEL` from a separate thread.
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <spawn.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

#define PAGES (8 * 4096)

static char **words, data[PAGES], message[512];
static int wanted, done, log_file;

static void check(int failed, const char *what)
{
	if (failed) {
		fprintf(stderr, "raw_chain: %s: %s\n", what, strerror(errno));
		exit(1);
	}
}

static int file(const char *name)
{
	char path[4096];
	int fd;

	snprintf(path, sizeof path, "%s/%s", words[3], name);
	fd = open(path, O_RDWR | O_CREAT | O_CLOEXEC, 0600);
	check(fd < 0, path);
	return fd;
}

static void *commit(void *nothing)
{
	for (eventfd_t count; !eventfd_read(wanted, &count); eventfd_write(done, 1)) {
		check(pwrite(log_file, data, PAGES, 0) != PAGES, "write");
		check(fdatasync(log_file), "fdatasync");
	}
	return nothing;
}

static void *spawn(void *nothing)
{
	posix_spawnattr_t attributes;
	posix_spawnattr_init(&attributes);
	posix_spawnattr_setflags(&attributes, POSIX_SPAWN_SETSID);
	for (eventfd_t count; !eventfd_read(wanted, &count); eventfd_write(done, 1)) {
		char *argv[] = {words[1], words[2], message, NULL}, *env[] = {NULL};
		int status;
		pid_t pid;

		errno = posix_spawn(&pid, words[1], NULL, &attributes, argv, env);
		check(errno, words[1]);
		check(waitpid(pid, &status, 0) < 0 || status, "the program");
	}
	return nothing;
}

// Start a process that passes on what it reads; `work`, if any, runs in a thread before that.
static void stage(int from, int to, void *(*work)(void *), int journal)
{
	eventfd_t count;
	pthread_t thread;

	if (fork())
		return;
	wanted = eventfd(0, EFD_CLOEXEC);
	done = eventfd(0, EFD_CLOEXEC);
	if (work)
		pthread_create(&thread, NULL, work, NULL);
	while (read(from, message, sizeof message) > 0) {
		if (journal >= 0)
			check(write(journal, message, 200) != 200, "write");
		if (work) {
			eventfd_write(wanted, 1);
			eventfd_read(done, &count);
		}
		check(write(to, message, sizeof message) < 0, "write");
		if (journal >= 0)
			check(fdatasync(journal), "fdatasync");
	}
	_exit(0);
}

int main(int argc, char **argv)
{
	int pairs[2][2];

	check(argc != 4, "usage: raw_chain PROGRAM STAMPS DIRECTORY");
	words = argv;
	log_file = file("raw-log");
	check(pwrite(log_file, data, PAGES, 0) != PAGES, "write");
	check(fsync(log_file), "fsync");
	for (int i = 0; i < 2; i++)
		check(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, pairs[i]), "socketpair");
	stage(0, pairs[0][0], commit, -1);
	stage(pairs[0][1], pairs[1][0], NULL, file("raw-journal"));
	stage(pairs[1][1], 1, spawn, -1);
	close(0);
	while (wait(NULL) > 0) {
		// The process that reads our input exits first, then the others.
		shutdown(pairs[0][0], SHUT_RDWR);
		shutdown(pairs[1][0], SHUT_RDWR);
	}
	return 0;
}
