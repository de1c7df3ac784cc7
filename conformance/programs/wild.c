/* Calls with wild pointers, wrong lengths, closed descriptors and odd flags: each combination's result. */
#include "conformance.h"
#include <linux/netlink.h>
#include <net/if.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <sys/utsname.h>

/* edge is the end of memory that can be read and written; what comes after it can not. rom can only be read. */
static char *edge, *rom;

static void prepare(void) {
	meet();
	char *p = mmap(NULL, 3 * 4096, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	must("mmap", p == MAP_FAILED ? -1 : 0);
	must("mprotect", mprotect(p + 4096, 4096, PROT_NONE));
	must("mprotect", mprotect(p + 2 * 4096, 4096, PROT_READ));
	edge = p + 4096;
	rom = p + 2 * 4096;
	signal(SIGPIPE, SIG_IGN);
}

/* Descriptors: what a call gets in place of a fresh TCP socket. */
static const char *const kinds[] = {"TCP", "UDP", "TCP6", "UDP6", "unix", "netlink", "pipe", "closed", "minus one", "huge"};
enum { kind_count = sizeof kinds / sizeof *kinds };

static int make(int kind) {
	int p[2];
	switch (kind) {
	case 0: return tcp_nonblock();
	case 1: return must("socket", socket(AF_INET, SOCK_DGRAM | SOCK_NONBLOCK, 0));
	case 2: return must("socket", socket(AF_INET6, SOCK_STREAM | SOCK_NONBLOCK, 0));
	case 3: return must("socket", socket(AF_INET6, SOCK_DGRAM | SOCK_NONBLOCK, 0));
	case 4: return must("socket", socket(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK, 0));
	case 5: return must("socket", socket(AF_NETLINK, SOCK_RAW | SOCK_NONBLOCK, NETLINK_ROUTE));
	case 6:
		must("pipe", pipe2(p, O_NONBLOCK));
		close(p[1]);
		return p[0];
	case 7: return 500;
	case 8: return -1;
	default: return 0x7fffffff;
	}
}

/* Pointers, by name. */
struct pointer { const char *name; void *at; };

static int pointers(struct pointer *p, const void *good, size_t size) {
	char *whole = edge - size, *half = edge - size / 2;
	memcpy(whole, good, size);
	struct pointer all[] = {{"good", whole}, {"NULL", NULL}, {"low", (void *)16}, {"half", half}, {"past", edge}, {"kernel", (void *)-8192UL}};
	memcpy(p, all, sizeof all);
	return sizeof all / sizeof *all;
}

/* outcome prints what came of a call: errors by name, and what is not one as "ok": there are many. */
static void outcome(const char *call, const char *kind, const char *what, long length, long r) {
	say("%s %s %s %ld: %s", call, kind, what, length, r < 0 ? strerrorname_np(errno) : "ok");
}

static const long lengths[] = {0, 1, 2, 8, 15, 16, 17, 24, 28, 128, 129, -1, 0x7fffffff};
enum { length_count = sizeof lengths / sizeof *lengths };

/* addressed makes calls that read an address: nobody is there, and nobody answers. */
static void addressed(const char *name, long nr, in_addr_t ip, int p) {
	for (int k = 0; k < kind_count; k++) {
		in4 a = addr4(ip, p);
		in6 b = {.sin6_family = AF_INET6, .sin6_port = htons(p), .sin6_addr = IN6ADDR_LOOPBACK_INIT};
		struct pointer ps[8];
		int n = k == 2 || k == 3 ? pointers(ps, &b, sizeof b) : pointers(ps, &a, sizeof a);
		for (int i = 0; i < n; i++)
			for (int l = 0; l < length_count; l++) {
				if (i == 3 && lengths[l] > 8) /* half is good for less */
					continue;
				int fd = make(k);
				outcome(name, kinds[k], ps[i].name, lengths[l], syscall(nr, fd, ps[i].at, lengths[l]));
				close(fd);
			}
	}
}
static void binds(void) {
	prepare();
	addressed("bind", SYS_bind, htonl(INADDR_LOOPBACK), port);
}
static void connects(void) {
	prepare();
	addressed("connect", SYS_connect, htonl(INADDR_LOOPBACK), port + 9);
}

/* named makes calls that write an address and its length. */
static void named(const char *name, long nr, int connected) {
	int l = listener(port + 1, 100);
	for (int k = 0; k < kind_count; k++)
		for (int i = 0; i < 4; i++)
			for (int j = 0; j < length_count; j++) {
				int fd = make(k), copy = -1;
				if (connected && k == 0) {
					in4 a = local(port + 1);
					nonblock(fd, 0);
					must("connect", connect(fd, SA(a)));
					copy = must("accept", accept(l, NULL, NULL));
				}
				socklen_t *len = (void *)(edge - 200);
				*len = lengths[j];
				void *to = edge - 128, *wrong[] = {to, NULL, (void *)16, rom};
				outcome(name, kinds[k], (char *[]){"good", "NULL", "low", "read-only"}[i], lengths[j], syscall(nr, fd, wrong[i], len));
				if (j == 0) {
					outcome(name, kinds[k], "length NULL", 0, syscall(nr, fd, to, NULL));
					outcome(name, kinds[k], "length past the edge", 0, syscall(nr, fd, to, edge));
					outcome(name, kinds[k], "length read-only", 0, syscall(nr, fd, to, rom));
				}
				close(fd);
				close(copy);
			}
}
static void socknames(void) {
	prepare();
	named("getsockname", SYS_getsockname, 0);
}
static void peernames(void) {
	prepare();
	named("getpeername", SYS_getpeername, 1);
}

static void accepts(void) {
	prepare();
	int l = listener(port, 100);
	in4 a = local(port);
	for (int i = 0; i < 5; i++)
		for (int j = 0; j < length_count; j++) {
			int fd = tcp();
			must("connect", connect(fd, SA(a)));
			socklen_t *len = (void *)(edge - 200);
			*len = lengths[j];
			void *wrong[] = {edge - 128, NULL, (void *)16, rom, edge};
			long r = syscall(SYS_accept4, l, wrong[i], len, 0);
			outcome("accept", "listener", (char *[]){"good", "NULL", "low", "read-only", "past"}[i], lengths[j], r);
			close(r);
			close(fd);
			/* Whether the connection is lost with the error is Linux's secret: start anew. */
			while ((r = accept4(l, NULL, NULL, 0)) >= 0 || (nonblock(l, 1), r = accept4(l, NULL, NULL, 0)) >= 0)
				close(r);
			nonblock(l, 0);
		}
	for (int k = 0; k < kind_count; k++) {
		int fd = make(k);
		socklen_t len = sizeof a;
		outcome("accept", kinds[k], "not a listener", len, accept(fd, (void *)&a, &len));
		outcome("accept", kinds[k], "odd flags", 1, syscall(SYS_accept4, fd, &a, &len, 1));
		outcome("accept", kinds[k], "all flags", -1, syscall(SYS_accept4, fd, &a, &len, -1));
		outcome("listen", kinds[k], "backlog", -1, listen(fd, -1));
		outcome("listen", kinds[k], "backlog", 0x7fffffff, listen(fd, 0x7fffffff));
		close(fd);
	}
}

static void sends(void) {
	prepare();
	for (int k = 0; k < kind_count; k++) {
		if (k == 5)
			continue; /* see interfaces.c */
		in4 a = local(port + 9);
		struct pointer ps[8];
		int n = pointers(ps, &a, sizeof a);
		for (int i = 0; i < n; i++)
			for (int l = 0; l < length_count; l++) {
				if (i == 3 && lengths[l] > 8)
					continue;
				int fd = make(k);
				outcome("sendto", kinds[k], ps[i].name, lengths[l], sendto(fd, "x", 1, MSG_NOSIGNAL, ps[i].at, lengths[l]));
				struct iovec v = {"x", 1};
				struct msghdr m = {.msg_name = ps[i].at, .msg_namelen = lengths[l], .msg_iov = &v, .msg_iovlen = 1};
				outcome("sendmsg", kinds[k], ps[i].name, lengths[l], sendmsg(fd, &m, MSG_NOSIGNAL));
				close(fd);
			}
		int fd = make(k);
		outcome("sendto", kinds[k], "wild data", 1, sendto(fd, (void *)16, 1, MSG_NOSIGNAL, SA(a)));
		outcome("sendto", kinds[k], "data past the edge", 100, sendto(fd, edge - 50, 100, MSG_NOSIGNAL, SA(a)));
		outcome("sendto", kinds[k], "much", 65508, sendto(fd, edge - 4096, 65508, MSG_NOSIGNAL, SA(a)));
		outcome("sendto", kinds[k], "out of band", 1, sendto(fd, "x", 1, MSG_NOSIGNAL | MSG_OOB, SA(a)));
		outcome("sendmsg", kinds[k], "wild header", 0, sendmsg(fd, (void *)16, MSG_NOSIGNAL));
		outcome("sendmsg", kinds[k], "header past the edge", 0, sendmsg(fd, (void *)(edge - 20), MSG_NOSIGNAL));
		struct iovec wild[2] = {{"x", 1}, {(void *)16, 5}};
		struct msghdr m = {.msg_name = &a, .msg_namelen = sizeof a, .msg_iov = wild, .msg_iovlen = 2};
		outcome("sendmsg", kinds[k], "wild buffer", 2, sendmsg(fd, &m, MSG_NOSIGNAL));
		m.msg_iov = (void *)16;
		outcome("sendmsg", kinds[k], "wild buffers", 2, sendmsg(fd, &m, MSG_NOSIGNAL));
		m.msg_iov = wild;
		m.msg_iovlen = 1025;
		outcome("sendmsg", kinds[k], "many buffers", 1025, sendmsg(fd, &m, MSG_NOSIGNAL));
		m.msg_iovlen = 2;
		wild[1] = (struct iovec){"x", -1};
		outcome("sendmsg", kinds[k], "negative buffer", -1, sendmsg(fd, &m, MSG_NOSIGNAL));
		outcome("sendmmsg", kinds[k], "wild headers", 3, sendmmsg(fd, (void *)16, 3, MSG_NOSIGNAL));
		outcome("sendmmsg", kinds[k], "none", 0, sendmmsg(fd, (void *)16, 0, MSG_NOSIGNAL));
		close(fd);
	}
}

static void receives(void) {
	prepare();
	for (int k = 0; k < 4; k++) {
		int six = k == 2 || k == 3;
		for (int i = 0; i < 9; i++) {
			int fd = make(k), from = make(six ? 3 : 1);
			if (k == 1 || k == 3) {
				in4 a = local(port);
				in6 b = {.sin6_family = AF_INET6, .sin6_port = htons(port), .sin6_addr = IN6ADDR_LOOPBACK_INIT};
				int on = 1;
				set(fd, SOL_SOCKET, SO_REUSEADDR, on);
				must("bind", six ? bind(fd, SA(b)) : bind(fd, SA(a)));
				for (int twice = 0; twice < 2; twice++)
					must("sendto", six ? sendto(from, "datagram", 8, 0, SA(b)) : sendto(from, "datagram", 8, 0, SA(a)));
				quietly(fd, POLLIN);
			}
			struct sockaddr_storage at;
			socklen_t *len = (void *)(edge - 300);
			*len = i == 4 ? (socklen_t)-1 : i == 5 ? 3 : sizeof at;
			void *name = i == 1 ? (void *)16 : i == 2 ? rom : (void *)&at, *data = i == 3 ? (void *)16 : edge - 200;
			outcome("recvfrom", kinds[k], "variant", i, recvfrom(fd, data, i == 6 ? 0 : 100, i == 7 ? MSG_TRUNC | MSG_PEEK : i == 8 ? MSG_OOB : 0, name, i == 0 ? (void *)16 : len));
			struct iovec v[2] = {{i == 0 ? (void *)16 : edge - 200, i == 1 ? -1 : 100}, {edge - 100, 100}};
			struct msghdr m = {.msg_name = i == 2 ? (void *)16 : &at, .msg_namelen = i == 3 ? (socklen_t)-1 : sizeof at,
				.msg_iov = i == 4 ? (void *)16 : v, .msg_iovlen = i == 5 ? 1025 : 2, .msg_control = i == 6 ? (void *)16 : NULL, .msg_controllen = i == 6 ? 100 : 0};
			outcome("recvmsg", kinds[k], "variant", i, recvmsg(fd, i == 7 ? (void *)16 : &m, 0));
			outcome("recvmmsg", kinds[k], "variant", i, recvmmsg(fd, (void *)16, i, 0, NULL));
			close(fd);
			close(from);
		}
	}
}

static void others(void) {
	prepare();
	for (int k = 0; k < kind_count; k++) {
		int fd = make(k);
		socklen_t len = 4;
		int v;
		outcome("SO_ERROR", kinds[k], "good", 4, getsockopt(fd, SOL_SOCKET, SO_ERROR, &v, &len));
		outcome("SO_ERROR", kinds[k], "wild value", 4, getsockopt(fd, SOL_SOCKET, SO_ERROR, (void *)16, &len));
		outcome("SO_ERROR", kinds[k], "wild length", 4, getsockopt(fd, SOL_SOCKET, SO_ERROR, &v, (void *)16));
		len = -1;
		outcome("SO_ERROR", kinds[k], "length", -1, getsockopt(fd, SOL_SOCKET, SO_ERROR, &v, &len));
		outcome("SIOCGIFADDR", kinds[k], "wild", 0, ioctl(fd, 0x8915, (void *)16));
		outcome("SIOCGIFCONF", kinds[k], "past the edge", 0, ioctl(fd, 0x8912, edge - 8));
		outcome("SIOCATMARK", kinds[k], "wild", 0, ioctl(fd, SIOCATMARK, (void *)16));
		outcome("F_DUPFD", kinds[k], "number", -1, fcntl(fd, F_DUPFD, -1));
		outcome("F_DUPFD", kinds[k], "number", 1 << 30, fcntl(fd, F_DUPFD_CLOEXEC, 1 << 30));
		outcome("NETLINK_ADD_MEMBERSHIP", kinds[k], "good", 4, setsockopt(fd, 270, 1, &(int){1}, 4));
		close(fd);
	}
	for (int type = 0; type < 12; type++)
		outcome("socket", "AF_INET", "type", type, socket(AF_INET, type, 0));
	outcome("socket", "AF_INET", "odd flags", 0, socket(AF_INET, SOCK_DGRAM | 0x40, 0));
	outcome("socket", "AF_INET", "UDP, protocol", 6, socket(AF_INET, SOCK_DGRAM, 6));
	outcome("socket", "AF_INET", "UDP, protocol", 300, socket(AF_INET, SOCK_DGRAM, 300));
	outcome("socket", "AF_INET", "UDP, protocol", -1, socket(AF_INET, SOCK_DGRAM, -1));
	outcome("socket", "AF_NETLINK", "stream", 0, socket(AF_NETLINK, SOCK_STREAM, 0));
	outcome("socket", "AF_NETLINK", "odd flags", 0, socket(AF_NETLINK, SOCK_RAW | 0x40, 0));
	outcome("uname", "", "past the edge", 0, syscall(SYS_uname, edge - 100));
	outcome("uname", "", "read-only", 0, syscall(SYS_uname, rom));
}

int main(int argc, char **argv) {
	static const struct test tests[] = {
		CASE(binds), CASE(connects), CASE(socknames), CASE(peernames), CASE(accepts), CASE(sends), CASE(receives), CASE(others),
	};
	return RUN(tests);
}
