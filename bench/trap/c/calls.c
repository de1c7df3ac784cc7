// calls measures single system calls, medians: bare, or under boxer run --interposer HOW. See
// docs/interposition.md.
#include <arpa/inet.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>
enum { CALLS = 5000, GROUP = 20, CONNECTS = 1000 };
static double times[CALLS];
static double now(void)
{
	struct timespec t;
	clock_gettime(CLOCK_MONOTONIC, &t);
	return t.tv_sec * 1e6 + t.tv_nsec / 1e3;
}
static int order(const void *a, const void *b)
{
	double x = *(const double *)a, y = *(const double *)b;
	return (x > y) - (x < y);
}
static void print(const char *what, int n)
{
	qsort(times, n, sizeof *times, order);
	printf("%-40s %8.3f us\n", what, times[n / 2]);
}
int main(void)
{
	struct sockaddr_in a = {.sin_family = AF_INET, .sin_addr = {htonl(INADDR_LOOPBACK)}}, to;
	socklen_t size = sizeof a;
	int listener = socket(AF_INET, SOCK_STREAM, 0), value;
	if (bind(listener, (void *)&a, size) || listen(listener, 5) || getsockname(listener, (void *)&a, &size)) {
		perror("listen");
		return 1;
	}
	for (int i = 0; i < CALLS; i++) {
		double start = now();
		size = sizeof to;
		getsockname(listener, (void *)&to, &size);
		times[i] = now() - start;
	}
	print("getsockname, answered", CALLS);
	for (int i = 0; i < CALLS; i++) {
		double start = now();
		for (int k = 0; k < GROUP; k++)
			syscall(SYS_getppid);
		times[i] = (now() - start) / GROUP;
	}
	print("getppid by syscall(3), not taken", CALLS);
	for (int i = 0; i < CALLS; i++) {
		double start = now();
		for (int k = 0; k < GROUP; k++) {
			size = sizeof value;
			getsockopt(listener, SOL_SOCKET, SO_SNDBUF, &value, &size);
		}
		times[i] = (now() - start) / GROUP;
	}
	print("getsockopt SO_SNDBUF, the supervisor asked", CALLS);
	static double accepts[CONNECTS];
	for (int i = 0; i < CONNECTS; i++) {
		int s = socket(AF_INET, SOCK_STREAM, 0);
		double start = now();
		if (connect(s, (void *)&a, sizeof a)) {
			perror("connect");
			return 1;
		}
		times[i] = now() - start;
		start = now();
		size = sizeof to;
		close(accept(listener, (void *)&to, &size));
		accepts[i] = now() - start;
		close(s);
	}
	print("connect, own node", CONNECTS);
	for (int i = 0; i < CONNECTS; i++)
		times[i] = accepts[i];
	print("accept and close, own node", CONNECTS);
}
