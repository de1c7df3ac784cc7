/* Sockets that are tied to a device or to an address that is not the host's. */
#include "conformance.h"
#include <ifaddrs.h>

/* device returns the name of the interface that has this host's address. */
static const char *device(void) {
	static char name[64];
	struct ifaddrs *all;
	must("getifaddrs", getifaddrs(&all));
	for (struct ifaddrs *a = all; a; a = a->ifa_next)
		if (a->ifa_addr && a->ifa_addr->sa_family == AF_INET && ((in4 *)(void *)a->ifa_addr)->sin_addr.s_addr == self_ip)
			snprintf(name, sizeof name, "%s", a->ifa_name);
	freeifaddrs(all);
	return name;
}

static int to_device(int fd, const char *name) { return setsockopt(fd, SOL_SOCKET, SO_BINDTODEVICE, name, strlen(name)); }

static void which_device(int fd) {
	char name[16] = "";
	socklen_t len = sizeof name;
	if (result("get SO_BINDTODEVICE", getsockopt(fd, SOL_SOCKET, SO_BINDTODEVICE, name, &len)) == 0)
		say("its own: %d, lo: %d, length is the name's: %d", strcmp(name, device()) == 0, strcmp(name, "lo") == 0,
		    len == (name[0] ? strlen(name) + 1 : 0));
}

static void names_of_devices(void) {
	if (server)
		return meet();
	int fd = tcp();
	which_device(fd);
	result("lo", to_device(fd, "lo"));
	which_device(fd);
	result("none", to_device(fd, ""));
	which_device(fd);
	result("nonsense", to_device(fd, "nonsense"));
	result("too long", to_device(fd, "a-name-that-is-longer-than-any"));
	result("its own", to_device(fd, device()));
	which_device(fd);
	result("wild", setsockopt(fd, SOL_SOCKET, SO_BINDTODEVICE, (void *)16, 4));
	result("negative", setsockopt(fd, SOL_SOCKET, SO_BINDTODEVICE, "lo", -1));
	result("bad descriptor", to_device(-1, "lo"));
	char small[2];
	socklen_t len = sizeof small;
	result("get into too little", getsockopt(fd, SOL_SOCKET, SO_BINDTODEVICE, small, &len));
	int copy = dup(fd);
	close(fd);
	which_device(copy);
	result("none", to_device(copy, ""));
	which_device(copy);
	meet();
}

static void through_device(void) {
	if (server) {
		int l = listener(port, 4);
		meet();
		for (int i = 0; i < 2; i++)
			if (await(l, POLLIN, 1000))
				peername(accept(l, NULL, NULL));
		return meet();
	}
	meet();
	in4 a = peer(port);
	int fd = tcp();
	result("its own", to_device(fd, device()));
	result("connect", connect(fd, SA(a)));
	names(fd);
	which_device(fd);
	fd = tcp_nonblock();
	result("its own", to_device(fd, device()));
	result("connect", connect(fd, SA(a)));
	await(fd, POLLOUT, wait_ms);
	so_error(fd);
	names(fd);
	meet();
}

static void listening_on_device(void) {
	if (!server) {
		meet();
		int fd = tcp();
		in4 a = peer(port);
		result("connect", connect(fd, SA(a)));
		return meet();
	}
	int l = tcp();
	in4 a = any(port);
	result("its own", to_device(l, device()));
	result("bind", bind(l, SA(a)));
	result("listen", listen(l, 4));
	which_device(l);
	meet();
	if (await(l, POLLIN, 1000)) {
		int fd = accept(l, NULL, NULL);
		names(fd);
	}
	meet();
}

static void strangers(void) {
	if (server)
		return meet();
	in4 a = addr4(htonl(0x01020304), 0);
	int fd = tcp();
	result("stranger", bind(fd, SA(a)));
	set(fd, IPPROTO_IP, IP_FREEBIND, 1);
	result("with IP_FREEBIND", bind(fd, SA(a)));
	sockname(fd);
	result("listen", listen(fd, 4));
	sockname(fd);
	fd = tcp();
	set(fd, IPPROTO_IP, IP_FREEBIND, 1);
	a = self(port);
	result("its own", bind(fd, SA(a)));
	sockname(fd);
	fd = tcp();
	if (result("IP_TRANSPARENT", set(fd, IPPROTO_IP, IP_TRANSPARENT, 1)) == 0) {
		a = addr4(htonl(0x01020305), port);
		result("with IP_TRANSPARENT", bind(fd, SA(a)));
		sockname(fd);
	}
	fd = tcp();
	set(fd, IPPROTO_IP, IP_FREEBIND, 1);
	a = peer(port);
	result("the peer's", bind(fd, SA(a)));
	sockname(fd);
	meet();
}

static void without_port(void) {
	if (server) {
		int l = listener(port, 4);
		meet();
		peername(accept(l, NULL, NULL));
		return meet();
	}
	meet();
	int fd = tcp();
	set(fd, IPPROTO_IP, IP_BIND_ADDRESS_NO_PORT, 1);
	in4 a = self(0);
	result("bind without a port", bind(fd, SA(a)));
	sockname(fd);
	a = peer(port);
	result("connect", connect(fd, SA(a)));
	names(fd);
	meet();
}

int main(int argc, char **argv) {
	static const struct test tests[] = {
		CASE(names_of_devices), CASE(through_device), CASE(listening_on_device), CASE(strangers), CASE(without_port),
	};
	return RUN(tests);
}
