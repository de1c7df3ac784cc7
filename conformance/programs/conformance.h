/* What the conformance programs share.
 *
 * A program is a list of cases. It is started twice with the same arguments, as the server and
 * as the client on two hosts:
 *
 *   PROGRAM server|client DIRECTORY SELF PEER PORT [CASE]
 *
 * Each case runs in a process of its own on either side, has ten ports of its own from PORT on, and prints
 * what it sees. meet() waits for the other side; it uses a Unix socket in DIRECTORY, which both
 * hosts share, so that what the programs do to the network is in the same order each time.
 */
#define _GNU_SOURCE
#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <netdb.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <poll.h>
#include <pthread.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/ioctl.h>
#include <sys/resource.h>
#include <sys/select.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/time.h>
#include <sys/types.h>
#include <sys/uio.h>
#include <sys/un.h>
#include <sys/wait.h>
#include <unistd.h>

#define UNUSED __attribute__((unused))

static int server;              /* which side this is */
static const char *program;     /* the path of this program */
static const char *directory;   /* that both sides share; what they leave there, the test removes */
static const char *self_name, *peer_name;
static in_addr_t self_ip, peer_ip;
static struct in6_addr self_ip6, peer_ip6;
static int port;                /* the first of the case's ten ports */
static const char *case_name;
static int control = -1;        /* the way to the other side */

enum { ports_each = 10, case_seconds = 8, wait_ms = 6000, quiet_ms = 150 };

/* say prints a line, whole, and at once. */
static void UNUSED say(const char *format, ...) {
	char line[1024];
	va_list args;
	va_start(args, format);
	int n = vsnprintf(line, sizeof line - 1, format, args);
	va_end(args);
	if (n > (int)sizeof line - 2)
		n = sizeof line - 2;
	line[n] = '\n';
	if (write(1, line, n + 1) < 0)
		_exit(99);
}

/* result prints what a call has returned. fd_result does not tell which descriptor. */
static long UNUSED result(const char *what, long r) {
	int e = errno;
	if (r < 0)
		say("%s: %s", what, strerrorname_np(e));
	else
		say("%s: %ld", what, r);
	errno = e;
	return r;
}

static int UNUSED fd_result(const char *what, long r) {
	if (r < 0)
		return result(what, r);
	say("%s: fd", what);
	return r;
}

/* must ends a case whose preparation fails. */
static long UNUSED must(const char *what, long r) {
	if (r < 0) {
		say("cannot go on: %s: %s", what, strerrorname_np(errno));
		_exit(98);
	}
	return r;
}

/* Addresses. */
typedef struct sockaddr_in in4;
typedef struct sockaddr_in6 in6;

static in4 UNUSED addr4(in_addr_t ip, int p) {
	return (in4){.sin_family = AF_INET, .sin_port = htons(p), .sin_addr.s_addr = ip};
}
static in4 UNUSED any(int p) { return addr4(htonl(INADDR_ANY), p); }
static in4 UNUSED local(int p) { return addr4(htonl(INADDR_LOOPBACK), p); }
static in4 UNUSED self(int p) { return addr4(self_ip, p); }
static in4 UNUSED peer(int p) { return addr4(peer_ip, p); }
static in6 UNUSED addr6(struct in6_addr ip, int p) {
	return (in6){.sin6_family = AF_INET6, .sin6_port = htons(p), .sin6_addr = ip};
}
static in6 UNUSED any6(int p) { return addr6(in6addr_any, p); }
static in6 UNUSED local6(int p) { return addr6(in6addr_loopback, p); }
static in6 UNUSED self6(int p) { return addr6(self_ip6, p); }
static in6 UNUSED peer6(int p) { return addr6(peer_ip6, p); }
static in6 UNUSED mapped(in_addr_t ip, int p) {
	in6 a = any6(p);
	a.sin6_addr.s6_addr[10] = a.sin6_addr.s6_addr[11] = 0xff;
	memcpy(&a.sin6_addr.s6_addr[12], &ip, 4);
	return a;
}
#define SA(a) ((struct sockaddr *)&(a)), sizeof(a)

/* text gives an address in the form that the test normalises. */
static const char *UNUSED text(const void *a, socklen_t len) {
	static __thread char buf[4][128];
	static __thread int turn;
	char *s = buf[turn++ % 4], ip[INET6_ADDRSTRLEN];
	const in4 *a4 = a;
	const in6 *a6 = a;
	if (len == sizeof *a4 && a4->sin_family == AF_INET)
		snprintf(s, 128, "%s:%d", inet_ntop(AF_INET, &a4->sin_addr, ip, sizeof ip), ntohs(a4->sin_port));
	else if (len == sizeof *a6 && a6->sin6_family == AF_INET6)
		snprintf(s, 128, "[%s]:%d", inet_ntop(AF_INET6, &a6->sin6_addr, ip, sizeof ip), ntohs(a6->sin6_port));
	else
		snprintf(s, 128, "family %d length %u", len >= 2 ? a4->sin_family : -1, len);
	return s;
}

static void UNUSED sockname(int fd) {
	struct sockaddr_storage a;
	socklen_t len = sizeof a;
	if (getsockname(fd, (void *)&a, &len) < 0)
		result("getsockname", -1);
	else
		say("getsockname: %s", text(&a, len));
}
static void UNUSED peername(int fd) {
	struct sockaddr_storage a;
	socklen_t len = sizeof a;
	if (getpeername(fd, (void *)&a, &len) < 0)
		result("getpeername", -1);
	else
		say("getpeername: %s", text(&a, len));
}
static void UNUSED names(int fd) {
	sockname(fd);
	peername(fd);
}
static void UNUSED so_error(int fd) {
	int e = 0;
	socklen_t len = sizeof e;
	if (getsockopt(fd, SOL_SOCKET, SO_ERROR, &e, &len) < 0)
		result("SO_ERROR", -1);
	else
		say("SO_ERROR: %s", e ? strerrorname_np(e) : "0");
}

/* Sockets, made without a word. */
static int UNUSED tcp(void) { return must("socket", socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0)); }
static int UNUSED tcp_nonblock(void) {
	return must("socket", socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0));
}
static int UNUSED udp(void) { return must("socket", socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0)); }
static int UNUSED set(int fd, int level, int name, int value) {
	return setsockopt(fd, level, name, &value, sizeof value);
}
static int UNUSED listener(int p, int backlog) {
	int fd = tcp();
	in4 a = any(p);
	must("bind", bind(fd, SA(a)));
	must("listen", listen(fd, backlog));
	return fd;
}
static int UNUSED dial(int p) {
	int fd = tcp();
	in4 a = peer(p);
	must("connect", connect(fd, SA(a)));
	return fd;
}
static void UNUSED nonblock(int fd, int on) {
	int flags = fcntl(fd, F_GETFL);
	fcntl(fd, F_SETFL, on ? flags | O_NONBLOCK : flags & ~O_NONBLOCK);
}

/* events prints the events of poll(2) at fd: those there are, or those that come within ms. */
static const char *UNUSED event_names(int events) {
	static __thread char buf[128];
	static const struct { int bit; const char *name; } all[] = {
		{POLLIN, "IN"}, {POLLPRI, "PRI"}, {POLLOUT, "OUT"}, {POLLERR, "ERR"}, {POLLHUP, "HUP"},
		{POLLRDHUP, "RDHUP"}, {POLLNVAL, "NVAL"},
	};
	buf[0] = 0;
	for (unsigned i = 0; i < sizeof all / sizeof *all; i++)
		if (events & all[i].bit) {
			strcat(buf, buf[0] ? "|" : "");
			strcat(buf, all[i].name);
		}
	return buf[0] ? buf : "none";
}
static int UNUSED await(int fd, int mask, int ms) {
	struct pollfd p = {.fd = fd, .events = mask};
	poll(&p, 1, ms);
	say("poll: %s", event_names(p.revents));
	return p.revents;
}
static void UNUSED events(int fd) { await(fd, POLLIN | POLLOUT | POLLPRI | POLLRDHUP, 0); }

/* quietly waits for events without printing them. */
static int UNUSED quietly(int fd, int mask) {
	struct pollfd p = {.fd = fd, .events = mask};
	poll(&p, 1, wait_ms);
	return p.revents;
}

/* take reads once and prints it. */
static long UNUSED take(int fd) {
	char buf[256];
	long n = read(fd, buf, sizeof buf - 1);
	if (n < 0)
		return result("read", n);
	buf[n] = 0;
	say("read: %ld \"%s\"", n, buf);
	return n;
}
static long UNUSED give(int fd, const char *s) { return result("send", send(fd, s, strlen(s), MSG_NOSIGNAL)); }

/* on_signal sets a handler that does nothing, or f. */
static void UNUSED ignore_it(int sig) { (void)sig; }
static void UNUSED on_signal(int sig, int flags, void (*f)(int)) {
	struct sigaction sa = {.sa_handler = f ? f : ignore_it, .sa_flags = flags};
	sigaction(sig, &sa, NULL);
}
static void UNUSED alarm_in(int ms) {
	struct itimerval t = {.it_value = {ms / 1000, ms % 1000 * 1000}};
	setitimer(ITIMER_REAL, &t, NULL);
}

/* meet waits until the other side has come to its next meet. */
static void meet(void) {
	char c = 'm';
	if (send(control, &c, 1, MSG_NOSIGNAL) != 1 || read(control, &c, 1) != 1) {
		say("the other side is gone");
		_exit(97);
	}
}

/* meet_control opens the way to the other side, for one case. */
static void meet_control(const char *name) {
	struct sockaddr_un a = {.sun_family = AF_UNIX};
	snprintf(a.sun_path, sizeof a.sun_path, "%.75s/%.31s", directory, name);
	int fd = must("control", socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0));
	if (server) {
		must("control", bind(fd, (void *)&a, sizeof a));
		must("control", listen(fd, 1));
		control = must("control", accept4(fd, NULL, NULL, SOCK_CLOEXEC));
		close(fd);
		return;
	}
	for (int i = 0; connect(fd, (void *)&a, sizeof a) < 0; i++) {
		if (i > 6000)
			must("control", -1);
		usleep(5000);
	}
	control = fd;
}

struct test {
	const char *name;
	void (*run)(void);
};
#define CASE(f) {#f, f}

static struct sockaddr_storage lookup(const char *name, int family) {
	struct addrinfo hints = {.ai_family = family, .ai_socktype = SOCK_STREAM}, *found;
	int err = getaddrinfo(name, NULL, &hints, &found);
	if (err) {
		say("cannot look up %s: %s", name, gai_strerror(err));
		exit(96);
	}
	struct sockaddr_storage a = {0};
	memcpy(&a, found->ai_addr, found->ai_addrlen);
	freeaddrinfo(found);
	return a;
}

/* both looks up the two addresses of a name. */
static void both(const char *name, in_addr_t *four, struct in6_addr *six) {
	struct sockaddr_storage a = lookup(name, AF_INET);
	*four = ((in4 *)&a)->sin_addr.s_addr;
	a = lookup(name, AF_INET6);
	*six = ((in6 *)&a)->sin6_addr;
}

/* stuck tells people, not the comparison, which call a process is in. */
static void stuck(pid_t pid) {
	char path[64], call[256] = "";
	snprintf(path, sizeof path, "/proc/%d/syscall", pid);
	int fd = open(path, O_RDONLY);
	if (fd >= 0 && read(fd, call, sizeof call - 1) > 0)
		fprintf(stderr, "%s: in call %s", case_name, call);
}

/* run_case runs a case in a process of its own, and ends what it leaves running. */
static void run_case(const struct test *t, int first) {
	say("== %s", t->name);
	case_name = t->name;
	port = first;
	fflush(NULL);
	meet_control(t->name); /* not in the child: the other side may be late, and that is not this case's time */
	pid_t pid = must("fork", fork());
	if (pid == 0) {
		setpgid(0, 0);
		signal(SIGPIPE, SIG_DFL);
		t->run();
		fflush(NULL);
		_exit(0);
	}
	close(control);
	int status = 0;
	for (int i = 0; waitpid(pid, &status, WNOHANG) == 0; i++) {
		if (i == case_seconds * 500) {
			say("takes too long");
			stuck(pid);
			kill(-pid, SIGKILL);
		}
		usleep(2000);
	}
	kill(-pid, SIGKILL);
	if (WIFSIGNALED(status))
		say("ends by %s", sigabbrev_np(WTERMSIG(status)));
	else if (WEXITSTATUS(status) != 0)
		say("exit status %d", WEXITSTATUS(status));
}

/* run is the main function of a program. */
static int run(int argc, char **argv, const struct test *tests, int n) {
	if (argc < 6) {
		fprintf(stderr, "usage: %s server|client DIRECTORY SELF PEER PORT [CASE]\n", argv[0]);
		return 2;
	}
	program = argv[0];
	server = strcmp(argv[1], "server") == 0;
	directory = argv[2];
	self_name = argv[3];
	peer_name = argv[4];
	both(self_name, &self_ip, &self_ip6);
	both(peer_name, &peer_ip, &peer_ip6);
	char t[4][INET6_ADDRSTRLEN];
	say("self %s %s peer %s %s", inet_ntop(AF_INET, &self_ip, t[0], sizeof t[0]), inet_ntop(AF_INET6, &self_ip6, t[1], sizeof t[1]),
		inet_ntop(AF_INET, &peer_ip, t[2], sizeof t[2]), inet_ntop(AF_INET6, &peer_ip6, t[3], sizeof t[3]));
	for (int i = 0; i < n; i++)
		if (argc == 6 || strcmp(argv[6], tests[i].name) == 0)
			run_case(&tests[i], atoi(argv[5]) + i * ports_each);
	return 0;
}
#define RUN(tests) run(argc, argv, tests, sizeof tests / sizeof *tests)
