/* UDP: sendmsg, recvmsg and their like, and control messages. */
#include "udp.h"

#include <linux/errqueue.h>
#include <netinet/udp.h>

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

/* moved has sockets that are dup'ed to another descriptor.
 * It uses with the calls that have addresses behind pointers. */
static void moved(void) {
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

/* standing_in receives, or sends, with both calls at a descriptor. */
static void standing_in(int fd) {
	char buf[8] = "message";
	struct sockaddr_storage from;
	struct iovec v = {buf, 7};
	in4 a = peer(port);
	if (!server) {
		struct msghdr m = {.msg_name = &a, .msg_namelen = sizeof a, .msg_iov = &v, .msg_iovlen = 1};
		result("sendto", sendto(fd, "first", 5, 0, SA(a)));
		usleep(20000);
		result("sendmsg", sendmsg(fd, &m, 0));
		usleep(20000);
		return;
	}
	for (int i = 0; i < 2; i++) {
		struct msghdr m = {.msg_name = &from, .msg_namelen = sizeof from, .msg_iov = &v, .msg_iovlen = 1};
		if (result("recvmsg", recvmsg(fd, &m, 0)) >= 0)
			say("from %s", text(&from, m.msg_namelen));
	}
}

/* inetd puts its sockets at 0 to 2, systemd from 3 on. */
static void inetd(void) {
	int fd = bound(port), keep[4];
	struct timeval tv = {1, 0};
	setsockopt(fd, SOL_SOCKET, SO_RCVTIMEO, &tv, sizeof tv);
	for (int i = 0; i < 4; i++) {
		keep[i] = fcntl(i, F_DUPFD_CLOEXEC, 100);
		must("dup2", dup2(fd, i));
	}
	meet();
	for (int i = 0; i < 4; i++) {
		int stdout_again = i == 1 ? -1 : dup2(keep[1], 1);
		if (i == 1)
			continue; /* where the results go */
		standing_in(i);
		(void)stdout_again;
		meet();
	}
}

/* limited has few descriptors. */
static void limited(void) {
	struct rlimit r, now;
	getrlimit(RLIMIT_NOFILE, &r);
	r.rlim_cur = 64;
	result("RLIMIT_NOFILE", setrlimit(RLIMIT_NOFILE, &r));
	int fd = bound(port);
	getrlimit(RLIMIT_NOFILE, &now);
	say("limit %lu, hard one as before: %d", (unsigned long)now.rlim_cur, now.rlim_max == r.rlim_max);
	meet();
	standing_in(fd);
	while (dup(1) >= 0)
		;
	result("socket", socket(AF_INET, SOCK_DGRAM, 0));
	meet();
}

/* sends and receives in the ways that the calls have, on a socket that is not UDP. */
static void both_ways(int fd, int other) {
	char buf[64] = "", space[CMSG_SPACE(sizeof(struct ucred))];
	struct iovec v[2] = {{"mes", 3}, {"sage", 4}}, w[2] = {{buf, 2}, {buf + 2, 61}};
	struct sockaddr_storage from;
	struct msghdr m = {.msg_iov = v, .msg_iovlen = 2};
	struct msghdr r = {.msg_name = &from, .msg_namelen = sizeof from, .msg_iov = w, .msg_iovlen = 2, .msg_control = space, .msg_controllen = sizeof space};
	result("sendmsg", sendmsg(fd, &m, MSG_NOSIGNAL));
	result("recvmsg, a look", recvmsg(other, &r, MSG_PEEK));
	result("recvmsg", recvmsg(other, &r, 0));
	say("\"%s\" name %u control %zu flags %x", buf, r.msg_namelen, r.msg_controllen, r.msg_flags);
	result("recvmsg without waiting", recvmsg(other, &r, MSG_DONTWAIT));
	struct mmsghdr mm[3] = {{.msg_hdr = m}, {.msg_hdr = m}, {.msg_hdr = m}};
	result("sendmmsg", sendmmsg(fd, mm, 3, 0));
	say("lengths %u %u %u", mm[0].msg_len, mm[1].msg_len, mm[2].msg_len);
	usleep(20000);
	struct iovec one = {buf, 7};
	for (int i = 0; i < 3; i++)
		mm[i].msg_hdr = (struct msghdr){.msg_name = &from, .msg_namelen = sizeof from, .msg_iov = &one, .msg_iovlen = 1};
	result("recvmmsg", recvmmsg(other, mm, 3, MSG_WAITFORONE, NULL));
	result("no iovec", sendmsg(fd, &(struct msghdr){0}, MSG_NOSIGNAL | MSG_DONTWAIT));
	result("wild pointer", sendmsg(fd, (void *)8, 0));
	result("wild pointer", recvmsg(other, (void *)8, MSG_DONTWAIT));
	struct timeval tv = {0, 50000};
	setsockopt(other, SOL_SOCKET, SO_RCVTIMEO, &tv, sizeof tv);
	while (recv(other, buf, sizeof buf, MSG_DONTWAIT) >= 0)
		;
	result("recvmsg, SO_RCVTIMEO", recvmsg(other, &r, 0));
	tv = (struct timeval){0, 0};
	setsockopt(other, SOL_SOCKET, SO_RCVTIMEO, &tv, sizeof tv);
	on_signal(SIGALRM, 0, NULL);
	alarm_in(50);
	result("recvmsg, a signal", recvmsg(other, &r, 0));
	close(fd);
	result("recvmsg, at the end", recvmsg(other, &r, 0));
	m.msg_controllen = 0;
	on_signal(SIGPIPE, 0, NULL);
	usleep(20000);
	sendmsg(other, &m, MSG_NOSIGNAL);
	usleep(20000);
	result("sendmsg to nobody", sendmsg(other, &m, MSG_NOSIGNAL));
	close(other);
}

/* others are sockets of other kinds than UDP: the calls are the kernel's. */
static void others(void) {
	int fds[2];
	must("bind", bound(port + 1)); /* there is something to translate */
	result("closed", sendmsg(999, &(struct msghdr){0}, 0));
	result("closed", recvmsg(999, (void *)8, 0));
	result("closed", sendmmsg(999, (void *)8, 1, 0));
	result("closed", recvmmsg(999, (void *)8, 1, 0, NULL));
	result("no socket", sendmsg(0, &(struct msghdr){0}, 0));
	result("no socket", recvmsg(0, &(struct msghdr){0}, 0));
	must("socketpair", socketpair(AF_UNIX, SOCK_STREAM, 0, fds));
	say("-- a Unix stream");
	both_ways(fds[0], fds[1]);
	must("socketpair", socketpair(AF_UNIX, SOCK_SEQPACKET, 0, fds));
	set(fds[1], SOL_SOCKET, SO_PASSCRED, 1);
	say("-- a Unix seqpacket");
	both_ways(fds[0], fds[1]);
	say("-- TCP");
	if (server) {
		int l = listener(port, 1);
		meet();
		struct sockaddr_storage from;
		socklen_t len = sizeof from;
		fds[0] = accept(l, (void *)&from, &len);
		char buf[8];
		result("recv", recv(fds[0], buf, 7, MSG_WAITALL));
		struct iovec v = {"answer", 6};
		result("sendmsg", sendmsg(fds[0], &(struct msghdr){.msg_iov = &v, .msg_iovlen = 1}, 0));
		return meet();
	}
	meet();
	fds[0] = dial(port);
	char buf[8] = "";
	struct iovec v = {"message", 7}, w = {buf, 8};
	in4 a = peer(port);
	struct msghdr m = {.msg_name = &a, .msg_namelen = sizeof a, .msg_iov = &v, .msg_iovlen = 1}; /* the address is ignored */
	result("sendmsg", sendmsg(fds[0], &m, 0));
	m = (struct msghdr){.msg_name = &a, .msg_namelen = sizeof a, .msg_iov = &w, .msg_iovlen = 1};
	result("recvmsg", recvmsg(fds[0], &m, 0));
	say("\"%s\" name %u", buf, m.msg_namelen);
	meet();
	int l = listener(port + 2, 1);
	in4 at = local(port + 2);
	fds[0] = tcp();
	result("connect", connect(fds[0], SA(at)));
	fds[1] = accept(l, NULL, NULL);
	both_ways(fds[0], fds[1]);
}

/* control_of prints the control messages of a datagram. */
static void control_of(struct msghdr *m) {
	for (struct cmsghdr *c = CMSG_FIRSTHDR(m); c; c = CMSG_NXTHDR(m, c)) {
		void *data = CMSG_DATA(c);
		say("level %d type %d length %zu", c->cmsg_level, c->cmsg_type, c->cmsg_len);
		if (c->cmsg_level == IPPROTO_IP && c->cmsg_type == IP_PKTINFO) {
			struct in_pktinfo *p = data;
			in4 a = addr4(p->ipi_addr.s_addr, 0), s = addr4(p->ipi_spec_dst.s_addr, 0);
			say("to %s through %s by %s", text(&a, sizeof a), text(&s, sizeof s), p->ipi_ifindex == 1 ? "lo" : "another interface");
		} else if (c->cmsg_level == IPPROTO_IPV6 && c->cmsg_type == IPV6_PKTINFO) {
			struct in6_pktinfo *p = data;
			in6 a = {.sin6_family = AF_INET6, .sin6_addr = p->ipi6_addr};
			say("to %s by %s", text(&a, sizeof a), p->ipi6_ifindex == 1 ? "lo" : "another interface");
		} else if (c->cmsg_level == IPPROTO_IP && c->cmsg_type == IP_ORIGDSTADDR) {
			say("to %s", text(data, sizeof(in4)));
		} else if (c->cmsg_level == IPPROTO_IP && c->cmsg_type == IP_RECVERR) {
			struct sock_extended_err *e = data;
			in4 *from = (void *)SO_EE_OFFENDER(e);
			say("%s origin %d type %d code %d from %s", strerrorname_np(e->ee_errno), e->ee_origin, e->ee_type, e->ee_code, text(from, sizeof *from));
		}
	}
}

/* take_message receives with control messages. */
static void take_message(const char *what, int fd, int flags) {
	char buf[64] = "", room[512];
	struct sockaddr_storage from;
	struct iovec v = {buf, sizeof buf - 1};
	struct msghdr m = {.msg_name = &from, .msg_namelen = sizeof from, .msg_iov = &v, .msg_iovlen = 1, .msg_control = room, .msg_controllen = sizeof room};
	if (result(what, recvmsg(fd, &m, flags)) < 0)
		return;
	say("\"%s\" from %s flags %#x", buf, text(&from, m.msg_namelen), m.msg_flags);
	control_of(&m);
}

/* pktinfo asks for the destination of each datagram, as servers on several addresses do. */
static void pktinfo(void) {
	if (!server) {
		meet();
		int fd = udp();
		for (int i = 0; i < 4; i++) {
			to(fd, port, "one");
			usleep(20000);
		}
		to(fd, port + 1, "six");
		meet();
		return;
	}
	int fd = bound(port), six = must("socket", socket(AF_INET6, SOCK_DGRAM, 0)), mine = udp();
	in6 b = any6(port + 1);
	must("bind", bind(six, SA(b)));
	result("IP_PKTINFO", set(fd, IPPROTO_IP, IP_PKTINFO, 1));
	result("IPV6_RECVPKTINFO", set(six, IPPROTO_IPV6, IPV6_RECVPKTINFO, 1));
	meet();
	take_message("recvmsg", fd, 0);
	result("IP_RECVORIGDSTADDR", set(fd, IPPROTO_IP, IP_RECVORIGDSTADDR, 1));
	usleep(quiet_ms * 1000);
	take_message("queued before", fd, 0);
	char buf[64], room[8];
	struct iovec v = {buf, sizeof buf};
	struct msghdr m = {.msg_iov = &v, .msg_iovlen = 1, .msg_control = room, .msg_controllen = sizeof room};
	result("no room", recvmsg(fd, &m, 0));
	say("flags %#x controllen %zu", m.msg_flags, m.msg_controllen);
	char enough[256];
	m.msg_control = enough;
	m.msg_controllen = sizeof enough;
	result("no name", recvmsg(fd, &m, 0));
	control_of(&m);
	take_message("IPv6", six, 0);
	in4 a = self(port), l = local(port);
	result("sendto", sendto(mine, "to self", 7, 0, SA(a)));
	take_message("self", fd, 0);
	result("sendto", sendto(mine, "to localhost", 12, 0, SA(l)));
	take_message("localhost", fd, 0);
	meet();
}

/* with sends a datagram with one control message. */
static void with(const char *what, int fd, in4 *a, int level, int type, const void *data, size_t size, size_t length) {
	char text[] = "message", room[256] = "";
	struct iovec v = {text, 7};
	struct msghdr m = {.msg_name = a, .msg_namelen = a ? sizeof *a : 0, .msg_iov = &v, .msg_iovlen = 1, .msg_control = room, .msg_controllen = CMSG_SPACE(size)};
	struct cmsghdr *c = CMSG_FIRSTHDR(&m);
	c->cmsg_level = level;
	c->cmsg_type = type;
	c->cmsg_len = length;
	memcpy(CMSG_DATA(c), data, size);
	result(what, sendmsg(fd, &m, 0));
	usleep(20000);
}

/* source sends with control messages. */
static void source(void) {
	enum { messages = 9 };
	if (server) {
		int fd = bound(port);
		meet();
		for (int i = 0; i < messages; i++)
			receive(fd, 0);
		return meet();
	}
	meet();
	int fd = udp(), mine = bound(port);
	in4 a = peer(port);
	struct in_pktinfo p = {.ipi_spec_dst.s_addr = self_ip};
	with("own address", fd, &a, IPPROTO_IP, IP_PKTINFO, &p, sizeof p, CMSG_LEN(sizeof p));
	with("own address, bound", mine, &a, IPPROTO_IP, IP_PKTINFO, &p, sizeof p, CMSG_LEN(sizeof p));
	p.ipi_spec_dst.s_addr = 0;
	with("any address", mine, &a, IPPROTO_IP, IP_PKTINFO, &p, sizeof p, CMSG_LEN(sizeof p));
	p.ipi_spec_dst.s_addr = peer_ip;
	with("another's address", mine, &a, IPPROTO_IP, IP_PKTINFO, &p, sizeof p, CMSG_LEN(sizeof p));
	int ttl = 64;
	with("IP_TTL", fd, &a, IPPROTO_IP, IP_TTL, &ttl, sizeof ttl, CMSG_LEN(sizeof ttl));
	ttl = 300;
	with("IP_TTL of 300", fd, &a, IPPROTO_IP, IP_TTL, &ttl, sizeof ttl, CMSG_LEN(sizeof ttl));
	int tos = 0x10;
	with("IP_TOS", fd, &a, IPPROTO_IP, IP_TOS, &tos, sizeof tos, CMSG_LEN(sizeof tos));
	with("unknown", fd, &a, IPPROTO_IP, 4711, &tos, sizeof tos, CMSG_LEN(sizeof tos));
	with("other level", fd, &a, 4711, 1, &tos, sizeof tos, CMSG_LEN(sizeof tos));
	with("too short", fd, &a, IPPROTO_IP, IP_TOS, &tos, sizeof tos, 3);
	with("too long", fd, &a, IPPROTO_IP, IP_TOS, &tos, sizeof tos, 300);
	with("short IP_PKTINFO", fd, &a, IPPROTO_IP, IP_PKTINFO, &p, 4, CMSG_LEN(4));
	uint16_t segment = 4;
	with("UDP_SEGMENT", fd, &a, IPPROTO_UDP, UDP_SEGMENT, &segment, sizeof segment, CMSG_LEN(sizeof segment));
	result("connect", connect(fd, SA(a)));
	p.ipi_spec_dst.s_addr = self_ip;
	with("connected, own address", fd, NULL, IPPROTO_IP, IP_PKTINFO, &p, sizeof p, CMSG_LEN(sizeof p));
	p.ipi_spec_dst.s_addr = peer_ip;
	with("connected, another's address", fd, NULL, IPPROTO_IP, IP_PKTINFO, &p, sizeof p, CMSG_LEN(sizeof p));
	meet();
}

/* segments lets the kernel cut what is sent into datagrams, as QUIC does. */
static void segments(void) {
	if (server) {
		int fd = bound(port);
		result("UDP_GRO", set(fd, IPPROTO_UDP, UDP_GRO, 1));
		meet();
		static char block[1 << 16];
		int total = 0;
		for (long n; total < 3000 + 500 && quietly(fd, POLLIN) && (n = recv(fd, block, sizeof block, 0)) > 0;)
			total += n;
		say("%d bytes", total);
		return meet();
	}
	meet();
	static char block[3000];
	int fd = udp();
	in4 a = peer(port);
	result("UDP_SEGMENT", set(fd, IPPROTO_UDP, UDP_SEGMENT, 1000));
	result("sendto", sendto(fd, block, sizeof block, 0, SA(a)));
	result("sendto", sendto(fd, block, 500, 0, SA(a)));
	result("more than 64 segments", (set(fd, IPPROTO_UDP, UDP_SEGMENT, 1), sendto(fd, block, 3000, 0, SA(a))));
	result("UDP_SEGMENT", set(fd, IPPROTO_UDP, UDP_SEGMENT, 70000));
	meet();
}

/* errors reads the queue of errors, as traceroute and resolvers do. */
static void errors_of(in4 a, int connected) {
	int fd = udp();
	result("IP_RECVERR", set(fd, IPPROTO_IP, IP_RECVERR, 1));
	take_message("no error", fd, MSG_ERRQUEUE);
	if (connected)
		result("connect", connect(fd, SA(a)));
	result("sendto", sendto(fd, "lost", 4, 0, SA(a)));
	await(fd, POLLIN, 1000);
	take_message("error", fd, MSG_ERRQUEUE);
	so_error(fd);
	take_message("no error", fd, MSG_ERRQUEUE);
	result("sendto", sendto(fd, "lost again", 10, 0, SA(a)));
	await(fd, POLLIN, 1000);
	result("recv", recv(fd, &a, 1, 0));
	take_message("error", fd, MSG_ERRQUEUE);
	take_message("no error", fd, MSG_ERRQUEUE);
}
static void errors(void) {
	if (!server) {
		errors_of(peer(port), 0);
		errors_of(peer(port), 1);
		errors_of(self(port), 0);
		errors_of(local(port), 1);
	}
	meet();
}

static void many(const char *what, int fd, int want, int flags, int ms) {
	static char block[4][16];
	struct iovec v[4];
	struct mmsghdr m[4] = {0};
	struct timespec ts = {ms / 1000, ms % 1000 * 1000000L};
	for (int i = 0; i < 4; i++) {
		v[i] = (struct iovec){block[i], 16};
		m[i].msg_hdr.msg_iov = &v[i];
		m[i].msg_hdr.msg_iovlen = 1;
		m[i].msg_hdr.msg_name = block[i]; /* so that boxer is asked */
		m[i].msg_hdr.msg_namelen = 0;
	}
	int n = recvmmsg(fd, m, want, flags, ms < 0 ? NULL : &ts);
	if (flags && n > 0)
		say("%s: some", what);
	else
		result(what, n);
	if (ms > 0)
		say("time is left: %d", ts.tv_sec > 0 || ts.tv_nsec > 0);
}

/* several receives several datagrams with one call. */
static void several(void) {
	if (!server) {
		int fd = udp();
		for (int i = 0; i < 7; i++) {
			meet();
			usleep(quiet_ms * 1000);
			for (int k = 0; k < 3; k++) {
				to(fd, port, "one");
				usleep(30000);
			}
		}
		return meet();
	}
	int fd = bound(port);
	meet();
	many("blocks for all", fd, 3, 0, -1);
	meet();
	many("waits for one", fd, 4, MSG_WAITFORONE, -1);
	while (usleep(200000), recv(fd, (char[8]){0}, 8, MSG_DONTWAIT) > 0)
		;
	while (recv(fd, (char[8]){0}, 8, MSG_DONTWAIT) > 0)
		;
	meet();
	many("with a timeout", fd, 3, 0, 5000);
	meet();
	many("with a short timeout", fd, 4, 0, 1);
	while (usleep(200000), recv(fd, (char[8]){0}, 8, MSG_DONTWAIT) > 0)
		;
	while (recv(fd, (char[8]){0}, 8, MSG_DONTWAIT) > 0)
		;
	struct timeval tv = {1, 0};
	setsockopt(fd, SOL_SOCKET, SO_RCVTIMEO, &tv, sizeof tv);
	meet();
	many("with SO_RCVTIMEO", fd, 4, 0, -1);
	meet();
	usleep(4 * quiet_ms * 1000);
	many("does not wait", fd, 4, MSG_DONTWAIT, -1);
	meet();
	struct timespec wrong = {0, 2000000000};
	struct mmsghdr m = {0};
	result("wrong timeout", recvmmsg(fd, &m, 1, 0, &wrong));
	result("wild timeout", recvmmsg(fd, &m, 1, 0, (void *)16));
	meet();
}

int main(int argc, char **argv) {
	static const struct test tests[] = {
		CASE(messages), CASE(moved), CASE(others), CASE(inetd), CASE(limited), CASE(pktinfo), CASE(source), CASE(segments), CASE(errors), CASE(several),
	};
	return RUN(tests);
}
