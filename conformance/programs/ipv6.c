/* IPv6: listeners of one family and of both, ::1, scopes, names, and who sees which address. */
#include "conformance.h"

static int tcp6(void) { return must("socket", socket(AF_INET6, SOCK_STREAM | SOCK_CLOEXEC, 0)); }
static int udp6(void) { return must("socket", socket(AF_INET6, SOCK_DGRAM | SOCK_CLOEXEC, 0)); }

static void v6only(int fd) {
	int v = -1;
	socklen_t len = sizeof v;
	int r = getsockopt(fd, IPPROTO_IPV6, IPV6_V6ONLY, &v, &len);
	if (r < 0)
		result("IPV6_V6ONLY", r);
	else
		say("IPV6_V6ONLY: %d", v);
}

static int listener6(in6 a, int only) {
	int fd = tcp6();
	set(fd, SOL_SOCKET, SO_REUSEADDR, 1);
	set(fd, IPPROTO_IPV6, IPV6_V6ONLY, only);
	must("bind", bind(fd, SA(a)));
	must("listen", listen(fd, 8));
	return fd;
}

/* answer accepts a connection and says who is at its ends. */
static void answer(int l) {
	struct sockaddr_storage a;
	socklen_t len = sizeof a;
	int fd = must("accept", accept(l, (void *)&a, &len));
	say("from %s", text(&a, len));
	names(fd);
	v6only(fd);
	give(fd, "hello");
	close(fd);
}

/* visit connects to an address, says what it sees, and returns whether it is connected. */
static int visit_from(int fd, const void *a, socklen_t len) {
	say("to %s", text(a, len));
	int connected = result("connect", connect(fd, a, len)) == 0;
	if (connected) {
		names(fd);
		take(fd);
	} else if (strcmp(case_name, "fallback") == 0) {
		sockname(fd);
	}
	close(fd);
	return connected;
}
static void visit6(in6 a) { visit_from(tcp6(), SA(a)); }
static void visit4(in4 a) { visit_from(tcp(), SA(a)); }

static void dual(void) {
	if (server) {
		int l = listener6(any6(port), 0);
		names(l);
		v6only(l);
		meet();
		for (int i = 0; i < 3; i++)
			answer(l);
		return meet();
	}
	meet();
	visit6(peer6(port));
	visit4(peer(port));
	visit6(mapped(peer_ip, port));
	meet();
}

/* only has a listener of each family on one port. */
static void only(void) {
	if (server) {
		int six = listener6(any6(port), 1), four = listener(port, 64), lone = listener6(any6(port + 1), 1);
		names(six);
		v6only(six);
		meet();
		answer(six);
		answer(four);
		answer(lone);
		meet();
		return;
	}
	meet();
	visit6(peer6(port));
	visit4(peer(port));
	visit6(peer6(port + 1));
	visit4(peer(port + 1));
	meet();
}

/* own has listeners on addresses of the host's. */
static void own(void) {
	if (server) {
		int a = listener6(self6(port), 0), b = listener6(mapped(self_ip, port + 1), 0), c = listener6(local6(port + 2), 0);
		int d = listener6(mapped(0, port + 3), 0), all[] = {a, b, c, d};
		for (int i = 0; i < 4; i++) {
			names(all[i]);
			v6only(all[i]);
		}
		meet();
		answer(a);
		answer(b);
		answer(d);
		return meet();
	}
	meet();
	for (int i = 0; i < 4; i++) {
		if (i % 2 == 0) /* other_family has the rest */
			visit6(peer6(port + i));
		visit4(peer(port + i));
	}
	meet();
}

/* other_family connects to the IPv6 address of a host that listens over IPv4 only. */
static void other_family(void) {
	if (server) {
		int places[] = {listener(port, 64), listener6(mapped(self_ip, port + 1), 0)};
		meet();
		meet(); /* the client has connected, or not */
		for (int i = 0; i < 2; i++) {
			struct sockaddr_storage a;
			socklen_t len = sizeof a;
			nonblock(places[i], 1);
			int fd = accept(places[i], (void *)&a, &len);
			if (fd < 0) {
				result("accept", fd);
				continue;
			}
			say("from %s", text(&a, len));
			names(fd);
			give(fd, "hello");
			close(fd);
		}
		return meet();
	}
	meet();
	int fds[2], connected[2];
	for (int i = 0; i < 2; i++) {
		in6 a = peer6(port + i);
		fds[i] = tcp6();
		connected[i] = result("connect", connect(fds[i], SA(a)));
	}
	meet();
	for (int i = 0; i < 2; i++)
		if (connected[i] == 0) {
			names(fds[i]);
			take(fds[i]);
		}
	meet();
}

/* fallback is what programs do with a name: one address after the other, until one answers. */
static void fallback(void) {
	if (server) {
		int l = listener(port, 64);
		meet();
		answer(l);
		return meet();
	}
	meet();
	char service[8];
	snprintf(service, sizeof service, "%d", port);
	struct addrinfo hints = {.ai_socktype = SOCK_STREAM}, *found;
	result("getaddrinfo", getaddrinfo(peer_name, service, &hints, &found));
	for (struct addrinfo *a = found; a; a = a->ai_next)
		if (visit_from(must("socket", socket(a->ai_family, a->ai_socktype, a->ai_protocol)), a->ai_addr, a->ai_addrlen))
			break;
	meet();
}

static void pending(void) {
	if (server) {
		int l = listener6(any6(port), 1);
		meet();
		answer(l);
		return meet();
	}
	meet();
	for (int i = 0; i < 2; i++) {
		int fd = tcp6();
		nonblock(fd, 1);
		set(fd, IPPROTO_IPV6, IPV6_V6ONLY, i);
		in6 a = peer6(port + i);
		result("connect", connect(fd, SA(a)));
		say("%s", event_names(quietly(fd, POLLOUT) & POLLOUT));
		so_error(fd);
		names(fd);
		if (i == 0) {
			nonblock(fd, 0);
			take(fd);
		}
		close(fd);
	}
	meet();
}

/* from connects sockets that are bound. */
static void from(void) {
	in6 places[] = {any6(0), self6(0), local6(0), mapped(self_ip, 0), mapped(0, 0), mapped(htonl(INADDR_LOOPBACK), 0)};
	enum { n = sizeof places / sizeof *places };
	if (server) {
		int l = listener6(any6(port), 0);
		meet();
		for (int i = 0; i < 5; i++)
			answer(l);
		return meet();
	}
	int l = listener6(any6(port + 1), 0);
	meet();
	for (int i = 0; i < n; i++) {
		in6 to[] = {peer6(port), mapped(peer_ip, port), self6(port + 1), local6(port + 1), mapped(htonl(INADDR_LOOPBACK), port + 1), any6(port + 1)};
		for (int j = 0; j < 6; j++) {
			if (j == 0 && i == 2) /* from ::1 to another host: SYNs that nobody answers */
				continue;
			int fd = tcp6();
			say("from %s to %s", text(SA(places[i])), text(SA(to[j])));
			result("bind", bind(fd, SA(places[i])));
			v6only(fd);
			if (result("connect", connect(fd, SA(to[j]))) == 0) {
				names(fd);
				if (j > 1) {
					int s = accept(l, NULL, NULL);
					names(s);
					close(s);
				} else {
					take(fd);
				}
			}
			close(fd);
		}
	}
	meet();
}

static void localhost(void) {
	if (!server)
		return meet();
	int all[] = {listener6(any6(port), 0), listener6(any6(port + 1), 1), listener6(local6(port + 2), 0), listener6(self6(port + 3), 0), listener(port + 4, 8)};
	for (int i = 0; i < 5; i++) {
		in6 to[] = {local6(port + i), any6(port + i), self6(port + i), mapped(htonl(INADDR_LOOPBACK), port + i), mapped(self_ip, port + i), mapped(0, port + i)};
		for (int j = 0; j < 6; j++)
			for (int only = 0; only < 2; only++) {
				int fd = tcp6();
				set(fd, IPPROTO_IPV6, IPV6_V6ONLY, only);
				say("%sto %s", only ? "only " : "", text(SA(to[j])));
				if (result("connect", connect(fd, SA(to[j]))) == 0) {
					struct sockaddr_storage a;
					socklen_t len = sizeof a;
					int s = accept(all[i], (void *)&a, &len);
					say("from %s", text(&a, len));
					names(s);
					names(fd);
					close(s);
				}
				close(fd);
			}
	}
	meet();
}

static in6 linked(int scope, int p) {
	in6 a = any6(p);
	inet_pton(AF_INET6, "fe80::1234", &a.sin6_addr);
	a.sin6_scope_id = scope;
	return a;
}

static void wrong(void) {
	if (!server)
		return meet();
	in6 group = any6(port), foreign = any6(port), group_any = any6(port);
	inet_pton(AF_INET6, "ff02::1", &group.sin6_addr);
	inet_pton(AF_INET6, "2001:db8:ffff::1", &foreign.sin6_addr);
	inet_pton(AF_INET6, "ff0e::1", &group_any.sin6_addr);
	struct { const char *name; in6 a; } all[] = {
		{"the peer's", peer6(port)}, {"nobody's", foreign}, {"link-local", linked(0, port)}, {"link-local, no such link", linked(9999, port)},
		{"multicast", group}, {"multicast, global", group_any}, {"mapped peer's", mapped(peer_ip, port)},
	};
	for (unsigned i = 0; i < sizeof all / sizeof *all; i++) {
		int fd = tcp6();
		say("%s", all[i].name);
		result("bind", bind(fd, SA(all[i].a)));
		close(fd);
		if (i < 2 || i == 6)
			continue;
		fd = tcp6();
		result("connect", connect(fd, SA(all[i].a)));
		close(fd);
	}
	int fd = tcp6();
	set(fd, IPPROTO_IPV6, IPV6_V6ONLY, 1);
	in6 a = mapped(self_ip, port), b = self6(port);
	in4 four = self(port);
	result("mapped on IPV6_V6ONLY", bind(fd, SA(a)));
	result("mapped on IPV6_V6ONLY", connect(fd, SA(a)));
	v6only(fd);
	result("bind", bind(fd, SA(b)));
	result("bind twice", bind(fd, SA(b)));
	result("IPV6_V6ONLY once bound", set(fd, IPPROTO_IPV6, IPV6_V6ONLY, 0));
	result("mapped from an IPv6 address", connect(fd, SA(a)));
	result("AF_INET", connect(fd, SA(four)));
	result("short", connect(fd, (void *)&b, 20));
	b.sin6_port = htons(port + 1);
	result("24 bytes", connect(fd, (void *)&b, 24));
	socklen_t len = 2;
	int v = -1;
	result("getsockopt, short", getsockopt(fd, IPPROTO_IPV6, IPV6_V6ONLY, &v, &len));
	say("length %u", len);
	result("getsockopt, wild", getsockopt(fd, IPPROTO_IPV6, IPV6_V6ONLY, (void *)16, &len));
	close(fd);
	fd = tcp();
	result("IPv6 on an IPv4 socket", connect(fd, SA(b)));
	v6only(fd);
	meet();
}

/* get receives a datagram and says from where, to which address, and how far it came. */
static void get(int fd) {
	char buf[256], control[512];
	struct sockaddr_storage a;
	struct iovec v = {buf, sizeof buf - 1};
	struct msghdr m = {.msg_name = &a, .msg_namelen = sizeof a, .msg_iov = &v, .msg_iovlen = 1, .msg_control = control, .msg_controllen = sizeof control};
	if (!quietly(fd, POLLIN))
		return say("nothing comes");
	long n = recvmsg(fd, &m, 0);
	if (n < 0) {
		result("recvmsg", n);
		return;
	}
	buf[n] = 0;
	say("\"%s\" from %s", buf, text(&a, m.msg_namelen));
	for (struct cmsghdr *c = CMSG_FIRSTHDR(&m); c; c = CMSG_NXTHDR(&m, c))
		if (c->cmsg_level == IPPROTO_IPV6 && c->cmsg_type == IPV6_PKTINFO) {
			struct in6_pktinfo *i = (void *)CMSG_DATA(c);
			in6 to = addr6(i->ipi6_addr, port);
			say("to %s, interface %d", text(SA(to)), i->ipi6_ifindex > 0);
		} else if (c->cmsg_level == IPPROTO_IPV6 && c->cmsg_type == IPV6_HOPLIMIT) {
			say("hop limit > 0: %d", *(int *)CMSG_DATA(c) > 0);
		}
	if (buf[0] != '>') {
		buf[0] = '>';
		result("reply", sendto(fd, buf, n, 0, (void *)&a, m.msg_namelen));
	}
}

static int socket6(in6 a, int only) {
	int fd = udp6();
	set(fd, IPPROTO_IPV6, IPV6_V6ONLY, only);
	set(fd, IPPROTO_IPV6, IPV6_RECVPKTINFO, 1);
	set(fd, IPPROTO_IPV6, IPV6_RECVHOPLIMIT, 1);
	must("bind", bind(fd, SA(a)));
	sockname(fd);
	v6only(fd);
	return fd;
}

static void datagrams(void) {
	if (server) {
		int dual = socket6(any6(port), 0), only = socket6(any6(port + 1), 1), own = socket6(self6(port + 2), 0);
		meet();
		get(dual);
		get(dual);
		get(only);
		get(own);
		get(dual);
		return meet();
	}
	meet();
	int fd = udp6();
	set(fd, IPPROTO_IPV6, IPV6_RECVPKTINFO, 1);
	in6 to[] = {peer6(port), mapped(peer_ip, port), peer6(port + 1), peer6(port + 2)};
	for (int i = 0; i < 4; i++) {
		say("to %s", text(SA(to[i])));
		result("sendto", sendto(fd, "a query", 7, 0, SA(to[i])));
		get(fd);
	}
	sockname(fd);
	in4 a = peer(port);
	result("AF_INET on an IPv6 socket", sendto(fd, "a query", 7, 0, SA(a)));
	get(fd);
	close(fd);
	meet();
}

/* connected connects UDP sockets: to one that answers, and to nobody. */
static void connected(void) {
	if (server) {
		int fd = socket6(any6(port), 0);
		meet();
		get(fd);
		get(fd);
		return meet();
	}
	meet();
	int fd = udp6();
	in6 to = peer6(port);
	result("connect", connect(fd, SA(to)));
	names(fd);
	give(fd, "a query");
	quietly(fd, POLLIN);
	take(fd);
	to = mapped(peer_ip, port);
	int other = udp6();
	result("connect", connect(other, SA(to)));
	names(other);
	give(other, "a query");
	quietly(other, POLLIN);
	take(other);
	int closed = udp6();
	to = peer6(port + 1);
	result("connect", connect(closed, SA(to)));
	give(closed, "a query");
	quietly(closed, POLLIN);
	so_error(closed);
	int only = udp6();
	set(only, IPPROTO_IPV6, IPV6_V6ONLY, 1);
	to = mapped(peer_ip, port);
	result("mapped on IPV6_V6ONLY", connect(only, SA(to)));
	result("mapped on IPV6_V6ONLY", sendto(only, "a query", 7, 0, SA(to)));
	meet();
}

/* sorting is what glibc does to sort a name's addresses: one IPv6 socket asks for the source address of each. */
static void sorting(void) {
	if (server)
		return meet();
	int fd = udp6();
	in6 to6 = peer6(port);
	in4 to4 = peer(port);
	struct sockaddr none = {.sa_family = AF_UNSPEC};
	result("IPv6", connect(fd, SA(to6)));
	names(fd);
	result("AF_UNSPEC", connect(fd, &none, sizeof none));
	result("IPv4", connect(fd, SA(to4)));
	names(fd);
	int only = udp6();
	set(only, IPPROTO_IPV6, IPV6_V6ONLY, 1);
	result("IPv4 on IPV6_V6ONLY", connect(only, SA(to4)));
	int stream = tcp6();
	result("IPv4 on a stream", connect(stream, SA(to4)));
	meet();
}

static void local_datagrams(void) {
	if (!server)
		return meet();
	int all[] = {socket6(any6(port), 0), socket6(any6(port + 1), 1), socket6(local6(port + 2), 0), socket6(self6(port + 3), 0)};
	for (int i = 0; i < 4; i++) {
		in6 to[] = {local6(port + i), self6(port + i), mapped(htonl(INADDR_LOOPBACK), port + i)};
		for (int j = 0; j < 3; j++) {
			if (j == 2 && i > 0)
				continue; /* refused, sooner or later */
			int fd = udp6();
			say("to %s", text(SA(to[j])));
			if (j == (i == 2) || (i == 3 && j == 0)) { /* nobody is there */
				close(fd);
				continue;
			}
			result("sendto", sendto(fd, "a query", 7, 0, SA(to[j])));
			get(all[i]);
			get(fd);
			result("connect", connect(fd, SA(to[j])));
			names(fd);
			give(fd, "a query");
			get(all[i]);
			get(fd);
			close(fd);
		}
	}
	int fd = udp6();
	in6 nobody = local6(port + 9);
	result("connect", connect(fd, SA(nobody)));
	give(fd, "a query");
	so_error(fd);
	meet();
}

static void resolve(void) {
	struct { const char *name; int family, flags; } asks[] = {
		{peer_name, AF_UNSPEC, 0}, {peer_name, AF_UNSPEC, AI_ADDRCONFIG}, {peer_name, AF_INET6, 0}, {peer_name, AF_INET6, AI_V4MAPPED | AI_ALL},
		{peer_name, AF_INET, 0}, {self_name, AF_UNSPEC, 0}, {"::1", AF_UNSPEC, AI_NUMERICHOST}, {"nosuch", AF_INET6, 0},
		{"fe80::1", AF_INET6, AI_NUMERICHOST}, {NULL, AF_UNSPEC, AI_PASSIVE}, {NULL, AF_UNSPEC, 0},
	};
	meet();
	for (unsigned i = 0; i < sizeof asks / sizeof *asks; i++) {
		struct addrinfo hints = {.ai_family = asks[i].family, .ai_flags = asks[i].flags, .ai_socktype = SOCK_STREAM}, *found = NULL;
		int err = getaddrinfo(asks[i].name, "7000", &hints, &found);
		say("%u: %s", i, err == EAI_AGAIN || err == EAI_NONAME ? "no such name" : err ? gai_strerror(err) : "found");
		for (struct addrinfo *a = found; a; a = a->ai_next)
			say("%s", text(a->ai_addr, a->ai_addrlen));
		if (found)
			freeaddrinfo(found);
	}
	in6 all[] = {peer6(7000), self6(7000)};
	for (int i = 0; i < 2; i++) {
		char name[256] = "";
		result("getnameinfo", getnameinfo(SA(all[i]), name, sizeof name, NULL, 0, NI_NAMEREQD));
		say("%s", name);
	}
	meet();
}

int main(int argc, char **argv) {
	static const struct test tests[] = {
		CASE(dual), CASE(only), CASE(own), CASE(other_family), CASE(fallback), CASE(pending), CASE(from), CASE(localhost), CASE(wrong), CASE(datagrams),
		CASE(connected), CASE(sorting), CASE(local_datagrams), CASE(resolve),
	};
	return RUN(tests);
}
