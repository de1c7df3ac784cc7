/* What the calls cost that send and receive messages, and those that make UDP sockets.
 *
 *   cc -O2 -pthread -o /tmp/messages bench/trap/c/messages.c
 *   /tmp/messages; boxer run -- /tmp/messages
 *
 * It prints the least of several turns, in microseconds: a round trip of 64 bytes between two threads, by
 * sendmsg(2) and recvmsg(2), and by send(2) and recv(2), over a Unix socketpair and over TCP of loopback;
 * socket(2) and close(2) of a UDP socket; getaddrinfo(3) of a name in /etc/hosts; and sending to oneself without
 * a thread's wake-up, which shows the cost of the calls alone.
 */
#define _GNU_SOURCE
#include <arpa/inet.h>
#include <netdb.h>
#include <netinet/tcp.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/uio.h>
#include <time.h>
#include <unistd.h>

enum { turns = 7, times = 3000, size = 64 };

static double now(void) {
	struct timespec t;
	clock_gettime(CLOCK_MONOTONIC, &t);
	return t.tv_sec * 1e6 + t.tv_nsec / 1e3;
}

static int by_message;

static void put(int fd) {
	char b[size] = {0};
	struct iovec v = {b, size};
	struct msghdr m = {.msg_iov = &v, .msg_iovlen = 1};
	if ((by_message ? sendmsg(fd, &m, MSG_NOSIGNAL) : send(fd, b, size, MSG_NOSIGNAL)) != size)
		perror("send"), exit(1);
}

/* As gRPC and D-Bus, with room for control messages. */
static int get(int fd) {
	char b[size], control[128];
	struct iovec v = {b, size};
	struct msghdr m = {.msg_iov = &v, .msg_iovlen = 1};
	if (by_message == 2)
		m.msg_control = control, m.msg_controllen = sizeof control;
	for (int got = 0; got < size;) {
		v = (struct iovec){b + got, size - got};
		long n = by_message ? recvmsg(fd, &m, 0) : recv(fd, b + got, size - got, 0);
		if (n <= 0)
			return 0;
		got += n;
	}
	return 1;
}

static void *echo(void *fd) {
	while (get(*(int *)fd))
		put(*(int *)fd);
	return NULL;
}

static void tcp_pair(int fds[2]) {
	struct sockaddr_in a = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
	socklen_t len = sizeof a;
	int l = socket(AF_INET, SOCK_STREAM, 0), one = 1;
	bind(l, (void *)&a, sizeof a);
	listen(l, 1);
	getsockname(l, (void *)&a, &len);
	fds[0] = socket(AF_INET, SOCK_STREAM, 0);
	if (connect(fds[0], (void *)&a, sizeof a))
		perror("connect"), exit(1);
	fds[1] = accept(l, NULL, NULL);
	close(l);
	for (int i = 0; i < 2; i++)
		setsockopt(fds[i], IPPROTO_TCP, TCP_NODELAY, &one, sizeof one);
}

static int rising(const void *a, const void *b) {
	double d = *(const double *)a - *(const double *)b;
	return d < 0 ? -1 : d > 0;
}

static void report(const char *what, void (*f)(void)) {
	double t[turns];
	for (int i = 0; i < turns; i++) {
		double begin = now();
		for (int k = 0; k < times; k++)
			f();
		t[i] = (now() - begin) / times;
	}
	qsort(t, turns, sizeof *t, rising);
	printf("%-44s %8.2f us\n", what, t[0]);
	fflush(stdout);
}

static int pair[2];
static void round_trip(void) { put(pair[0]), get(pair[0]); }
static void to_itself(void) { put(pair[0]), get(pair[1]); }
static void udp_socket(void) { close(socket(AF_INET, SOCK_DGRAM, 0)); }
static void look_up(void) {
	struct addrinfo hints = {.ai_family = AF_INET}, *r;
	if (getaddrinfo("localhost", "80", &hints, &r) == 0)
		freeaddrinfo(r);
}

int main(void) {
	static const char *ways[] = {"send, recv", "sendmsg, recvmsg", "sendmsg, recvmsg with room for control"};
	struct addrinfo *r;
	/* A lookup and a UDP socket, as nearly every program makes: then boxer has something to translate. */
	if (getaddrinfo("localhost", "80", NULL, &r) == 0)
		freeaddrinfo(r);
	int u = socket(AF_INET, SOCK_DGRAM, 0);
	struct sockaddr_in a = {.sin_family = AF_INET, .sin_port = htons(17171)};
	bind(u, (void *)&a, sizeof a);
	for (int tcp = 0; tcp < 2; tcp++)
		for (by_message = 0; by_message < 3; by_message++) {
			char what[128];
			tcp ? tcp_pair(pair) : socketpair(AF_UNIX, SOCK_STREAM, 0, pair);
			snprintf(what, sizeof what, "%s: %s, to itself", tcp ? "TCP" : "Unix", ways[by_message]);
			report(what, to_itself);
			pthread_t t;
			pthread_create(&t, NULL, echo, &pair[1]);
			snprintf(what, sizeof what, "%s: %s, round trip", tcp ? "TCP" : "Unix", ways[by_message]);
			report(what, round_trip);
			shutdown(pair[0], SHUT_RDWR);
			pthread_join(t, NULL);
			close(pair[0]), close(pair[1]);
		}
	report("socket of UDP, close", udp_socket);
	report("getaddrinfo of localhost", look_up);
	return 0;
}
