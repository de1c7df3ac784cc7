/* Processes with less than their parents: other users, roots, filters, descriptors. */
#include "conformance.h"
#include <grp.h>
#include <linux/audit.h>
#include <linux/filter.h>
#include <linux/seccomp.h>
#include <stddef.h>
#include <sys/prctl.h>
#include <sys/ptrace.h>
#include <sys/syscall.h>
#include <sys/utsname.h>

/* hold accepts n connections and answers each. */
static void hold(int n) {
	int l = listener(port, 16);
	meet();
	for (int i = 0; i < n; i++) {
		struct sockaddr_storage from;
		socklen_t len = sizeof from;
		int fd = fd_result("accept", accept(l, (void *)&from, &len));
		say("from %s", text(&from, len));
		take(fd);
		give(fd, "answer");
		close(fd);
	}
	meet();
}

/* talk makes a connection and prints what it sees of it. */
static void talk(void) {
	in4 a = peer(port);
	int fd = tcp();
	result("connect", connect(fd, SA(a)));
	names(fd);
	give(fd, "question");
	take(fd);
	close(fd);
}

/* serve_one accepts a connection that it makes itself. */
static void serve_one(int p) {
	int l = tcp();
	in4 a = self(p);
	struct sockaddr_storage from;
	socklen_t len = sizeof from;
	if (result("bind", bind(l, SA(a))) < 0)
		return;
	result("listen", listen(l, 1));
	int fd = tcp();
	result("connect", connect(fd, SA(a)));
	fd_result("accept", accept(l, (void *)&from, &len));
	say("from %s", text(&from, len));
	int u = fd_result("UDP", socket(AF_INET, SOCK_DGRAM, 0));
	a = peer(p);
	result("sendto", sendto(u, "x", 1, 0, SA(a)));
}

static void wait_for(pid_t pid) {
	int status;
	must("waitpid", waitpid(pid, &status, 0));
	if (WIFSIGNALED(status))
		say("child ends by %s", sigabbrev_np(WTERMSIG(status)));
	else if (status)
		say("child: status %d", WEXITSTATUS(status));
}

/* in_child does something in a child of its own, after prepare. */
static void in_child(void (*prepare)(void)) {
	if (server)
		return hold(1);
	meet();
	pid_t pid = fork();
	if (pid == 0) {
		prepare();
		talk();
		serve_one(port + 1);
		_exit(0);
	}
	wait_for(pid);
	meet();
}

static void drop_user(void) {
	must("setgroups", setgroups(0, NULL));
	must("setgid", setgid(65534));
	must("setuid", setuid(65534));
	say("uid %d dumpable %d", getuid(), prctl(PR_GET_DUMPABLE));
}
static void other_user(void) { in_child(drop_user); }

static void undump(void) {
	must("PR_SET_DUMPABLE", prctl(PR_SET_DUMPABLE, 0));
	say("dumpable %d", prctl(PR_GET_DUMPABLE));
}
static void non_dumpable(void) { in_child(undump); }

static void drop_both(void) {
	drop_user();
	undump();
}
static void other_user_non_dumpable(void) { in_child(drop_both); }

static void new_root(void) {
	char name[4096]; /* from there nobody can remove it, but the test does */
	snprintf(name, sizeof name, "%s/root-XXXXXX", directory);
	must("mkdtemp", mkdtemp(name) ? 0 : -1);
	must("chroot", chroot(name));
	must("chdir", chdir("/"));
}
static void in_chroot(void) { in_child(new_root); }

static void all_caps(void) {
	for (int cap = 0; cap < 41; cap++)
		prctl(PR_CAPBSET_DROP, cap);
	struct { unsigned version; int pid; } head = {0x20080522, 0};
	struct { unsigned effective, permitted, inheritable; } none[2] = {{0, 0, 0}, {0, 0, 0}};
	must("capset", syscall(SYS_capset, &head, none));
}
static void without_capabilities(void) { in_child(all_caps); }

static void close_all(void) {
	for (int fd = 3; fd < 1024; fd++)
		if (fd != control)
			close(fd);
	say("all closed");
}
static void closes_all(void) { in_child(close_all); }

/* A filter that kills for anything but what a client of the network needs: it knows no boxer. */
static void own_filter(void) {
	struct sock_filter code[] = {
		BPF_STMT(BPF_LD | BPF_W | BPF_ABS, offsetof(struct seccomp_data, nr)),
		BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, SYS_ptrace, 0, 1),
		BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_KILL_PROCESS),
		BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, SYS_mount, 0, 1),
		BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ERRNO | EPERM),
		BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ALLOW),
	};
	struct sock_fprog filter = {sizeof code / sizeof *code, code};
	must("no_new_privs", prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0));
	result("seccomp", prctl(PR_SET_SECCOMP, SECCOMP_MODE_FILTER, &filter));
}
static void filtered(void) { in_child(own_filter); }

/* A sandbox that forbids sockets, as OpenSSH's and Chromium's do for their workers. */
static void no_sockets(void) {
	if (!server)
		return meet();
	struct sock_filter code[] = {
		BPF_STMT(BPF_LD | BPF_W | BPF_ABS, offsetof(struct seccomp_data, nr)),
		BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, SYS_socket, 0, 1),
		BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ERRNO | EACCES),
		BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, SYS_connect, 0, 1),
		BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ERRNO | EPERM),
		BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, SYS_bind, 0, 1),
		BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_KILL_PROCESS),
		BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ALLOW),
	};
	struct sock_fprog filter = {sizeof code / sizeof *code, code};
	int fd = tcp(), listening = listener(port, 1);
	in4 a = self(port);
	pid_t pid = fork();
	if (pid == 0) {
		must("no_new_privs", prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0));
		result("seccomp", prctl(PR_SET_SECCOMP, SECCOMP_MODE_FILTER, &filter));
		result("socket", socket(AF_INET, SOCK_STREAM, 0));
		result("UDP", socket(AF_INET, SOCK_DGRAM, 0));
		result("connect", connect(fd, SA(a)));
		sockname(listening);
		result("bind", bind(fd, SA(a)));
		say("not killed");
		_exit(0);
	}
	wait_for(pid);
	meet();
}

/* A listener of seccomp's notifications: there can be one only in a tree. */
static void own_listener(void) {
	if (!server)
		return meet();
	struct sock_filter code[] = {BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ALLOW)};
	struct sock_fprog filter = {1, code};
	must("no_new_privs", prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0));
	fd_result("listener", syscall(SYS_seccomp, SECCOMP_SET_MODE_FILTER, SECCOMP_FILTER_FLAG_NEW_LISTENER, &filter));
	meet();
}

/* strict lets a child do nothing but read, write and exit. */
static void strict(void) {
	if (!server)
		return meet();
	int status;
	pid_t pid = fork();
	if (pid == 0) {
		result("PR_SET_SECCOMP", prctl(PR_SET_SECCOMP, SECCOMP_MODE_STRICT));
		syscall(SYS_exit, 0);
	}
	waitpid(pid, &status, 0);
	say("status %d", status);
	meet();
}

static void limits(void) {
	if (server)
		return hold(2);
	meet();
	rlim_t all[] = {64, 1 << 20};
	for (int i = 0; i < 2; i++) {
		pid_t pid = fork();
		if (pid == 0) {
			struct rlimit r = {all[i], all[i]};
			result("RLIMIT_NOFILE", setrlimit(RLIMIT_NOFILE, &r));
			talk();
			serve_one(port + 1 + i);
			_exit(0);
		}
		wait_for(pid);
	}
	/* full: no descriptor is left for the answer */
	int l = listener(port + 4, 4), fd = tcp();
	in4 a = self(port + 4);
	must("connect", connect(fd, SA(a)));
	struct rlimit r = {32, 32};
	setrlimit(RLIMIT_NOFILE, &r);
	while (dup(1) >= 0)
		;
	socklen_t len = sizeof a;
	result("accept", accept(l, (void *)&a, &len));
	result("socket", socket(AF_INET, SOCK_DGRAM, 0));
	close(31);
	fd_result("accept", accept(l, (void *)&a, &len));
	meet();
}

static void by_vfork(void) {
	if (server)
		return hold(1);
	meet();
	int fd = tcp();
	in4 a = peer(port);
	long r = 0;
	pid_t pid = vfork();
	if (pid == 0) {
		r = connect(fd, SA(a));
		_exit(0);
	}
	result("connect in vfork", r);
	wait_for(pid);
	names(fd);
	give(fd, "question");
	take(fd);
	meet();
}

/* traced is under a ptrace that stops at each call, as strace does. */
static void traced(void) {
	if (server)
		return hold(1);
	meet();
	pid_t pid = fork();
	if (pid == 0) {
		ptrace(PTRACE_TRACEME, 0, NULL, NULL);
		raise(SIGSTOP);
		talk();
		_exit(0);
	}
	int status, connects = 0, inside = 0;
	waitpid(pid, &status, 0);
	ptrace(PTRACE_SETOPTIONS, pid, NULL, PTRACE_O_TRACESYSGOOD);
	for (;;) {
		ptrace(PTRACE_SYSCALL, pid, NULL, NULL);
		waitpid(pid, &status, 0);
		if (!WIFSTOPPED(status))
			break;
		struct __ptrace_syscall_info info;
		if (ptrace(PTRACE_GET_SYSCALL_INFO, pid, sizeof info, &info) > 0 && info.op == PTRACE_SYSCALL_INFO_ENTRY) {
			inside = info.entry.nr == SYS_connect;
			connects += inside;
		} else if (inside && info.op == PTRACE_SYSCALL_INFO_EXIT) {
			say("the tracer sees connect return %lld", (long long)info.exit.rval);
			inside = 0;
		}
	}
	say("%d connects, status %x", connects, status);
	meet();
}

static void *die_in_connect(void *arg) {
	in4 a = peer(port);
	int fd = *(int *)arg;
	connect(fd, SA(a));
	return NULL;
}

/* dying has threads and processes that end in the middle of a call. */
static void dying(void) {
	if (server) {
		int l = listener(port, 0);
		meet();
		meet();
		close(l);
		l = listener(port + 1, 4);
		meet();
		take(accept(l, NULL, NULL));
		return meet();
	}
	meet();
	in4 a = peer(port);
	int fill = dial(port), fd = tcp();
	pid_t pid = fork();
	if (pid == 0) {
		pthread_t t;
		pthread_create(&t, NULL, die_in_connect, &fd);
		usleep(100000);
		_exit(7);
	}
	wait_for(pid);
	pid = fork();
	if (pid == 0) {
		fd = tcp();
		connect(fd, SA(a));
		_exit(1);
	}
	usleep(100000);
	kill(pid, SIGTERM);
	wait_for(pid);
	meet();
	meet();
	close(fill);
	fd = dial(port + 1);
	give(fd, "all is well");
	meet();
}

static void host_names(void) {
	struct utsname u;
	char name[65] = "", file[65] = "";
	result("uname", uname(&u));
	say("nodename is SELF: %d, system %s", strcmp(u.nodename, self_name) == 0, u.sysname);
	result("gethostname", gethostname(name, sizeof name));
	say("is SELF: %d", strcmp(name, self_name) == 0);
	int fd = open("/proc/sys/kernel/hostname", O_RDONLY);
	if (fd >= 0 && read(fd, file, 64) > 0)
		say("the file says SELF: %d", strncmp(file, self_name, strlen(self_name)) == 0);
	result("uname wild", syscall(SYS_uname, (void *)16));
	in4 a = peer(0);
	char host[NI_MAXHOST] = "";
	result("getnameinfo", getnameinfo(SA(a), host, sizeof host, NULL, 0, NI_NAMEREQD));
	say("\"%s\"", host);
	struct addrinfo *found;
	result("getaddrinfo of nobody", getaddrinfo("nobody-has-this-name", NULL, NULL, &found) == 0);
	meet();
}

/* the name of the host, which root may change: in bounds, out of bounds, and as somebody else */
static void renamed(void) {
	char name[65] = "", was[65] = "";
	gethostname(was, sizeof was);
	result("sethostname", sethostname("other-name", 10));
	result("gethostname", gethostname(name, sizeof name));
	say("is other-name: %d", strcmp(name, "other-name") == 0);
	result("too long", syscall(SYS_sethostname, name, 65));
	result("negative", syscall(SYS_sethostname, name, -1));
	result("wild", syscall(SYS_sethostname, (void *)16, 5));
	pid_t pid = fork();
	if (pid == 0) {
		must("setuid", setuid(65534));
		result("sethostname of another user", sethostname("theirs", 6));
		exit(0);
	}
	waitpid(pid, NULL, 0);
	result("empty", sethostname("", 0));
	gethostname(name, sizeof name);
	say("is empty: %d", name[0] == 0);
	result("sethostname back", sethostname(was, strlen(was)));
	gethostname(name, sizeof name);
	say("is as it was: %d", strcmp(name, was) == 0);
	meet();
}

int main(int argc, char **argv) {
	static const struct test tests[] = {
		CASE(other_user), CASE(non_dumpable), CASE(other_user_non_dumpable), CASE(in_chroot), CASE(without_capabilities),
		CASE(closes_all), CASE(filtered), CASE(no_sockets), CASE(own_listener), CASE(strict), CASE(limits), CASE(by_vfork), CASE(traced),
		CASE(dying), CASE(host_names), CASE(renamed),
	};
	return RUN(tests);
}
