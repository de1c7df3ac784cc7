/* Ping sockets: ICMP echoes without privileges, icmp(7). */
#include "udp.h"

#include <netinet/ip_icmp.h>

static int ping(void) { return must("socket", socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, IPPROTO_ICMP)); }

struct echo {
	struct icmphdr head;
	char data[56];
};

static unsigned sum_of(const void *p, long n) {
	unsigned sum = 0;
	const unsigned char *b = p;
	for (long i = 0; i < n; i++)
		sum += i % 2 ? b[i] : b[i] << 8;
	while (sum >> 16)
		sum = (sum & 0xffff) + (sum >> 16);
	return sum;
}

static struct echo request(int seq) {
	struct echo e = {.head = {.type = ICMP_ECHO, .un.echo = {.id = htons(4711), .sequence = htons(seq)}}};
	strcpy(e.data, "payload");
	return e;
}

/* answer receives an echo and prints it. */
static void answer(int fd, int flags) {
	struct echo e;
	struct sockaddr_storage from, own;
	socklen_t len = sizeof from, own_len = sizeof own;
	long n = recvfrom(fd, &e, sizeof e, flags, (void *)&from, &len);
	if (result("recvfrom", n) < 0)
		return;
	getsockname(fd, (void *)&own, &own_len);
	say("type %d code %d sequence %d \"%s\" from %s", e.head.type, e.head.code, ntohs(e.head.un.echo.sequence), e.data, text(&from, len));
	say("identifier is the port: %d, checksum is right: %d", e.head.un.echo.id == ((in4 *)&own)->sin_port, sum_of(&e, n) == 0xffff);
}

static void echo_of(in4 a) {
	int fd = ping();
	struct echo e = request(1);
	result("sendto", sendto(fd, &e, sizeof e, 0, SA(a)));
	names(fd);
	await(fd, POLLIN, wait_ms);
	answer(fd, 0);
	a.sin_port = htons(7);
	e = request(2);
	result("sendto a port", sendto(fd, &e, sizeof e, 0, SA(a)));
	quietly(fd, POLLIN);
	answer(fd, MSG_DONTWAIT);
	result("nothing is left", recv(fd, &e, sizeof e, MSG_DONTWAIT));
	a.sin_port = 0;
	result("connect", connect(fd, SA(a)));
	names(fd);
	e = request(3);
	result("send", send(fd, &e, sizeof e, 0));
	answer(fd, 0);
	struct iovec v[2] = {{&e, 8}, {"in parts", 8}};
	struct msghdr m = {.msg_iov = v, .msg_iovlen = 2};
	result("sendmsg", sendmsg(fd, &m, 0));
	result("read", read(fd, &e, sizeof e));
	say("type %d \"%.8s\"", e.head.type, e.data);
}

static void peers(void) {
	if (!server)
		echo_of(peer(0));
	meet();
}
static void itself(void) {
	echo_of(self(0));
	meet();
}
static void localhost(void) {
	echo_of(local(0));
	meet();
}

static void options(void) {
	int fd = ping(), v = 0;
	socklen_t len = sizeof v;
	result("SO_PROTOCOL", getsockopt(fd, SOL_SOCKET, SO_PROTOCOL, &v, &len));
	say("%d length %u", v, len);
	result("SO_TYPE", getsockopt(fd, SOL_SOCKET, SO_TYPE, &v, &len));
	say("%d", v);
	result("IP_TTL", set(fd, IPPROTO_IP, IP_TTL, 9));
	result("IP_RECVERR", set(fd, IPPROTO_IP, IP_RECVERR, 1));
	result("IP_RECVTTL", set(fd, IPPROTO_IP, IP_RECVTTL, 1));
	result("IP_RETOPTS", set(fd, IPPROTO_IP, IP_RETOPTS, 1));
	result("SO_TIMESTAMP", set(fd, SOL_SOCKET, SO_TIMESTAMP, 1));
	sockname(fd);
	struct echo e = request(1);
	in4 a = peer(0);
	meet();
	result("sendto", sendto(fd, &e, sizeof e, 0, SA(a)));
	char room[512];
	struct sockaddr_storage from;
	struct iovec iov = {&e, sizeof e};
	struct msghdr m = {.msg_name = &from, .msg_namelen = sizeof from, .msg_iov = &iov, .msg_iovlen = 1, .msg_control = room, .msg_controllen = sizeof room};
	result("recvmsg", recvmsg(fd, &m, 0));
	for (struct cmsghdr *c = CMSG_FIRSTHDR(&m); c; c = CMSG_NXTHDR(&m, c)) {
		say("level %d type %d", c->cmsg_level, c->cmsg_type);
		if (c->cmsg_level == IPPROTO_IP && c->cmsg_type == IP_TTL)
			say("ttl is one of a near host: %d", *(int *)CMSG_DATA(c) >= 60);
	}
	meet();
}

static void identifiers(void) {
	int fd = ping(), same = ping();
	in4 a = any(port);
	result("bind", bind(fd, SA(a)));
	sockname(fd);
	result("again", bind(fd, SA(a)));
	result("same", bind(same, SA(a)));
	in4 p = peer(0);
	if (!server) {
		struct echo e = request(1);
		result("sendto", sendto(fd, &e, sizeof e, 0, SA(p)));
		answer(same, 0);
	}
	fd = ping();
	result("another's address", bind(fd, SA(p)));
	meet();
}

static void wrong(void) {
	if (server)
		return meet();
	int fd = ping();
	in4 a = peer(0);
	struct echo e = request(1);
	e.head.type = ICMP_ECHOREPLY;
	result("reply", sendto(fd, &e, sizeof e, 0, SA(a)));
	e.head.type = ICMP_TIMESTAMP;
	result("timestamp", sendto(fd, &e, sizeof e, 0, SA(a)));
	e = request(1);
	e.head.code = 1;
	result("code", sendto(fd, &e, sizeof e, 0, SA(a)));
	e.head.code = 0;
	result("short", sendto(fd, &e, 7, 0, SA(a)));
	result("nowhere", send(fd, &e, sizeof e, 0));
	result("the least", sendto(fd, &e, 8, 0, SA(a)));
	result("recv", recv(fd, &e, sizeof e, 0));
	static char big[70000] = {ICMP_ECHO};
	result("2000 bytes", sendto(fd, big, 2000, 0, SA(a)));
	result("recv", recv(fd, big, sizeof big, 0));
	big[0] = ICMP_ECHO;
	result("70000 bytes", sendto(fd, big, 70000, 0, SA(a)));
	result("TCP", socket(AF_INET, SOCK_STREAM, IPPROTO_ICMP));
	result("of IPv6", socket(AF_INET, SOCK_DGRAM, IPPROTO_ICMPV6));
	meet();
}

int main(int argc, char **argv) {
	static const struct test tests[] = {
		CASE(peers), CASE(itself), CASE(localhost), CASE(options), CASE(identifiers), CASE(wrong),
	};
	return RUN(tests);
}
