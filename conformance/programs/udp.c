/* UDP: connected and not, by all calls. */
#include "udp.h"
#include <net/if.h>

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

/* Of two sockets that are connected to one port only that learns of it which has sent there. */
static void refused_one_of_two(void) {
	if (server)
		return meet();
	in4 a = peer(port);
	int fds[2] = {udp(), udp()};
	for (int i = 0; i < 2; i++)
		result("connect", connect(fds[i], SA(a)));
	give(fds[0], "x");
	await(fds[0], POLLIN, 1000);
	so_error(fds[1]);
	give(fds[1], "x");
	await(fds[1], POLLIN, 1000);
	result("send", send(fds[0], "x", 1, 0));
	so_error(fds[0]);
	result("read", recv(fds[0], &a, 1, MSG_DONTWAIT));
	meet();
}

/* A socket that is connected to somebody else is a closed port to everybody but that. */
static void stranger(void) {
	if (server) {
		int fd = bound(port), other = udp();
		in4 a = peer(port + 1);
		result("connect", connect(fd, SA(a)));
		meet();
		meet();
		take(fd);
		close(other);
		return;
	}
	int known = bound(port + 1), fd = udp();
	meet();
	in4 a = peer(port);
	result("connect", connect(fd, SA(a)));
	give(fd, "of a stranger");
	await(fd, POLLIN, 1000);
	so_error(fd);
	usleep(20000);
	result("sendto", sendto(known, "known", 5, 0, SA(a)));
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

/* To all hosts, and to groups: the hosts have a route to each other only. */
static void casts(void) {
	if (!server)
		return meet();
	static const char *const to_all[] = {"255.255.255.255", "224.0.0.251", "239.1.2.3"};
	for (int i = 0; i < 2; i++)
		for (int k = 0; k < 2; k++) {
			int fd = i ? bound(port) : udp();
			set(fd, SOL_SOCKET, SO_BROADCAST, k);
			say("bound %d, with SO_BROADCAST %d", i, k);
			for (int j = 0; j < 3; j++) {
				in4 a = addr4(inet_addr(to_all[j]), port);
				result("sendto", sendto(fd, "x", 1, 0, SA(a)));
				struct iovec v = {"x", 1};
				struct msghdr m = {.msg_name = &a, .msg_namelen = sizeof a, .msg_iov = &v, .msg_iovlen = 1};
				result("sendmsg", sendmsg(fd, &m, 0));
				result("connect", connect(fd, SA(a)));
			}
			close(fd);
		}
	int fd = udp();
	struct ip_mreq group = {.imr_multiaddr.s_addr = inet_addr("224.0.0.251")};
	result("join", setsockopt(fd, IPPROTO_IP, IP_ADD_MEMBERSHIP, &group, sizeof group));
	group.imr_interface.s_addr = inet_addr("192.0.2.1");
	result("join at another's address", setsockopt(fd, IPPROTO_IP, IP_ADD_MEMBERSHIP, &group, sizeof group));
	group.imr_interface.s_addr = htonl(INADDR_LOOPBACK);
	result("join at localhost", setsockopt(fd, IPPROTO_IP, IP_ADD_MEMBERSHIP, &group, sizeof group));
	result("leave", setsockopt(fd, IPPROTO_IP, IP_DROP_MEMBERSHIP, &group, sizeof group));
	group.imr_multiaddr.s_addr = inet_addr("224.0.0.252");
	result("leave another", setsockopt(fd, IPPROTO_IP, IP_DROP_MEMBERSHIP, &group, sizeof group));
	struct ip_mreqn by_index = {.imr_multiaddr.s_addr = inet_addr("224.0.0.251"), .imr_ifindex = 999};
	result("join by an index", setsockopt(fd, IPPROTO_IP, IP_ADD_MEMBERSHIP, &by_index, sizeof by_index));
	result("join short", setsockopt(fd, IPPROTO_IP, IP_ADD_MEMBERSHIP, &by_index, 3));
	result("join wild", setsockopt(fd, IPPROTO_IP, IP_ADD_MEMBERSHIP, (void *)16, sizeof group));
	result("join bad descriptor", setsockopt(-1, IPPROTO_IP, IP_ADD_MEMBERSHIP, &group, sizeof group));
	result("join by TCP", setsockopt(tcp(), IPPROTO_IP, IP_ADD_MEMBERSHIP, &group, sizeof group));
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

/* in_parts sends a datagram in parts from a socket that is not connected. */
static void in_parts(void) {
	if (server) {
		int fd = bound(port);
		meet();
		for (int i = 0; i < 3; i++)
			receive(fd, 0);
		return meet();
	}
	meet();
	int fd = udp();
	in4 a = peer(port);
	result("MSG_MORE", sendto(fd, "one ", 4, MSG_MORE, SA(a)));
	result("MSG_MORE", sendto(fd, "two ", 4, MSG_MORE, SA(a)));
	result("sendto", sendto(fd, "three", 5, 0, SA(a)));
	result("sendto", sendto(fd, "four", 4, 0, SA(a)));
	struct iovec v = {"five ", 5};
	struct msghdr m = {.msg_name = &a, .msg_namelen = sizeof a, .msg_iov = &v, .msg_iovlen = 1};
	result("sendmsg MSG_MORE", sendmsg(fd, &m, MSG_MORE));
	result("sendto", sendto(fd, "six", 3, 0, SA(a)));
	meet();
}

/* timestamped asks for the time at which a datagram was sent (SO_TIMESTAMPING). */
static void timestamped(void) {
	enum { tx_software = 1 << 1, software = 1 << 4, opt_id = 1 << 7, opt_tsonly = 1 << 11 };
	if (server) {
		int fd = bound(port);
		meet();
		receive(fd, 0);
		return meet();
	}
	meet();
	int fd = udp();
	in4 a = peer(port);
	set(fd, SOL_SOCKET, SO_TIMESTAMPING, tx_software | software | opt_id | opt_tsonly);
	result("sendto", sendto(fd, "when?", 5, 0, SA(a)));
	await(fd, POLLERR, wait_ms);
	union { char bytes[256]; struct cmsghdr align; } anc;
	struct msghdr m = {.msg_control = anc.bytes, .msg_controllen = sizeof anc};
	result("recvmsg", recvmsg(fd, &m, MSG_ERRQUEUE));
	for (struct cmsghdr *c = CMSG_FIRSTHDR(&m); c; c = CMSG_NXTHDR(&m, c))
		say("level %d type %d", c->cmsg_level, c->cmsg_type);
	meet();
}

/* mtu asks for the largest packet, and sends one that is larger and must not be cut. */
static void mtu(void) {
	if (server) {
		static char got[9000];
		int fd = bound(port);
		meet();
		say("one came: %d", recv(fd, got, sizeof got, 0) > 1200);
		say("all came: %d", recv(fd, got, sizeof got, 0) == sizeof got);
		return meet();
	}
	meet();
	static char block[9000];
	memset(block, 'x', sizeof block);
	int fd = udp(), connected = udp(), of_link = 0, of_path = 0;
	in4 a = peer(port), mine;
	must("connect", connect(connected, SA(a)));
	socklen_t len = sizeof mine;
	getsockname(connected, (void *)&mine, &len);
	struct ifreq all[16];
	struct ifconf list = {.ifc_len = sizeof all, .ifc_req = all};
	must("SIOCGIFCONF", ioctl(fd, SIOCGIFCONF, &list));
	for (int i = 0; i < list.ifc_len / (int)sizeof *all; i++)
		if (((in4 *)&all[i].ifr_addr)->sin_addr.s_addr == mine.sin_addr.s_addr) {
			must("SIOCGIFMTU", ioctl(fd, SIOCGIFMTU, &all[i]));
			of_link = all[i].ifr_mtu;
		}
	len = sizeof of_path;
	result("IP_MTU", getsockopt(connected, IPPROTO_IP, IP_MTU, &of_path, &len));
	say("as the interface's: %d", of_link > 0 && of_path == of_link);
	result("IP_MTU not connected", getsockopt(fd, IPPROTO_IP, IP_MTU, &of_path, &len));
	result("IP_PMTUDISC_DO", set(fd, IPPROTO_IP, IP_MTU_DISCOVER, IP_PMTUDISC_DO));
	result("one byte more", sendto(fd, block, of_link - 27, 0, SA(a)));
	result("9000 bytes", sendto(fd, block, sizeof block, 0, SA(a)));
	say("as it fits: %d", sendto(fd, block, of_link - 28, 0, SA(a)) == of_link - 28);
	result("IP_PMTUDISC_WANT", set(fd, IPPROTO_IP, IP_MTU_DISCOVER, IP_PMTUDISC_WANT));
	result("9000 bytes", sendto(fd, block, sizeof block, 0, SA(a)));
	meet();
}

int main(int argc, char **argv) {
	static const struct test tests[] = {
		CASE(plain), CASE(connected), CASE(sizes), CASE(refused), CASE(refused_by_self), CASE(refused_by_localhost), CASE(refused_unconnected), CASE(refused_one_of_two), CASE(stranger), CASE(on_this_host), CASE(reuse_port),
		CASE(timeouts), CASE(moved), CASE(wrong), CASE(casts), CASE(dual_stack), CASE(in_parts), CASE(timestamped), CASE(mtu),
	};
	return RUN(tests);
}
