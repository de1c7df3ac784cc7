/* Socket activation, as systemd and inetd do it: the server is started with sockets that were made before it, and outside
 * of boxer; and an unboxed process beside it, which is sent sockets. See activate.py. */
#include "conformance.h"
#include "passing.h"

enum { on_any = 3, on_any6, on_host, only_bound, datagrams, first_port = 80 };

/* serve accepts one connection of the other side on an inherited listener. */
static void serve(int l) {
	sockname(l);
	peername(l);
	meet();
	struct sockaddr_storage from;
	socklen_t len = sizeof from;
	nonblock(l, 1);
	await(l, POLLIN, 1000);
	int fd = fd_result("accept", accept(l, (void *)&from, &len));
	if (fd >= 0) {
		say("from %s", text(&from, len));
		names(fd);
		nonblock(fd, 0);
		take(fd);
		give(fd, "awake");
	}
	meet();
}

static void visit(int at) {
	meet();
	in4 a = peer(at);
	int fd = tcp();
	if (result("connect", connect(fd, SA(a))) == 0) {
		names(fd);
		give(fd, "wake up");
		take(fd);
	}
	meet();
}

static void inherited(void) {
	if (!server)
		return visit(first_port);
	say("LISTEN_FDS %s", getenv("LISTEN_FDS"));
	serve(on_any);
}

static void dual_stack(void) {
	if (server)
		serve(on_any6);
	else
		visit(first_port + 1);
}

/* at the address of the host's interface, which the program sees if it asks */
static void at_address(void) {
	if (!server)
		return visit(first_port + 2);
	meet();
	await(on_host, POLLIN, 1000);
	struct sockaddr_storage from;
	socklen_t len = sizeof from;
	int fd = fd_result("accept", accept(on_host, (void *)&from, &len));
	say("from %s", text(&from, len));
	take(fd);
	give(fd, "awake");
	meet();
}

static void bound(void) {
	if (!server)
		return visit(first_port + 3);
	result("listen", listen(only_bound, 4));
	serve(only_bound);
}

static void udp_socket(void) {
	char buf[32] = "";
	if (!server) {
		meet();
		int fd = udp();
		in4 a = peer(first_port + 4);
		result("connect", connect(fd, SA(a)));
		give(fd, "wake up");
		take(fd);
		return meet();
	}
	struct sockaddr_storage from;
	socklen_t len = sizeof from;
	sockname(datagrams);
	meet();
	await(datagrams, POLLIN, 1000);
	result("recvfrom", recvfrom(datagrams, buf, sizeof buf - 1, MSG_DONTWAIT, (void *)&from, &len));
	say("\"%s\" from %s", buf, text(&from, len));
	result("sendto", sendto(datagrams, "awake", 5, 0, (void *)&from, len));
	meet();
}

/* after listen(2) the program's own call tells where the listener is */
static void listen_again(void) {
	if (!server)
		return visit(first_port);
	result("listen", listen(on_any, 4));
	serve(on_any);
}

static void own_host(void) {
	if (server) {
		in4 all[] = {local(first_port), self(first_port)};
		for (int i = 0; i < 2; i++) {
			int fd = tcp();
			result("connect", connect(fd, SA(all[i])));
			names(fd);
			close(accept(on_any, NULL, NULL));
			close(fd);
		}
	}
	meet();
}

/* outside sends a socket to the process that is not boxed, for the use that a letter says: to echo a line, or to
 * accept a connection and echo there. It returns when that has it. */
static int outside(int fd, char use) {
	struct sockaddr_un a = {.sun_family = AF_UNIX};
	snprintf(a.sun_path, sizeof a.sun_path, "%s", getenv("OUTSIDE"));
	int way = must("socket", socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0));
	must("connect", connect(way, (void *)&a, sizeof a));
	send_fd(way, fd, use);
	char c;
	must("read", read(way, &c, 1));
	return way;
}

static void to_outside(void) {
	if (!server) {
		int l = listener(port, 4);
		meet();
		for (int i = 0; i < 2; i++) {
			int fd = accept(l, NULL, NULL);
			give(fd, "hello\n");
			take(fd);
		}
		meet();
		meet();
		int fd = dial(port + 1);
		give(fd, "hello\n");
		take(fd);
		return meet();
	}
	meet();
	int fd = dial(port);
	outside(fd, 'e');
	names(fd);
	close(fd);
	fd = tcp_nonblock(); /* perhaps it is still connecting */
	in4 a = peer(port);
	result("connect", connect(fd, SA(a)));
	outside(fd, 'e');
	close(fd);
	meet();
	int l = listener(port + 1, 4);
	outside(l, 'a');
	close(l);
	meet();
	meet();
}

int main(int argc, char **argv) {
	static const struct test tests[] = {
		CASE(inherited), CASE(dual_stack), CASE(at_address), CASE(bound), CASE(udp_socket), CASE(listen_again), CASE(own_host), CASE(to_outside),
	};
	return RUN(tests);
}
