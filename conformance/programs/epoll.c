/* poll(2), select(2) and epoll(7) around connections. */
#include "conformance.h"

/* next prints the events that epoll has within ms. */
static int next(int ep, int ms) {
	struct epoll_event e[8];
	int n = epoll_wait(ep, e, 8, ms);
	if (n <= 0) {
		result("epoll_wait", n);
		return n;
	}
	for (int i = 0; i < n; i++)
		say("epoll %d: %s", (int)e[i].data.u32, event_names(e[i].events));
	return n;
}
static int add(int ep, int fd, int tag, unsigned events) {
	struct epoll_event e = {.events = events, .data.u32 = tag};
	return epoll_ctl(ep, EPOLL_CTL_ADD, fd, &e);
}
static int mod(int ep, int fd, int tag, unsigned events) {
	struct epoll_event e = {.events = events, .data.u32 = tag};
	return epoll_ctl(ep, EPOLL_CTL_MOD, fd, &e);
}
#define ALL (EPOLLIN | EPOLLOUT | EPOLLRDHUP)

static void before_connect(void) {
	if (server) {
		int l = listener(port, 64);
		meet();
		int fd = accept(l, NULL, NULL);
		meet();
		give(fd, "hello");
		meet();
		close(fd);
		return;
	}
	meet();
	int fd = tcp_nonblock(), ep = epoll_create1(EPOLL_CLOEXEC);
	in4 a = peer(port);
	result("add", add(ep, fd, 1, ALL));
	next(ep, 0);
	next(ep, 0);
	result("connect", connect(fd, SA(a)));
	while (quietly(fd, POLLOUT) == 0)
		;
	next(ep, wait_ms);
	so_error(fd);
	meet();
	quietly(fd, POLLIN);
	next(ep, wait_ms);
	take(fd);
	next(ep, 0);
	result("modify", mod(ep, fd, 1, EPOLLIN | EPOLLRDHUP));
	next(ep, 0);
	meet();
	next(ep, wait_ms);
	take(fd);
	next(ep, 0);
	result("delete", epoll_ctl(ep, EPOLL_CTL_DEL, fd, NULL));
}

/* edge-triggered from before the connect on, as event loops do */
static void edge(void) {
	if (server) {
		int l = listener(port, 64);
		meet();
		int fd = accept(l, NULL, NULL);
		meet();
		give(fd, "one");
		meet();
		give(fd, "two");
		meet();
		shutdown(fd, SHUT_WR);
		meet();
		return meet();
	}
	meet();
	int fd = tcp_nonblock(), ep = epoll_create1(EPOLL_CLOEXEC);
	in4 a = peer(port);
	result("connect", connect(fd, SA(a)));
	result("add", add(ep, fd, 1, ALL | EPOLLET));
	quietly(fd, POLLOUT);
	next(ep, wait_ms);
	next(ep, quiet_ms);
	meet();
	next(ep, wait_ms);
	next(ep, quiet_ms);
	meet();
	next(ep, wait_ms);
	take(fd);
	take(fd);
	next(ep, quiet_ms);
	meet();
	next(ep, wait_ms);
	take(fd);
	next(ep, quiet_ms);
	meet();
	meet();
}

static void refused(void) {
	if (server)
		return meet();
	unsigned how[] = {ALL, ALL | EPOLLET, EPOLLOUT, EPOLLIN, 0};
	in4 a = peer(port);
	for (int i = 0; i < 5; i++) {
		int fd = tcp_nonblock(), ep = epoll_create1(EPOLL_CLOEXEC);
		result("connect", connect(fd, SA(a)));
		result("add", add(ep, fd, i, how[i]));
		next(ep, wait_ms);
		so_error(fd);
		close(fd);
		next(ep, 0);
	}
	meet();
}

static void before_listen(void) {
	if (!server) {
		meet();
		int fd = dial(port);
		meet();
		close(fd);
		return;
	}
	int l = tcp_nonblock(), ep = epoll_create1(EPOLL_CLOEXEC);
	in4 a = any(port);
	result("add", add(ep, l, 1, EPOLLIN));
	next(ep, 0);
	result("bind", bind(l, SA(a)));
	next(ep, 0);
	result("listen", listen(l, 4));
	next(ep, 0);
	events(l);
	meet();
	next(ep, wait_ms);
	next(ep, 0);
	int fd = fd_result("accept", accept(l, NULL, NULL));
	next(ep, 0);
	result("accept", accept(l, NULL, NULL));
	result("add", add(ep, fd, 2, ALL | EPOLLET));
	next(ep, 0);
	meet();
	next(ep, wait_ms);
}

static void one_shot(void) {
	if (!server) {
		meet();
		int fd = dial(port), other = dial(port);
		give(fd, "a");
		give(other, "b");
		meet();
		return meet();
	}
	int l = listener(port, 64), ep = epoll_create1(EPOLL_CLOEXEC);
	nonblock(l, 1);
	result("add", add(ep, l, 1, EPOLLIN | EPOLLONESHOT));
	meet();
	meet();
	next(ep, wait_ms);
	next(ep, quiet_ms);
	result("modify", mod(ep, l, 1, EPOLLIN | EPOLLONESHOT));
	next(ep, wait_ms);
	fd_result("accept", accept(l, NULL, NULL));
	fd_result("accept", accept(l, NULL, NULL));
	result("accept", accept(l, NULL, NULL));
	result("modify", mod(ep, l, 1, EPOLLIN | EPOLLONESHOT));
	next(ep, quiet_ms);
	meet();
}

static void exclusive(void) {
	if (!server) {
		meet();
		dial(port);
		meet();
		return;
	}
	int l = listener(port, 64);
	nonblock(l, 1);
	for (int i = 0; i < 3; i++)
		if (fork() == 0) {
			int ep = epoll_create1(EPOLL_CLOEXEC);
			struct epoll_event e;
			must("add", add(ep, l, 1, EPOLLIN | EPOLLEXCLUSIVE));
			for (;;)
				if (epoll_wait(ep, &e, 1, -1) == 1 && accept(l, NULL, NULL) >= 0)
					say("one has accepted");
		}
	usleep(quiet_ms * 1000);
	meet();
	meet();
	usleep(quiet_ms * 1000);
}

/* A waiting accept and an epoll on the same listener, and EPOLLET without taking all. */
static void edge_listener(void) {
	if (!server) {
		meet();
		int a = dial(port);
		meet();
		int b = dial(port);
		meet();
		close(a);
		close(b);
		return;
	}
	int l = listener(port, 64), ep = epoll_create1(EPOLL_CLOEXEC);
	nonblock(l, 1);
	result("add", add(ep, l, 1, EPOLLIN | EPOLLET));
	meet();
	next(ep, wait_ms);
	next(ep, quiet_ms);
	meet();
	next(ep, wait_ms);
	next(ep, quiet_ms);
	fd_result("accept", accept(l, NULL, NULL));
	fd_result("accept", accept(l, NULL, NULL));
	result("accept", accept(l, NULL, NULL));
	meet();
}

static int hits;
static void on_io(int sig) {
	(void)sig;
	hits++;
}

/* signal-driven I/O: whether there are signals, as they may come together */
static void sigio(void) {
	if (!server) {
		meet();
		int fd = dial(port);
		meet();
		give(fd, "x");
		return meet();
	}
	int l = listener(port, 64);
	on_signal(SIGIO, SA_RESTART, on_io);
	fcntl(l, F_SETOWN, getpid());
	result("O_ASYNC", fcntl(l, F_SETFL, O_ASYNC | O_NONBLOCK));
	meet();
	while (quietly(l, POLLIN) == 0)
		;
	usleep(quiet_ms * 1000); /* the signal is sent after the wake-up */
	say("signals: %d", hits > 0);
	int fd = fd_result("accept", accept(l, NULL, NULL));
	fcntl(fd, F_SETOWN, getpid());
	fcntl(fd, F_SETFL, O_ASYNC | O_NONBLOCK);
	hits = 0;
	meet();
	while (quietly(fd, POLLIN) == 0)
		;
	usleep(quiet_ms * 1000); /* the signal is sent after the wake-up */
	say("signals: %d", hits > 0);
	meet();
}

/* select with more than one socket, one of them pending */
static void many(void) {
	if (server) {
		int l = listener(port, 0), m = listener(port + 1, 4);
		meet();
		meet();
		close(l);
		close(m);
		return;
	}
	meet();
	in4 a = peer(port), b = peer(port + 1), c = peer(port + 2);
	dial(port);
	int fds[3] = {tcp_nonblock(), tcp_nonblock(), tcp_nonblock()};
	result("connect pending", connect(fds[0], SA(a)));
	result("connect open", connect(fds[1], SA(b)));
	result("connect closed", connect(fds[2], SA(c)));
	while (quietly(fds[1], POLLOUT) == 0 || quietly(fds[2], POLLOUT) == 0)
		;
	fd_set in, out, bad;
	FD_ZERO(&in);
	for (int i = 0; i < 3; i++)
		FD_SET(fds[i], &in);
	out = bad = in;
	struct timeval tv = {0, 0};
	result("select", select(fds[2] + 1, &in, &out, &bad, &tv));
	for (int i = 0; i < 3; i++)
		say("%d: read %d write %d except %d", i, FD_ISSET(fds[i], &in), FD_ISSET(fds[i], &out), FD_ISSET(fds[i], &bad));
	meet();
}

int main(int argc, char **argv) {
	static const struct test tests[] = {
		CASE(before_connect), CASE(edge), CASE(refused), CASE(before_listen), CASE(one_shot), CASE(exclusive),
		CASE(edge_listener), CASE(sigio), CASE(many),
	};
	return RUN(tests);
}
