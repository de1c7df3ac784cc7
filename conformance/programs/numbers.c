/* The numbers of the descriptors that calls make: the lowest that is free, and no other's. */
#include "conformance.h"
#include "passing.h"
#include <linux/netlink.h>
#include <linux/rtnetlink.h>
#include <netinet/ip_icmp.h>

static int datagrams(void) { return socket(AF_INET, SOCK_DGRAM, 0); }
static int ping(void) { return socket(AF_INET, SOCK_DGRAM, IPPROTO_ICMP); }
static int route(void) { return socket(AF_NETLINK, SOCK_RAW | SOCK_CLOEXEC, NETLINK_ROUTE); }

/* number prints a descriptor, counted from the first that was free. */
static int number(int first, const char *what, int fd) {
	if (fd < 0)
		return result(what, fd);
	say("%s: the first and %d", what, fd - first);
	return fd;
}

/* lowest makes sockets of all kinds, and fills a hole. */
static void lowest(void) {
	if (!server) {
		meet();
		dial(port);
		return meet();
	}
	int l = listener(port, 4), first = must("dup", dup(0));
	close(first);
	number(first, "UDP", datagrams());
	number(first, "UDP over IPv6", socket(AF_INET6, SOCK_DGRAM | SOCK_CLOEXEC | SOCK_NONBLOCK, IPPROTO_UDP));
	number(first, "ping", ping());
	number(first, "ping over IPv6", socket(AF_INET6, SOCK_DGRAM, IPPROTO_ICMPV6));
	number(first, "netlink", route());
	number(first, "dup", dup(first));
	number(first, "F_DUPFD", fcntl(first, F_DUPFD, first + 20));
	number(first, "F_DUPFD_CLOEXEC", fcntl(first + 2, F_DUPFD_CLOEXEC, first + 1));
	number(first, "file", open("/dev/null", O_RDONLY));
	close(first + 3);
	number(first, "netlink in a hole", route());
	close(first + 1);
	meet();
	struct sockaddr_storage from;
	socklen_t len = sizeof from;
	number(first, "accept in a hole", accept(l, (void *)&from, &len));
	say("close on exec: %d %d %d %d", fcntl(first, F_GETFD), fcntl(first + 2, F_GETFD), fcntl(first + 3, F_GETFD), fcntl(first + 4, F_GETFD));
	meet();
}

/* limited makes sockets until there is no number left. */
static void limited(void) {
	struct rlimit r, now;
	if (!server) {
		meet();
		int fd = dial(port);
		take(fd);
		return;
	}
	int l = listener(port, 4), n = 0, fd, last = -1;
	getrlimit(RLIMIT_NOFILE, &r);
	r.rlim_cur = 64;
	result("RLIMIT_NOFILE", setrlimit(RLIMIT_NOFILE, &r));
	while ((fd = n % 2 ? datagrams() : ping()) >= 0)
		n++, last = fd;
	say("%s with %d as the last", strerrorname_np(errno), last);
	result("UDP", datagrams());
	result("ping", ping());
	result("netlink", route());
	getrlimit(RLIMIT_NOFILE, &now);
	say("limit %lu, hard one as before: %d", (unsigned long)now.rlim_cur, now.rlim_max == r.rlim_max);
	meet();
	await(l, POLLIN, wait_ms);
	struct sockaddr_storage from;
	socklen_t len = sizeof from;
	result("accept", accept(l, (void *)&from, &len));
	close(last);
	fd = result("accept", accept(l, (void *)&from, &len));
	give(fd, "accepted after all");
}

/* many has more UDP sockets than select(2) was made for sockets of, if they were not low. */
static void many(void) {
	if (!server)
		return;
	int fd = -1;
	for (int i = 0; i < 300; i++)
		fd = must("socket", datagrams());
	struct sockaddr_in a = any(port);
	result("bind", bind(fd, SA(a)));
	fd_set set;
	FD_ZERO(&set);
	say("below FD_SETSIZE: %d", fd < FD_SETSIZE);
	if (fd >= FD_SETSIZE)
		return;
	FD_SET(fd, &set);
	a = local(port);
	result("sendto", sendto(fd, "x", 1, 0, SA(a)));
	result("select", select(fd + 1, &set, NULL, NULL, NULL));
}

static volatile int over;

static void *makers(void *make) {
	int (*f)(void) = (int (*)(void))make;
	while (!over) {
		int fd = f();
		if (fd >= 0)
			close(fd);
	}
	return NULL;
}

static int asked(void) {
	struct addrinfo *r = NULL;
	if (getaddrinfo("localhost", "80", NULL, &r) == 0)
		freeaddrinfo(r);
	return -1;
}

static int accepting = -1;

static int accepted(void) {
	struct sockaddr_storage from;
	socklen_t len = sizeof from;
	return accept(accepting, (void *)&from, &len);
}

static int connected(void) {
	in4 a = local(port);
	int fd = tcp();
	connect(fd, SA(a));
	return fd;
}

/* kept opens files with hundreds of descriptors open, while other threads make sockets. */
static void kept(void) {
	if (!server)
		return;
	struct rlimit r;
	getrlimit(RLIMIT_NOFILE, &r);
	r.rlim_cur = r.rlim_max;
	setrlimit(RLIMIT_NOFILE, &r);
	for (int i = 0; i < 800; i++)
		must("open", open("/dev/null", O_RDONLY));
	accepting = listener(port, 64);
	fcntl(accepting, F_SETFL, O_NONBLOCK);
	void *all[] = {datagrams, ping, route, asked, accepted, connected};
	pthread_t threads[6];
	for (int i = 0; i < 6; i++)
		pthread_create(&threads[i], NULL, makers, all[i]);
	struct stat want, got;
	must("stat", stat("/etc/passwd", &want));
	struct timeval begin, now;
	gettimeofday(&begin, NULL);
	long wrong = 0;
	do {
		int fd = must("open", open("/etc/passwd", O_RDONLY));
		for (int i = 0; i < 10; i++)
			if (fstat(fd, &got) < 0 || got.st_ino != want.st_ino || got.st_dev != want.st_dev) {
				wrong++;
				break;
			}
		wrong += close(fd) < 0;
		gettimeofday(&now, NULL);
	} while (now.tv_sec - begin.tv_sec < 2);
	over = 1;
	for (int i = 0; i < 6; i++)
		pthread_join(threads[i], NULL);
	say("descriptors of others: %ld", wrong);
}

/* passed hands a UDP socket to another process, as a cluster of Node.js does. */
static void passed(void) {
	if (!server) {
		meet();
		in4 a = peer(port);
		int fd = udp();
		for (int i = 0; i < 2; i++) {
			result("sendto", sendto(fd, "question", 8, 0, SA(a)));
			take(fd);
		}
		return;
	}
	int ways[2];
	must("socketpair", socketpair(AF_UNIX, SOCK_DGRAM, 0, ways));
	pid_t pid = fork();
	if (pid == 0) {
		struct sockaddr_storage from;
		int fd = receive_fd(ways[1]);
		for (int i = 0; i < 2; i++) {
			char buf[16];
			struct iovec v = {buf, sizeof buf};
			struct msghdr m = {.msg_name = &from, .msg_namelen = sizeof from, .msg_iov = &v, .msg_iovlen = 1};
			result("recvmsg", recvmsg(fd, &m, 0));
			say("from %s", text(&from, m.msg_namelen));
			v = (struct iovec){"answer", 6};
			result("sendmsg", sendmsg(fd, &m, 0));
		}
		_exit(0);
	}
	int fd = udp();
	in4 a = any(port);
	must("bind", bind(fd, SA(a)));
	send_fd(ways[0], fd, 'f');
	meet();
	waitpid(pid, NULL, 0);
}

int main(int argc, char **argv) {
	static const struct test tests[] = {CASE(lowest), CASE(limited), CASE(many), CASE(kept), CASE(passed)};
	return RUN(tests);
}
