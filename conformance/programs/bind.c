/* bind(2), names and who may have a port at the same time. */
#include "conformance.h"

struct place {
	const char *name;
	int family;
	in_addr_t ip;
	int only;
};

static struct place places[] = {
	{"ANY", AF_INET, 0, 0},
	{"SELF", AF_INET, 0, 0},
	{"LOCAL", AF_INET, 0, 0},
	{"ANY6", AF_INET6, 0, 0},
	{"ANY6 only", AF_INET6, 0, 1},
	{"LOCAL6", AF_INET6, 0, 0},
	{"127.0.0.2", AF_INET, 0, 0},
	{"SELF6", AF_INET6, 0, 0},
};
enum { n_places = sizeof places / sizeof *places };

static void prepare(void) {
	places[1].ip = self_ip;
	places[2].ip = htonl(INADDR_LOOPBACK);
	places[6].ip = htonl(0x7f000002);
}

/* bound returns a socket that is bound to the place, or -1. */
static int bound(const struct place *p, int type, int at, int reuse_addr, int reuse_port) {
	int fd = must("socket", socket(p->family, type, 0));
	set(fd, SOL_SOCKET, SO_REUSEADDR, reuse_addr);
	set(fd, SOL_SOCKET, SO_REUSEPORT, reuse_port);
	int r;
	if (p->family == AF_INET) {
		in4 a = addr4(p->ip, at);
		r = bind(fd, SA(a));
	} else {
		in6 a = any6(at);
		if (strcmp(p->name, "LOCAL6") == 0)
			a.sin6_addr = in6addr_loopback;
		if (strcmp(p->name, "SELF6") == 0)
			a.sin6_addr = self_ip6;
		set(fd, IPPROTO_IPV6, IPV6_V6ONLY, p->only);
		r = bind(fd, SA(a));
	}
	if (r == 0)
		return fd;
	int e = errno;
	close(fd);
	errno = e;
	return -1;
}

/* matrix binds two sockets for each pair of places. Without a word on what goes well. */
static void matrix(int type, int reuse_addr, int reuse_port, int listening) {
	if (!server) /* it is the same there */
		return meet();
	prepare();
	for (int i = 0; i < n_places; i++)
		for (int j = 0; j < n_places; j++) {
			int a = bound(&places[i], type, port, reuse_addr, reuse_port);
			if (a < 0) {
				say("%s: %s", places[i].name, strerrorname_np(errno));
				continue;
			}
			if (listening)
				must("listen", listen(a, 4));
			int b = bound(&places[j], type, port, reuse_addr, reuse_port);
			if (b < 0)
				say("%s, then %s: %s", places[i].name, places[j].name, strerrorname_np(errno));
			else
				say("%s, then %s: both", places[i].name, places[j].name);
			close(a);
			if (b >= 0)
				close(b);
		}
	meet();
}
static void tcp_plain(void) { matrix(SOCK_STREAM, 0, 0, 0); }
static void tcp_listening(void) { matrix(SOCK_STREAM, 1, 0, 1); }
static void tcp_reuse_addr(void) { matrix(SOCK_STREAM, 1, 0, 0); }
static void tcp_reuse_port(void) { matrix(SOCK_STREAM, 0, 1, 1); }
static void udp_plain(void) { matrix(SOCK_DGRAM, 0, 0, 0); }
static void udp_reuse_addr(void) { matrix(SOCK_DGRAM, 1, 0, 0); }
static void udp_reuse_port(void) { matrix(SOCK_DGRAM, 0, 1, 0); }

/* all_names prints the names of a socket at each place. */
static void all_names(void) {
	if (!server)
		return meet();
	prepare();
	int types[] = {SOCK_STREAM, SOCK_DGRAM};
	for (int t = 0; t < 2; t++)
		for (int i = 0; i < n_places; i++)
			for (int p = 0; p < 2; p++) {
				int fd = bound(&places[i], types[t], p ? port + 1 : 0, 0, 0);
				if (fd < 0) {
					say("%s: %s", places[i].name, strerrorname_np(errno));
					continue;
				}
				say("%s %s", t ? "UDP" : "TCP", places[i].name);
				sockname(fd);
				if (t == 0) {
					result("listen", listen(fd, 4));
					names(fd);
				}
				close(fd);
			}
	meet();
}

static void low_ports(void) {
	int fd = tcp(), l = tcp();
	in4 a = any(80 + server);
	set(l, SOL_SOCKET, SO_REUSEADDR, 1);
	result("bind", bind(l, SA(a)));
	sockname(l);
	result("listen", listen(l, 4));
	sockname(l);
	a = any(443);
	result("bind", bind(fd, SA(a)));
	meet();
	if (!server) {
		fd = dial(81);
		names(fd);
		take(fd);
	} else {
		struct sockaddr_storage from;
		socklen_t len = sizeof from;
		fd = accept(l, (void *)&from, &len);
		say("from %s", text(&from, len));
		names(fd);
		give(fd, "low");
	}
	meet();
	int other = tcp();
	a = any(80 + server);
	result("bind again", bind(other, SA(a)));
}

static int reusing(int p) {
	int l = tcp();
	in4 a = any(p);
	set(l, SOL_SOCKET, SO_REUSEADDR, 1);
	result("bind with SO_REUSEADDR", bind(l, SA(a)));
	return l;
}

static void again(void) { /* a port whose listener has closed, with connections left or in TIME-WAIT */
	if (!server) {
		meet();
		int fd = dial(port);
		take(fd);
		meet();
		take(fd);
		close(fd);
		meet();
		meet();
		fd = dial(port);
		give(fd, "second");
		return meet();
	}
	int l = reusing(port);
	result("listen", listen(l, 4));
	meet();
	int fd = accept(l, NULL, NULL);
	give(fd, "first");
	in4 a = any(port);
	result("close listener", close(l));
	l = tcp();
	result("bind while a connection is there", bind(l, SA(a)));
	close(l);
	close(reusing(port));
	close(fd); /* this side is first: TIME-WAIT is here */
	meet();
	meet();
	l = tcp();
	result("bind in TIME-WAIT", bind(l, SA(a)));
	close(l);
	l = reusing(port);
	result("listen", listen(l, 4));
	meet();
	fd = accept(l, NULL, NULL);
	take(fd);
	meet();
}

static void wrong(void) {
	if (!server)
		return meet();
	int fd = tcp(), pipes[2];
	must("pipe", pipe(pipes));
	in4 a = any(port);
	result("bad descriptor", bind(-1, SA(a)));
	result("pipe", bind(pipes[0], SA(a)));
	result("short", bind(fd, (void *)&a, 8));
	result("NULL", bind(fd, NULL, sizeof a));
	result("wild", bind(fd, (void *)16, sizeof a));
	result("negative", bind(fd, (void *)&a, -1));
	in6 b = any6(port);
	result("AF_INET6", bind(fd, SA(b)));
	int six = must("socket", socket(AF_INET6, SOCK_STREAM, 0));
	result("AF_INET on an IPv6 socket", bind(six, SA(a)));
	in4 strange[] = {peer(port), addr4(htonl(0xffffffff), port), addr4(htonl(0xe0000005), port)};
	static const char *whose[] = {"the peer's", "broadcast", "multicast"};
	for (int i = 0; i < 3; i++) {
		int other = tcp();
		result(whose[i], bind(other, SA(strange[i])));
		close(other);
	}
	a = any(port);
	a.sin_family = AF_UNSPEC;
	result("AF_UNSPEC, any", bind(fd, SA(a)));
	sockname(fd);
	a = any(port + 1);
	result("twice", bind(fd, SA(a)));
	b = mapped(self_ip, port + 2);
	result("mapped", bind(six, SA(b)));
	names(six);
	result("listen", listen(six, 1));
	struct sockaddr_storage s;
	memset(&s, 0x55, sizeof s);
	socklen_t len = 4;
	result("getsockname", getsockname(fd, (void *)&s, &len));
	say("length %u, byte after %x", len, ((unsigned char *)&s)[4]);
	len = -1;
	result("getsockname, negative", getsockname(fd, (void *)&s, &len));
	result("getsockname, NULL", getsockname(fd, NULL, NULL));
	len = sizeof s;
	result("getsockname, wild", getsockname(fd, (void *)16, &len));
	result("getpeername", getpeername(fd, (void *)&s, &len));
	result("getsockname of a pipe", getsockname(pipes[0], (void *)&s, &len));
	meet();
}

/* unspec binds to the wildcard as OpenMPI does, with the family AF_UNSPEC. */
static void unspec(void) {
	int fd = tcp();
	in4 a = any(server ? port : 0);
	a.sin_family = AF_UNSPEC;
	result("bind", bind(fd, SA(a)));
	if (server)
		result("listen", listen(fd, 1));
	sockname(fd);
	meet();
	if (server) {
		int other = must("accept", accept(fd, NULL, NULL));
		names(other);
		take(other);
	} else {
		in4 to = peer(port);
		result("connect", connect(fd, SA(to)));
		names(fd);
		give(fd, "hello");
	}
	meet();
	a.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
	result("AF_UNSPEC, not the wildcard", bind(tcp(), SA(a)));
	in6 six = any6(0);
	six.sin6_family = AF_UNSPEC;
	result("AF_UNSPEC for IPv6", bind(must("socket", socket(AF_INET6, SOCK_STREAM, 0)), SA(six)));
}

/* reach connects to each place where something listens, and to some where nothing does. */
static void reach(void) {
	prepare();
	if (server) {
		for (int i = 0; i < n_places; i++)
			must("listen", listen(must(places[i].name, bound(&places[i], SOCK_STREAM, port + i, 0, 0)), 4));
		for (int i = 0; i < n_places; i++) {
			in4 to[] = {self(port + i), local(port + i)};
			for (int j = 0; j < 2; j++) {
				int fd = tcp();
				say("%s from %s:", places[i].name, j ? "LOCAL" : "SELF");
				result("connect", connect(fd, SA(to[j])));
				peername(fd);
				close(fd);
			}
		}
		meet();
		return meet();
	}
	meet();
	for (int i = 0; i < n_places; i++) {
		int fd = tcp();
		in4 a = peer(port + i);
		say("%s", places[i].name);
		result("connect", connect(fd, SA(a)));
		close(fd);
	}
	meet();
}

int main(int argc, char **argv) {
	static const struct test tests[] = {
		CASE(tcp_plain), CASE(tcp_listening), CASE(tcp_reuse_addr), CASE(tcp_reuse_port), CASE(udp_plain), CASE(udp_reuse_addr),
		CASE(udp_reuse_port), CASE(all_names), CASE(low_ports), CASE(again), CASE(wrong), CASE(unspec), CASE(reach),
	};
	return RUN(tests);
}
