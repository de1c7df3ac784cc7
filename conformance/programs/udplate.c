/* UDP on localhost: clients whose servers come later or are replaced, and many pairs. */
#include "udp.h"

/* heard tells what of three datagrams of a connected client comes to its server. */
static void heard(int client, int fd) {
	struct timeval tv = {0, 300000};
	setsockopt(fd, SOL_SOCKET, SO_RCVTIMEO, &tv, sizeof tv);
	for (int i = 0; i < 3; i++) {
		give(client, "hello");
		take(fd);
	}
}

/* The server of a connected client starts after it, or is followed by another one. */
static void late(void) {
	if (server)
		return meet();
	in4 one = local(port), all = any(port);
	in4 *firsts[] = {NULL, NULL, &one, &one, &all, &all}, *seconds[] = {&one, &all, &one, &all, &one, &all};
	for (int i = 0; i < 6; i++) {
		int fd = -1, client = udp();
		if (firsts[i]) {
			fd = udp();
			result("bind", bind(fd, SA(*firsts[i])));
		}
		result("connect", connect(client, SA(one)));
		peername(client);
		if (fd >= 0)
			close(fd);
		give(client, "to nobody");
		await(client, POLLERR, wait_ms);
		so_error(client);
		fd = udp();
		result("bind", bind(fd, SA(*seconds[i])));
		heard(client, fd);
		peername(client);
		connect(fd, (void *)&(struct sockaddr){.sa_family = AF_UNSPEC}, sizeof(struct sockaddr));
		close(fd);
		close(client);
	}
	meet();
}

static void late6(void) {
	if (server)
		return meet();
	in6 one = local6(port), all = any6(port);
	in6 *seconds[] = {&one, &all};
	for (int i = 0; i < 2; i++) {
		int client = must("socket", socket(AF_INET6, SOCK_DGRAM, 0));
		result("connect", connect(client, SA(one)));
		give(client, "to nobody");
		await(client, POLLERR, wait_ms);
		so_error(client);
		int fd = must("socket", socket(AF_INET6, SOCK_DGRAM, 0));
		result("bind", bind(fd, SA(*seconds[i])));
		heard(client, fd);
		struct sockaddr_storage from;
		socklen_t len = sizeof from;
		char buf[8];
		give(client, "question");
		recvfrom(fd, buf, 8, 0, (void *)&from, &len);
		result("answer", sendto(fd, "answer", 6, 0, (void *)&from, len));
		take(client);
		close(fd);
		close(client);
	}
	meet();
}

/* The client has the socket from another process, and at another number. */
static void late_child(void) {
	if (server)
		return meet();
	int client = udp(), ready[2], end[2];
	in4 one = local(port);
	if (pipe(ready) < 0 || pipe(end) < 0)
		return;
	result("connect", connect(client, SA(one)));
	pid_t child = fork();
	if (child == 0) {
		char c;
		int moved = dup2(client, 77);
		close(client);
		if (write(ready[1], "x", 1) != 1 || read(end[0], &c, 1) != 1)
			_exit(1);
		send(moved, "of the child", 12, 0);
		_exit(0);
	}
	char c;
	close(client);
	if (read(ready[0], &c, 1) != 1)
		return;
	int fd = udp();
	in4 all = any(port);
	result("bind", bind(fd, SA(all)));
	if (write(end[1], "x", 1) != 1)
		return;
	waitpid(child, NULL, 0);
	await(fd, POLLIN, 1000);
	take(fd);
	meet();
}

/* Many sockets that are connected to each other, at the node's own address: the first pair works
 * like the last one, also when all are idle meanwhile. */
static void many(void) {
	enum { pairs = 300 };
	if (server)
		return meet();
	static int servers[pairs], clients[pairs];
	struct rlimit files = {2 * pairs + 100, 2 * pairs + 100};
	struct timeval tv = {1, 0};
	setrlimit(RLIMIT_NOFILE, &files);
	for (int i = 0; i < pairs; i++) {
		in4 a = self(0);
		socklen_t len = sizeof a;
		servers[i] = udp(), clients[i] = udp();
		must("bind", bind(servers[i], SA(a)));
		getsockname(servers[i], (void *)&a, &len);
		must("connect", connect(clients[i], SA(a)));
		setsockopt(servers[i], SOL_SOCKET, SO_RCVTIMEO, &tv, sizeof tv);
		setsockopt(clients[i], SOL_SOCKET, SO_RCVTIMEO, &tv, sizeof tv);
	}
	int good = 0;
	for (int round = 0; round < 2; round++)
		for (int i = 0; i < pairs; i++) {
			in4 from;
			socklen_t len = sizeof from;
			char buf[8];
			if (send(clients[i], "q", 1, 0) == 1 && recvfrom(servers[i], buf, 8, 0, (void *)&from, &len) == 1 &&
			    sendto(servers[i], "a", 1, 0, (void *)&from, len) == 1 && recv(clients[i], buf, 8, 0) == 1)
				good++;
		}
	say("%d of %d", good, 2 * pairs);
	meet();
}

/* Pairs at the node's own address, made and closed several times: clients get the ports that
 * servers had before. */
static void again(void) {
	enum { pairs = 150, rounds = 6 };
	if (server)
		return meet();
	static int servers[pairs], clients[pairs];
	struct timeval tv = {2, 0};
	int good = 0;
	for (int round = 0; round < rounds; round++) {
		for (int i = 0; i < pairs; i++) {
			in4 a = self(0);
			socklen_t len = sizeof a;
			servers[i] = udp(), clients[i] = udp();
			must("bind", bind(servers[i], SA(a)));
			getsockname(servers[i], (void *)&a, &len);
			must("connect", connect(clients[i], SA(a)));
			setsockopt(clients[i], SOL_SOCKET, SO_RCVTIMEO, &tv, sizeof tv);
		}
		for (int i = 0; i < pairs; i++) {
			in4 from;
			socklen_t len = sizeof from;
			char buf[8];
			if (send(clients[i], "q", 1, 0) == 1 && recvfrom(servers[i], buf, 8, 0, (void *)&from, &len) == 1 &&
			    sendto(servers[i], "a", 1, 0, (void *)&from, len) == 1 && recv(clients[i], buf, 8, 0) == 1)
				good++;
		}
		for (int i = 0; i < pairs; i++)
			close(servers[i]), close(clients[i]);
	}
	say("%d of %d", good, pairs * rounds);
	meet();
}

int main(int argc, char **argv) {
	static const struct test tests[] = {CASE(late), CASE(late6), CASE(late_child), CASE(many), CASE(again)};
	return RUN(tests);
}
