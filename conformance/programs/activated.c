/* Socket activation: fd 3 of the server is a listener that was made before the program, and
 * outside of boxer. */
#include "conformance.h"

enum { activated_port = 80 };

static void inherited_listener(void) {
	if (!server) {
		meet();
		in4 a = peer(activated_port);
		int fd = tcp();
		if (result("connect", connect(fd, SA(a))) < 0)
			return meet();
		give(fd, "wake up");
		take(fd);
		return meet();
	}
	say("LISTEN_FDS %s", getenv("LISTEN_FDS"));
	sockname(3);
	meet();
	nonblock(3, 1);
	if (await(3, POLLIN, 1000)) {
		struct sockaddr_storage from;
		socklen_t len = sizeof from;
		int fd = fd_result("accept", accept(3, (void *)&from, &len));
		say("from %s", text(&from, len));
		names(fd);
		take(fd);
		give(fd, "awake");
	}
	meet();
}

/* after listen(2) the program's own call tells where the listener is */
static void listen_again(void) {
	if (server)
		result("listen", listen(3, 4));
	inherited_listener();
}

static void own_host(void) {
	if (server) {
		in4 all[] = {local(activated_port), self(activated_port)};
		for (int i = 0; i < 2; i++) {
			int fd = tcp();
			result("connect", connect(fd, SA(all[i])));
			names(fd);
			close(fd);
		}
	}
	meet();
}

int main(int argc, char **argv) {
	static const struct test tests[] = {CASE(inherited_listener), CASE(listen_again), CASE(own_host)};
	return RUN(tests);
}
