/* accept(2) and listeners. */
#include "conformance.h"

/* visit makes n connections, one after the other, and says something on each. */
static void visit(int n) {
	for (int i = 0; i < n; i++) {
		char s[32];
		snprintf(s, sizeof s, "visit %d", i);
		int fd = dial(port);
		if (send(fd, s, strlen(s), MSG_NOSIGNAL) < 0)
			result("send", -1);
	}
}

static void addresses(void) {
	if (!server) {
		meet();
		visit(6);
		return meet();
	}
	int l = listener(port, 8), fd;
	struct sockaddr_storage a;
	names(l);
	meet();
	socklen_t lengths[] = {sizeof a, sizeof(in4), 8, 2, 0};
	for (int i = 0; i < 5; i++) {
		memset(&a, 0x55, sizeof a);
		socklen_t len = lengths[i];
		fd = fd_result("accept", accept(l, (void *)&a, &len));
		say("length %u, family %d, byte after %x", len, lengths[i] ? a.ss_family : 0, ((unsigned char *)&a)[lengths[i] % 128]);
		if (i < 2)
			say("from %s", text(&a, len));
		names(fd);
		take(fd);
	}
	fd = fd_result("accept", accept(l, NULL, NULL));
	names(fd);
	take(fd);
	meet();
}

static void wrong(void) {
	if (!server) {
		meet();
		visit(6);
		return meet();
	}
	int l = listener(port, 8), fd, pipes[2];
	struct sockaddr_storage a;
	socklen_t len = sizeof a;
	must("pipe", pipe(pipes));
	meet();
	quietly(l, POLLIN);
	result("flags", accept4(l, (void *)&a, &len, 0x7));
	result("flags", accept4(l, NULL, NULL, 0x7));
	len = -1;
	result("negative length", accept(l, (void *)&a, &len));
	len = sizeof a;
	result("wild address", accept(l, (void *)16, &len));
	result("wild length", accept(l, (void *)&a, (void *)16));
	result("NULL length", accept(l, (void *)&a, NULL));
	result("bad descriptor", accept(-1, (void *)&a, &len));
	result("pipe", accept(pipes[0], (void *)&a, &len));
	fd = tcp();
	result("not listening", accept(fd, (void *)&a, &len));
	result("not listening", accept(fd, NULL, NULL));
	result("UDP", accept(udp(), (void *)&a, &len));
	meet();
	nonblock(l, 1);
	int n = 0;
	while (accept(l, (void *)&a, &len) >= 0)
		n++;
	say("%d are left", n);
}

static void flags(void) {
	if (!server) {
		meet();
		visit(4);
		return meet();
	}
	int l = listener(port, 8);
	struct sockaddr_storage a;
	socklen_t len = sizeof a;
	set(l, IPPROTO_TCP, TCP_NODELAY, 1);
	set(l, SOL_SOCKET, SO_KEEPALIVE, 1);
	nonblock(l, 1);
	result("accept", accept(l, (void *)&a, &len));
	meet();
	for (int i = 0; i < 4; i++) {
		quietly(l, POLLIN);
		int fd = fd_result("accept", accept4(l, (void *)&a, &len, (i & 1 ? SOCK_NONBLOCK : 0) | (i & 2 ? SOCK_CLOEXEC : 0)));
		int on = 0;
		socklen_t size = sizeof on;
		say("O_NONBLOCK %d FD_CLOEXEC %d", !!(fcntl(fd, F_GETFL) & O_NONBLOCK), fcntl(fd, F_GETFD));
		getsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &on, &size);
		say("TCP_NODELAY %d", on);
		getsockopt(fd, SOL_SOCKET, SO_KEEPALIVE, &on, &size);
		say("SO_KEEPALIVE %d", on);
	}
	meet();
}

static void signals(void) {
	if (!server) {
		meet();
		visit(1);
		return meet();
	}
	int l = listener(port, 8);
	struct sockaddr_storage a;
	socklen_t len = sizeof a;
	on_signal(SIGALRM, 0, NULL);
	alarm_in(100);
	result("accept", accept(l, (void *)&a, &len));
	alarm_in(100);
	result("accept NULL", accept(l, NULL, NULL));
	struct timeval tv = {0, 100000};
	setsockopt(l, SOL_SOCKET, SO_RCVTIMEO, &tv, sizeof tv);
	result("accept with SO_RCVTIMEO", accept(l, (void *)&a, &len));
	tv.tv_usec = 0;
	setsockopt(l, SOL_SOCKET, SO_RCVTIMEO, &tv, sizeof tv);
	meet();
	int fd = fd_result("accept", accept(l, (void *)&a, &len));
	take(fd);
	meet();
}

static void wake_client(int sig) {
	(void)sig;
	meet();
}

static void restarted(void) {
	if (!server) {
		meet();
		visit(1);
		return meet();
	}
	int l = listener(port, 8);
	struct sockaddr_storage a;
	socklen_t len = sizeof a;
	on_signal(SIGALRM, SA_RESTART, wake_client);
	alarm_in(100);
	int fd = fd_result("accept", accept(l, (void *)&a, &len));
	say("length %u", len);
	take(fd);
	meet();
}

static int shared_listener, done[2];
static void *accept_one(void *arg) {
	struct sockaddr_storage a;
	socklen_t len = sizeof a;
	(void)arg;
	int fd = accept(shared_listener, (void *)&a, &len);
	if (write(done[1], fd < 0 ? "-" : "+", 1) != 1)
		_exit(1);
	return NULL;
}

/* count prints how many of n have written + to the pipe. */
static void count(int n) {
	int good = 0;
	for (char c; n > 0 && read(done[0], &c, 1) == 1; n--)
		good += c == '+';
	say("%d have accepted", good);
}

static void threads(void) {
	if (!server) {
		meet();
		visit(8);
		return meet();
	}
	shared_listener = listener(port, 16);
	must("pipe", pipe(done));
	pthread_t t;
	for (int i = 0; i < 8; i++)
		pthread_create(&t, NULL, accept_one, NULL);
	meet();
	count(8);
	meet();
}

static void forks(void) {
	if (!server) {
		meet();
		visit(8);
		return meet();
	}
	shared_listener = listener(port, 16);
	must("pipe", pipe(done));
	for (int i = 0; i < 4; i++)
		if (fork() == 0) {
			accept_one(NULL);
			accept_one(NULL);
			pause();
		}
	meet();
	count(8);
	meet();
}

static int reuse_listener(int p) {
	int fd = tcp();
	in4 a = any(p);
	result("SO_REUSEPORT", set(fd, SOL_SOCKET, SO_REUSEPORT, 1));
	result("bind", bind(fd, SA(a)));
	result("listen", listen(fd, 32));
	nonblock(fd, 1);
	return fd;
}

/* accept_some accepts what comes to listeners that do not block, until it is so many. The
 * client's word overtakes its connections: connect returns before they are here. */
static void accept_some(const int *l, int count, int *n, int many) {
	struct pollfd p[2];
	for (int i = 0; i < count; i++)
		p[i] = (struct pollfd){.fd = l[i], .events = POLLIN};
	while (many > 0 && poll(p, count, wait_ms) > 0)
		for (int i = 0; i < count; i++)
			for (; accept(l[i], NULL, NULL) >= 0; many--)
				n[i]++;
}

static void reuse_port(void) {
	if (!server) {
		meet();
		visit(16);
		meet();
		meet();
		visit(4);
		return meet();
	}
	int l[2] = {reuse_listener(port), reuse_listener(port)}, n[2] = {0};
	meet();
	meet();
	accept_some(l, 2, n, 16);
	say("%d together", n[0] + n[1]);
	result("close", close(l[0]));
	meet();
	meet();
	n[1] = 0;
	accept_some(l + 1, 1, n + 1, 4);
	say("%d after the first has closed", n[1]);
}

/* reuse_port_spread tells whether both listeners of a group get connections. */
static void reuse_port_spread(void) {
	if (!server) {
		meet();
		visit(32);
		return meet();
	}
	int l[2] = {reuse_listener(port), reuse_listener(port)}, n[2] = {0};
	meet();
	meet();
	accept_some(l, 2, n, 32);
	say("%d together, both have some: %d", n[0] + n[1], n[0] > 0 && n[1] > 0);
}

static void closed_with_waiting(void) {
	if (server) {
		int l = listener(port, 8);
		meet();
		quietly(l, POLLIN);
		meet();
		result("close", close(l));
		meet();
		return meet();
	}
	meet();
	int fd = dial(port);
	meet();
	meet();
	await(fd, POLLIN | POLLRDHUP, wait_ms);
	take(fd);
	take(fd);
	give(fd, "x");
	peername(fd);
	fd = tcp();
	in4 a = peer(port);
	result("connect", connect(fd, SA(a)));
	meet();
}

static void full_backlog(void) {
	if (server) {
		int l = listener(port, 0);
		meet();
		meet();
		await(l, POLLIN, wait_ms);
		take(accept(l, NULL, NULL));
		take(accept(l, NULL, NULL));
		return meet();
	}
	meet();
	int fd = dial(port), second = tcp_nonblock();
	in4 a = peer(port);
	result("connect", connect(second, SA(a)));
	await(second, POLLOUT, quiet_ms);
	give(fd, "first");
	meet();
	await(second, POLLOUT, wait_ms);
	so_error(second);
	give(second, "second");
	meet();
}

static void *close_shared(void *arg) {
	(void)arg;
	usleep(200000);
	close(shared_listener);
	return NULL;
}

static void closed_meanwhile(void) {
	if (!server) {
		meet();
		int fd = tcp();
		in4 a = peer(port);
		usleep(400000);
		result("connect", connect(fd, SA(a)));
		take(fd);
		return meet();
	}
	shared_listener = listener(port, 8);
	struct sockaddr_storage a;
	socklen_t len = sizeof a;
	pthread_t t;
	pthread_create(&t, NULL, close_shared, NULL);
	meet();
	int fd = fd_result("accept", accept(shared_listener, (void *)&a, &len));
	close(fd);
	meet();
}

static void *shutdown_shared(void *arg) {
	(void)arg;
	usleep(200000);
	result("shutdown", shutdown(shared_listener, SHUT_RDWR));
	return NULL;
}

static void shut_meanwhile(void) {
	if (!server) {
		meet();
		in4 a = peer(port);
		int fd = tcp();
		result("connect", connect(fd, SA(a)));
		meet();
		meet();
		fd = tcp();
		result("connect", connect(fd, SA(a)));
		return meet();
	}
	shared_listener = listener(port, 8);
	struct sockaddr_storage a;
	socklen_t len = sizeof a;
	pthread_t t;
	pthread_create(&t, NULL, shutdown_shared, NULL);
	int fd = accept(shared_listener, (void *)&a, &len), e = errno;
	pthread_join(t, NULL);
	errno = e;
	result("accept", fd);
	events(shared_listener);
	sockname(shared_listener);
	meet();
	meet();
	result("listen", listen(shared_listener, 8));
	meet();
	meet();
	fd_result("accept", accept(shared_listener, (void *)&a, &len));
}

static void gone_before(void) { /* a client that resets before it is accepted */
	if (!server) {
		meet();
		int fd = dial(port);
		struct linger hard = {1, 0};
		setsockopt(fd, SOL_SOCKET, SO_LINGER, &hard, sizeof hard);
		close(fd);
		fd = dial(port);
		give(fd, "bye");
		close(fd);
		return meet();
	}
	int l = listener(port, 8);
	struct sockaddr_storage a;
	socklen_t len = sizeof a;
	meet();
	meet();
	usleep(quiet_ms * 1000);
	int fd = fd_result("accept", accept(l, (void *)&a, &len));
	say("from %s", text(&a, len));
	await(fd, POLLIN | POLLOUT | POLLRDHUP, wait_ms);
	peername(fd);
	take(fd);
	take(fd);
	len = sizeof a;
	fd = fd_result("accept", accept(l, (void *)&a, &len));
	say("from %s", text(&a, len));
	peername(fd);
	take(fd);
	take(fd);
	peername(fd);
}

static void unbound(void) { /* listen picks the port; listen twice, bind after listen */
	int l = tcp();
	result("listen", listen(l, 4));
	names(l);
	result("listen", listen(l, 1));
	in4 a = any(port);
	result("bind", bind(l, SA(a)));
}

/* select and poll on listeners, of which one is to be ready */
static void ready(void) {
	if (!server) {
		meet();
		in4 a = peer(port + 1);
		must("connect", connect(tcp(), SA(a)));
		meet();
		return meet();
	}
	int l[] = {listener(port, 4), listener(port + 1, 4)};
	fd_set in;
	struct timeval tv = {0, quiet_ms * 1000};
	for (int i = 0; i < 2; i++) {
		FD_ZERO(&in);
		FD_SET(l[0], &in);
		FD_SET(l[1], &in);
		result("select", select(l[1] + 1, &in, NULL, NULL, &tv));
		say("%d %d", FD_ISSET(l[0], &in) != 0, FD_ISSET(l[1], &in) != 0);
		tv.tv_sec = wait_ms / 1000;
		if (i == 0) {
			meet();
			meet();
		}
	}
	struct pollfd p[] = {{l[0], POLLIN, 0}, {l[1], POLLIN | POLLOUT, 0}};
	result("poll", poll(p, 2, 0));
	say("%s", event_names(p[0].revents));
	say("%s", event_names(p[1].revents));
	fd_result("accept", accept(l[1], NULL, NULL));
	result("poll", poll(p, 2, 0));
	meet();
}

/* a group of processes with a listener each, of which one ends */
static void reuse_port_processes(void) {
	if (!server) {
		meet();
		visit(12);
		meet();
		visit(6);
		return meet();
	}
	must("pipe", pipe(done));
	int started[2];
	must("pipe", pipe(started));
	pid_t pids[3];
	for (int i = 0; i < 3; i++)
		if ((pids[i] = fork()) == 0) {
			shared_listener = tcp();
			in4 a = any(port);
			set(shared_listener, SOL_SOCKET, SO_REUSEPORT, 1);
			must("bind", bind(shared_listener, SA(a)));
			must("listen", listen(shared_listener, 16));
			must("write", write(started[1], "s", 1));
			for (;;)
				accept_one(NULL);
		}
	char c;
	for (int i = 0; i < 3; i++)
		must("read", read(started[0], &c, 1));
	meet();
	count(12);
	kill(pids[0], SIGKILL);
	waitpid(pids[0], NULL, 0);
	usleep(quiet_ms * 1000); /* boxer's supervisor learns it a little later */
	meet();
	count(6);
	meet();
}

/* a server that is killed in accept, and one that takes its place at once */
static void replaced(void) {
	if (!server) {
		meet();
		in4 a = peer(port);
		result("connect", connect(tcp(), SA(a)));
		meet();
		meet();
		visit(1);
		return meet();
	}
	pid_t pid = fork();
	if (pid == 0) {
		shared_listener = listener(port, 4);
		accept_one(NULL);
	}
	usleep(quiet_ms * 1000); /* nothing tells that it waits */
	kill(pid, SIGKILL);
	waitpid(pid, NULL, 0);
	usleep(quiet_ms * 1000); /* boxer's supervisor learns it a little later */
	meet();
	meet();
	int l = listener(port, 4);
	meet();
	struct sockaddr_storage a;
	socklen_t len = sizeof a;
	take(accept(l, (void *)&a, &len));
	meet();
}

int main(int argc, char **argv) {
	static const struct test tests[] = {
		CASE(addresses), CASE(wrong), CASE(flags), CASE(signals), CASE(restarted), CASE(threads), CASE(forks),
		CASE(reuse_port), CASE(reuse_port_spread), CASE(closed_with_waiting), CASE(full_backlog), CASE(closed_meanwhile),
		CASE(shut_meanwhile), CASE(gone_before), CASE(unbound), CASE(ready), CASE(reuse_port_processes), CASE(replaced),
	};
	return RUN(tests);
}
