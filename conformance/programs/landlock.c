/* landlock(7): programs that restrict their own TCP, their threads and their children. */
#include "conformance.h"
#include <linux/landlock.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/syscall.h>

/* Of <linux/landlock.h> since Linux 6.7, which may be newer than the installed one. */
struct ruleset_attr {
	unsigned long long fs, net;
};
struct port_attr {
	unsigned long long access, port;
};
enum { bind_tcp = 1, connect_tcp = 2, net_port = 2 };

/* ruleset makes one that handles some rights and allows connects to port, and binds to port + 3. */
static int ruleset(unsigned long long fs, unsigned long long net) {
	struct ruleset_attr attr = {fs, net};
	int fd = syscall(SYS_landlock_create_ruleset, &attr, sizeof attr, 0);
	if (fd < 0) {
		say("no Landlock for TCP");
		meet();
		exit(0);
	}
	return fd;
}

static void allow(int fd, unsigned long long access, int p) {
	struct port_attr rule = {access, p};
	result("add_rule", syscall(SYS_landlock_add_rule, fd, net_port, &rule, 0));
}

static int usual(void) {
	int fd = ruleset(0, bind_tcp | connect_tcp);
	allow(fd, connect_tcp, port);
	allow(fd, bind_tcp, port + 3);
	return fd;
}

static void restrict_self(int fd) {
	must("no_new_privs", prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0));
	result("restrict_self", syscall(SYS_landlock_restrict_self, fd, 0));
}

/* tries connects to two ports of the peer's, of which the usual rules allow the first. */
static void tries(const char *who) {
	for (int p = port; p <= port + 1; p++) {
		in4 a = peer(p);
		int fd = tcp();
		int r = connect(fd, SA(a));
		say("%s: connect P%d: %s", who, p - port, r == 0 ? "ok" : strerrorname_np(errno));
		close(fd);
	}
}

/* serve listens on both ports. Who connects is not accepted. */
static void serve(void) {
	listener(port, 64);
	listener(port + 1, 64);
	int fd = must("socket", socket(AF_INET6, SOCK_STREAM, 0));
	set(fd, IPPROTO_IPV6, IPV6_V6ONLY, 1);
	in6 a = any6(port);
	must("bind", bind(fd, SA(a)));
	must("listen", listen(fd, 16));
	meet();
	meet();
}

static void itself(void) {
	if (server)
		return serve();
	meet();
	tries("before");
	restrict_self(usual());
	tries("after");
	for (int p = port; p <= port + 1; p++) {
		in6 six = peer6(p);
		in4 own = self(p), here = local(p);
		result("IPv6", connect(must("socket", socket(AF_INET6, SOCK_STREAM, 0)), SA(six)));
		result("own address", connect(tcp(), SA(own)));
		result("localhost", connect(tcp(), SA(here)));
	}
	in4 denied = peer(port + 1), unspec = {.sin_family = AF_UNSPEC};
	int fd = tcp_nonblock();
	result("non-blocking", connect(fd, SA(denied)));
	so_error(fd);
	events(fd);
	result("disconnect", connect(fd, SA(unspec)));
	in4 allowed = peer(port);
	result("the same socket, allowed", connect(tcp(), SA(allowed)));
	result("UDP", connect(udp(), SA(denied)));
	meet();
}

/* limits lowers limits, which nobody needs a right for: that takes no restriction off. */
static void limits(void) {
	if (server)
		return serve();
	meet();
	restrict_self(usual());
	struct rlimit none = {0, 0};
	result("setrlimit", setrlimit(RLIMIT_LOCKS, &none));
	result("setrlimit itself", syscall(SYS_setrlimit, RLIMIT_LOCKS, &none));
	result("of nothing", syscall(SYS_setrlimit, RLIMIT_LOCKS, 8L));
	tries("after");
	meet();
}

static void binds(void) {
	if (server)
		return meet();
	restrict_self(usual());
	int fd = tcp();
	in4 places[] = {any(port + 2), local(port + 2), self(port + 2), any(0), local(0), any(80)};
	for (unsigned i = 0; i < sizeof places / sizeof *places; i++)
		result("bind", bind(fd, SA(places[i])));
	in4 allowed = any(port + 3);
	result("bind of the allowed port", bind(fd, SA(allowed)));
	result("listen", listen(fd, 4));
	sockname(fd);
	result("listen of an unbound socket", listen(tcp(), 4));
	in4 u = any(port + 2);
	result("UDP", bind(udp(), SA(u)));
	meet();
}

/* child runs f in a child. orphaned has it first lose its parent. */
static void child(void (*f)(const char *), const char *who, int orphaned) {
	int end[2];
	char byte;
	must("pipe", pipe(end));
	pid_t pid = must("fork", fork());
	if (pid == 0) {
		close(end[0]);
		if (orphaned) {
			pid_t parent = getpid();
			if (must("fork", fork()) != 0)
				_exit(0);
			setsid();
			while (getppid() == parent)
				usleep(1000);
		}
		f(who);
		_exit(0);
	}
	close(end[1]);
	waitpid(pid, NULL, 0);
	if (read(end[0], &byte, 1) != 0) /* until the last of them has gone */
		say("a byte");
	close(end[0]);
}

static void grandchild(const char *who) { child(tries, who, 0); }

/* another runs a program that connects. */
static void another(const char *who) {
	for (int p = port; p <= port + 1; p++) {
		char number[16], address[INET_ADDRSTRLEN];
		snprintf(number, sizeof number, "%d", p);
		inet_ntop(AF_INET, &peer_ip, address, sizeof address);
		pid_t pid = fork();
		if (pid == 0) {
			int null = open("/dev/null", O_WRONLY);
			dup2(null, 2);
			execl("/bin/bash", "bash", "-c", "exec 3<>/dev/tcp/$0/$1", address, number, (char *)NULL);
			_exit(127);
		}
		int status;
		waitpid(pid, &status, 0);
		say("%s: P%d: exits with %d", who, p - port, WEXITSTATUS(status));
	}
}

static void children(void) {
	if (server)
		return serve();
	meet();
	child(tries, "child before", 0);
	restrict_self(usual());
	child(tries, "child", 0);
	child(grandchild, "grandchild", 0);
	child(tries, "orphan", 1);
	another("another program");
	meet();
}

static void *restricted(void *ruleset) {
	restrict_self(*(int *)ruleset);
	tries("the thread");
	child(tries, "the thread's child", 0);
	return NULL;
}

static void *plain(void *who) {
	tries(who);
	return NULL;
}

static void in_thread(void *(*f)(void *), void *arg) {
	pthread_t t;
	must("pthread_create", pthread_create(&t, NULL, f, arg));
	pthread_join(t, NULL);
}

/* one thread of several restricts itself */
static void one_thread(void) {
	if (server)
		return serve();
	meet();
	int fd = usual();
	in_thread(restricted, &fd);
	tries("the main thread");
	meet();
}

/* threads restrict themselves one after the other, as libpsx has it; then there is a new one */
static void all_threads(void) {
	if (server)
		return serve();
	meet();
	int fd = usual();
	in_thread(restricted, &fd);
	restrict_self(fd);
	tries("the main thread");
	in_thread(plain, "a new thread");
	child(tries, "child", 0);
	meet();
}

static void threads_after(void) {
	if (server)
		return serve();
	meet();
	restrict_self(usual());
	in_thread(plain, "thread");
	meet();
}

static void layers(void) {
	if (server)
		return serve();
	meet();
	int fd = ruleset(0, connect_tcp), second = ruleset(0, connect_tcp);
	allow(fd, connect_tcp, port);
	allow(fd, connect_tcp, port + 1);
	allow(second, connect_tcp, port + 1);
	restrict_self(fd);
	tries("first layer");
	pid_t pid = fork();
	if (pid == 0) {
		restrict_self(second);
		tries("second layer");
		child(tries, "its child", 0);
		_exit(0);
	}
	waitpid(pid, NULL, 0);
	tries("the parent");
	allow(second, connect_tcp, port); /* of no effect on who has it already */
	restrict_self(second);
	tries("second layer, with another rule");
	allow(second, connect_tcp, port + 2);
	meet();
}

/* what restricts nobody */
static void nothing(void) {
	if (server)
		return serve();
	meet();
	int fd = usual();
	result("bad descriptor", syscall(SYS_landlock_restrict_self, -1, 0));
	result("no ruleset", syscall(SYS_landlock_restrict_self, 0, 0));
	result("odd flags", syscall(SYS_landlock_restrict_self, fd, 1 << 20));
	result("odd rights", syscall(SYS_landlock_create_ruleset, &(struct ruleset_attr){0, 1ULL << 40}, sizeof(struct ruleset_attr), 0));
	result("wild", syscall(SYS_landlock_create_ruleset, (void *)16, sizeof(struct ruleset_attr), 0));
	result("wild rule", syscall(SYS_landlock_add_rule, fd, net_port, (void *)16, 0));
	allow(fd, connect_tcp, 1 << 16);
	tries("without");
	int files = ruleset(LANDLOCK_ACCESS_FS_MAKE_BLOCK, 0);
	restrict_self(files);
	tries("files only");
	meet();
}

int main(int argc, char **argv) {
	static const struct test tests[] = {
		CASE(itself), CASE(limits), CASE(binds), CASE(children), CASE(one_thread), CASE(all_threads), CASE(threads_after),
		CASE(layers), CASE(nothing),
	};
	return RUN(tests);
}
