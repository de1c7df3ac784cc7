/* connect(2) in all its ways. */
#include "conformance.h"

static void blocking(void) {
	if (server) {
		int l = listener(port, 4);
		meet();
		int fd = fd_result("accept", accept(l, NULL, NULL));
		names(fd);
		take(fd);
		give(fd, "answer");
		meet();
		return;
	}
	meet();
	int fd = tcp();
	names(fd);
	events(fd);
	in4 a = peer(port);
	result("connect", connect(fd, SA(a)));
	names(fd);
	events(fd);
	give(fd, "question");
	take(fd);
	result("connect again", connect(fd, SA(a)));
	a = peer(port + 1);
	result("connect elsewhere", connect(fd, SA(a)));
	so_error(fd);
	meet();
	result("connect after the peer's end", connect(fd, SA(a)));
}

static void refused(void) {
	if (server)
		return meet();
	int fd = tcp();
	in4 a = peer(port);
	result("connect", connect(fd, SA(a)));
	so_error(fd);
	events(fd);
	peername(fd);
	take(fd);
	give(fd, "x");
	result("connect again", connect(fd, SA(a)));
	a = peer(0);
	result("connect to port 0", connect(fd, SA(a)));
	a = self(port);
	fd = tcp();
	result("connect to self", connect(fd, SA(a)));
	fd = tcp();
	a = local(port);
	result("connect to localhost", connect(fd, SA(a)));
	meet();
}

static void wait_by(const char *way, int fd) {
	if (strcmp(way, "poll") == 0) {
		await(fd, POLLOUT, wait_ms);
	} else if (strcmp(way, "select") == 0) {
		fd_set in, out, bad;
		FD_ZERO(&in);
		FD_SET(fd, &in);
		out = bad = in;
		struct timeval tv = {wait_ms / 1000, 0};
		result("select", select(fd + 1, &in, &out, &bad, &tv));
		say("read %d write %d except %d", FD_ISSET(fd, &in), FD_ISSET(fd, &out), FD_ISSET(fd, &bad));
	} else {
		struct epoll_event e = {.events = EPOLLIN | EPOLLOUT | EPOLLRDHUP};
		int ep = epoll_create1(EPOLL_CLOEXEC);
		epoll_ctl(ep, EPOLL_CTL_ADD, fd, &e);
		result("epoll_wait", epoll_wait(ep, &e, 1, wait_ms));
		say("epoll: %s", event_names(e.events));
		close(ep);
	}
}

static void nonblocking(void) {
	const char *ways[] = {"poll", "select", "epoll"};
	if (server) {
		int l = listener(port, 4), fds[3];
		meet();
		for (int i = 0; i < 3; i++)
			fds[i] = accept(l, NULL, NULL);
		meet();
		for (int i = 0; i < 3; i++)
			names(fds[i]);
		return;
	}
	meet();
	in4 a = peer(port);
	for (int i = 0; i < 3; i++) {
		int fd = tcp_nonblock();
		result("connect", connect(fd, SA(a)));
		wait_by(ways[i], fd);
		so_error(fd);
		result("connect", connect(fd, SA(a)));
		result("connect", connect(fd, SA(a)));
		names(fd);
		take(fd);
	}
	meet();
}

static void nonblocking_refused(void) {
	if (server)
		return meet();
	const char *ways[] = {"poll", "select", "epoll"};
	in4 a = peer(port);
	for (int i = 0; i < 3; i++) {
		int fd = tcp_nonblock();
		result("connect", connect(fd, SA(a)));
		wait_by(ways[i], fd);
		peername(fd);
		so_error(fd);
		so_error(fd);
	}
	meet();
}

/* what is left of a refused connect, and the next ones of the same socket */
static void after_refused(void) {
	if (server)
		return meet();
	in4 a = peer(port);
	int fd = tcp_nonblock();
	result("connect", connect(fd, SA(a)));
	wait_by("epoll", fd);
	result("connect for the error", connect(fd, SA(a)));
	so_error(fd);
	fd = tcp_nonblock();
	result("connect", connect(fd, SA(a)));
	wait_by("poll", fd);
	take(fd);
	take(fd);
	fd = tcp_nonblock();
	result("connect", connect(fd, SA(a)));
	wait_by("poll", fd);
	so_error(fd);
	events(fd);
	result("connect", connect(fd, SA(a)));
	meet();
}

/* fill occupies the backlog of a listener: one connection, as it was made with 0. */
static int fill(in4 a) {
	int fd = tcp();
	must("fill", connect(fd, SA(a)));
	return fd;
}

static void pending(void) {
	if (server) {
		int l = listener(port, 0);
		meet();
		meet(); /* the client is pending */
		take(accept(l, NULL, NULL));
		int fd = accept(l, NULL, NULL);
		names(fd);
		take(fd);
		return meet();
	}
	meet();
	in4 a = peer(port);
	int first = fill(a);
	int fd = tcp_nonblock();
	result("connect", connect(fd, SA(a)));
	result("connect", connect(fd, SA(a)));
	sockname(fd);
	peername(fd);
	await(fd, POLLIN | POLLOUT, quiet_ms);
	so_error(fd);
	take(fd);
	give(fd, "x");
	result("listen", listen(fd, 1));
	a = any(0);
	result("bind", bind(fd, SA(a)));
	a = peer(port + 1);
	result("connect elsewhere", connect(fd, SA(a)));
	give(first, "first");
	meet();
	await(fd, POLLOUT, wait_ms);
	so_error(fd);
	names(fd);
	give(fd, "later");
	meet();
}

static void pending_shutdown(void) {
	if (server) {
		int l = listener(port, 0);
		meet();
		meet();
		close(accept(l, NULL, NULL));
		close(l);
		return meet();
	}
	meet();
	in4 a = peer(port);
	fill(a);
	int fd = tcp_nonblock();
	result("connect", connect(fd, SA(a)));
	result("shutdown", shutdown(fd, SHUT_WR));
	events(fd);
	so_error(fd);
	peername(fd);
	meet();
	meet();
}

static void pending_unspec(void) {
	if (server) {
		int l = listener(port, 0);
		int other = listener(port + 1, 4);
		meet();
		take(accept(other, NULL, NULL));
		meet();
		close(l);
		return;
	}
	meet();
	in4 a = peer(port);
	fill(a);
	int fd = tcp_nonblock();
	result("connect", connect(fd, SA(a)));
	struct sockaddr none = {.sa_family = AF_UNSPEC};
	result("connect to AF_UNSPEC", connect(fd, &none, sizeof none));
	events(fd);
	names(fd);
	so_error(fd);
	nonblock(fd, 0);
	a = peer(port + 1);
	result("connect elsewhere", connect(fd, SA(a)));
	give(fd, "elsewhere");
	meet();
}

static void unspec(void) {
	if (server) {
		int l = listener(port, 4);
		meet();
		int fd = accept(l, NULL, NULL);
		await(fd, POLLIN, wait_ms);
		take(fd);
		fd = accept(l, NULL, NULL);
		take(fd);
		return meet();
	}
	meet();
	struct sockaddr none = {.sa_family = AF_UNSPEC};
	int fd = tcp();
	result("AF_UNSPEC on a fresh socket", connect(fd, &none, sizeof none));
	close(fd);
	fd = dial(port);
	result("AF_UNSPEC", connect(fd, &none, sizeof none));
	names(fd);
	events(fd);
	take(fd);
	in4 a = peer(port);
	result("connect", connect(fd, SA(a)));
	names(fd);
	give(fd, "again");
	meet();
}

static void later_listener(void) {
	if (server) {
		meet();
		int l = listener(port, 4);
		meet();
		take(accept(l, NULL, NULL));
		return meet();
	}
	in4 a = peer(port);
	int fd = tcp();
	result("connect", connect(fd, SA(a)));
	meet();
	meet();
	result("connect", connect(fd, SA(a)));
	names(fd);
	give(fd, "hello");
	meet();
}

/* refused on the own host, asked by nobody about it, and then there is a listener */
static void later_own_listener(void) {
	if (server)
		return meet();
	const in4 targets[] = {local(port), self(port + 1)};
	for (int i = 0; i < 2; i++) {
		in4 a = targets[i];
		int l = tcp(), fd = tcp_nonblock();
		result("bind", bind(l, SA(a)));
		result("connect", connect(fd, SA(a)));
		result("listen", listen(l, 4));
		result("connect for the error", connect(fd, SA(a)));
		result("connect", connect(fd, SA(a)));
		await(fd, POLLOUT, wait_ms);
		result("connect", connect(fd, SA(a)));
		give(fd, "hello");
		take(accept(l, NULL, NULL));
	}
	meet();
}

/* a connect that fails, and what is left of it fetched */
static void be_refused(int fd, void *a, socklen_t len) {
	int r = connect(fd, a, len);
	if (r == 0 || errno != EINPROGRESS) {
		result("connect", r);
		return;
	}
	quietly(fd, POLLOUT);
	so_error(fd);
	connect(fd, a, 2); /* starts nothing; the socket is as new */
}

static int no_port; /* bind(2) leaves the port to connect(2) */

/* A socket is refused once or twice, and then connects: to localhost, to the own host by its name, or to the peer.
 * There is a server at port on the peer, and at port + 2 on the own host. */
static void after_refusals(int family, int as_mapped, const in4 *bound) {
	int l = must("socket", socket(AF_INET6, SOCK_STREAM | SOCK_CLOEXEC, 0));
	in6 every = any6(server ? port : port + 2);
	must("bind", bind(l, SA(every)));
	must("listen", listen(l, 64));
	meet();
	if (server)
		return meet();
	const char *hosts[] = {"localhost", "self", "peer"};
	in4 none4[] = {local(port + 1), self(port + 1), peer(port + 1)}, some4[] = {local(port + 2), self(port + 2), peer(port)};
	in6 none6[] = {local6(port + 1), self6(port + 1), peer6(port + 1)}, some6[] = {local6(port + 2), self6(port + 2), peer6(port)};
	for (int i = 0; i < 3 && as_mapped; i++) {
		none6[i] = mapped(none4[i].sin_addr.s_addr, port + 1);
		some6[i] = mapped(some4[i].sin_addr.s_addr, i == 2 ? port : port + 2);
	}
	socklen_t len = family == AF_INET ? sizeof(in4) : sizeof(in6);
	for (int i = 0; i < 36; i++) {
		int from = i % 3, to = i / 3 % 3, also = (from + 1) % 3, twice = i >= 18;
		int fd = must("socket", socket(family, SOCK_STREAM | SOCK_CLOEXEC, 0));
		say("%s, %s then %s", hosts[from], twice ? hosts[also] : "", hosts[to]);
		if (no_port)
			set(fd, IPPROTO_IP, IP_BIND_ADDRESS_NO_PORT, 1);
		if (bound)
			result("bind", bind(fd, (struct sockaddr *)bound, sizeof *bound));
		nonblock(fd, i / 9 % 2);
		be_refused(fd, family == AF_INET ? (void *)&none4[from] : &none6[from], len);
		if (twice)
			be_refused(fd, family == AF_INET ? (void *)&none4[also] : &none6[also], len);
		int error = connect(fd, family == AF_INET ? (void *)&some4[to] : &some6[to], len) < 0 ? errno : 0;
		if (error == EINPROGRESS) {
			quietly(fd, POLLOUT);
			so_error(fd);
		} else
			say("connect: %s", error ? strerrorname_np(error) : "0");
		names(fd);
		close(fd);
	}
	meet();
}
static void after_refusals4(void) { after_refusals(AF_INET, 0, NULL); }
static void after_refusals6(void) { after_refusals(AF_INET6, 0, NULL); }
static void after_refusals_mapped(void) { after_refusals(AF_INET6, 1, NULL); }
/* IPV6_V6ONLY stays as the program has set it, through connects of both families */
static void only_v6(void) {
	int l = must("socket", socket(AF_INET6, SOCK_STREAM | SOCK_CLOEXEC, 0));
	in6 every = any6(port);
	must("bind", bind(l, SA(every)));
	must("listen", listen(l, 64));
	meet();
	if (server)
		return meet();
	for (int only = 0; only < 2; only++) {
		in6 to[] = {peer6(port), self6(port), mapped(peer_ip, port)};
		for (int i = 0; i < 3; i++) {
			int fd = must("socket", socket(AF_INET6, SOCK_STREAM | SOCK_CLOEXEC, 0)), value;
			socklen_t len = sizeof value;
			set(fd, IPPROTO_IPV6, IPV6_V6ONLY, only);
			in6 none = peer6(port + 1);
			result("connect", connect(fd, SA(none)));
			result("connect", connect(fd, SA(to[i])));
			must("getsockopt", getsockopt(fd, IPPROTO_IPV6, IPV6_V6ONLY, &value, &len));
			say("IPV6_V6ONLY: %d", value);
			close(fd);
		}
	}
	meet();
}
static void after_refusals_any(void) { in4 a = any(0); after_refusals(AF_INET, 0, &a); }
static void after_refusals_self(void) { in4 a = self(0); after_refusals(AF_INET, 0, &a); }
static void after_refusals_no_port(void) {
	in4 a = self(0);
	no_port = 1;
	after_refusals(AF_INET, 0, &a);
}
static void after_refusals_local(void) { in4 a = local(0); after_refusals(AF_INET, 0, &a); }

/* a listener that has its port only from listen(2) */
static void listen_chooses(void) {
	if (server)
		return meet();
	in4 places[] = {any(0), self(0), local(0)};
	for (int i = 0; i < 3; i++) {
		int l = tcp(), fd = tcp();
		set(l, IPPROTO_IP, IP_BIND_ADDRESS_NO_PORT, 1);
		result("bind", bind(l, SA(places[i])));
		sockname(l);
		result("listen", listen(l, 4));
		sockname(l);
		in4 a;
		socklen_t len = sizeof a;
		getsockname(l, (void *)&a, &len);
		if (i == 0)
			a.sin_addr.s_addr = self_ip;
		result("connect", connect(fd, SA(a)));
		names(fd);
	}
	meet();
}

static void after_bind(void) {
	if (server) {
		int l = listener(port, 8);
		meet();
		for (int i = 0; i < 3; i++)
			peername(accept(l, NULL, NULL));
		return meet();
	}
	meet();
	in4 a = peer(port), from[] = {any(port + 1), self(port + 2), self(0), local(port + 3), peer(port + 4)};
	for (int i = 0; i < 5; i++) {
		int fd = tcp();
		if (result("bind", bind(fd, SA(from[i]))) < 0)
			continue;
		sockname(fd);
		result("connect", connect(fd, SA(a)));
		names(fd);
	}
	int fd = tcp(); /* a port that is in use */
	set(fd, SOL_SOCKET, SO_REUSEADDR, 1);
	in4 b = any(port + 1);
	result("bind to a port in use", bind(fd, SA(b)));
	meet();
}

static void listening(void) {
	int l = listener(port, 4);
	meet();
	in4 a = peer(port);
	result("connect a listener", connect(l, SA(a)));
	names(l);
	events(l);
	give(l, "x");
	take(l);
	result("shutdown", shutdown(l, SHUT_RD));
	events(l);
	result("accept", accept(l, NULL, NULL));
	meet();
}

static void interrupted(void) {
	if (server) {
		int l = listener(port, 0);
		meet();
		meet();
		close(accept(l, NULL, NULL));
		int fd = accept(l, NULL, NULL);
		take(fd);
		return meet();
	}
	meet();
	in4 a = peer(port);
	fill(a);
	int fd = tcp();
	on_signal(SIGALRM, 0, NULL);
	alarm_in(200);
	result("connect", connect(fd, SA(a)));
	events(fd);
	nonblock(fd, 1);
	result("connect", connect(fd, SA(a)));
	nonblock(fd, 0);
	meet();
	result("connect", connect(fd, SA(a)));
	names(fd);
	result("connect", connect(fd, SA(a)));
	give(fd, "late");
	meet();
}

static void wake_server(int sig) {
	(void)sig;
	meet();
}

static void restarted(void) {
	if (server) {
		int l = listener(port, 0);
		meet();
		meet();
		close(accept(l, NULL, NULL));
		int fd = accept(l, NULL, NULL);
		take(fd);
		return meet();
	}
	meet();
	in4 a = peer(port);
	fill(a);
	int fd = tcp();
	on_signal(SIGALRM, SA_RESTART, wake_server);
	alarm_in(200);
	result("connect", connect(fd, SA(a)));
	names(fd);
	give(fd, "late");
	meet();
}

static void send_timeout(void) {
	if (server) {
		int l = listener(port, 0);
		meet();
		meet();
		close(l);
		return;
	}
	meet();
	in4 a = peer(port);
	fill(a);
	int fd = tcp();
	struct timeval tv = {0, 200000};
	setsockopt(fd, SOL_SOCKET, SO_SNDTIMEO, &tv, sizeof tv);
	result("connect", connect(fd, SA(a)));
	result("connect", connect(fd, SA(a)));
	meet();
}

static int shared;
static void *connect_shared(void *arg) {
	in4 a = peer(port);
	(void)arg;
	result("connect in a thread", connect(shared, SA(a)));
	return NULL;
}

static void closed_meanwhile(void) {
	if (server) {
		int l = listener(port, 0);
		meet();
		meet();
		close(accept(l, NULL, NULL));
		int fd = accept(l, NULL, NULL);
		take(fd); /* the thread's connection, which ends with the call */
		return meet();
	}
	meet();
	in4 a = peer(port);
	fill(a);
	shared = tcp();
	pthread_t t;
	pthread_create(&t, NULL, connect_shared, NULL);
	usleep(200000); /* nothing tells that a call blocks */
	result("close", close(shared));
	meet();
	pthread_join(t, NULL);
	meet();
}

static void closed_pending(void) {
	if (server) {
		int l = listener(port, 0);
		meet();
		meet();
		close(accept(l, NULL, NULL));
		await(l, POLLIN, 2500);
		return meet();
	}
	meet();
	in4 a = peer(port);
	fill(a);
	int fd = tcp_nonblock();
	result("connect", connect(fd, SA(a)));
	usleep(quiet_ms * 1000); /* boxer's far side has got as far as Linux's, which has dropped the SYN */
	result("close", close(fd));
	meet();
	meet();
}

static void wrong(void) {
	if (server)
		return meet();
	in4 a = peer(port);
	int fd = tcp(), pipes[2];
	must("pipe", pipe(pipes));
	result("bad descriptor", connect(-1, SA(a)));
	result("closed descriptor", connect(500, SA(a)));
	result("pipe", connect(pipes[0], SA(a)));
	result("short address", connect(fd, (void *)&a, 8));
	result("no address", connect(fd, (void *)&a, 0));
	result("negative length", connect(fd, (void *)&a, -1));
	result("huge length", connect(fd, (void *)&a, 4096));
	result("NULL", connect(fd, NULL, sizeof a));
	result("wild pointer", connect(fd, (void *)16, sizeof a));
	in6 b = mapped(peer_ip, port);
	result("AF_INET6", connect(fd, SA(b)));
	struct sockaddr_un u = {.sun_family = AF_UNIX, .sun_path = "/nowhere"};
	result("AF_UNIX", connect(fd, SA(u)));
	a = addr4(htonl(0xffffffff), port);
	result("broadcast", connect(fd, SA(a)));
	a = addr4(htonl(0xe0000001), port);
	result("multicast", connect(fd, SA(a)));
	int six = must("socket", socket(AF_INET6, SOCK_STREAM, 0));
	a = peer(port);
	result("AF_INET on an IPv6 socket", connect(six, SA(a)));
	set(six, IPPROTO_IPV6, IPV6_V6ONLY, 1);
	result("mapped on an IPv6-only socket", connect(six, SA(b)));
	meet();
}

static void dual_stack(void) {
	if (server) {
		int l = must("socket", socket(AF_INET6, SOCK_STREAM, 0));
		in6 a = any6(port);
		result("bind", bind(l, SA(a)));
		result("listen", listen(l, 4));
		names(l);
		meet();
		for (int i = 0; i < 2; i++) {
			struct sockaddr_storage from;
			socklen_t len = sizeof from;
			int fd = fd_result("accept", accept(l, (void *)&from, &len));
			say("from %s", text(&from, len));
			names(fd);
			take(fd);
		}
		return meet();
	}
	meet();
	int fd = must("socket", socket(AF_INET6, SOCK_STREAM, 0));
	in6 a = mapped(peer_ip, port);
	result("connect mapped", connect(fd, SA(a)));
	names(fd);
	give(fd, "six");
	fd = dial(port);
	names(fd);
	give(fd, "four");
	meet();
}

/* to_own connects to a listener of this host. */
static void to_own(int l, in4 a) {
	int fd = tcp();
	struct sockaddr_storage from;
	socklen_t len = sizeof from;
	result("connect", connect(fd, SA(a)));
	names(fd);
	int c = fd_result("accept", accept(l, (void *)&from, &len));
	say("from %s", text(&from, len));
	names(c);
	close(fd);
	close(c);
}
static void to_self(void) {
	int l = listener(port, 4);
	to_own(l, self(port));
	to_own(l, local(port));
	to_own(l, any(port));
	meet();
}
static void to_other_localhost(void) {
	to_own(listener(port, 4), addr4(htonl(0x7f000005), port));
	meet();
}
static void to_itself(void) { /* a socket that connects to itself */
	in4 places[] = {self(port), local(port), any(port)}, to[] = {self(port), local(port), self(port)};
	for (int i = 0; i < 3; i++) {
		int fd = tcp();
		places[i].sin_port = to[i].sin_port = htons(port + i);
		result("bind", bind(fd, SA(places[i])));
		result("connect", connect(fd, SA(to[i])));
		names(fd);
		give(fd, "echo");
		nonblock(fd, 1);
		take(fd);
		close(fd);
	}
	meet();
}

/* refused_names has sockets whose connect was refused: what they are called then, and where they listen. */
static void refused_names_of(int family, void *to, socklen_t len, int nonblocking) {
	int fd = must("socket", socket(family, SOCK_STREAM | SOCK_CLOEXEC, 0));
	if (nonblocking) {
		nonblock(fd, 1);
		if (connect(fd, to, len) < 0 && errno == EINPROGRESS)
			quietly(fd, POLLOUT);
		sockname(fd);
		so_error(fd);
	}
	result("connect", connect(fd, to, len));
	sockname(fd);
	struct sockaddr_storage before, after;
	socklen_t size = sizeof before;
	getsockname(fd, (void *)&before, &size);
	nonblock(fd, 0);
	if (result("listen", listen(fd, 1)) < 0)
		return;
	sockname(fd);
	getsockname(fd, (void *)&after, &size);
	in_port_t p = ((in4 *)&after)->sin_port;
	say("another port: %d", p != ((in4 *)&before)->sin_port);
	meet();
	if (write(control, &p, sizeof p) != sizeof p)
		_exit(95);
	struct sockaddr_storage from;
	fd_result("accept", accept(fd, (void *)&from, &size));
	meet();
	close(fd);
}

static void refused_names(void) {
	enum { rounds = 6 };
	if (server) {
		for (int i = 0; i < rounds; i++) {
			meet();
			in_port_t p;
			if (read(control, &p, sizeof p) != sizeof p)
				_exit(95);
			int fd = dial(ntohs(p));
			meet();
			close(fd);
		}
		return;
	}
	in4 a = peer(port), b = self(port), c = local(port);
	in6 d = peer6(port);
	refused_names_of(AF_INET, SA(a), 0);
	refused_names_of(AF_INET, SA(b), 0);
	refused_names_of(AF_INET, SA(c), 0);
	refused_names_of(AF_INET6, SA(d), 0);
	refused_names_of(AF_INET, SA(b), 1);
	refused_names_of(AF_INET, SA(c), 1);
}

int main(int argc, char **argv) {
	static const struct test tests[] = {
		CASE(blocking), CASE(refused), CASE(nonblocking), CASE(nonblocking_refused), CASE(after_refused), CASE(pending),
		CASE(pending_shutdown), CASE(pending_unspec), CASE(unspec), CASE(refused_names), CASE(later_listener),
		CASE(later_own_listener), CASE(after_bind),
		CASE(listening), CASE(interrupted), CASE(restarted), CASE(send_timeout), CASE(closed_meanwhile),
		CASE(closed_pending), CASE(wrong), CASE(dual_stack), CASE(to_self), CASE(to_other_localhost), CASE(to_itself),
		CASE(after_refusals4), CASE(after_refusals6), CASE(after_refusals_mapped),
		CASE(after_refusals_any), CASE(after_refusals_self), CASE(after_refusals_local), CASE(listen_chooses), CASE(after_refusals_no_port), CASE(only_v6),
	};
	return RUN(tests);
}
