// hammer SECONDS: threads that call, are interrupted, fork, spawn and end, all at once.
#define _GNU_SOURCE
#include <arpa/inet.h>
#include <errno.h>
#include <netinet/in.h>
#include <pthread.h>
#include <signal.h>
#include <spawn.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/time.h>
#include <sys/utsname.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>
extern char **environ;
enum { CALLERS = 6 };
static volatile int over;
static char *self;
static void fail(const char *what)
{
	fprintf(stderr, "%s: %s\n", what, strerror(errno));
	_exit(1);
}
static void ask(void)
{
	struct utsname u;
	memset(&u, 0, sizeof u);
	if (uname(&u) || strcmp(u.sysname, "Linux"))
		fail("uname");
}
static void handler(int s)
{
	int old = errno;
	(void)s;
	ask();
	errno = old;
}
static void *caller(void *n)
{
	while (!over) {
		ask();
		int s = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
		if (s < 0)
			fail("socket");
		struct sockaddr_in a = {.sin_family = AF_INET, .sin_addr = {htonl(INADDR_LOOPBACK)}};
		socklen_t len = sizeof a;
		if (bind(s, (void *)&a, len) || listen(s, 4) || getsockname(s, (void *)&a, &len) || !a.sin_port)
			fail("listen");
		int c = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
		while (connect(c, (void *)&a, len))
			if (errno == EISCONN)
				break;
			else if (errno != EINTR && errno != EALREADY)
				fail("connect");
		int d = accept4(s, (void *)&a, &len, SOCK_CLOEXEC);
		if (d < 0)
			fail("accept");
		close(d), close(c), close(s);
	}
	return n;
}
static void *once(void *n)
{
	ask();
	return n;
}
static void *maker(void *n)
{
	while (!over) {
		pthread_t t;
		if ((errno = pthread_create(&t, 0, once, 0)))
			fail("pthread_create");
		pthread_join(t, 0);
	}
	return n;
}
static void *forker(void *n)
{
	while (!over) {
		pid_t p = fork();
		if (p == 0) {
			ask();
			_exit(7);
		}
		int status;
		if (p < 0 || waitpid(p, &status, 0) != p || status != 7 << 8)
			fail("fork");
	}
	return n;
}
static void *spawner(void *n)
{
	while (!over) {
		pid_t p;
		char *argv[] = {self, 0};
		int status;
		if ((errno = posix_spawn(&p, self, 0, 0, argv, environ)) || waitpid(p, &status, 0) != p || status != 9 << 8)
			fail("posix_spawn");
	}
	return n;
}
// killed starts processes that are killed in the middle of calls.
static void *killed(void *n)
{
	while (!over) {
		pid_t p = fork();
		if (p == 0)
			for (;;)
				ask();
		usleep(500);
		kill(p, SIGKILL);
		waitpid(p, 0, 0);
	}
	return n;
}
int main(int argc, char **argv)
{
	if (argc == 1) {
		ask();
		return 9;
	}
	self = "/proc/self/exe";
	struct sigaction a = {.sa_handler = handler, .sa_flags = SA_RESTART};
	sigaction(SIGALRM, &a, 0);
	struct itimerval t = {{0, 700}, {0, 700}};
	setitimer(ITIMER_REAL, &t, 0);
	void *(*work[])(void *) = {maker, forker, spawner, killed};
	pthread_t threads[CALLERS + 4];
	for (int i = 0; i < CALLERS + 4; i++)
		pthread_create(&threads[i], 0, i < CALLERS ? caller : work[i - CALLERS], 0);
	struct timespec start, now;
	clock_gettime(CLOCK_MONOTONIC, &start);
	do {
		usleep(10000);
		clock_gettime(CLOCK_MONOTONIC, &now);
	} while (now.tv_sec - start.tv_sec < atoi(argv[1]));
	over = 1;
	for (int i = 0; i < CALLERS + 4; i++)
		pthread_join(threads[i], 0);
	return 0;
}
