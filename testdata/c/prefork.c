/* prefork is a server whose processes share one listening socket, as Apache's and
 * PostgreSQL's ancestors did: each accepts for itself.
 *
 *   prefork PORT WORKERS block|poll    prints "listening"
 *
 * Each client gets the line "worker N pid P" and is then served until it closes, so
 * that clients which stay meet different workers. With poll, the socket is
 * non-blocking, all workers wake for each client, and all but one get EAGAIN. */
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

static void die(const char *what) {
	fprintf(stderr, "prefork: %s: %s\n", what, strerror(errno));
	exit(1);
}

static void work(int l, int n, int polls) {
	prctl(PR_SET_PDEATHSIG, SIGKILL);
	for (;;) {
		if (polls) {
			struct pollfd p = {.fd = l, .events = POLLIN};
			if (poll(&p, 1, -1) < 0)
				die("poll");
		}
		struct sockaddr_storage ss;
		socklen_t len = sizeof ss;
		int fd = accept4(l, (struct sockaddr *)&ss, &len, SOCK_CLOEXEC);
		if (fd < 0 && (errno == EAGAIN || errno == ECONNABORTED))
			continue;
		if (fd < 0)
			die("accept4");
		char buf[4096];
		dprintf(fd, "worker %d pid %d\n", n, getpid());
		for (ssize_t r; (r = read(fd, buf, sizeof buf)) > 0;)
			if (write(fd, buf, r) != r)
				break;
		close(fd);
	}
}

int main(int argc, char **argv) {
	if (argc != 4) {
		fprintf(stderr, "usage: prefork PORT WORKERS block|poll\n");
		return 64;
	}
	int polls = strcmp(argv[3], "poll") == 0, one = 1;
	int l = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC | (polls ? SOCK_NONBLOCK : 0), 0);
	struct sockaddr_in a = {.sin_family = AF_INET, .sin_port = htons(atoi(argv[1]))};
	if (l < 0)
		die("socket");
	setsockopt(l, SOL_SOCKET, SO_REUSEADDR, &one, sizeof one);
	if (bind(l, (struct sockaddr *)&a, sizeof a) != 0 || listen(l, 128) != 0)
		die("listen");
	for (int i = 0; i < atoi(argv[2]); i++) {
		pid_t pid = fork();
		if (pid < 0)
			die("fork");
		if (pid == 0)
			work(l, i, polls);
	}
	printf("listening\n");
	fflush(stdout);
	int status;
	pid_t pid = wait(&status);
	fprintf(stderr, "prefork: worker %d ended: status %#x\n", pid, status);
	return 1;
}
