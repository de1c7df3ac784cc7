/* TTL and TOS (ip(7)), hop limit and traffic class (ipv6(7)), as senders choose them and receivers see them. */
#include "udp.h"

enum { ipv6_minhopcount = 73 };

/* How many hops there are to the other side, which the first datagram of a case tells. Bare hosts have a
 * router between them, and the nodes have one link. */
static int hops = -1;

static int level6(int family) { return family == AF_INET6 ? IPPROTO_IPV6 : IPPROTO_IP; }
static int set_ttl(int fd, int family, int v) {
	return set(fd, level6(family), family == AF_INET6 ? IPV6_UNICAST_HOPS : IP_TTL, v);
}
static int set_tos(int fd, int family, int v) {
	return set(fd, level6(family), family == AF_INET6 ? IPV6_TCLASS : IP_TOS, v);
}

/* told receives a datagram, and prints the fields of its header. */
static void told(int fd) {
	char data[64] = "", control[256];
	struct iovec v = {data, sizeof data - 1};
	struct msghdr m = {.msg_iov = &v, .msg_iovlen = 1, .msg_control = control, .msg_controllen = sizeof control};
	quietly(fd, POLLIN);
	if (recvmsg(fd, &m, MSG_DONTWAIT) < 0) {
		result("recvmsg", -1);
		return;
	}
	char line[200] = "";
	for (struct cmsghdr *c = CMSG_FIRSTHDR(&m); c; c = CMSG_NXTHDR(&m, c)) {
		int value = *CMSG_DATA(c);
		int ttl = c->cmsg_level == IPPROTO_IP ? c->cmsg_type == IP_TTL : c->cmsg_type == IPV6_HOPLIMIT;
		if (ttl && !strcmp(data, "first"))
			hops = 64 - value;
		sprintf(line + strlen(line), " %d/%d (%d bytes) %d", c->cmsg_level, c->cmsg_type,
			(int)(c->cmsg_len - CMSG_LEN(0)), ttl ? value + hops : value);
	}
	say("\"%s\":%s flags %d", data, line, m.msg_flags);
}

/* sends sends a datagram with control messages that choose fields, unless they are -2. */
static void sends(const char *text, int fd, void *to, socklen_t len, int family, int ttl, int tos) {
	union { char room[128]; struct cmsghdr align; } control = {0};
	struct iovec v = {(void *)text, strlen(text)};
	struct msghdr m = {.msg_name = to, .msg_namelen = len, .msg_iov = &v, .msg_iovlen = 1,
		.msg_control = control.room, .msg_controllen = sizeof control.room};
	struct cmsghdr *c = CMSG_FIRSTHDR(&m);
	size_t used = 0;
	for (int i = 0; i < 2; i++) {
		int value = i ? tos : ttl;
		if (value == -2)
			continue;
		c->cmsg_level = level6(family);
		c->cmsg_type = family == AF_INET6 ? i ? IPV6_TCLASS : IPV6_HOPLIMIT : i ? IP_TOS : IP_TTL;
		c->cmsg_len = CMSG_LEN(sizeof value);
		memcpy(CMSG_DATA(c), &value, sizeof value);
		used += CMSG_SPACE(sizeof value);
		c = CMSG_NXTHDR(&m, c);
	}
	m.msg_controllen = used;
	if (!used)
		m.msg_control = NULL;
	result(text, sendmsg(fd, &m, 0));
}

static int receiver(int family, int p) {
	int fd = must("socket", socket(family, SOCK_DGRAM, 0));
	set(fd, level6(family), family == AF_INET6 ? IPV6_RECVHOPLIMIT : IP_RECVTTL, 1);
	set(fd, level6(family), family == AF_INET6 ? IPV6_RECVTCLASS : IP_RECVTOS, 1);
	if (family == AF_INET6) {
		in6 a = any6(p);
		must("bind", bind(fd, SA(a)));
	} else {
		in4 a = any(p);
		must("bind", bind(fd, SA(a)));
	}
	return fd;
}

static void *destination(int family, int own, int p, socklen_t *len) {
	static in4 four;
	static in6 six;
	four = own ? self(p) : peer(p);
	six = own ? self6(p) : peer6(p);
	if (own == 2) {
		four = local(p);
		six = local6(p);
	}
	*len = family == AF_INET6 ? sizeof six : sizeof four;
	return family == AF_INET6 ? (void *)&six : (void *)&four;
}

/* choose sends what told prints, from a socket that is connected and from one that is not. */
enum { chosen = 15 };
static void choose(int family, int own) {
	socklen_t len;
	void *to = destination(family, own, port, &len);
	int fd = must("socket", socket(family, SOCK_DGRAM, 0));
	sends("first", fd, to, len, family, -2, -2);
	result("TTL", set_ttl(fd, family, 255));
	sends("ttl", fd, to, len, family, -2, -2);
	result("TOS", set_tos(fd, family, 0xb8));
	sends("both", fd, to, len, family, -2, -2);
	sends("other TTL", fd, to, len, family, 77, -2);
	sends("other TOS", fd, to, len, family, -2, 2);
	sends("others", fd, to, len, family, 99, 3);
	sends("both again", fd, to, len, family, -2, -2);
	must("connect", connect(fd, to, len));
	result("send", send(fd, "connected", 9, 0));
	sends("ECN", fd, NULL, 0, family, -2, 1);
	sends("TTL of 50", fd, NULL, 0, family, 50, -2);
	result("TTL of its own", set_ttl(fd, family, -1));
	result("no TOS", set_tos(fd, family, 0));
	result("send", send(fd, "defaults", 8, 0));
	result("TTL", set_ttl(fd, family, 200));
	result("write", write(fd, "changed", 7));
	int fresh = must("socket", socket(family, SOCK_DGRAM, 0));
	set_ttl(fresh, family, 9);
	set_tos(fresh, family, 0xff);
	must("connect", connect(fresh, to, len));
	result("send", send(fresh, "fresh", 5, 0));
	must("bind and send", sendto(fresh, "named", 5, 0, to, len));
	struct mmsghdr m = {.msg_hdr = {.msg_iov = &(struct iovec){"several", 7}, .msg_iovlen = 1}};
	result("sendmmsg", sendmmsg(fresh, &m, 1, 0));
	result("TTL of 256", set_ttl(fd, family, 256));
	result("TTL of -2", set_ttl(fd, family, -2));
	result("TOS of 256", set_tos(fd, family, 256));
	sends("wrong TTL", fd, to, len, family, 300, -2);
}

static void chooses(int family) {
	if (server) {
		int fd = receiver(family, port);
		meet();
		for (int i = 0; i < chosen; i++)
			told(fd);
		return meet();
	}
	meet();
	choose(family, 0);
	meet();
}
static void ttl(void) { chooses(AF_INET); }
static void hop_limit(void) { chooses(AF_INET6); }

/* within sends to an address of the host itself. */
static void within(int family, int own) {
	if (!server)
		return;
	int fd = receiver(family, port);
	choose(family, own);
	for (int i = 0; i < chosen; i++)
		told(fd);
}
static void own(void) { within(AF_INET, 1); }
static void own6(void) { within(AF_INET6, 1); }
static void localhost(void) { within(AF_INET, 2); }
static void localhost6(void) { within(AF_INET6, 2); }

/* mapped_to sends over IPv4 from an IPv6 socket, to an IPv4 one and to an IPv6 one. */
static void mapped_to(void) {
	if (server) {
		int four = receiver(AF_INET, port), six = receiver(AF_INET6, port + 1);
		set(six, IPPROTO_IP, IP_RECVTTL, 1);
		set(six, IPPROTO_IP, IP_RECVTOS, 1);
		meet();
		for (int i = 0; i < 3; i++)
			told(four);
		for (int i = 0; i < 3; i++)
			told(six);
		return meet();
	}
	meet();
	int fd = must("socket", socket(AF_INET6, SOCK_DGRAM, 0));
	for (int i = 0; i < 2; i++) {
		in6 a = mapped(peer_ip, port + i);
		set(fd, IPPROTO_IP, IP_TTL, 64);
		set(fd, IPPROTO_IP, IP_TOS, 0);
		must("sendto", sendto(fd, "first", 5, 0, SA(a)));
		set(fd, IPPROTO_IP, IP_TTL, 200);
		set(fd, IPPROTO_IP, IP_TOS, 0x20);
		must("sendto", sendto(fd, "mapped", 6, 0, SA(a)));
		sends("mapped, others", fd, &a, sizeof a, AF_INET, 100, 0x40);
	}
	meet();
}

/* min_ttl is for TCP: UDP takes whatever comes. */
static void min_ttl(void) {
	if (server) {
		int fd = receiver(AF_INET, port), six = receiver(AF_INET6, port + 1);
		result("IP_MINTTL", set(fd, IPPROTO_IP, IP_MINTTL, 255));
		result("IPV6_MINHOPCOUNT", set(six, IPPROTO_IPV6, ipv6_minhopcount, 255));
		meet();
		told(fd);
		told(six);
		return meet();
	}
	meet();
	in6 a = peer6(port + 1);
	to(udp(), port, "first");
	result("sendto", sendto(socket(AF_INET6, SOCK_DGRAM, 0), "six", 3, 0, SA(a)));
	meet();
}

/* header prints what IP_PKTOPTIONS tells of a connection's SYN. */
static void header(int fd) {
	char control[128];
	socklen_t len = sizeof control;
	if (getsockopt(fd, IPPROTO_IP, IP_PKTOPTIONS, control, &len) < 0) {
		result("IP_PKTOPTIONS", -1);
		return;
	}
	struct msghdr m = {.msg_control = control, .msg_controllen = len};
	for (struct cmsghdr *c = CMSG_FIRSTHDR(&m); c; c = CMSG_NXTHDR(&m, c)) {
		int v;
		memcpy(&v, CMSG_DATA(c), sizeof v);
		if (c->cmsg_type == IP_TTL && hops < 0)
			hops = 64 - v;
		say("%s %d", c->cmsg_type == IP_TTL ? "TTL" : "TOS", c->cmsg_type == IP_TTL ? v + hops : v);
	}
}

/* streams connects with several TTLs and TOSs, which the server sees. */
static void streams(void) {
	if (server) {
		int l = listener(port, 9);
		set(l, IPPROTO_IP, IP_RECVTTL, 1);
		set(l, IPPROTO_IP, IP_RECVTOS, 1);
		set(l, IPPROTO_IP, IP_TTL, 99);
		set(l, IPPROTO_IP, IP_TOS, 0x40);
		meet();
		for (int i = 0; i < 3; i++) {
			int fd = must("accept", accept(l, NULL, NULL));
			header(fd);
			int v = 0;
			socklen_t len = sizeof v;
			getsockopt(fd, IPPROTO_IP, IP_TTL, &v, &len);
			say("IP_TTL %d", v);
			take(fd);
			header(fd);
			close(fd);
		}
		return;
	}
	meet();
	for (int i = 0; i < 3; i++) {
		int fd = tcp();
		if (i) {
			set(fd, IPPROTO_IP, IP_TTL, i * 100);
			result("IP_TOS", set(fd, IPPROTO_IP, IP_TOS, i * 0x2e));
			int v = 0;
			socklen_t len = sizeof v;
			getsockopt(fd, IPPROTO_IP, IP_TOS, &v, &len);
			say("IP_TOS %d", v);
		}
		in4 a = peer(port);
		result("connect", connect(fd, SA(a)));
		give(fd, "hello");
		take(fd);
	}
}

/* secured is a pair of sockets as BGP has them (RFC 5082): TTL 255, and no lower one is taken. */
static void secured_over(int family, int all) {
	int min = family == AF_INET6 ? ipv6_minhopcount : IP_MINTTL;
	int fd = must("socket", socket(family, SOCK_STREAM | SOCK_NONBLOCK, 0));
	if (all || !server)
		result("TTL", set_ttl(fd, family, 255));
	result("least", set(fd, level6(family), min, 250));
	if (server) {
		in4 four = any(port);
		in6 six = any6(port);
		if (family == AF_INET6)
			must("bind", bind(fd, SA(six)));
		else
			must("bind", bind(fd, SA(four)));
		must("listen", listen(fd, 5));
		meet();
		if (!all)
			meet(); /* the client has waited in vain */
		else
			quietly(fd, POLLIN);
		int c = accept(fd, NULL, NULL);
		fd_result("accept", c);
		if (c >= 0) {
			give(c, "from the server");
			quietly(c, POLLIN);
			take(c);
		}
		return meet();
	}
	socklen_t len;
	void *to = destination(family, 0, port, &len);
	meet();
	result("connect", connect(fd, to, len));
	await(fd, POLLOUT, all ? wait_ms : 300);
	if (!all)
		meet();
	else {
		so_error(fd);
		give(fd, "from the client");
		quietly(fd, POLLIN);
		take(fd);
	}
	meet();
}
static void secured(void) { secured_over(AF_INET, 1); }
static void secured6(void) { secured_over(AF_INET6, 1); }

/* The client refuses the server's low TTL. */
static void low(void) { secured_over(AF_INET, 0); }
static void low6(void) { secured_over(AF_INET6, 0); }

/* low_client connects to a server that refuses its TTL. */
static void low_client(void) {
	if (server) {
		int l = listener(port, 5);
		set(l, IPPROTO_IP, IP_MINTTL, 250);
		fcntl(l, F_SETFL, O_NONBLOCK);
		meet();
		meet();
		fd_result("accept", accept(l, NULL, NULL));
		return meet();
	}
	meet();
	int fd = tcp_nonblock();
	in4 a = peer(port);
	result("connect", connect(fd, SA(a)));
	await(fd, POLLOUT, 300);
	meet();
	meet();
}

/* closed_port refuses with a TTL that the client does not take: it hears nothing. */
static void closed_port(void) {
	if (!server) {
		int fd = tcp_nonblock();
		set(fd, IPPROTO_IP, IP_TTL, 255);
		in4 a = peer(port);
		result("connect", connect(fd, SA(a)));
		await(fd, POLLOUT, wait_ms);
		so_error(fd);
		fd = tcp_nonblock();
		set(fd, IPPROTO_IP, IP_MINTTL, 250);
		result("connect", connect(fd, SA(a)));
		await(fd, POLLOUT, 300);
	}
	meet();
}

/* later has both sides change their minds about an established connection. */
static void later(void) {
	if (server) {
		int l = listener(port, 5);
		meet();
		int fd = must("accept", accept(l, NULL, NULL));
		take(fd);
		meet(); /* the client takes no low TTL any more */
		give(fd, "low");
		meet(); /* and has not got it */
		result("IP_TTL", set(fd, IPPROTO_IP, IP_TTL, 255));
		meet();
		give(fd, "high");
		meet(); /* the client has both */
		result("IP_MINTTL", set(fd, IPPROTO_IP, IP_MINTTL, 250));
		meet();
		await(fd, POLLIN, 300);
		meet();
		quietly(fd, POLLIN);
		take(fd);
		return;
	}
	meet();
	int fd = dial(port);
	give(fd, "hello");
	result("IP_MINTTL", set(fd, IPPROTO_IP, IP_MINTTL, 250));
	meet();
	await(fd, POLLIN, 300);
	meet();
	meet();
	char got[16];
	for (int n = 0; n < 7;) { /* the first is sent again */
		quietly(fd, POLLIN);
		int more = read(fd, got + n, sizeof got - 1 - n);
		if (more <= 0)
			return say("read: %d", more);
		got[n += more] = 0;
		if (n == 7)
			say("read %s", got);
	}
	meet();
	meet();
	give(fd, "low");
	meet();
	result("IP_TTL", set(fd, IPPROTO_IP, IP_TTL, 255));
	quietly(fd, POLLIN);
	take(fd);
}

int main(int argc, char **argv) {
	static const struct test tests[] = {
		CASE(ttl), CASE(hop_limit), CASE(own), CASE(own6), CASE(localhost), CASE(localhost6), CASE(mapped_to), CASE(min_ttl), CASE(streams), CASE(secured), CASE(secured6), CASE(low), CASE(low6), CASE(low_client), CASE(closed_port), CASE(later),
	};
	return RUN(tests);
}
