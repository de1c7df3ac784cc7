/* Sockets that are duplicated, inherited, passed on, or under other programs. */
#include "conformance.h"
#include "passing.h"
#include <sys/syscall.h>

/* wait_for prints how a child has ended, if not well. */
static void wait_for(pid_t pid) {
	int status;
	must("waitpid", waitpid(pid, &status, 0));
	if (status)
		say("child: status %x", status);
}

static void duplicates(void) {
	if (server) {
		int l = listener(port, 4), copy = dup(l);
		result("close", close(l));
		meet();
		struct sockaddr_storage from;
		socklen_t len = sizeof from;
		int fd = fd_result("accept on a copy", accept(copy, (void *)&from, &len));
		int high = fcntl(fd, F_DUPFD, 700);
		result("F_DUPFD", high);
		close(fd);
		names(high);
		take(high);
		give(high, "answer");
		close(copy);
		meet();
		return;
	}
	meet();
	int fd = tcp(), copy = dup(fd);
	in4 a = peer(port);
	result("connect", connect(copy, SA(a)));
	close(copy);
	names(fd);
	int to = dup2(fd, 20);
	result("dup2", to);
	result("dup3", dup3(fd, 21, O_CLOEXEC));
	close(fd);
	close(21);
	give(to, "question");
	take(to);
	meet();
	fd = tcp();
	result("connect", connect(fd, SA(a)));
}

static void inherited(void) {
	if (server) {
		int l = listener(port, 4);
		pid_t pid = fork();
		if (pid == 0) {
			struct sockaddr_storage from;
			socklen_t len = sizeof from;
			meet();
			int fd = fd_result("accept in a child", accept(l, (void *)&from, &len));
			say("from %s", text(&from, len));
			take(fd);
			give(fd, "from a child");
			_exit(0);
		}
		close(l);
		wait_for(pid);
		return meet();
	}
	meet();
	int fd = tcp();
	in4 a = peer(port);
	pid_t pid = fork();
	if (pid == 0) {
		result("connect in a child", connect(fd, SA(a)));
		_exit(0);
	}
	wait_for(pid);
	result("connect", connect(fd, SA(a)));
	names(fd);
	give(fd, "from the parent");
	take(fd);
	take(fd);
	meet();
}

/* run_again starts this program anew, as case "executed" of its own. */
static void run_again(const char *what, int fd) {
	char number[16];
	snprintf(number, sizeof number, "%d", fd);
	execl(program, program, "--", what, number, (char *)NULL);
	must("exec", -1);
}

static int executed(const char *what, int fd) {
	if (strcmp(what, "names") == 0) {
		names(fd);
	} else if (strcmp(what, "serve") == 0) {
		struct sockaddr_storage from;
		socklen_t len = sizeof from;
		int accepting = 0;
		socklen_t size = sizeof accepting;
		result("SO_ACCEPTCONN", getsockopt(fd, SOL_SOCKET, SO_ACCEPTCONN, &accepting, &size));
		say("listens: %d", accepting);
		sockname(fd);
		int c = fd_result("accept", accept(fd, (void *)&from, &len));
		say("from %s", text(&from, len));
		take(c);
		give(c, "activated");
	} else if (strcmp(what, "inetd") == 0) {
		char buf[64], line[256], addr[INET_ADDRSTRLEN];
		in4 a;
		socklen_t len = sizeof a;
		long n = read(0, buf, sizeof buf);
		getpeername(0, (void *)&a, &len);
		int m = snprintf(line, sizeof line, "got %.*s", (int)n, buf);
		if (write(1, line, m) != m)
			return 1;
		fprintf(stderr, " errors go there too, family %d %d", a.sin_family, inet_ntop(AF_INET, &a.sin_addr, addr, sizeof addr) != NULL);
	}
	return 0;
}

static void executing(void) {
	if (server) {
		int l = listener(port, 64);
		meet();
		for (int i = 0; i < 4; i++) {
			char buf[64];
			int fd = accept(l, NULL, NULL);
			say("read to the end: %ld", (long)recv(fd, buf, 64, MSG_WAITALL));
			close(fd);
		}
		return;
	}
	meet();
	for (int i = 0; i < 2; i++) {
		int fd = dial(port);
		fcntl(fd, F_SETFD, i ? FD_CLOEXEC : 0);
		pid_t pid = fork();
		if (pid == 0)
			run_again("names", fd);
		close(fd);
		wait_for(pid);
	}
	int fd = dial(port);
	fcntl(fd, F_SETFD, 0);
	pid_t pid = fork();
	if (pid == 0) {
		result("close_range CLOEXEC", syscall(SYS_close_range, fd, ~0U, 4));
		run_again("names", fd);
	}
	close(fd);
	wait_for(pid);
	fd = dial(port);
	result("close_range", syscall(SYS_close_range, fd, ~0U, 0));
	names(fd);
	_exit(0);
}

static void activated(void) {
	if (!server) {
		meet();
		int fd = dial(port);
		give(fd, "wake up");
		take(fd);
		return;
	}
	int l = listener(port, 64);
	pid_t pid = fork();
	if (pid == 0) {
		meet();
		quietly(l, POLLIN);
		dup2(l, 3);
		fcntl(3, F_SETFD, 0);
		setenv("LISTEN_FDS", "1", 1);
		run_again("serve", 3);
	}
	close(l);
	wait_for(pid);
}

static void inetd(void) {
	if (!server) {
		meet();
		int fd = dial(port);
		give(fd, "hello");
		shutdown(fd, SHUT_WR);
		char buf[256] = "";
		long n, total = 0;
		while ((n = read(fd, buf + total, sizeof buf - 1 - total)) > 0)
			total += n;
		say("\"%s\"", buf);
		return;
	}
	int l = listener(port, 64);
	meet();
	int fd = accept(l, NULL, NULL);
	pid_t pid = fork();
	if (pid == 0) {
		dup2(fd, 0);
		dup2(fd, 1);
		dup2(fd, 2);
		run_again("inetd", 0);
	}
	close(fd);
	wait_for(pid);
}

/* passing sends sockets in three states to another process of this host. */
static void passing(void) {
	int ways[2];
	must("socketpair", socketpair(AF_UNIX, SOCK_STREAM, 0, ways));
	pid_t pid = fork();
	if (pid == 0) {
		int fd = receive_fd(ways[1]);
		if (server) {
			struct sockaddr_storage from;
			socklen_t len = sizeof from;
			sockname(fd);
			for (int i = 0; i < 2; i++) {
				int c = fd_result("accept", accept(fd, (void *)&from, &len));
				say("from %s", text(&from, len));
				take(c);
				send_fd(ways[1], c, 'f');
			}
			_exit(0);
		}
		names(fd);
		give(fd, "passed");
		must("write", write(ways[1], "k", 1));
		fd = receive_fd(ways[1]);
		await(fd, POLLOUT, wait_ms);
		so_error(fd);
		names(fd);
		give(fd, "passed while connecting");
		in4 a = peer(port);
		fd = receive_fd(ways[1]);
		result("connect", connect(fd, SA(a)));
		_exit(0);
	}
	if (server) {
		int l = listener(port, 4);
		meet();
		send_fd(ways[0], l, 'f');
		close(l);
		int fds[2] = {receive_fd(ways[0]), receive_fd(ways[0])};
		wait_for(pid);
		names(fds[0]);
		names(fds[1]);
		return meet();
	}
	meet();
	int fd = dial(port);
	send_fd(ways[0], fd, 'f');
	close(fd);
	char ready;
	must("read", read(ways[0], &ready, 1));
	fd = tcp_nonblock();
	in4 a = peer(port);
	result("connect", connect(fd, SA(a)));
	send_fd(ways[0], fd, 'f');
	close(fd);
	meet();
	fd = tcp();
	send_fd(ways[0], fd, 'f');
	wait_for(pid);
	peername(fd);
}

int main(int argc, char **argv) {
	static const struct test tests[] = {
		CASE(duplicates), CASE(inherited), CASE(executing), CASE(activated), CASE(inetd), CASE(passing),
	};
	if (argc == 4 && strcmp(argv[1], "--") == 0)
		return executed(argv[2], atoi(argv[3]));
	return RUN(tests);
}
