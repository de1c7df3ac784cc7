/* TCP Fast Open, as clients ask for it: by option, and by a flag of the calls that send. */
#include "conformance.h"

static void serve(int times) {
	int l = listener(port, 64);
	meet();
	for (int i = 0; i < times; i++)
		take(accept(l, NULL, NULL));
	meet();
}

static void option(void) {
	if (server)
		return serve(1);
	meet();
	in4 a = peer(port);
	int fd = tcp();
	result("TCP_FASTOPEN_CONNECT", set(fd, IPPROTO_TCP, TCP_FASTOPEN_CONNECT, 1));
	result("connect", connect(fd, SA(a)));
	give(fd, "by option");
	names(fd);
	meet();
}

static void option_nonblocking(void) {
	if (server)
		return serve(1);
	meet();
	in4 a = peer(port);
	int fd = tcp_nonblock();
	set(fd, IPPROTO_TCP, TCP_FASTOPEN_CONNECT, 1);
	result("connect", connect(fd, SA(a)));
	await(fd, POLLOUT, wait_ms);
	so_error(fd);
	give(fd, "by option");
	names(fd);
	meet();
}

static void flag(void) {
	if (server)
		return serve(1);
	meet();
	in4 a = peer(port);
	int fd = tcp();
	result("MSG_FASTOPEN", sendto(fd, "by flag", 7, MSG_FASTOPEN, SA(a)));
	names(fd);
	result("MSG_FASTOPEN again", sendto(fd, "by flag", 7, MSG_FASTOPEN, SA(a)));
	result("connect", connect(fd, SA(a)));
	meet();
}

static void flag_nonblocking(void) {
	if (server)
		return serve(1);
	meet();
	in4 a = peer(port);
	int fd = tcp_nonblock();
	result("MSG_FASTOPEN", sendto(fd, "early", 5, MSG_FASTOPEN, SA(a)));
	await(fd, POLLOUT, wait_ms);
	so_error(fd);
	names(fd);
	give(fd, "later");
	meet();
}

static void flag_dontwait(void) {
	if (server)
		return serve(1);
	meet();
	in4 a = peer(port);
	int fd = tcp();
	result("MSG_FASTOPEN", sendto(fd, "early", 5, MSG_FASTOPEN | MSG_DONTWAIT, SA(a)));
	await(fd, POLLOUT, wait_ms);
	give(fd, "later");
	meet();
}

static void messages(void) {
	if (server)
		return serve(2);
	meet();
	in4 a = peer(port);
	struct iovec v[] = {{"in two ", 7}, {"parts", 5}};
	struct msghdr m = {.msg_iov = v, .msg_iovlen = 2, .msg_name = &a, .msg_namelen = sizeof a};
	int fd = tcp();
	result("sendmsg", sendmsg(fd, &m, MSG_FASTOPEN));
	names(fd);
	struct mmsghdr mm = {.msg_hdr = m};
	fd = tcp();
	result("sendmmsg", sendmmsg(fd, &mm, 1, MSG_FASTOPEN));
	say("%u", mm.msg_len);
	meet();
}

/* more than what a socket buffers */
static void large(void) {
	enum { size = 12 << 20 };
	static char block[1 << 16];
	if (server) {
		int l = listener(port, 64);
		meet();
		int fd = accept(l, NULL, NULL);
		long total = 0, n;
		while ((n = read(fd, block, sizeof block)) > 0)
			total += n;
		say("%ld bytes", total);
		return meet();
	}
	meet();
	in4 a = peer(port);
	char *all = calloc(1, size);
	int fd = tcp();
	result("MSG_FASTOPEN", sendto(fd, all, size, MSG_FASTOPEN, SA(a)));
	close(fd);
	meet();
}

static void refused(void) {
	if (server)
		return meet();
	in4 a = peer(port);
	int fd = tcp();
	result("MSG_FASTOPEN", sendto(fd, "x", 1, MSG_FASTOPEN | MSG_NOSIGNAL, SA(a)));
	so_error(fd);
	fd = tcp_nonblock();
	result("MSG_FASTOPEN", sendto(fd, "x", 1, MSG_FASTOPEN | MSG_NOSIGNAL, SA(a)));
	await(fd, POLLOUT, wait_ms);
	so_error(fd);
	a = local(port);
	fd = tcp();
	result("to localhost", sendto(fd, "x", 1, MSG_FASTOPEN | MSG_NOSIGNAL, SA(a)));
	meet();
}

static void wrong(void) {
	if (server)
		return meet();
	in4 a = peer(port);
	int fd = tcp();
	result("no address", sendto(fd, "x", 1, MSG_FASTOPEN | MSG_NOSIGNAL, NULL, 0));
	result("short address", sendto(fd, "x", 1, MSG_FASTOPEN | MSG_NOSIGNAL, (void *)&a, 8));
	result("wild address", sendto(fd, "x", 1, MSG_FASTOPEN | MSG_NOSIGNAL, (void *)16, sizeof a));
	in6 b = any6(port);
	result("AF_INET6", sendto(fd, "x", 1, MSG_FASTOPEN | MSG_NOSIGNAL, SA(b)));
	result("without the flag", sendto(fd, "x", 1, MSG_NOSIGNAL, SA(a)));
	result("bad descriptor", sendto(-1, "x", 1, MSG_FASTOPEN, SA(a)));
	result("UDP", sendto(udp(), "x", 1, MSG_FASTOPEN, SA(a)));
	meet();
}

static void itself(void) { /* to a listener of this host */
	int l = listener(port, 64), fd = tcp();
	in4 to[] = {self(port), local(port)};
	for (int i = 0; i < 2; i++) {
		fd = tcp();
		result("MSG_FASTOPEN", sendto(fd, "to self", 7, MSG_FASTOPEN, SA(to[i])));
		names(fd);
		take(accept(l, NULL, NULL));
	}
	meet();
}

int main(int argc, char **argv) {
	static const struct test tests[] = {
		CASE(option), CASE(option_nonblocking), CASE(flag), CASE(flag_nonblocking), CASE(flag_dontwait), CASE(messages), CASE(large), CASE(refused),
		CASE(wrong), CASE(itself),
	};
	return RUN(tests);
}
