/* UDP on localhost: clients and servers that come and go, and who may have a port. */
#include "udp.h"

static void in_order(void) {
	if (server)
		return meet();
	in4 first = local(port), second = any(port), to = local(port);
	in4 *all[] = {&first, &second, &first, &second};
	for (int i = 0; i < 4; i++) {
		int fd = udp(), from = udp();
		result("bind", bind(fd, SA(*all[i])));
		result("sendto", sendto(from, "hello", 5, 0, SA(to)));
		receive(fd, 0);
		close(fd);
		close(from);
	}
	meet();
}

/* The kernel chooses the port, and nobody else gets it. */
static void chosen_port(void) {
	if (server)
		return meet();
	int fd = udp();
	in4 a = any(0);
	socklen_t len = sizeof a;
	result("bind", bind(fd, SA(a)));
	getsockname(fd, (void *)&a, &len);
	in4 all[] = {a, local(ntohs(a.sin_port)), self(ntohs(a.sin_port)), local(ntohs(a.sin_port))};
	all[3].sin_addr.s_addr = htonl(0x7f010203);
	for (int i = 0; i < 4; i++)
		result("bind the same", bind(udp(), SA(all[i])));
	in6 six = any6(ntohs(a.sin_port));
	result("bind IPv6", bind(must("socket", socket(AF_INET6, SOCK_DGRAM, 0)), SA(six)));
	int other = udp();
	set(other, SOL_SOCKET, SO_REUSEADDR, 1);
	result("one has SO_REUSEADDR", bind(other, SA(a)));
	set(fd, SOL_SOCKET, SO_REUSEADDR, 1);
	result("both have", bind(other, SA(a)));
	close(fd);
	close(other);
	result("bind the free port", bind(udp(), SA(a)));
	meet();
}

/* A client that is connected has its port at one address. */
static void connected_port(void) {
	if (server)
		return meet();
	in4 all[] = {local(port), self(port)};
	for (int i = 0; i < 2; i++) {
		int client = udp();
		result("connect", connect(client, SA(all[i])));
		in4 a = any(0);
		socklen_t len = sizeof a;
		getsockname(client, (void *)&a, &len);
		in4 others[] = {any(ntohs(a.sin_port)), local(ntohs(a.sin_port)), self(ntohs(a.sin_port))};
		for (int j = 0; j < 3; j++) {
			int other = udp();
			result("bind the same", bind(other, SA(others[j])));
			close(other);
		}
	}
	meet();
}

/* The server answers from the address that it was asked at, to a connected client. */
static void answer_from(void) {
	if (server)
		return meet();
	in4 all[] = {any(port), local(port)}, one = local(port);
	for (int i = 0; i < 2; i++) {
		int fd = udp(), client = udp();
		set(fd, IPPROTO_IP, IP_PKTINFO, 1);
		result("bind", bind(fd, SA(all[i])));
		result("connect", connect(client, SA(one)));
		give(client, "question");
		char buf[16];
		union { char bytes[64]; struct cmsghdr align; } anc;
		in4 from;
		struct iovec v = {buf, sizeof buf};
		struct msghdr m = {.msg_name = &from, .msg_namelen = sizeof from, .msg_iov = &v, .msg_iovlen = 1,
			.msg_control = anc.bytes, .msg_controllen = sizeof anc};
		result("recvmsg", recvmsg(fd, &m, 0));
		struct cmsghdr *c = CMSG_FIRSTHDR(&m);
		struct in_pktinfo *info = (void *)CMSG_DATA(c);
		in4 asked = addr4(info->ipi_addr.s_addr, 0);
		say("at %s", text(&asked, sizeof asked));
		info->ipi_spec_dst = info->ipi_addr;
		info->ipi_ifindex = 0;
		v.iov_len = 6;
		result("sendmsg", sendmsg(fd, &m, 0));
		struct timeval tv = {1, 0};
		setsockopt(client, SOL_SOCKET, SO_RCVTIMEO, &tv, sizeof tv);
		take(client);
		close(fd);
		close(client);
	}
	meet();
}

/* IPV6_RECVERR: a socket that is not connected learns that a port of ::1 is closed. */
static void errors6(void) {
	if (server)
		return meet();
	in6 mine = local6(port), closed = local6(port + 1);
	int fd = must("socket", socket(AF_INET6, SOCK_DGRAM, 0));
	result("IPV6_RECVERR", set(fd, IPPROTO_IPV6, IPV6_RECVERR, 1));
	result("bind", bind(fd, SA(mine)));
	result("sendto", sendto(fd, "ping", 4, 0, SA(closed)));
	await(fd, POLLERR, wait_ms);
	result("recv", recv(fd, &mine, 1, MSG_DONTWAIT));
	char buf[16];
	union { char bytes[256]; struct cmsghdr align; } anc;
	struct sockaddr_storage to;
	struct iovec v = {buf, sizeof buf};
	struct msghdr m = {.msg_name = &to, .msg_namelen = sizeof to, .msg_iov = &v, .msg_iovlen = 1,
		.msg_control = anc.bytes, .msg_controllen = sizeof anc};
	if (result("recvmsg", recvmsg(fd, &m, MSG_ERRQUEUE)) < 0)
		return meet();
	say("sent to %s", text(&to, m.msg_namelen));
	for (struct cmsghdr *c = CMSG_FIRSTHDR(&m); c; c = CMSG_NXTHDR(&m, c)) {
		unsigned char *e = CMSG_DATA(c); /* struct sock_extended_err, and who reported it */
		say("level %d type %d: origin %d type %d code %d", c->cmsg_level, c->cmsg_type, e[4], e[5], e[6]);
		say("reported by %s", text(e + 16, sizeof(in6)));
	}
	result("IPV6_RECVERR", set(fd, IPPROTO_IPV6, IPV6_RECVERR, 0));
	result("sendto", sendto(fd, "ping", 4, 0, SA(closed)));
	await(fd, POLLERR, quiet_ms);
	meet();
}

/* A server at ::1 connects its socket to its client. */
static void names6(void) {
	if (server)
		return meet();
	in6 all[] = {local6(port), any6(port)}, one = local6(port);
	for (int i = 0; i < 2; i++) {
		int fd = must("socket", socket(AF_INET6, SOCK_DGRAM, 0)), client = must("socket", socket(AF_INET6, SOCK_DGRAM, 0));
		result("bind", bind(fd, SA(all[i])));
		result("connect", connect(client, SA(one)));
		names(client);
		give(client, "hello");
		struct sockaddr_storage from;
		socklen_t len = sizeof from;
		char buf[8];
		recvfrom(fd, buf, 8, 0, (void *)&from, &len);
		result("connect", connect(fd, (void *)&from, len));
		names(fd);
		give(fd, "hello");
		take(client);
		close(fd);
		close(client);
	}
	meet();
}

/* Servers at 127.0.0.1 and at 127.0.0.2 are two, and a wildcard's is at all of them. */
static void other_localhost(void) {
	if (server)
		return meet();
	in4 one = local(port), two = addr4(htonl(0x7f000002), port), nobody = addr4(htonl(0x7f000003), port);
	in4 all = any(port + 1), five = addr4(htonl(0x7f000005), port + 1);
	int a = udp(), b = udp(), w = udp(), loose = udp(), client = udp();
	result("bind 127.0.0.1", bind(a, SA(one)));
	result("bind 127.0.0.2", bind(b, SA(two)));
	result("sendto 127.0.0.2", sendto(loose, "two", 3, 0, SA(two)));
	result("sendto 127.0.0.1", sendto(loose, "one", 3, 0, SA(one)));
	receive(a, 0);
	receive(b, 0);
	result("connect 127.0.0.2", connect(client, SA(two)));
	names(client);
	give(client, "two");
	receive(b, 0);
	result("connect 127.0.0.3", connect(client, SA(nobody)));
	give(client, "nobody");
	await(client, POLLERR, wait_ms);
	result("send", send(client, "nobody", 6, 0));
	set(w, IPPROTO_IP, IP_PKTINFO, 1);
	result("bind the wildcard", bind(w, SA(all)));
	result("connect 127.0.0.5", connect(client, SA(five)));
	names(client);
	give(client, "five");
	result("sendto 127.0.0.5", sendto(loose, "five", 4, 0, SA(five)));
	for (int i = 0; i < 2; i++) {
		char buf[16];
		union { char bytes[64]; struct cmsghdr align; } anc;
		in4 from;
		struct iovec v = {buf, sizeof buf};
		struct msghdr m = {.msg_name = &from, .msg_namelen = sizeof from, .msg_iov = &v, .msg_iovlen = 1,
			.msg_control = anc.bytes, .msg_controllen = sizeof anc};
		if (result("recvmsg", recvmsg(w, &m, 0)) < 0)
			break;
		struct cmsghdr *c = CMSG_FIRSTHDR(&m);
		in4 asked = addr4(((struct in_pktinfo *)CMSG_DATA(c))->ipi_addr.s_addr, 0);
		say("at %s", text(&asked, sizeof asked));
		say("from %s", text(&from, m.msg_namelen));
	}
	meet();
}

int main(int argc, char **argv) {
	static const struct test tests[] = {
		CASE(in_order), CASE(chosen_port), CASE(connected_port), CASE(answer_from), CASE(errors6), CASE(names6), CASE(other_localhost),
	};
	return RUN(tests);
}
