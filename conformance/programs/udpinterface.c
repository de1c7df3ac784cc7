/* Options of UDP sockets about interfaces and paths: which interface multicasts and other datagrams leave by,
 * the address that a datagram was sent to, and the largest packet of the path (ip(7), ipv6(7)). */
#include "udp.h"
#include <net/if.h>
#include <netinet/udp.h>

enum { ipv6_recvorigdstaddr = 74, ipv6_unicast_if = 76 }; /* include/uapi/linux/in6.h */

/* own_link is the index of the interface that has the host's own address. */
static int own_link(void) {
	int fd = udp(), found = -1;
	struct ifreq all[16];
	struct ifconf list = {.ifc_len = sizeof all, .ifc_req = all};
	must("SIOCGIFCONF", ioctl(fd, SIOCGIFCONF, &list));
	for (int i = 0; i < list.ifc_len / (int)sizeof *all; i++)
		if (((in4 *)&all[i].ifr_addr)->sin_addr.s_addr == self_ip) {
			must("SIOCGIFINDEX", ioctl(fd, SIOCGIFINDEX, &all[i]));
			found = all[i].ifr_ifindex;
		}
	close(fd);
	return found;
}

/* multicast_if prints what IP_MULTICAST_IF is. */
static void multicast_if(int fd) {
	struct ip_mreqn got = {0};
	socklen_t len = sizeof got;
	if (result("get", getsockopt(fd, IPPROTO_IP, IP_MULTICAST_IF, &got, &len)) == 0) {
		in4 a = addr4(*(in_addr_t *)&got, 0);
		say("%s, %u bytes", text(&a, sizeof a), len);
	}
}

static void by_mreqn(const char *what, int fd, in_addr_t address, int index) {
	struct ip_mreqn m = {.imr_address.s_addr = address, .imr_ifindex = index};
	result(what, setsockopt(fd, IPPROTO_IP, IP_MULTICAST_IF, &m, sizeof m));
	multicast_if(fd);
}

static void by_address(const char *what, int fd, in_addr_t address) {
	result(what, setsockopt(fd, IPPROTO_IP, IP_MULTICAST_IF, &address, sizeof address));
	multicast_if(fd);
}

static void multicasts(void) {
	if (!server)
		return meet();
	int fd = udp(), link = own_link(), fd6 = must("socket", socket(AF_INET6, SOCK_DGRAM, 0));
	by_address("own address", fd, self_ip);
	by_address("localhost", fd, htonl(INADDR_LOOPBACK));
	by_address("another's", fd, peer_ip);
	by_address("nobody's", fd, inet_addr("192.0.2.1"));
	by_address("any", fd, 0);
	struct ip_mreq r = {.imr_interface.s_addr = self_ip};
	result("struct ip_mreq", setsockopt(fd, IPPROTO_IP, IP_MULTICAST_IF, &r, sizeof r));
	multicast_if(fd);
	by_mreqn("own index", fd, 0, link);
	by_mreqn("own index and address", fd, self_ip, link);
	by_mreqn("own index and nobody's address", fd, inet_addr("192.0.2.1"), link);
	by_mreqn("own address by struct ip_mreqn", fd, self_ip, 0);
	by_mreqn("lo", fd, 0, 1);
	by_mreqn("no interface", fd, 0, 999);
	by_mreqn("negative", fd, 0, -1);
	by_address("own address with AF_INET6", fd6, self_ip);
	result("short", setsockopt(fd, IPPROTO_IP, IP_MULTICAST_IF, &r, 3));
	result("wild", setsockopt(fd, IPPROTO_IP, IP_MULTICAST_IF, (void *)16, sizeof r));
	result("bad descriptor", setsockopt(-1, IPPROTO_IP, IP_MULTICAST_IF, &r, sizeof r));
	result("TCP", setsockopt(tcp(), IPPROTO_IP, IP_MULTICAST_IF, &r.imr_interface, 4));
	result("bound", bind(fd, (void *)&(in4){.sin_family = AF_INET}, sizeof(in4)));
	by_address("own address", fd, self_ip);
	meet();
}

/* by_index sets an option whose value is an index, and prints what it is then. */
static void by_index(const char *what, int fd, int level, int option, int index, int link) {
	char line[64];
	snprintf(line, sizeof line, "%s %s", what, index == link ? "own" : index == 1 ? "lo" : index == 0 ? "0" : "another");
	if (level == (option == IP_UNICAST_IF ? IPPROTO_IP : IPPROTO_IPV6) && option != IPV6_MULTICAST_IF)
		index = htonl(index);
	result(line, setsockopt(fd, level, option, &index, sizeof index));
	int got = -2;
	socklen_t len = sizeof got;
	result("get", getsockopt(fd, level, option, &got, &len));
	if (got > 0xffffff)
		got = ntohl(got);
	say("%s", got == link ? "own" : got == 1 ? "lo" : got == 0 ? "0" : "another");
}

static void indexes(void) {
	static const struct { const char *name; int six, level, option; } all[] = {
		{"IP_UNICAST_IF", 0, IPPROTO_IP, IP_UNICAST_IF}, {"IPV6_UNICAST_IF", 1, IPPROTO_IPV6, ipv6_unicast_if},
		{"IPV6_MULTICAST_IF", 1, IPPROTO_IPV6, IPV6_MULTICAST_IF}, {"IP_UNICAST_IF with AF_INET6", 1, IPPROTO_IP, IP_UNICAST_IF},
	};
	if (server) {
		int fd = bound(port);
		meet();
		receive(fd, 0);
		return meet();
	}
	int link = own_link();
	for (unsigned i = 0; i < sizeof all / sizeof *all; i++) {
		int fd = must("socket", socket(all[i].six ? AF_INET6 : AF_INET, SOCK_DGRAM, 0)), indexes[] = {link, 1, 999, link, 0, -1};
		for (unsigned k = 0; k < sizeof indexes / sizeof *indexes; k++)
			by_index(all[i].name, fd, all[i].level, all[i].option, indexes[k], link);
		result("short", setsockopt(fd, all[i].level, all[i].option, &link, 3));
		result("wild", setsockopt(fd, all[i].level, all[i].option, (void *)16, 4));
		result("bad descriptor", setsockopt(-1, all[i].level, all[i].option, &link, 4));
		close(fd);
	}
	int fd = udp(), index = htonl(link);
	result("IP_UNICAST_IF", setsockopt(fd, IPPROTO_IP, IP_UNICAST_IF, &index, sizeof index));
	meet();
	to(fd, port, "by the interface");
	meet();
}

/* destination prints the control messages of a datagram. */
static void destination(const char *what, int fd) {
	union { char bytes[256]; struct cmsghdr align; } anc;
	char buf[32];
	struct iovec v = {buf, sizeof buf};
	struct msghdr m = {.msg_iov = &v, .msg_iovlen = 1, .msg_control = anc.bytes, .msg_controllen = sizeof anc};
	quietly(fd, POLLIN);
	result(what, recvmsg(fd, &m, MSG_DONTWAIT));
	for (struct cmsghdr *c = CMSG_FIRSTHDR(&m); c; c = CMSG_NXTHDR(&m, c)) {
		int size = c->cmsg_len - CMSG_LEN(0);
		say("level %d type %d: %s", c->cmsg_level, c->cmsg_type, text(CMSG_DATA(c), size));
	}
	say("flags %x", m.msg_flags);
}

static void original(void) {
	if (!server) {
		int fd = udp(), fd6 = must("socket", socket(AF_INET6, SOCK_DGRAM, 0));
		in4 a = peer(port);
		in6 b = peer6(port);
		for (int i = 0; i < 3; i++) {
			meet();
			result("sendto", sendto(fd6, "six", 3, 0, SA(b)));
			meet();
			result("sendto", sendto(fd, "four", 4, 0, SA(a)));
		}
		return meet();
	}
	int fd = must("socket", socket(AF_INET6, SOCK_DGRAM, 0)), on = 0;
	in6 a = any6(port);
	must("bind", bind(fd, SA(a)));
	for (int i = 0; i < 3; i++) {
		result("IPV6_RECVORIGDSTADDR", set(fd, IPPROTO_IPV6, ipv6_recvorigdstaddr, i == 1));
		result("IP_RECVORIGDSTADDR", set(fd, IPPROTO_IP, IP_RECVORIGDSTADDR, i == 2));
		socklen_t len = sizeof on;
		result("get", getsockopt(fd, IPPROTO_IPV6, ipv6_recvorigdstaddr, &on, &len));
		say("%d", on);
		meet();
		destination("over IPv6", fd);
		meet();
		destination("over IPv4", fd);
	}
	meet();
	result("IPV6_RECVORIGDSTADDR", set(fd, IPPROTO_IPV6, ipv6_recvorigdstaddr, 1));
	in6 own = self6(port), localhost = local6(port);
	int to_self = must("socket", socket(AF_INET6, SOCK_DGRAM, 0));
	result("sendto self", sendto(to_self, "self", 4, 0, SA(own)));
	destination("from self", fd);
	result("sendto localhost", sendto(to_self, "self", 4, 0, SA(localhost)));
	destination("from localhost", fd);
}

/* mtu_of prints whether an option's value is the interface's. */
static void mtu_of(const char *what, int fd, int level, int option, int of_link) {
	int got = 0;
	socklen_t len = sizeof got;
	if (result(what, getsockopt(fd, level, option, &got, &len)) == 0)
		say("as the interface's: %d", got == of_link);
}

/* paths asks for the MTU of paths, and sends what must not be cut from connected sockets. */
static void paths(void) {
	if (server) {
		int l = listener(port, 5), l6 = must("socket", socket(AF_INET6, SOCK_STREAM, 0)), fd = bound(port);
		in6 a = any6(port + 1);
		must("bind", bind(l6, SA(a)));
		must("listen", listen(l6, 5));
		meet();
		accept(l, NULL, NULL);
		accept(l6, NULL, NULL);
		char buf[2000];
		for (int i = 0; i < 2; i++)
			say("it came: %d", recv(fd, buf, sizeof buf, 0) > 1000);
		for (int i = 0; i < 6; i++)
			result("a segment", recv(fd, buf, sizeof buf, 0));
		return meet();
	}
	struct ifreq link = {0};
	link.ifr_ifindex = own_link();
	int fd = udp(), t = tcp(), t6 = must("socket", socket(AF_INET6, SOCK_STREAM, 0)), fd6 = must("socket", socket(AF_INET6, SOCK_DGRAM, 0));
	must("SIOCGIFNAME", ioctl(fd, SIOCGIFNAME, &link));
	must("SIOCGIFMTU", ioctl(fd, SIOCGIFMTU, &link));
	int size = link.ifr_mtu;
	meet();
	in4 a = peer(port), own = self(port);
	in6 b = peer6(port + 1), c = peer6(port);
	mtu_of("TCP not connected", t, IPPROTO_IP, IP_MTU, size);
	must("connect", connect(t, SA(a)));
	must("connect", connect(t6, SA(b)));
	must("connect", connect(fd, SA(a)));
	must("connect", connect(fd6, SA(c)));
	mtu_of("TCP", t, IPPROTO_IP, IP_MTU, size);
	mtu_of("TCP over IPv6", t6, IPPROTO_IPV6, IPV6_MTU, size);
	mtu_of("UDP", fd, IPPROTO_IP, IP_MTU, size);
	mtu_of("UDP over IPv6", fd6, IPPROTO_IPV6, IPV6_MTU, size);
	result("IP_PMTUDISC_DO", set(fd, IPPROTO_IP, IP_MTU_DISCOVER, IP_PMTUDISC_DO));
	result("IPV6_PMTUDISC_DO", set(fd6, IPPROTO_IPV6, IPV6_MTU_DISCOVER, IPV6_PMTUDISC_DO));
	static char block[9000];
	struct iovec v = {block, sizeof block};
	struct msghdr m = {.msg_iov = &v, .msg_iovlen = 1};
	struct mmsghdr mm = {.msg_hdr = m};
	result("sendmsg", sendmsg(fd, &m, 0));
	result("sendmmsg", sendmmsg(fd, &mm, 1, 0));
	result("sendmsg over IPv6", sendmsg(fd6, &m, 0));
	v.iov_len = size - 28;
	say("as it fits: %d", sendmsg(fd, &m, 0) == size - 28);
	struct iovec large = {block, sizeof block};
	struct mmsghdr two[2] = {{.msg_hdr = m}, {.msg_hdr = {.msg_iov = &large, .msg_iovlen = 1}}};
	result("sendmmsg, the second too large", sendmmsg(fd, two, 2, 0));
	say("first: %d", (int)two[0].msg_len == size - 28);
	result("UDP_SEGMENT", set(fd, IPPROTO_UDP, UDP_SEGMENT, 1000));
	v.iov_len = 3000;
	result("in segments", sendmsg(fd, &m, 0));
	int open = udp();
	result("IP_PMTUDISC_DO", set(open, IPPROTO_IP, IP_MTU_DISCOVER, IP_PMTUDISC_DO));
	union { char bytes[CMSG_SPACE(2)]; struct cmsghdr align; } anc = {0};
	struct msghdr cut = {.msg_name = &a, .msg_namelen = sizeof a, .msg_iov = &v, .msg_iovlen = 1, .msg_control = anc.bytes, .msg_controllen = sizeof anc.bytes};
	*CMSG_FIRSTHDR(&cut) = (struct cmsghdr){.cmsg_len = CMSG_LEN(2), .cmsg_level = IPPROTO_UDP, .cmsg_type = UDP_SEGMENT};
	*(unsigned short *)CMSG_DATA(CMSG_FIRSTHDR(&cut)) = 1000;
	result("in segments, to an address", sendmsg(open, &cut, 0));
	*(unsigned short *)CMSG_DATA(CMSG_FIRSTHDR(&cut)) = size;
	result("in large segments, to an address", sendmsg(open, &cut, 0));
	int to_self = udp();
	must("connect", connect(to_self, SA(own)));
	result("IP_PMTUDISC_DO", set(to_self, IPPROTO_IP, IP_MTU_DISCOVER, IP_PMTUDISC_DO));
	v.iov_len = sizeof block;
	result("sendmsg to self", sendmsg(to_self, &m, 0));
	mtu_of("UDP to self", to_self, IPPROTO_IP, IP_MTU, 65536);
	meet();
}

/* unfragmented sends from connected sockets what must not be cut, by calls without an address. */
static void unfragmented(void) {
	if (server) {
		int fd = bound(port);
		meet();
		static char buf[9000];
		while (recv(fd, buf, sizeof buf, 0) != 1200)
			;
		return meet();
	}
	meet();
	static char block[9000];
	int fd = udp();
	in4 a = peer(port);
	must("connect", connect(fd, SA(a)));
	result("IP_PMTUDISC_DO", set(fd, IPPROTO_IP, IP_MTU_DISCOVER, IP_PMTUDISC_DO));
	result("send", send(fd, block, sizeof block, 0));
	result("write", write(fd, block, sizeof block));
	struct iovec v[2] = {{block, sizeof block / 2}, {block, sizeof block / 2}};
	result("writev", writev(fd, v, 2));
	result("send", send(fd, block, 1200, 0));
	meet();
}

int main(int argc, char **argv) {
	static const struct test tests[] = {
		CASE(multicasts), CASE(indexes), CASE(original), CASE(paths), CASE(unfragmented),
	};
	return RUN(tests);
}
