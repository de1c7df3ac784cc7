/* Connections that are on their way: the backlog of the listener is full, so that nothing but the server's accept
 * lets them go on. */
#include "conformance.h"

/* hold is the server of a case: it lets the client fill the backlog, and accepts when the client says so. It
 * returns the listener, from which the filler is accepted already. */
static int hold(void) {
	int l = listener(port, 0);
	meet();
	meet(); /* the client is pending */
	close(must("accept", accept(l, NULL, NULL)));
	return l;
}

/* start is the client's part: it returns a socket that connects. */
static int start(void) {
	meet();
	in4 a = peer(port);
	must("fill", connect(tcp(), SA(a)));
	int fd = tcp_nonblock();
	result("connect", connect(fd, SA(a)));
	return fd;
}

/* the ways to wait for a while, each of which ends without an event */
static void timeouts(void) {
	if (server) {
		int fd = accept(hold(), NULL, NULL);
		take(fd);
		return meet();
	}
	int fd = start(), ep = epoll_create1(EPOLL_CLOEXEC);
	await(fd, POLLIN | POLLOUT | POLLPRI | POLLRDHUP, quiet_ms);
	fd_set in, out, bad;
	FD_ZERO(&in);
	FD_SET(fd, &in);
	out = bad = in;
	struct timeval tv = {0, quiet_ms * 1000};
	result("select", select(fd + 1, &in, &out, &bad, &tv));
	struct epoll_event e = {.events = EPOLLIN | EPOLLOUT | EPOLLRDHUP};
	result("add", epoll_ctl(ep, EPOLL_CTL_ADD, fd, &e));
	result("epoll_wait", epoll_wait(ep, &e, 1, quiet_ms));
	struct timespec ts = {0, quiet_ms * 1000000};
	struct pollfd p = {.fd = fd, .events = POLLOUT};
	result("ppoll", ppoll(&p, 1, &ts, NULL));
	struct timeval snd = {0, 50000};
	setsockopt(fd, SOL_SOCKET, SO_SNDTIMEO, &snd, sizeof snd);
	nonblock(fd, 0);
	result("connect with SO_SNDTIMEO", connect(fd, &(struct sockaddr){.sa_family = AF_INET}, sizeof(in4)));
	give(fd, "x");
	on_signal(SIGALRM, 0, NULL);
	alarm_in(50);
	result("poll with a signal", poll(&p, 1, wait_ms));
	meet();
	result("epoll_wait", epoll_wait(ep, &e, 1, wait_ms));
	say("epoll: %s", event_names(e.events));
	so_error(fd);
	give(fd, "late");
	meet();
}

static void one_shot(void) {
	if (server) {
		take(accept(hold(), NULL, NULL));
		return meet();
	}
	int fd = start(), ep = epoll_create1(EPOLL_CLOEXEC);
	struct epoll_event e = {.events = EPOLLOUT | EPOLLONESHOT}, got = {0};
	result("add", epoll_ctl(ep, EPOLL_CTL_ADD, fd, &e));
	result("epoll_wait", epoll_wait(ep, &got, 1, 0));
	meet();
	result("epoll_wait", epoll_wait(ep, &got, 1, wait_ms));
	say("epoll: %s", event_names(got.events));
	result("epoll_wait", epoll_wait(ep, &got, 1, quiet_ms));
	result("modify", epoll_ctl(ep, EPOLL_CTL_MOD, fd, &e));
	result("epoll_wait", epoll_wait(ep, &got, 1, 0));
	give(fd, "once");
	meet();
}

static volatile int signals, signal_fd, signal_code, signal_band;
static void on_io(int sig, siginfo_t *info, void *context) {
	(void)sig;
	(void)context;
	signals++;
	signal_fd = info->si_fd;
	signal_code = info->si_code;
	signal_band = info->si_band;
}

/* signal-driven I/O of a connect, by a signal that tells the descriptor (F_SETSIG) */
static void by_signal(void) {
	if (server) {
		take(accept(hold(), NULL, NULL));
		return meet();
	}
	struct sigaction sa = {.sa_sigaction = on_io, .sa_flags = SA_SIGINFO | SA_RESTART};
	sigaction(SIGRTMIN, &sa, NULL);
	int fd = start();
	result("F_SETOWN", fcntl(fd, F_SETOWN, getpid()));
	result("F_GETOWN is this process", fcntl(fd, F_GETOWN) == getpid());
	result("F_SETSIG", fcntl(fd, F_SETSIG, SIGRTMIN));
	result("O_ASYNC", fcntl(fd, F_SETFL, O_ASYNC | O_NONBLOCK));
	usleep(quiet_ms * 1000);
	say("signals: %d", signals);
	meet();
	while (quietly(fd, POLLOUT) == 0)
		;
	usleep(quiet_ms * 1000); /* the signal is sent after the wake-up */
	say("signals: %d, of this descriptor: %d, POLL_OUT: %d, band %s", signals > 0, signal_fd == fd, signal_code == POLL_OUT,
	    event_names(signal_band & (POLLIN | POLLOUT | POLLERR | POLLHUP)));
	give(fd, "signalled");
	meet();
}

/* the same of a connect that is refused */
static void refused_by_signal(void) {
	if (server)
		return meet();
	struct sigaction sa = {.sa_sigaction = on_io, .sa_flags = SA_SIGINFO | SA_RESTART};
	sigaction(SIGRTMIN, &sa, NULL);
	int fd = tcp_nonblock();
	in4 a = peer(port);
	fcntl(fd, F_SETOWN, getpid());
	fcntl(fd, F_SETSIG, SIGRTMIN);
	fcntl(fd, F_SETFL, O_ASYNC | O_NONBLOCK);
	int at_once = connect(fd, SA(a)) < 0 && errno == ECONNREFUSED, e = 0; /* the signal may start the call again */
	socklen_t len = sizeof e;
	while (quietly(fd, POLLOUT) == 0)
		;
	usleep(quiet_ms * 1000);
	say("signals: %d, of this descriptor: %d", signals > 0, signal_fd == fd);
	getsockopt(fd, SOL_SOCKET, SO_ERROR, &e, &len);
	say("refused once: %d", at_once + (e == ECONNREFUSED));
	meet();
}

/* a socket that gives up one connect and makes another meanwhile */
static void elsewhere(void) {
	if (server) {
		int other = listener(port + 1, 4), l = hold();
		nonblock(l, 1);
		take(accept(other, NULL, NULL));
		await(l, POLLIN, 1500);
		return meet();
	}
	int fd = start();
	struct sockaddr none = {.sa_family = AF_UNSPEC};
	result("connect to AF_UNSPEC", connect(fd, &none, sizeof none));
	nonblock(fd, 0);
	in4 a = peer(port + 1);
	result("connect elsewhere", connect(fd, SA(a)));
	names(fd);
	meet();
	give(fd, "elsewhere");
	meet();
}

/* many at a time, which all go on together */
static void many(void) {
	enum { n = 20 };
	if (server) {
		int l = listener(port, 0), got = 0;
		meet();
		meet();
		must("listen", listen(l, 2 * n));
		for (int i = 0; i <= n; i++)
			got += accept(l, NULL, NULL) >= 0;
		say("%d accepted", got);
		return meet();
	}
	meet();
	in4 a = peer(port);
	must("fill", connect(tcp(), SA(a)));
	int fds[n], open = 0;
	for (int i = 0; i < n; i++) {
		fds[i] = tcp_nonblock();
		if (connect(fds[i], SA(a)) == 0 || errno != EINPROGRESS)
			result("connect", -1);
	}
	meet();
	for (int i = 0; i < n; i++)
		open += (quietly(fds[i], POLLOUT) & (POLLOUT | POLLERR)) == POLLOUT;
	say("%d open", open);
	meet();
}

static int reading;
static void *read_pending(void *arg) {
	(void)arg;
	take(reading); /* waits for the connection, and for what comes over it */
	return NULL;
}
static void *write_pending(void *arg) {
	*(long *)arg = send(reading, "by a thread", 11, MSG_NOSIGNAL);
	return NULL;
}

/* threads that read and write a socket which connects */
static void threads(void) {
	if (server) {
		int fd = accept(hold(), NULL, NULL);
		take(fd);
		give(fd, "answer");
		return meet();
	}
	reading = start();
	nonblock(reading, 0);
	pthread_t r, w;
	pthread_create(&r, NULL, read_pending, NULL);
	long written = 0;
	pthread_create(&w, NULL, write_pending, &written);
	usleep(quiet_ms * 1000); /* nothing tells that they wait */
	meet();
	pthread_join(w, NULL);
	pthread_join(r, NULL);
	say("written: %ld", written);
	meet();
}

/* a connect that is waited for twice: one by connect, the other by a second connect */
static void *connect_too(void *arg) {
	in4 a = peer(port);
	(void)arg;
	result("second connect", connect(reading, SA(a)));
	return NULL;
}
static void twice(void) {
	if (server) {
		take(accept(hold(), NULL, NULL));
		return meet();
	}
	reading = start();
	nonblock(reading, 0);
	pthread_t t;
	pthread_create(&t, NULL, connect_too, NULL);
	usleep(quiet_ms * 1000);
	meet();
	pthread_join(t, NULL);
	in4 a = peer(port);
	result("third connect", connect(reading, SA(a)));
	give(reading, "both");
	meet();
}

int main(int argc, char **argv) {
	static const struct test tests[] = {
		CASE(timeouts), CASE(one_shot), CASE(by_signal), CASE(refused_by_signal), CASE(elsewhere), CASE(many), CASE(threads), CASE(twice),
	};
	return RUN(tests);
}
