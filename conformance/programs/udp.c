/* UDP: connected and not, by all calls. */
#include "conformance.h"

static int bound(int p) {
	int fd = udp();
	in4 a = any(p);
	must("bind", bind(fd, SA(a)));
	return fd;
}

/* receive takes a datagram with its sender's address. */
static long receive(int fd, int flags) {
	static char buf[1 << 16];
	struct sockaddr_storage from;
	socklen_t len = sizeof from;
	long n = recvfrom(fd, buf, sizeof buf - 1, flags, (void *)&from, &len);
	if (n < 0)
		return result("recvfrom", n);
	buf[n] = 0;
	say("recvfrom: %ld \"%.40s\" from %s", n, buf, text(&from, len));
	return n;
}
static long to(int fd, int p, const char *s) {
	in4 a = peer(p);
	return result("sendto", sendto(fd, s, strlen(s), 0, SA(a)));
}

static void plain(void) {
	if (server) {
		int fd = bound(port);
		names(fd);
		meet();
		receive(fd, 0);
		char buf[16];
		struct sockaddr_storage from;
		socklen_t len = sizeof from;
		recvfrom(fd, buf, sizeof buf, 0, (void *)&from, &len);
		result("answer", sendto(fd, "answer", 6, 0, (void *)&from, len));
		names(fd);
		return meet();
	}
	meet();
	int fd = udp();
	names(fd);
	events(fd);
	to(fd, port, "one");
	sockname(fd);
	to(fd, port, "two");
	await(fd, POLLIN, wait_ms);
	receive(fd, 0);
	result("nothing left", receive(fd, MSG_DONTWAIT));
	peername(fd);
	meet();
}

static void connected(void) {
	if (server) {
		int fd = bound(port), other = bound(port + 1);
		meet();
		struct sockaddr_storage from;
		socklen_t len = sizeof from;
		char buf[16];
		recvfrom(fd, buf, 16, 0, (void *)&from, &len);
		result("connect", connect(fd, (void *)&from, len));
		names(fd);
		give(fd, "one");
		sendto(other, "from a stranger", 15, 0, (void *)&from, len);
		usleep(quiet_ms * 1000);
		give(fd, "two");
		take(fd);
		return meet();
	}
	meet();
	int fd = udp();
	in4 a = peer(port);
	result("connect", connect(fd, SA(a)));
	names(fd);
	give(fd, "hello");
	take(fd);
	receive(fd, 0);
	result("sendto NULL", sendto(fd, "back", 4, 0, NULL, 0));
	a = peer(port + 1);
	result("sendto elsewhere", sendto(fd, "elsewhere", 9, 0, SA(a)));
	result("connect elsewhere", connect(fd, SA(a)));
	names(fd);
	struct sockaddr none = {.sa_family = AF_UNSPEC};
	result("AF_UNSPEC", connect(fd, &none, sizeof none));
	peername(fd);
	result("send unconnected", send(fd, "x", 1, 0));
	meet();
}

static void messages(void) {
	static char block[2][64];
	struct sockaddr_storage from[2];
	struct iovec v[2] = {{block[0], 64}, {block[1], 64}};
	struct mmsghdr m[2] = {
		{{.msg_name = &from[0], .msg_namelen = sizeof from[0], .msg_iov = &v[0], .msg_iovlen = 1}, 0},
		{{.msg_name = &from[1], .msg_namelen = sizeof from[1], .msg_iov = &v[1], .msg_iovlen = 1}, 0},
	};
	if (server) {
		int fd = bound(port);
		meet();
		meet();
		quietly(fd, POLLIN);
		result("recvmsg", recvmsg(fd, &m[0].msg_hdr, 0));
		say("\"%s\" from %s flags %d", block[0], text(&from[0], m[0].msg_hdr.msg_namelen), m[0].msg_hdr.msg_flags);
		v[0].iov_len = 3;
		m[0].msg_hdr.msg_namelen = 4;
		memset(block, 0, sizeof block);
		result("recvmsg short", recvmsg(fd, &m[0].msg_hdr, 0));
		say("\"%s\" name %u flags %d", block[0], m[0].msg_hdr.msg_namelen, m[0].msg_hdr.msg_flags);
		v[0].iov_len = 64;
		m[0].msg_hdr.msg_namelen = sizeof from[0];
		usleep(quiet_ms * 1000);
		result("recvmmsg", recvmmsg(fd, m, 2, MSG_WAITFORONE, NULL));
		for (int i = 0; i < 2; i++)
			say("%u \"%s\" from %s", m[i].msg_len, block[i], text(&from[i], m[i].msg_hdr.msg_namelen));
		m[0].msg_hdr.msg_name = NULL;
		m[0].msg_hdr.msg_namelen = 7;
		result("recvmsg without a name", recvmsg(fd, &m[0].msg_hdr, 0));
		say("name %u", m[0].msg_hdr.msg_namelen);
		m[0].msg_hdr.msg_name = &from[0];
		m[0].msg_hdr.msg_namelen = sizeof from[0];
		struct timespec ts = {0, 100000000};
		result("recvmmsg with a timeout", recvmmsg(fd, m, 2, MSG_DONTWAIT, &ts));
		return meet();
	}
	meet();
	int fd = bound(port);
	in4 a = peer(port);
	strcpy(block[0], "first");
	strcpy(block[1], "second");
	for (int i = 0; i < 2; i++) {
		m[i].msg_hdr.msg_name = &a;
		m[i].msg_hdr.msg_namelen = sizeof a;
		v[i].iov_len = strlen(block[i]);
	}
	result("sendmsg", sendmsg(fd, &m[0].msg_hdr, 0));
	result("sendmsg", sendmsg(fd, &m[1].msg_hdr, 0));
	result("sendmmsg", sendmmsg(fd, m, 2, 0));
	say("%u %u", m[0].msg_len, m[1].msg_len);
	struct iovec parts[3] = {{"a", 1}, {"", 0}, {"bc", 2}};
	m[0].msg_hdr.msg_iov = parts;
	m[0].msg_hdr.msg_iovlen = 3;
	result("sendmsg in parts", sendmsg(fd, &m[0].msg_hdr, 0));
	m[0].msg_hdr.msg_name = NULL;
	result("sendmsg nowhere", sendmsg(fd, &m[0].msg_hdr, 0));
	m[0].msg_hdr.msg_name = (void *)16;
	result("sendmsg wild", sendmsg(fd, &m[0].msg_hdr, 0));
	m[0].msg_hdr.msg_name = &a;
	m[0].msg_hdr.msg_iovlen = 1 << 20;
	result("sendmsg of too many parts", sendmsg(fd, &m[0].msg_hdr, 0));
	m[0].msg_hdr.msg_iov = (void *)16;
	m[0].msg_hdr.msg_iovlen = 1;
	result("sendmsg of wild parts", sendmsg(fd, &m[0].msg_hdr, 0));
	result("sendmmsg of none", sendmmsg(fd, m, 0, 0));
	result("sendmmsg wild", sendmmsg(fd, (void *)16, 1, 0));
	result("recvmsg wild", recvmsg(fd, (void *)16, MSG_DONTWAIT));
	result("recvmmsg of none", recvmmsg(fd, m, 0, MSG_DONTWAIT, NULL));
	meet();
	meet();
}

static void sizes(void) {
	static char block[70000];
	static const int all[] = {0, 1, 1200, 1472, 1473, 9000, 65507};
	if (server) {
		int fd = bound(port);
		meet();
		meet();
		for (unsigned i = 0; i < sizeof all / sizeof *all; i++) {
			struct sockaddr_storage from;
			socklen_t len = sizeof from;
			quietly(fd, POLLIN);
			int queued = -1;
			ioctl(fd, FIONREAD, &queued);
			long n = recvfrom(fd, block, sizeof block, 0, (void *)&from, &len);
			result("recvfrom", n);
			say("FIONREAD %d", queued);
			meet();
		}
		receive(fd, 0);
		char few[4] = "";
		result("truncated", recv(fd, few, 3, 0));
		result("truncated with MSG_TRUNC", recv(fd, few, 3, MSG_TRUNC));
		result("peek with MSG_TRUNC", recv(fd, few, 3, MSG_TRUNC | MSG_PEEK));
		receive(fd, MSG_PEEK);
		receive(fd, 0);
		result("read a datagram of no bytes", read(fd, block, 10));
		return meet();
	}
	meet();
	int fd = udp();
	in4 a = peer(port);
	meet();
	for (unsigned i = 0; i < sizeof all / sizeof *all; i++) {
		result("sendto", sendto(fd, block, all[i], 0, SA(a)));
		meet();
	}
	result("too large", sendto(fd, block, 65508, 0, SA(a)));
	result("too large", sendto(fd, block, 70000, 0, SA(a)));
	for (int i = 0; i < 4; i++) {
		to(fd, port, "abcdef");
		usleep(20000); /* datagrams may overtake each other */
	}
	result("connect", connect(fd, SA(a)));
	result("no bytes", send(fd, "", 0, 0));
	meet();
}

/* refused_by prints what a connected socket learns of a port where nobody is. */
static void refused_by(in4 a) {
	int fd = udp();
	result("connect", connect(fd, SA(a)));
	names(fd);
	give(fd, "x");
	await(fd, POLLIN, 1000);
	so_error(fd);
	so_error(fd);
}
static void refused(void) {
	if (!server)
		refused_by(peer(port));
	meet();
}
static void refused_by_self(void) {
	refused_by(self(port));
	meet();
}
static void refused_by_localhost(void) {
	refused_by(local(port));
	meet();
}

/* An unconnected socket is not told. */
static void refused_unconnected(void) {
	int fd = udp();
	to(fd, port, "x");
	await(fd, POLLIN, quiet_ms);
	to(fd, port, "x");
	so_error(fd);
	meet();
}

static void on_this_host(void) {
	int l = bound(port);
	in4 all[] = {self(port), local(port), any(port)};
	for (int i = 0; i < 3; i++) {
		int fd = udp();
		result("sendto", sendto(fd, "hello", 5, 0, SA(all[i])));
		receive(l, 0);
		result("connect", connect(fd, SA(all[i])));
		names(fd);
		give(fd, "again");
		receive(l, 0);
		close(fd);
	}
	meet();
}

static void reuse_port(void) {
	if (!server) {
		meet();
		for (int i = 0; i < 32; i++) {
			int fd = udp();
			in4 a = peer(port);
			sendto(fd, "x", 1, 0, SA(a));
			close(fd);
		}
		usleep(quiet_ms * 1000);
		return meet();
	}
	int fds[2], n[2] = {0};
	in4 a = any(port);
	for (int i = 0; i < 2; i++) {
		fds[i] = udp();
		set(fds[i], SOL_SOCKET, SO_REUSEPORT, 1);
		result("bind", bind(fds[i], SA(a)));
		nonblock(fds[i], 1);
	}
	meet();
	meet();
	for (int i = 0; i < 2; i++)
		while (recv(fds[i], &a, 1, 0) > 0)
			n[i]++;
	say("%d together, both have some: %d", n[0] + n[1], n[0] > 0 && n[1] > 0);
}

static void timeouts(void) {
	int fd = bound(port);
	struct timeval tv = {0, 100000};
	setsockopt(fd, SOL_SOCKET, SO_RCVTIMEO, &tv, sizeof tv);
	receive(fd, 0);
	take(fd);
	tv.tv_usec = 0;
	setsockopt(fd, SOL_SOCKET, SO_RCVTIMEO, &tv, sizeof tv);
	on_signal(SIGALRM, 0, NULL);
	alarm_in(50);
	receive(fd, 0);
	alarm_in(50);
	char buf[8];
	struct iovec v = {buf, 8};
	struct msghdr m = {.msg_iov = &v, .msg_iovlen = 1};
	result("recvmsg", recvmsg(fd, &m, 0));
	on_signal(SIGALRM, SA_RESTART, NULL);
	alarm_in(50);
	meet();
	to(fd, port, "wake up");
	receive(fd, 0);
	meet();
}

/* moved has sockets that are dup'ed to other descriptors. */
static void moved(void) {
	int fd = bound(port), low = dup2(fd, 20), high = fcntl(fd, F_DUPFD, 900);
	result("dup2", low);
	meet();
	if (server) {
		for (int i = 0; i < 3; i++) {
			struct sockaddr_storage from;
			socklen_t len = sizeof from;
			char buf[8];
			result("recvfrom", recvfrom(i == 0 ? fd : i == 1 ? low : high, buf, 8, 0, (void *)&from, &len));
			say("from %s", text(&from, len));
		}
		return meet();
	}
	in4 a = peer(port);
	result("sendto", sendto(fd, "fd", 2, 0, SA(a)));
	usleep(20000);
	result("sendto", sendto(low, "low", 3, 0, SA(a)));
	usleep(20000);
	result("sendto", sendto(high, "high", 4, 0, SA(a)));
	meet();
}

/* moved_messages does the same with the calls that have addresses behind pointers. */
static void moved_messages(void) {
	int fd = bound(port);
	must("dup2", dup2(fd, 20));
	struct timeval tv = {1, 0};
	setsockopt(fd, SOL_SOCKET, SO_RCVTIMEO, &tv, sizeof tv);
	meet();
	char buf[8] = "message";
	struct sockaddr_storage from;
	struct iovec v = {buf, 7};
	if (server) {
		struct msghdr m = {.msg_name = &from, .msg_namelen = sizeof from, .msg_iov = &v, .msg_iovlen = 1};
		for (int i = 0; i < 2; i++)
			if (result("recvmsg", recvmsg(20, &m, 0)) >= 0)
				say("from %s", text(&from, m.msg_namelen));
		return meet();
	}
	in4 a = peer(port);
	struct msghdr m = {.msg_name = &a, .msg_namelen = sizeof a, .msg_iov = &v, .msg_iovlen = 1};
	result("sendto", sendto(20, "first", 5, 0, SA(a)));
	usleep(20000);
	result("sendmsg", sendmsg(20, &m, 0));
	meet();
}

/* pktinfo asks for the destination of each datagram, as servers on several addresses do. */
static void pktinfo(void) {
	if (!server) {
		meet();
		int fd = udp();
		to(fd, port, "one");
		meet();
		return;
	}
	int fd = bound(port);
	result("IP_PKTINFO", set(fd, IPPROTO_IP, IP_PKTINFO, 1));
	meet();
	char buf[16], control_buf[256];
	struct sockaddr_storage from;
	struct iovec v = {buf, 16};
	struct msghdr m = {.msg_name = &from, .msg_namelen = sizeof from, .msg_iov = &v, .msg_iovlen = 1,
		.msg_control = control_buf, .msg_controllen = sizeof control_buf};
	result("recvmsg", recvmsg(fd, &m, 0));
	say("from %s", text(&from, m.msg_namelen));
	for (struct cmsghdr *c = CMSG_FIRSTHDR(&m); c; c = CMSG_NXTHDR(&m, c)) {
		struct in_pktinfo *p = (void *)CMSG_DATA(c);
		in4 a = addr4(p->ipi_addr.s_addr, 0), s = addr4(p->ipi_spec_dst.s_addr, 0);
		say("level %d type %d to %s through %s", c->cmsg_level, c->cmsg_type, text(&a, sizeof a), text(&s, sizeof s));
	}
	meet();
}

static void wrong(void) {
	if (!server)
		return meet();
	int fd = udp();
	in4 a = peer(port);
	result("sendto short", sendto(fd, "x", 1, 0, (void *)&a, 8));
	result("sendto wild", sendto(fd, "x", 1, 0, (void *)16, sizeof a));
	result("sendto wild bytes", sendto(fd, (void *)16, 1, 0, SA(a)));
	result("sendto negative", sendto(fd, "x", 1, 0, (void *)&a, -1));
	result("sendto a bad descriptor", sendto(-1, "x", 1, 0, SA(a)));
	a = peer(0);
	result("sendto port 0", sendto(fd, "x", 1, 0, SA(a)));
	result("connect to port 0", connect(fd, SA(a)));
	fd = udp();
	a = addr4(htonl(0xffffffff), port);
	result("broadcast", sendto(fd, "x", 1, 0, SA(a)));
	result("connect to broadcast", connect(fd, SA(a)));
	in6 b = mapped(peer_ip, port);
	fd = udp();
	result("AF_INET6", sendto(fd, "x", 1, 0, SA(b)));
	result("MSG_OOB", send(fd, "x", 1, MSG_OOB));
	result("listen", listen(fd, 1));
	char buf[8];
	struct sockaddr_storage from;
	socklen_t len = -1;
	result("recvfrom negative", recvfrom(fd, buf, 8, MSG_DONTWAIT, (void *)&from, &len));
	fd = bound(port);
	a = self(port);
	result("sendto self", sendto(fd, "x", 1, 0, SA(a)));
	result("recvfrom negative", recvfrom(fd, buf, 8, 0, (void *)&from, &len));
	result("sendto self", sendto(fd, "x", 1, 0, SA(a)));
	len = 4;
	result("recvfrom short", recvfrom(fd, buf, 8, 0, (void *)&from, &len));
	say("length %u", len);
	result("sendto self", sendto(fd, "x", 1, 0, SA(a)));
	len = sizeof from;
	result("recvfrom wild", recvfrom(fd, buf, 8, 0, (void *)16, &len));
	result("sendto self", sendto(fd, "x", 1, 0, SA(a)));
	result("recvfrom wild bytes", recvfrom(fd, (void *)16, 8, 0, (void *)&from, &len));
	result("sendto self", sendto(fd, "x", 1, 0, SA(a)));
	result("recvfrom NULL length", recvfrom(fd, buf, 8, 0, (void *)&from, NULL));
	meet();
}

static void dual_stack(void) {
	if (server) {
		int fd = must("socket", socket(AF_INET6, SOCK_DGRAM, 0));
		in6 a = any6(port);
		result("bind", bind(fd, SA(a)));
		sockname(fd);
		meet();
		receive(fd, 0);
		char buf[8];
		struct sockaddr_storage from;
		socklen_t len = sizeof from;
		recvfrom(fd, buf, 8, 0, (void *)&from, &len);
		result("answer", sendto(fd, "answer", 6, 0, (void *)&from, len));
		return meet();
	}
	meet();
	int fd = udp();
	to(fd, port, "four");
	usleep(20000);
	fd = must("socket", socket(AF_INET6, SOCK_DGRAM, 0));
	in6 a = mapped(peer_ip, port);
	result("sendto mapped", sendto(fd, "six", 3, 0, SA(a)));
	receive(fd, 0);
	result("connect mapped", connect(fd, SA(a)));
	names(fd);
	meet();
}

int main(int argc, char **argv) {
	static const struct test tests[] = {
		CASE(plain), CASE(connected), CASE(messages), CASE(sizes), CASE(refused), CASE(refused_by_self), CASE(refused_by_localhost), CASE(refused_unconnected), CASE(on_this_host), CASE(reuse_port),
		CASE(timeouts), CASE(moved), CASE(moved_messages), CASE(pktinfo), CASE(wrong), CASE(dual_stack),
	};
	return RUN(tests);
}
