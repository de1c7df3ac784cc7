/* spawn connects to an echo server from children made in every way that Linux has, one after
 * the other, and prints "WAY ok" for each.
 *
 *   spawn HOST PORT
 *
 * Of itself it starts "spawn HOST PORT child", which makes a connection, and "spawn HOST
 * PORT inherited", which goes on with the one that it finds as its fd 9. */
#define _GNU_SOURCE
#include <errno.h>
#include <netdb.h>
#include <sched.h>
#include <spawn.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

extern char **environ;
static char *host, *port;

static int dial(void) {
	struct addrinfo hints = {.ai_family = AF_INET, .ai_socktype = SOCK_STREAM}, *a;
	int err = getaddrinfo(host, port, &hints, &a);
	if (err != 0) {
		fprintf(stderr, "spawn: %s: %s\n", host, gai_strerror(err));
		return -1;
	}
	int fd = socket(AF_INET, SOCK_STREAM, 0);
	if (connect(fd, a->ai_addr, a->ai_addrlen) != 0) {
		fprintf(stderr, "spawn: connect: %s\n", strerror(errno));
		return -1;
	}
	freeaddrinfo(a);
	return fd;
}

static int echo(int fd, const char *text) {
	char buf[64];
	size_t len = strlen(text), got = 0;
	if (write(fd, text, len) != (ssize_t)len)
		return perror("spawn: write"), 1;
	while (got < len) {
		ssize_t n = read(fd, buf + got, sizeof buf - got);
		if (n <= 0)
			return perror("spawn: read"), 1;
		got += n;
	}
	return memcmp(buf, text, len) != 0;
}

static int talk(const char *text) {
	int fd = dial();
	if (fd < 0)
		return 1;
	int bad = echo(fd, text);
	close(fd);
	return bad;
}

static void report(const char *way, pid_t pid) {
	int status;
	if (pid < 0 || waitpid(pid, &status, 0) != pid || status != 0) {
		fprintf(stderr, "spawn: %s: pid %d, status %#x\n", way, pid, status);
		exit(1);
	}
	printf("%s ok\n", way);
	fflush(stdout);
}

int main(int argc, char **argv) {
	if (argc < 3) {
		fprintf(stderr, "usage: spawn HOST PORT\n");
		return 64;
	}
	host = argv[1], port = argv[2];
	if (argc == 4)
		return strcmp(argv[3], "inherited") == 0 ? echo(9, "inherited") : talk("child");
	char *self[] = {"/proc/self/exe", host, port, "child", NULL};
	char *inherit[] = {"/proc/self/exe", host, port, "inherited", NULL};
	pid_t pid;

	if (talk("self") != 0)
		return 1;
	printf("self ok\n");
	fflush(stdout);
	if ((pid = fork()) == 0)
		_exit(talk("fork"));
	report("fork", pid);
	if ((pid = fork()) == 0) {
		execv(self[0], self);
		_exit(127);
	}
	report("exec", pid);
	if ((pid = vfork()) == 0) {
		execv(self[0], self);
		_exit(127);
	}
	report("vfork", pid);
	if (posix_spawn(&pid, self[0], NULL, NULL, self, environ) != 0)
		pid = -1;
	report("posix_spawn", pid);
	/* A grandchild whose parent is gone. */
	int done[2];
	char byte = 1;
	if (pipe(done) != 0)
		return 1;
	if ((pid = fork()) == 0) {
		if (fork() == 0) {
			byte = talk("orphan");
			_exit(write(done[1], &byte, 1) != 1);
		}
		_exit(0);
	}
	close(done[1]);
	if (read(done[0], &byte, 1) != 1 || byte != 0)
		return 1;
	report("orphan", pid);
	/* A connection that outlives exec in another process. */
	int fd = dial();
	if (fd < 0 || echo(fd, "before") != 0 || dup2(fd, 9) != 9)
		return 1;
	if ((pid = fork()) == 0) {
		execv(inherit[0], inherit);
		_exit(127);
	}
	report("inherited", pid);
	if (echo(fd, "after") != 0)
		return 1;
	printf("after ok\n");
	return 0;
}
