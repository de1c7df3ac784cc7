/* What the programs about UDP share. */
#include "conformance.h"

static int UNUSED bound(int p) {
	int fd = udp();
	in4 a = any(p);
	must("bind", bind(fd, SA(a)));
	return fd;
}

/* receive takes a datagram with its sender's address. */
static long UNUSED receive(int fd, int flags) {
	static char buf[1 << 16];
	struct sockaddr_storage from;
	socklen_t len = sizeof from;
	long n = recvfrom(fd, buf, sizeof buf - 1, flags, (void *)&from, &len);
	if (n < 0)
		return result("recvfrom", n);
	buf[n] = 0;
	say("recvfrom: %ld \"%.40s\" from %s", n, buf, text(&from, len));
	return n;
}
static long UNUSED to(int fd, int p, const char *s) {
	in4 a = peer(p);
	return result("sendto", sendto(fd, s, strlen(s), 0, SA(a)));
}
