/* Programs in a network namespace of their own, which has lo and nothing else. */
#include "conformance.h"
#include <net/if.h>
#include <sched.h>

static void lo_up(void) {
	struct ifreq r = {.ifr_name = "lo", .ifr_flags = IFF_UP | IFF_RUNNING};
	result("lo up", ioctl(udp(), SIOCSIFFLAGS, &r));
}

/* enter makes the calling process's namespace. */
static void enter(void) {
	must("unshare", unshare(CLONE_NEWNET));
	lo_up();
}

/* streams uses TCP within the namespace, on a listener that is bound to ip. */
static void streams(in_addr_t ip, in_addr_t to) {
	in4 a = addr4(ip, port);
	int l = tcp(), one = tcp();
	if (result("bind", bind(l, SA(a))) < 0)
		return;
	result("bind again", bind(one, SA(a)));
	result("listen", listen(l, 4));
	sockname(l);
	a = addr4(to, port);
	int fd = tcp();
	if (result("connect", connect(fd, SA(a))) < 0)
		return;
	struct sockaddr_storage from;
	socklen_t len = sizeof from;
	int server = fd_result("accept", accept(l, (void *)&from, &len));
	say("from %s", text(&from, len));
	names(fd);
	names(server);
	give(fd, "question");
	take(server);
	close(fd);
	take(server);
	close(server);
	close(l);
}

static void inside(void) {
	in4 denied = peer(port), own = self(port), here = local(port + 1);
	streams(htonl(INADDR_LOOPBACK), htonl(INADDR_LOOPBACK));
	streams(htonl(INADDR_ANY), htonl(INADDR_LOOPBACK + 4));
	result("to the peer", connect(tcp(), SA(denied)));
	result("to the own address", connect(tcp(), SA(own)));
	result("to localhost", connect(tcp(), SA(here)));
	result("bind to the own address", bind(tcp(), SA(own)));
	int fd = tcp_nonblock();
	result("non-blocking", connect(fd, SA(denied)));
	result("fast open", sendto(tcp(), "x", 1, MSG_FASTOPEN, SA(denied)));
	result("listen of an unbound socket", listen(tcp(), 4));
	result("UDP", sendto(udp(), "x", 1, 0, SA(denied)));
	int ping = socket(AF_INET, SOCK_DGRAM, IPPROTO_ICMP);
	say("ping socket: %s", ping < 0 ? strerrorname_np(errno) : "made");
}

static void alone(void) {
	if (server) {
		listener(port, 4);
		meet();
		return meet();
	}
	meet();
	pid_t pid = fork();
	if (pid == 0) {
		enter();
		inside();
		_exit(0);
	}
	waitpid(pid, NULL, 0);
	in4 a = peer(port);
	result("outside, to the peer", connect(tcp(), SA(a)));
	meet();
}

/* a socket from before keeps its namespace, whoever uses it */
static void from_before(void) {
	if (server) {
		listener(port, 4);
		meet();
		return meet();
	}
	meet();
	int fd = tcp(), l = tcp();
	pid_t pid = fork();
	if (pid == 0) {
		enter();
		in4 a = peer(port), b = any(port + 1);
		result("connect", connect(fd, SA(a)));
		peername(fd);
		result("bind", bind(l, SA(b)));
		result("listen", listen(l, 4));
		_exit(0);
	}
	waitpid(pid, NULL, 0);
	in4 b = self(port + 1);
	result("connect to the child's listener", connect(tcp(), SA(b)));
	meet();
}

int main(int argc, char **argv) {
	static const struct test tests[] = {CASE(alone), CASE(from_before)};
	return RUN(tests);
}
