/* One port of a program's that connects to several destinations, as peer-to-peer programs dial from
 * the port that they listen on; and many processes that wait in accept(2) on one listener. */
#include "conformance.h"

enum { destinations = 3, from = 5 };

/* serve accepts n connections at each of the ports, in the order of the client's rounds. */
static void serve(int n) {
	int l[destinations];
	for (int i = 0; i < destinations; i++)
		l[i] = listener(port + i, 16);
	meet();
	for (int round = 0; round < n; round++)
		for (int i = 0; i < destinations; i++) {
			struct sockaddr_storage who;
			socklen_t len = sizeof who;
			int fd = fd_result("accept", accept(l[i], (void *)&who, &len));
			say("from %s", text(&who, len));
			take(fd);
			give(fd, "answer");
			take(fd);
			close(fd);
		}
	meet();
}

/* bound returns a socket that is bound to the port from which all connect. */
static int bound(int reuse_port) {
	int fd = tcp();
	in4 a = any(port + from);
	set(fd, SOL_SOCKET, SO_REUSEADDR, 1);
	set(fd, SOL_SOCKET, SO_REUSEPORT, reuse_port);
	result("bind", bind(fd, SA(a)));
	return fd;
}

/* dial_all connects to all destinations, and uses the connections when all are there. */
static void dial_all(int reuse_port) {
	int fds[destinations];
	for (int i = 0; i < destinations; i++) {
		fds[i] = bound(reuse_port);
		in4 a = peer(port + i);
		result("connect", connect(fds[i], SA(a)));
	}
	int again = bound(reuse_port);
	in4 a = peer(port);
	result("connect to the first once more", connect(again, SA(a)));
	close(again);
	for (int i = 0; i < destinations; i++) {
		names(fds[i]);
		give(fds[i], "question");
		take(fds[i]);
		close(fds[i]);
	}
}

static void beside(void) {
	if (server)
		return serve(1);
	meet();
	dial_all(0);
	meet();
}

static void listened_on(void) {
	if (server)
		return serve(1);
	int l = bound(1);
	result("listen", listen(l, 4));
	meet();
	dial_all(1);
	in4 a = self(port + from);
	int fd = tcp();
	result("connect to the listener", connect(fd, SA(a)));
	int got = fd_result("accept", accept(l, NULL, NULL));
	give(fd, "question");
	take(got);
	meet();
}

static void one_after_the_other(void) {
	if (server)
		return serve(1);
	meet();
	for (int i = 0; i < destinations; i++) {
		int fd = bound(0);
		in4 a = peer(port + i);
		result("connect", connect(fd, SA(a)));
		give(fd, "question");
		take(fd);
		close(fd);
	}
	meet();
}

/* waits accepts one connection and ends with what that has come to. */
static void waits(int l) {
	struct sockaddr_storage who;
	socklen_t len = sizeof who;
	int fd = accept(l, (void *)&who, &len);
	if (fd < 0)
		_exit(errno);
	_exit(write(fd, "x", 1) == 1 ? 0 : 200);
}

static void many_wait(void) {
	enum { processes = 100 };
	if (server) {
		pid_t pids[processes];
		int failed = 0, status;
		int l = listener(port, 128);
		for (int i = 0; i < processes; i++)
			if ((pids[i] = must("fork", fork())) == 0)
				waits(l);
		meet();
		for (int i = 0; i < processes; i++) {
			waitpid(pids[i], &status, 0);
			failed += status != 0;
		}
		say("%d of %d have failed", failed, processes);
		return meet();
	}
	meet();
	int answered = 0;
	for (int i = 0; i < processes; i++) {
		int fd = tcp();
		in4 a = peer(port);
		char b;
		answered += connect(fd, SA(a)) == 0 && read(fd, &b, 1) == 1;
		close(fd);
	}
	say("%d answered", answered);
	meet();
}

int main(int argc, char **argv) {
	static const struct test tests[] = {CASE(beside), CASE(listened_on), CASE(one_after_the_other), CASE(many_wait)};
	return RUN(tests);
}
