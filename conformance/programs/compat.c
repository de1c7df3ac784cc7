/* Calls by other ABIs than the program's own: i386's, which any program for amd64 can make by int $0x80, and x32's. On
 * other machines the cases do nothing. */
#include "conformance.h"
#include <sys/mman.h>
#include <sys/utsname.h>

#if defined __x86_64__ && !defined __ILP32__

/* low is memory that 32 bits can address. */
static char *low;

static long int80(long nr, long a, long b, long c, long d, long e, long f) {
	long r;
	__asm__ volatile("push %%rbp; mov %[f], %%rbp; int $0x80; pop %%rbp"
		: "=a"(r) : "a"(nr), "b"(a), "c"(b), "d"(c), "S"(d), "D"(e), [f] "r"(f) : "memory", "r8", "r9", "r10", "r11");
	if (r < 0) {
		errno = -r;
		return -1;
	}
	return r;
}
#define L(p) ((long)(p))

/* many is socketcall(2). */
static long many(int call, long a, long b, long c, long d, long e, long f) {
	unsigned *args = (void *)(low + 4000);
	args[0] = a, args[1] = b, args[2] = c, args[3] = d, args[4] = e, args[5] = f;
	return int80(102, call, L(args), 0, 0, 0, 0);
}

static void prepare(void) {
	low = mmap(NULL, 8192, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_32BIT, -1, 0);
	must("mmap", low == MAP_FAILED ? -1 : 0);
}

/* own_name prints getsockname(2) and getpeername(2), by either way. */
static void own_name(int fd, int by_number) {
	socklen_t *len = (void *)(low + 200);
	for (int i = 0; i < 2; i++) {
		*len = 28;
		memset(low + 300, 0, 28);
		long r = by_number ? int80(367 + i, fd, L(low + 300), L(len), 0, 0, 0) : many(6 + i, fd, L(low + 300), L(len), 0, 0, 0);
		result(i ? "getpeername" : "getsockname", r);
		if (r == 0)
			say("%s", text(low + 300, *len));
	}
}

/* streams connects by i386's calls: each by its own number, or by socketcall(2). */
static void streams(int by_number) {
	prepare();
	in4 *a = (void *)low;
	int p = port + by_number;
	int fd = by_number ? int80(359, AF_INET, SOCK_STREAM, 0, 0, 0, 0) : many(1, AF_INET, SOCK_STREAM, 0, 0, 0, 0);
	must("socket", fd);
	if (!server) {
		meet();
		*a = peer(p);
		result("connect", by_number ? int80(362, fd, L(a), sizeof *a, 0, 0, 0) : many(3, fd, L(a), sizeof *a, 0, 0, 0));
		own_name(fd, by_number);
		give(fd, "hello");
		take(fd);
		*a = peer(port + 5);
		fd = must("socket", many(1, AF_INET, SOCK_STREAM, 0, 0, 0, 0));
		result("connect to nobody", many(3, fd, L(a), sizeof *a, 0, 0, 0));
		return;
	}
	*a = any(p);
	result("bind", by_number ? int80(361, fd, L(a), sizeof *a, 0, 0, 0) : many(2, fd, L(a), sizeof *a, 0, 0, 0));
	result("listen", by_number ? int80(363, fd, 5, 0, 0, 0, 0) : many(4, fd, 5, 0, 0, 0, 0));
	own_name(fd, by_number);
	meet();
	socklen_t *len = (void *)(low + 100);
	*len = sizeof *a;
	int c = by_number ? int80(364, fd, L(a), L(len), SOCK_CLOEXEC, 0, 0) : many(5, fd, L(a), L(len), 0, 0, 0);
	fd_result("accept", c);
	say("from %s", text(a, *len));
	own_name(c, by_number);
	take(c);
	give(c, "you are welcome");
	result("wild connect", many(3, fd, 16, sizeof *a, 0, 0, 0));
	result("wild arguments", int80(102, 3, 16, 0, 0, 0, 0));
	result("socketcall of nothing", many(99, 0, 0, 0, 0, 0, 0));
}
static void by_number(void) { streams(1); }
static void socketcalls(void) { streams(0); }

struct iovec32 { unsigned base, len; };
struct msghdr32 { unsigned name; int namelen; unsigned iov, iovlen, control, controllen, flags; };

static void datagrams(void) {
	prepare();
	in4 *a = (void *)low;
	int fd = must("socket", many(1, AF_INET, SOCK_DGRAM, 0, 0, 0, 0));
	struct msghdr32 *m = (void *)(low + 500);
	struct iovec32 *v = (void *)(low + 600);
	char *buf = low + 700, *control = low + 1000;
	socklen_t *len = (void *)(low + 100);
	if (server) {
		*a = any(port);
		result("bind", many(2, fd, L(a), sizeof *a, 0, 0, 0));
		int on = 1;
		setsockopt(fd, IPPROTO_IP, IP_RECVTTL, &on, sizeof on);
		meet();
		*len = sizeof *a;
		result("recvfrom", many(12, fd, L(buf), 100, 0, L(a), L(len)));
		say("from %s", text(a, *len));
		result("sendto", many(11, fd, L("answer"), 0, 0, L(a), *len));
		*v = (struct iovec32){L(buf), 100};
		*m = (struct msghdr32){L(a), sizeof *a, L(v), 1, L(control), 200, 0};
		memset(buf, 0, 100);
		result("recvmsg", many(17, fd, L(m), 0, 0, 0, 0));
		unsigned *c = (void *)control;
		say("\"%s\" from %s, control %u: %u %u %u", buf, text(a, m->namelen), m->controllen, c[0], c[1], c[2]);
		*m = (struct msghdr32){L(a), sizeof *a, L(v), 1, L(control), 0, 0};
		result("answer", many(16, fd, L(m), 0, 0, 0, 0));
		meet();
		return;
	}
	meet();
	*a = peer(port);
	strcpy(buf, "question");
	result("sendto", many(11, fd, L(buf), 8, 0, L(a), sizeof *a));
	*len = sizeof *a;
	result("recvfrom", many(12, fd, L(buf), 100, 0, L(a), L(len)));
	say("from %s", text(a, *len));
	strcpy(buf, "another");
	*v = (struct iovec32){L(buf), 7};
	*m = (struct msghdr32){L(a), sizeof *a, L(v), 1, 0, 0, 0};
	result("sendmsg", many(16, fd, L(m), 0, 0, 0, 0));
	result("recvmsg", many(17, fd, L(m), 0, 0, 0, 0));
	say("from %s", text(a, m->namelen));
	meet();
}

static void others(void) {
	prepare();
	struct utsname *u = (void *)low;
	result("uname", int80(122, L(u), 0, 0, 0, 0, 0));
	say("nodename is SELF: %d", strcmp(u->nodename, self_name) == 0);
	result("io_uring_setup wild", int80(425, 1, 16, 0, 0, 0, 0) < 0);
	errno = 0;
	result("x32 socket", syscall(0x40000000 | 41, AF_INET, SOCK_STREAM, 0));
	result("x32 getpid", syscall(0x40000000 | 39));
	meet();
}
#else
static void by_number(void) { meet(); }
static void socketcalls(void) { meet(); }
static void datagrams(void) { meet(); }
static void others(void) { meet(); }
#endif

int main(int argc, char **argv) {
	static const struct test tests[] = {CASE(by_number), CASE(socketcalls), CASE(datagrams), CASE(others)};
	return RUN(tests);
}
