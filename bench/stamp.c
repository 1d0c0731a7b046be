// stamp FILE LABEL appends "LABEL NS\n" to FILE, with the CLOCK_MONOTONIC time of its start.
// The time is taken after exec and dynamic linking, which count as part of the start.
#define _GNU_SOURCE
#include <fcntl.h>
#include <stdio.h>
#include <time.h>
#include <unistd.h>

int main(int argc, char **argv)
{
	struct timespec now;
	char line[256];
	int fd, length;

	clock_gettime(CLOCK_MONOTONIC, &now);
	if (argc != 3)
		return 2;
	length = snprintf(line, sizeof line, "%s %lld\n", argv[2],
			  now.tv_sec * 1000000000LL + now.tv_nsec);
	fd = open(argv[1], O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC, 0600);
	return fd < 0 || write(fd, line, length) != length;
}
