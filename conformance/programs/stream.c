/* How connections carry bytes, and how they end. */
#include "conformance.h"
#include <sys/sendfile.h>

static int sigpipes;
static void on_pipe(int sig) {
	(void)sig;
	sigpipes++;
}

/* accepted returns a connection from the other side, connecting returns its other end. */
static int accepted(void) {
	int l = listener(port, 64);
	meet();
	int fd = must("accept", accept(l, NULL, NULL));
	close(l);
	return fd;
}
static int connecting(void) {
	meet();
	return dial(port);
}
static int pair(void) { return server ? accepted() : connecting(); }

static void half_close(void) {
	int fd = pair();
	if (server) {
		take(fd);
		quietly(fd, POLLIN);
		usleep(quiet_ms * 1000);
		events(fd);
		take(fd);
		meet();
		give(fd, "still here");
		meet();
		result("shutdown", shutdown(fd, SHUT_WR));
		meet();
		events(fd);
		peername(fd);
		take(fd);
		return;
	}
	give(fd, "hello");
	usleep(quiet_ms * 1000);
	result("shutdown", shutdown(fd, SHUT_WR));
	events(fd);
	on_signal(SIGPIPE, 0, on_pipe);
	result("write", write(fd, "x", 1));
	say("%d SIGPIPE", sigpipes);
	meet();
	await(fd, POLLIN, wait_ms);
	take(fd);
	meet();
	await(fd, POLLIN | POLLRDHUP, wait_ms);
	take(fd);
	peername(fd);
	result("shutdown", shutdown(fd, SHUT_RDWR));
	events(fd);
	meet();
}

static void shut_read(void) {
	int fd = pair();
	if (server) {
		result("shutdown", shutdown(fd, SHUT_RD));
		events(fd);
		take(fd);
		meet();
		meet();
		await(fd, POLLIN, wait_ms);
		take(fd);
		take(fd);
		give(fd, "from server");
		return meet();
	}
	meet();
	give(fd, "after SHUT_RD");
	usleep(quiet_ms * 1000);
	meet();
	await(fd, POLLIN, wait_ms);
	take(fd);
	meet();
}

static void closed_peer(void) {
	int fd = pair();
	on_signal(SIGPIPE, 0, on_pipe);
	if (server) {
		give(fd, "last words");
		result("close", close(fd));
		meet();
		return meet();
	}
	meet();
	quietly(fd, POLLIN);
	usleep(quiet_ms * 1000);
	events(fd);
	take(fd);
	take(fd);
	result("write", write(fd, "x", 1)); /* answered by a reset */
	usleep(quiet_ms * 1000);
	await(fd, POLLERR | POLLIN | POLLRDHUP | POLLOUT, wait_ms);
	result("write", write(fd, "x", 1));
	say("%d SIGPIPE", sigpipes);
	result("send", send(fd, "x", 1, MSG_NOSIGNAL));
	say("%d SIGPIPE", sigpipes);
	so_error(fd);
	take(fd);
	names(fd);
	meet();
}

static void killed_by_sigpipe(void) {
	int fd = pair();
	if (server) {
		close(fd);
		return meet();
	}
	meet();
	quietly(fd, POLLIN);
	for (int i = 0; i < 100; i++) {
		if (write(fd, "x", 1) < 0)
			break;
		usleep(20000);
	}
	say("not killed");
}

static void lingering(void) {
	int fd = pair();
	if (server) {
		struct linger hard = {1, 0};
		take(fd);
		setsockopt(fd, SOL_SOCKET, SO_LINGER, &hard, sizeof hard);
		result("close", close(fd));
		return meet();
	}
	give(fd, "hello");
	await(fd, POLLIN | POLLRDHUP, wait_ms);
	so_error(fd);
	events(fd);
	take(fd);
	give(fd, "x");
	names(fd);
	meet();
}

static void lingering_read(void) { /* as above, seen by read and not by SO_ERROR */
	int fd = pair();
	if (server) {
		struct linger hard = {1, 0};
		setsockopt(fd, SOL_SOCKET, SO_LINGER, &hard, sizeof hard);
		meet();
		close(fd);
		return meet();
	}
	meet();
	take(fd);
	take(fd);
	meet();
}

static void unread(void) {
	int fd = pair();
	if (server) {
		quietly(fd, POLLIN);
		give(fd, "unheard");
		meet();
		result("close", close(fd));
		return meet();
	}
	give(fd, "never read");
	quietly(fd, POLLIN); /* the answer is here before the reset */
	meet();
	/* tcp_reset sets the error before the state: between the two there is POLLERR only. */
	for (int i = 0; i < wait_ms && !(quietly(fd, POLLRDHUP) & POLLHUP); i++)
		usleep(1000);
	await(fd, POLLRDHUP, wait_ms);
	take(fd);
	take(fd);
	give(fd, "x");
	meet();
}

static void killed(void) { /* the process, not the socket, ends: a FIN */
	if (server) {
		int l = listener(port, 64);
		pid_t pid = fork();
		if (pid == 0) {
			must("accept", accept(l, NULL, NULL));
			pause();
		}
		close(l);
		meet();
		meet();
		kill(pid, SIGKILL);
		return meet();
	}
	meet();
	int fd = dial(port);
	usleep(quiet_ms * 1000);
	meet();
	await(fd, POLLIN | POLLRDHUP, wait_ms);
	take(fd);
	meet();
}

static void peek(void) {
	int fd = pair();
	char buf[64] = "";
	if (server) {
		give(fd, "abcdef");
		meet();
		usleep(quiet_ms * 1000);
		give(fd, "ghij");
		usleep(quiet_ms * 1000);
		shutdown(fd, SHUT_WR);
		return meet();
	}
	quietly(fd, POLLIN);
	result("peek", recv(fd, buf, 4, MSG_PEEK));
	say("\"%.4s\"", buf);
	result("peek", recv(fd, buf, 64, MSG_PEEK));
	result("peek and truncate", recv(fd, buf, 64, MSG_PEEK | MSG_TRUNC));
	struct iovec v = {buf, 3};
	struct msghdr m = {.msg_iov = &v, .msg_iovlen = 1};
	result("recvmsg", recvmsg(fd, &m, 0));
	int queued = 0;
	ioctl(fd, FIONREAD, &queued);
	say("FIONREAD %d flags %d", queued, m.msg_flags);
	meet();
	result("wait for all", recv(fd, buf, 6, MSG_WAITALL));
	say("\"%.6s\"", buf);
	result("do not wait", recv(fd, buf, 6, MSG_DONTWAIT) > 0 ? 1 : -1);
	result("wait for all at the end", recv(fd, buf, 6, MSG_WAITALL));
	result("recvfrom", recvfrom(fd, buf, 6, 0, NULL, NULL));
	meet();
}

static void with_addresses(void) { /* addresses given to calls on a connected stream */
	int fd = pair();
	char buf[64];
	if (server) {
		in4 a = addr4(htonl(0x01020304), 5);
		result("sendto with an address", sendto(fd, "abc", 3, 0, SA(a)));
		struct iovec v = {"def", 3};
		struct msghdr m = {.msg_iov = &v, .msg_iovlen = 1, .msg_name = &a, .msg_namelen = sizeof a};
		result("sendmsg with an address", sendmsg(fd, &m, 0));
		result("sendto a wild address", sendto(fd, "ghi", 3, 0, (void *)16, sizeof a));
		return meet();
	}
	meet();
	quietly(fd, POLLIN);
	struct sockaddr_storage from;
	socklen_t len = sizeof from;
	result("recvfrom", recvfrom(fd, buf, 3, 0, (void *)&from, &len));
	say("length %u", len);
	struct iovec v = {buf, 3};
	struct msghdr m = {.msg_iov = &v, .msg_iovlen = 1, .msg_name = &from, .msg_namelen = sizeof from};
	result("recvmsg", recvmsg(fd, &m, MSG_WAITALL));
	say("length %u", m.msg_namelen);
	int lone = tcp();
	result("sendto unconnected", sendto(lone, "x", 1, MSG_NOSIGNAL, SA(from)));
	result("send unconnected", send(lone, "x", 1, MSG_NOSIGNAL));
	result("recv unconnected", recv(lone, buf, 1, 0));
}

static void timeouts(void) {
	int fd = pair();
	struct timeval tv = {0, 100000};
	setsockopt(fd, SOL_SOCKET, SO_RCVTIMEO, &tv, sizeof tv);
	setsockopt(fd, SOL_SOCKET, SO_SNDTIMEO, &tv, sizeof tv);
	take(fd);
	struct timeval longer = {2, 0};
	setsockopt(fd, SOL_SOCKET, SO_RCVTIMEO, &longer, sizeof longer);
	on_signal(SIGALRM, SA_RESTART, NULL);
	alarm_in(30);
	take(fd); /* SO_RCVTIMEO makes it EINTR, signal(7) */
	meet();
	if (server) {
		static char block[1 << 16];
		long n, total = 0;
		while ((n = write(fd, block, sizeof block)) > 0)
			total += n;
		result("write", n);
		say("some went: %d", total > 0);
		events(fd);
	}
	meet();
}

static void urgent(void) {
	int fd = pair();
	char buf[16] = "";
	if (server) {
		give(fd, "abc");
		result("send urgent", send(fd, "!", 1, MSG_OOB));
		give(fd, "def");
		meet();
		return meet();
	}
	meet();
	await(fd, POLLPRI, 1000);
	nonblock(fd, 1);
	result("SIOCATMARK", sockatmark(fd));
	take(fd);
	result("SIOCATMARK", sockatmark(fd));
	if (result("receive urgent", recv(fd, buf, 1, MSG_OOB)) == 1)
		say("\"%s\"", buf);
	quietly(fd, POLLIN); /* what follows the urgent byte may come later */
	take(fd);
	meet();
}

/* give_urgent sends bytes of which the last is urgent; take_urgent reads it. */
static void give_urgent(int fd, const char *s) { result("send urgent", send(fd, s, strlen(s), MSG_OOB | MSG_NOSIGNAL)); }
static void take_urgent(int fd) {
	char c = 0;
	if (result("receive urgent", recv(fd, &c, 1, MSG_OOB | MSG_DONTWAIT)) == 1)
		say("\"%c\"", c);
}
static void at_mark(int fd) { result("SIOCATMARK", sockatmark(fd)); }

/* come waits until so many bytes can be read. */
static void come(int fd, int bytes) {
	for (int n = 0, i = 0; i < wait_ms && ioctl(fd, FIONREAD, &n) == 0 && n < bytes; i++)
		usleep(1000);
}

/* A byte alone, the last of several, and the other way. */
static void urgent_alone(void) {
	int fd = pair();
	if (server) {
		give_urgent(fd, "!");
		meet();
		give_urgent(fd, "several");
		meet();
		await(fd, POLLPRI, wait_ms);
		take_urgent(fd);
		return meet();
	}
	await(fd, POLLPRI, wait_ms);
	events(fd);
	at_mark(fd);
	take_urgent(fd);
	take_urgent(fd);
	events(fd);
	meet();
	await(fd, POLLPRI, wait_ms);
	take(fd);
	at_mark(fd);
	take_urgent(fd);
	give_urgent(fd, "?");
	meet();
	meet();
}

/* Each is read before the next is sent; then two, of which the last counts. */
static void urgent_often(void) {
	int fd = pair();
	if (!server) {
		for (int i = 0; i < 20; i++) {
			char text[2] = {'a' + i, 0};
			if (send(fd, "data", 4, MSG_NOSIGNAL) != 4 || send(fd, text, 1, MSG_OOB | MSG_NOSIGNAL) != 1)
				say("send: %s", strerrorname_np(errno));
			meet();
		}
		give_urgent(fd, "1");
		meet();
		give(fd, "between");
		give_urgent(fd, "2");
		give(fd, "end");
		meet();
		return meet();
	}
	for (int i = 0; i < 20; i++) {
		await(fd, POLLPRI, wait_ms);
		take(fd);
		at_mark(fd);
		take_urgent(fd);
		meet();
	}
	await(fd, POLLPRI, wait_ms);
	meet();
	meet();
	usleep(quiet_ms * 1000); /* nothing else tells that 2 has come */
	take(fd);
	at_mark(fd);
	take_urgent(fd);
	take(fd);
	meet();
}

static void urgent_inline(void) {
	int fd = pair();
	if (server) {
		give(fd, "abc");
		give_urgent(fd, "!");
		give(fd, "def");
		return meet();
	}
	result("SO_OOBINLINE", set(fd, SOL_SOCKET, SO_OOBINLINE, 1));
	await(fd, POLLPRI, wait_ms);
	come(fd, 7);
	at_mark(fd);
	take(fd);
	at_mark(fd);
	take_urgent(fd);
	take(fd);
	at_mark(fd);
	meet();
}

/* SIGURG comes to the owner; select(2) calls it an exception, epoll(7) EPOLLPRI. */
static volatile sig_atomic_t urgents;
static void on_urgent(int sig) {
	(void)sig;
	urgents++;
}
static void urgent_signal(void) {
	int fd = pair();
	if (server) {
		meet();
		struct iovec v[] = {{"wr", 2}, {"iting!", 6}};
		struct msghdr m = {.msg_iov = v, .msg_iovlen = 2};
		result("sendmsg", sendmsg(fd, &m, MSG_OOB | MSG_NOSIGNAL));
		return meet();
	}
	on_signal(SIGURG, SA_RESTART, on_urgent);
	result("F_SETOWN", fcntl(fd, F_SETOWN, getpid()));
	int ep = must("epoll", epoll_create1(0));
	struct epoll_event e = {.events = EPOLLPRI | EPOLLET};
	must("epoll_ctl", epoll_ctl(ep, EPOLL_CTL_ADD, fd, &e));
	meet();
	for (int i = 0; i < wait_ms && !urgents; i++)
		usleep(1000);
	say("SIGURG: %d", urgents > 0);
	if (result("epoll_wait", epoll_wait(ep, &e, 1, wait_ms)) == 1)
		say("%s", event_names(e.events));
	fd_set set;
	FD_ZERO(&set);
	FD_SET(fd, &set);
	result("select", select(fd + 1, NULL, NULL, &set, &(struct timeval){.tv_sec = wait_ms / 1000}));
	take(fd);
	take_urgent(fd);
	meet();
}

/* The last byte before FIN is urgent. */
static void urgent_end(void) {
	int fd = pair();
	if (server) {
		give(fd, "all");
		give_urgent(fd, "!");
		result("shutdown", shutdown(fd, SHUT_WR));
		take(fd);
		return meet();
	}
	await(fd, POLLRDHUP, wait_ms);
	events(fd);
	take(fd);
	take_urgent(fd);
	take(fd);
	shutdown(fd, SHUT_WR);
	meet();
}

static void files(void) {
	int fd = pair();
	enum { size = 3 << 20 };
	if (server) {
		char name[4096];
		snprintf(name, sizeof name, "%s/file-XXXXXX", directory);
		int file = must("mkstemp", mkstemp(name)), pipes[2];
		unlink(name);
		must("ftruncate", ftruncate(file, size));
		off_t at = 0;
		while (at < size && sendfile(fd, file, &at, size - at) > 0)
			;
		say("sent all: %d", at == size);
		must("pipe", pipe(pipes));
		must("write", write(pipes[1], "by a pipe", 9));
		result("splice", splice(pipes[0], NULL, fd, NULL, 9, 0));
		struct iovec v[] = {{"one", 3}, {" ", 1}, {"two", 3}};
		result("writev", writev(fd, v, 3));
		struct mmsghdr mm[2] = {{{.msg_iov = v, .msg_iovlen = 1}, 0}, {{.msg_iov = v + 2, .msg_iovlen = 1}, 0}};
		result("sendmmsg", sendmmsg(fd, mm, 2, 0));
		say("%u %u", mm[0].msg_len, mm[1].msg_len);
		close(fd);
		return;
	}
	long total = 0, n, zeros = 1;
	static char buf[1 << 16];
	while (total < size && (n = read(fd, buf, total + (long)sizeof buf > size ? size - total : (long)sizeof buf)) > 0) {
		total += n;
		for (long i = 0; i < n; i++)
			zeros &= buf[i] == 0;
	}
	say("%ld bytes, all zero: %ld", total, zeros);
	memset(buf, 0, sizeof buf);
	for (total = 0; (n = read(fd, buf + total, 100)) > 0;)
		total += n;
	say("then \"%s\"", buf);
	result("read", n);
}

static void options(void) {
	int fd = pair();
	static const struct { const char *name; int level, opt, value; } all[] = {
		{"SO_TYPE", SOL_SOCKET, SO_TYPE, -1}, {"SO_DOMAIN", SOL_SOCKET, SO_DOMAIN, -1},
		{"SO_PROTOCOL", SOL_SOCKET, SO_PROTOCOL, -1}, {"SO_ACCEPTCONN", SOL_SOCKET, SO_ACCEPTCONN, -1},
		{"SO_KEEPALIVE", SOL_SOCKET, SO_KEEPALIVE, 1}, {"SO_OOBINLINE", SOL_SOCKET, SO_OOBINLINE, 1},
		{"SO_RCVBUF", SOL_SOCKET, SO_RCVBUF, 65536}, {"SO_SNDBUF", SOL_SOCKET, SO_SNDBUF, 65536},
		{"SO_RCVLOWAT", SOL_SOCKET, SO_RCVLOWAT, 7}, {"SO_PRIORITY", SOL_SOCKET, SO_PRIORITY, 3},
		{"SO_BROADCAST", SOL_SOCKET, SO_BROADCAST, 1}, {"SO_DONTROUTE", SOL_SOCKET, SO_DONTROUTE, 1},
		{"SO_TIMESTAMP", SOL_SOCKET, SO_TIMESTAMP, 1}, {"SO_BUSY_POLL", SOL_SOCKET, SO_BUSY_POLL, 50},
		{"SO_ZEROCOPY", SOL_SOCKET, SO_ZEROCOPY, 1},
		{"TCP_NODELAY", IPPROTO_TCP, TCP_NODELAY, 1}, {"TCP_CORK", IPPROTO_TCP, TCP_CORK, 1},
		{"TCP_KEEPIDLE", IPPROTO_TCP, TCP_KEEPIDLE, 11}, {"TCP_KEEPINTVL", IPPROTO_TCP, TCP_KEEPINTVL, 12},
		{"TCP_KEEPCNT", IPPROTO_TCP, TCP_KEEPCNT, 5}, {"TCP_QUICKACK", IPPROTO_TCP, TCP_QUICKACK, 0},
		{"TCP_USER_TIMEOUT", IPPROTO_TCP, TCP_USER_TIMEOUT, 5000}, {"TCP_LINGER2", IPPROTO_TCP, TCP_LINGER2, 10},
		{"TCP_DEFER_ACCEPT", IPPROTO_TCP, TCP_DEFER_ACCEPT, 3}, {"TCP_SYNCNT", IPPROTO_TCP, TCP_SYNCNT, 3},
		{"TCP_WINDOW_CLAMP", IPPROTO_TCP, TCP_WINDOW_CLAMP, 40000}, {"TCP_NOTSENT_LOWAT", IPPROTO_TCP, TCP_NOTSENT_LOWAT, 16384},
		{"TCP_THIN_LINEAR_TIMEOUTS", IPPROTO_TCP, TCP_THIN_LINEAR_TIMEOUTS, 1}, {"TCP_FASTOPEN", IPPROTO_TCP, TCP_FASTOPEN, 5},
		{"IP_TOS", IPPROTO_IP, IP_TOS, 0x10}, {"IP_TTL", IPPROTO_IP, IP_TTL, 33},
		{"IP_RECVTOS", IPPROTO_IP, IP_RECVTOS, 1}, {"IP_BIND_ADDRESS_NO_PORT", IPPROTO_IP, IP_BIND_ADDRESS_NO_PORT, 1},
		{"IP_FREEBIND", IPPROTO_IP, IP_FREEBIND, 1}, {"IPV6_V6ONLY", IPPROTO_IPV6, IPV6_V6ONLY, -1},
		{"unknown", IPPROTO_TCP, 250, 1},
	};
	for (unsigned i = 0; i < sizeof all / sizeof *all; i++) {
		int before = 0, after = 0;
		socklen_t len = sizeof before;
		int got = getsockopt(fd, all[i].level, all[i].opt, &before, &len);
		const char *e = got < 0 ? strerrorname_np(errno) : "ok", *s = "not set";
		if (all[i].value >= 0)
			s = set(fd, all[i].level, all[i].opt, all[i].value) < 0 ? strerrorname_np(errno) : "ok";
		getsockopt(fd, all[i].level, all[i].opt, &after, &len);
		/* the sizes of buffers differ from host to host */
		if (all[i].opt == SO_RCVBUF || all[i].opt == SO_SNDBUF || all[i].opt == TCP_WINDOW_CLAMP)
			before = 0;
		say("%s: get %s %d, set %s, get %d", all[i].name, e, before, s, after);
	}
	char name[16] = "";
	socklen_t len = sizeof name;
	result("TCP_CONGESTION", getsockopt(fd, IPPROTO_TCP, TCP_CONGESTION, name, &len));
	say("is known: %d", name[0] != 0);
	result("set TCP_CONGESTION", setsockopt(fd, IPPROTO_TCP, TCP_CONGESTION, "reno", 4));
	struct tcp_info info;
	len = sizeof info;
	memset(&info, 0, sizeof info);
	result("TCP_INFO", getsockopt(fd, IPPROTO_TCP, TCP_INFO, &info, &len));
	say("state %d, mss is set: %d", info.tcpi_state, info.tcpi_snd_mss > 0);
	meet();
}

/* what TCP_CORK and MSG_MORE hold back comes in one piece */
static void corked(void) {
	int fd = pair();
	char buf[64] = "";
	if (server) {
		for (int i = 0; i < 2; i++) {
			meet();
			result("read", read(fd, buf, sizeof buf - 1));
			say("\"%s\"", buf);
			meet();
		}
		return;
	}
	result("TCP_CORK", set(fd, IPPROTO_TCP, TCP_CORK, 1));
	give(fd, "one ");
	give(fd, "two ");
	give(fd, "three");
	result("TCP_CORK", set(fd, IPPROTO_TCP, TCP_CORK, 0));
	meet();
	meet();
	result("MSG_MORE", send(fd, "four ", 5, MSG_MORE));
	give(fd, "five ");
	meet();
	meet();
}

/* close(2) with SO_LINGER waits until the peer has what was sent, and not longer than that */
static void linger_wait(void) {
	int fd = pair();
	if (server) {
		meet();
		take(fd);
		take(fd);
		return meet();
	}
	struct linger l = {1, 5}, got = {0};
	socklen_t len = sizeof got;
	result("SO_LINGER", setsockopt(fd, SOL_SOCKET, SO_LINGER, &l, sizeof l));
	getsockopt(fd, SOL_SOCKET, SO_LINGER, &got, &len);
	say("on %d, %d seconds", got.l_onoff, got.l_linger);
	give(fd, "lingers");
	meet();
	result("close", close(fd));
	meet();
}

static void small_buffer(int fd, int option) {
	for (int size = 1; size <= 4096; size += 4095) {
		int got = 0;
		socklen_t len = sizeof got;
		result("set", set(fd, SOL_SOCKET, option, size));
		result("get", getsockopt(fd, SOL_SOCKET, option, &got, &len));
		say("%d, length %u", got, len);
	}
}

/* a reader that is slower than the writer: nothing is lost, and the writer waits */
static void backpressure(void) {
	int fd = pair();
	static char block[1 << 16];
	enum { rounds = 200 };
	if (server) {
		small_buffer(fd, SO_RCVBUF);
		meet();
		usleep(quiet_ms * 1000);
		long n, total = 0, wrong = 0;
		while ((n = read(fd, block, sizeof block)) > 0) {
			for (long i = 0; i < n; i++)
				wrong += (unsigned char)block[i] != (unsigned char)((total + i) / (long)sizeof block);
			total += n;
		}
		say("%ld bytes, %ld wrong", total, wrong);
		return meet();
	}
	small_buffer(fd, SO_SNDBUF);
	meet();
	long total = 0;
	for (int i = 0; i < rounds; i++) {
		memset(block, i, sizeof block);
		long n = send(fd, block, sizeof block, 0);
		if (n < 0)
			result("send", n);
		else
			total += n;
	}
	say("%ld bytes", total);
	close(fd);
	meet();
}

/* SO_RCVLOWAT: poll tells of nothing less */
static void low_water(void) {
	int fd = pair();
	if (server) {
		give(fd, "abc");
		meet();
		give(fd, "defgh");
		return meet();
	}
	result("SO_RCVLOWAT", set(fd, SOL_SOCKET, SO_RCVLOWAT, 6));
	meet();
	await(fd, POLLIN, wait_ms);
	take(fd);
	meet();
}

/* a thread's close does not end another's read; shutdown does */
static int shared_fd;
static void *read_shared(void *arg) {
	(void)arg;
	take(shared_fd);
	return NULL;
}
static void shut_by_thread(void) {
	shared_fd = pair();
	if (server) {
		take(shared_fd);
		return meet();
	}
	pthread_t t;
	pthread_create(&t, NULL, read_shared, NULL);
	usleep(quiet_ms * 1000); /* nothing tells that it waits */
	int r = shutdown(shared_fd, SHUT_RDWR);
	pthread_join(t, NULL);
	result("shutdown", r);
	events(shared_fd);
	give(shared_fd, "x");
	meet();
}

int main(int argc, char **argv) {
	static const struct test tests[] = {
		CASE(half_close), CASE(shut_read), CASE(closed_peer), CASE(killed_by_sigpipe), CASE(lingering), CASE(lingering_read),
		CASE(unread), CASE(killed), CASE(peek), CASE(with_addresses), CASE(timeouts), CASE(urgent), CASE(urgent_alone),
		CASE(urgent_often), CASE(urgent_inline), CASE(urgent_signal), CASE(urgent_end), CASE(files), CASE(options),
		CASE(corked), CASE(linger_wait), CASE(backpressure), CASE(low_water), CASE(shut_by_thread),
	};
	return RUN(tests);
}
