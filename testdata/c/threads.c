/* threads connects to an echo server from many threads at once, again and again, and prints
 * how many connections it had.
 *
 *   threads HOST PORT THREADS ROUNDS */
#define _GNU_SOURCE
#include <errno.h>
#include <netdb.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

static char *host, *port;
static int rounds;
static pthread_barrier_t start;

static void die(const char *what) {
	fprintf(stderr, "threads: %s: %s\n", what, strerror(errno));
	exit(1);
}

static void *run(void *arg) {
	pthread_barrier_wait(&start);
	for (int i = 0; i < rounds; i++) {
		struct addrinfo hints = {.ai_family = AF_INET, .ai_socktype = SOCK_STREAM}, *a;
		int err = getaddrinfo(host, port, &hints, &a);
		if (err != 0) {
			fprintf(stderr, "threads: %s: %s\n", host, gai_strerror(err));
			exit(1);
		}
		int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
		if (fd < 0 || connect(fd, a->ai_addr, a->ai_addrlen) != 0)
			die("connect");
		freeaddrinfo(a);
		char out[64], in[64];
		int len = snprintf(out, sizeof out, "thread %ld round %d", (long)arg, i), got = 0;
		if (write(fd, out, len) != len)
			die("write");
		while (got < len) {
			ssize_t n = read(fd, in + got, sizeof in - got);
			if (n <= 0)
				die("read");
			got += n;
		}
		if (memcmp(in, out, len) != 0) {
			fprintf(stderr, "threads: sent %.*s, got %.*s\n", len, out, len, in);
			exit(1);
		}
		close(fd);
	}
	return NULL;
}

int main(int argc, char **argv) {
	if (argc != 5) {
		fprintf(stderr, "usage: threads HOST PORT THREADS ROUNDS\n");
		return 64;
	}
	host = argv[1], port = argv[2], rounds = atoi(argv[4]);
	int n = atoi(argv[3]);
	pthread_t *t = calloc(n, sizeof *t);
	pthread_barrier_init(&start, NULL, n);
	for (long i = 0; i < n; i++)
		if ((errno = pthread_create(&t[i], NULL, run, (void *)i)) != 0)
			die("pthread_create");
	for (int i = 0; i < n; i++)
		pthread_join(t[i], NULL);
	printf("%d connections ok\n", n * rounds);
	return 0;
}
