/* tcp is an echo server and its client over blocking sockets: getaddrinfo(3), bind,
 * listen, accept, connect, getsockname, getpeername, shutdown.
 *
 *   tcp server PORT               prints "listening", then one line for each client
 *   tcp client HOST PORT BYTES    sends, compares what comes back, prints both addresses
 *
 * The tests build it with musl-gcc -static: no libc of the host, no dynamic linker. */
#define _GNU_SOURCE
#include <errno.h>
#include <netdb.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

static void die(const char *what) {
	fprintf(stderr, "tcp: %s: %s\n", what, strerror(errno));
	exit(1);
}

static void print_name(const char *what, int (*f)(int, struct sockaddr *, socklen_t *), int fd) {
	struct sockaddr_storage ss;
	socklen_t len = sizeof ss;
	char host[64], port[8];
	if (f(fd, (struct sockaddr *)&ss, &len) != 0)
		die(what);
	if (getnameinfo((struct sockaddr *)&ss, len, host, sizeof host, port, sizeof port,
			NI_NUMERICHOST | NI_NUMERICSERV) != 0)
		die("getnameinfo");
	printf("%s %s %s ", what, host, port);
}

static struct addrinfo *lookup(const char *host, const char *port, int flags) {
	struct addrinfo hints = {.ai_family = AF_INET, .ai_socktype = SOCK_STREAM, .ai_flags = flags}, *list;
	int err = getaddrinfo(host, port, &hints, &list);
	if (err != 0) {
		fprintf(stderr, "tcp: %s: %s\n", host ? host : port, gai_strerror(err));
		exit(2);
	}
	return list;
}

static _Noreturn void server(const char *port) {
	struct addrinfo *a = lookup(NULL, port, AI_PASSIVE);
	int one = 1, l = socket(a->ai_family, a->ai_socktype, a->ai_protocol);
	if (l < 0)
		die("socket");
	setsockopt(l, SOL_SOCKET, SO_REUSEADDR, &one, sizeof one);
	if (bind(l, a->ai_addr, a->ai_addrlen) != 0)
		die("bind");
	if (listen(l, 16) != 0)
		die("listen");
	printf("listening\n");
	fflush(stdout);
	for (;;) {
		struct sockaddr_storage ss;
		socklen_t len = sizeof ss;
		int fd = accept(l, (struct sockaddr *)&ss, &len);
		if (fd < 0)
			die("accept");
		char host[64], buf[65536];
		if (getnameinfo((struct sockaddr *)&ss, len, host, sizeof host, NULL, 0, NI_NUMERICHOST) != 0)
			die("getnameinfo");
		printf("client %s ", host);
		print_name("peer", getpeername, fd);
		print_name("self", getsockname, fd);
		printf("\n");
		fflush(stdout);
		for (ssize_t n; (n = read(fd, buf, sizeof buf)) > 0;)
			for (ssize_t done = 0, w; done < n; done += w)
				if ((w = write(fd, buf + done, n - done)) < 0)
					die("write");
		close(fd);
	}
}

static unsigned char byte_at(size_t i) { return (i * 2654435761u) >> 13; }

static int client(const char *host, const char *port, size_t total) {
	int fd = -1;
	for (struct addrinfo *a = lookup(host, port, 0); a; a = a->ai_next) {
		fd = socket(a->ai_family, a->ai_socktype, a->ai_protocol);
		if (fd >= 0 && connect(fd, a->ai_addr, a->ai_addrlen) == 0)
			break;
		if (!a->ai_next)
			die("connect");
		close(fd);
	}
	print_name("peer", getpeername, fd);
	print_name("self", getsockname, fd);
	size_t sent = 0, got = 0;
	unsigned char buf[65536];
	for (;;) {
		struct pollfd p = {.fd = fd, .events = POLLIN | (sent < total ? POLLOUT : 0)};
		if (poll(&p, 1, 30000) <= 0) {
			fprintf(stderr, "tcp: stuck after %zu bytes out, %zu in\n", sent, got);
			return 1;
		}
		if (p.revents & POLLOUT) {
			size_t n = total - sent < sizeof buf ? total - sent : sizeof buf;
			for (size_t i = 0; i < n; i++)
				buf[i] = byte_at(sent + i);
			ssize_t w = send(fd, buf, n, MSG_DONTWAIT | MSG_NOSIGNAL);
			if (w < 0 && errno != EAGAIN)
				die("send");
			if (w > 0 && (sent += w) == total && shutdown(fd, SHUT_WR) != 0)
				die("shutdown");
		}
		if (p.revents & (POLLIN | POLLHUP | POLLERR)) {
			ssize_t n = read(fd, buf, sizeof buf);
			if (n < 0)
				die("read");
			if (n == 0)
				break;
			for (ssize_t i = 0; i < n; i++)
				if (buf[i] != byte_at(got + i)) {
					fprintf(stderr, "tcp: byte %zu differs\n", got + i);
					return 1;
				}
			got += n;
		}
	}
	if (got != total) {
		fprintf(stderr, "tcp: %zu of %zu bytes came back\n", got, total);
		return 1;
	}
	printf("echoed %zu\n", total);
	return 0;
}

int main(int argc, char **argv) {
	if (argc == 3 && strcmp(argv[1], "server") == 0)
		server(argv[2]);
	if (argc == 5 && strcmp(argv[1], "client") == 0)
		return client(argv[2], argv[3], strtoul(argv[4], NULL, 10));
	fprintf(stderr, "usage: tcp server PORT | tcp client HOST PORT BYTES\n");
	return 64;
}
