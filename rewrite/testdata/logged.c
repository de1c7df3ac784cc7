// logged: calls that are logged, on two threads, with a signal handler that makes some, too.
#define _GNU_SOURCE
#include <fcntl.h>
#include <pthread.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <sys/time.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>
enum { CALLS = 20000 };
static void handler(int s)
{
	(void)s;
	syscall(SYS_getppid);
}
static void *many(void *arg)
{
	pid_t parent = getppid();
	for (int i = 0; i < CALLS; i++)
		if (syscall(SYS_getppid) != parent)
			_exit(9);
	return arg;
}
int main(void)
{
	int pair[2];
	char buf[2000], *end = (char *)mmap(0, 8192, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0) + 4096;
	munmap(end, 4096);
	strcpy(end - 6, "/nope");
	if (open(end - 6, O_RDONLY) >= 0 || open((char *)1, O_RDONLY) >= 0)
		return 1;
	socketpair(AF_UNIX, SOCK_STREAM, 0, pair);
	memset(buf, 'x', sizeof buf);
	memcpy(buf, "question", 8);
	if (send(pair[0], buf, sizeof buf, 0) != sizeof buf)
		return 2;
	memset(buf, 0, sizeof buf);
	if (recv(pair[1], buf, sizeof buf, 0) != sizeof buf || memcmp(buf, "question", 8))
		return 3;
	struct timespec t = {0, 300000000};
	if (clock_nanosleep(CLOCK_MONOTONIC, 0, &t, 0))
		return 4;
	struct sigaction a = {.sa_handler = handler, .sa_flags = SA_RESTART};
	sigaction(SIGALRM, &a, 0);
	struct itimerval timer = {{0, 500}, {0, 500}};
	setitimer(ITIMER_REAL, &timer, 0);
	pthread_t other;
	pthread_create(&other, 0, many, 0);
	many(0);
	pthread_join(other, 0);
	memset(&timer, 0, sizeof timer);
	setitimer(ITIMER_REAL, &timer, 0);
	pid_t p = fork();
	if (p == 0) {
		many(0);
		_exit(7);
	}
	int status;
	if (waitpid(p, &status, 0) != p || status != 7 << 8)
		return 5;
	puts("done");
}
