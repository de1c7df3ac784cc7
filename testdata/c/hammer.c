/* Makes the calls that name addresses or wait for peers with all kinds of arguments, from many threads and processes at
 * once, for some seconds, and beside that exchanges messages with an echo server over one connection that must not notice.
 *
 *   hammer HOST PORT SECONDS
 *
 * It says "ready" and waits for a line, hammers, says "hammered CALLS calls, ROUNDS rounds", and waits for the next line.
 */
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <linux/netlink.h>
#include <netdb.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <pthread.h>
#include <signal.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <sys/time.h>
#include <sys/uio.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

enum { processes = 2, threads = 6, slots = 24, first_slot = 40, arena_size = 1 << 20, good_size = 1 << 16 };

static struct sockaddr_in peer;
static time_t end;

/* counts are shared by all processes. */
static struct counts { long calls, rounds, broken; } *counts;

static void die(const char *what) {
	perror(what);
	exit(1);
}

/* A hand is a thread's own randomness and memory: what calls write goes there, with room behind it. */
struct hand { uint64_t state; char *arena; };

static uint64_t next(struct hand *h) {
	h->state ^= h->state << 13;
	h->state ^= h->state >> 7;
	h->state ^= h->state << 17;
	return h->state;
}
static int one_of(struct hand *h, int n) { return next(h) % n; }

/* descriptor is one of the pool's, which other threads close and replace meanwhile, or none. */
static long descriptor(struct hand *h) {
	static const long odd[] = {-1, 0x7fffffff, 768, 800, 960, 961, 1023, 1024, 0x100000000};
	if (one_of(h, 12) == 0)
		return odd[one_of(h, sizeof odd / sizeof *odd)];
	return first_slot + one_of(h, slots);
}

/* address writes a socket address, most often a meaningful one, and returns where. */
static char *address(struct hand *h, long *size) {
	char *at = h->arena + (next(h) % good_size & ~15L);
	struct sockaddr_in a = {.sin_family = AF_INET, .sin_port = htons(20000 + one_of(h, 50))};
	struct sockaddr_in6 b = {.sin6_family = AF_INET6, .sin6_port = a.sin_port};
	struct sockaddr_nl n = {.nl_family = AF_NETLINK, .nl_pid = one_of(h, 3) ? 0 : next(h)};
	*size = sizeof a;
	switch (one_of(h, 10)) {
	case 0: a = peer; break;
	case 1: a.sin_addr = peer.sin_addr; break;
	case 2: a.sin_addr.s_addr = htonl(INADDR_LOOPBACK); break;
	case 3: break;
	case 4: a.sin_addr.s_addr = one_of(h, 2) ? htonl(0x7f000000 | (next(h) & 0xffffff)) : peer.sin_addr.s_addr ^ htonl(next(h) & 0xff); break;
	case 5:
		if (one_of(h, 2))
			b.sin6_addr = in6addr_loopback;
		*size = sizeof b;
		return memcpy(at, &b, sizeof b);
	case 6:
		b.sin6_addr.s6_addr16[5] = 0xffff;
		memcpy(&b.sin6_addr.s6_addr[12], &peer.sin_addr, 4);
		*size = sizeof b;
		return memcpy(at, &b, sizeof b);
	case 7:
		*size = sizeof n;
		return memcpy(at, &n, sizeof n);
	case 8: a.sin_family = AF_UNSPEC; break;
	default:
		for (int i = 0; i < 16; i++)
			at[i] = next(h);
		return at;
	}
	return memcpy(at, &a, sizeof a);
}

/* spoil makes a pointer wild now and then. */
static long spoil(struct hand *h, void *good) {
	long wild[] = {0, 16, (long)h->arena + arena_size, -4096, (long)h->arena + arena_size - 8, next(h)};
	return one_of(h, 8) == 0 ? wild[one_of(h, 6)] : (long)good;
}
static long length(struct hand *h, long good) {
	long odd[] = {0, 1, 2, 15, 17, 128, 129, -1, 0x7fffffff, next(h) % 70000};
	return one_of(h, 5) == 0 ? odd[one_of(h, 10)] : good;
}

/* header writes a struct msghdr, or several struct mmsghdr, that is more or less right. */
static void *header(struct hand *h) {
	long size;
	struct mmsghdr *m = (void *)(h->arena + good_size + 1024 * one_of(h, 8));
	for (int i = 0; i < 4; i++) {
		struct iovec *v = (void *)(h->arena + good_size + 16384 + 64 * i);
		v[0] = (struct iovec){(void *)spoil(h, h->arena), length(h, 100)};
		v[1] = (struct iovec){(void *)spoil(h, h->arena + 200), length(h, 1500)};
		char *a = address(h, &size);
		m[i].msg_hdr = (struct msghdr){.msg_name = (void *)spoil(h, a), .msg_namelen = length(h, size), .msg_iov = (void *)spoil(h, v),
			.msg_iovlen = length(h, 2), .msg_control = (void *)spoil(h, h->arena + 4096), .msg_controllen = one_of(h, 2) ? 0 : length(h, 64)};
	}
	return m;
}

/* flags are such that few calls wait for long. */
static long flags(struct hand *h) {
	long f = one_of(h, 6) ? MSG_DONTWAIT : 0;
	if (one_of(h, 8) == 0)
		f |= next(h) & 0x7fffffff & ~MSG_FASTOPEN;
	return f | MSG_NOSIGNAL;
}

/* put makes a socket and puts it into the pool. */
static void put(struct hand *h) {
	static const int domains[] = {AF_INET, AF_INET, AF_INET, AF_INET6, AF_NETLINK, AF_UNIX};
	int domain = domains[one_of(h, 6)], type = one_of(h, 2) ? SOCK_STREAM : SOCK_DGRAM;
	if (domain == AF_NETLINK)
		type = SOCK_RAW;
	int fd = socket(domain, type | (one_of(h, 4) ? SOCK_NONBLOCK : 0) | SOCK_CLOEXEC, one_of(h, 30) ? 0 : (int)next(h) & 255);
	if (fd < 0)
		return;
	/* A UDP socket stays where it is, too: the calls that only count there come by descriptor. */
	dup2(fd, first_slot + one_of(h, slots));
	if (fd < 768 || one_of(h, 4))
		close(fd);
}

static void strike(struct hand *h) {
	long size, fd = descriptor(h);
	char *a = address(h, &size);
	int *len = (int *)(h->arena + 8192);
	*len = length(h, 128);
	switch (one_of(h, 24)) {
	case 0: case 1: put(h); break;
	case 2: close(first_slot + one_of(h, slots)); break;
	case 3: dup2(first_slot + one_of(h, slots), first_slot + one_of(h, slots)); break;
	case 4: close(768 + one_of(h, 255)); break;
	case 5: case 6: syscall(SYS_connect, fd, spoil(h, a), length(h, size)); break;
	case 7: syscall(SYS_bind, fd, spoil(h, a), length(h, size)); break;
	case 8: syscall(SYS_listen, fd, length(h, 5)); break;
	case 9: case 10: {
		long got = syscall(SYS_accept4, fd, spoil(h, h->arena), spoil(h, len), one_of(h, 4) ? SOCK_NONBLOCK : next(h));
		if (got > 2)
			close(got);
		break;
	}
	case 11: syscall(SYS_getsockname, fd, spoil(h, h->arena), spoil(h, len)); break;
	case 12: syscall(SYS_getpeername, fd, spoil(h, h->arena), spoil(h, len)); break;
	case 13: syscall(SYS_sendto, fd, spoil(h, h->arena), length(h, 200), flags(h), spoil(h, a), length(h, size)); break;
	case 14: syscall(SYS_recvfrom, fd, spoil(h, h->arena), length(h, 200), flags(h), spoil(h, h->arena + 512), spoil(h, len)); break;
	case 15: syscall(SYS_sendmsg, fd, spoil(h, header(h)), flags(h)); break;
	case 16: syscall(SYS_recvmsg, fd, spoil(h, header(h)), flags(h)); break;
	case 17: syscall(SYS_sendmmsg, fd, spoil(h, header(h)), length(h, 3), flags(h)); break;
	case 18: syscall(SYS_recvmmsg, fd, spoil(h, header(h)), length(h, 3), flags(h) | MSG_DONTWAIT, spoil(h, h->arena + 9000)); break;
	case 19: syscall(SYS_getsockopt, fd, SOL_SOCKET, SO_ERROR, spoil(h, h->arena), spoil(h, len)); break;
	case 20: syscall(SYS_ioctl, fd, 0x8900 + one_of(h, 0x80), spoil(h, h->arena)); break;
	case 21: {
		long got = one_of(h, 2) ? syscall(SYS_dup, fd) : syscall(SYS_fcntl, fd, one_of(h, 2) ? F_DUPFD : F_DUPFD_CLOEXEC, length(h, 100));
		if (got > 2)
			close(got);
		break;
	}
	case 22: syscall(SYS_setsockopt, fd, 270, NETLINK_ADD_MEMBERSHIP, spoil(h, h->arena), 4); break;
	case 23: syscall(SYS_uname, spoil(h, h->arena)); break;
	}
}

/* interrupt_often has a signal end what threads wait in. A child has no timer of its parent's. */
static void interrupt_often(void) {
	struct itimerval t = {{0, 3000}, {0, 3000}};
	setitimer(ITIMER_REAL, &t, NULL);
}

static void *strikes(void *arg) {
	struct hand *h = arg;
	long n = 0;
	while (time(NULL) < end) {
		if (one_of(h, 3000) == 0) {
			pid_t pid = fork();
			if (pid == 0) { /* with copies of all that the others use */
				interrupt_often();
				for (int i = 0; i < 50; i++)
					strike(h);
				_exit(0);
			}
			while (pid > 0 && waitpid(pid, NULL, 0) < 0 && errno == EINTR)
				;
		}
		strike(h);
		n++;
	}
	__atomic_fetch_add(&counts->calls, n, __ATOMIC_RELAXED);
	return NULL;
}

static void nothing(int sig) { (void)sig; }

/* hammer is one process: signals interrupt what its threads wait in. */
static void hammer(int seed) {
	struct sigaction sa = {.sa_handler = nothing};
	sigaction(SIGALRM, &sa, NULL);
	signal(SIGPIPE, SIG_IGN);
	signal(SIGIO, SIG_IGN);
	signal(SIGURG, SIG_IGN);
	interrupt_often();
	pthread_t all[threads];
	for (int i = 0; i < threads; i++) {
		struct hand *h = malloc(sizeof *h);
		h->state = 88172645463325252ull + 1000003ull * (seed * threads + i);
		h->arena = mmap(NULL, arena_size + 4096, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
		if (h->arena == MAP_FAILED || mprotect(h->arena + arena_size, 4096, PROT_NONE) < 0)
			die("mmap");
		if (pthread_create(&all[i], NULL, strikes, h) != 0)
			die("pthread_create");
	}
	for (int i = 0; i < threads; i++) {
		pthread_kill(all[i], SIGALRM);
		while (pthread_tryjoin_np(all[i], NULL) == EBUSY) {
			pthread_kill(all[i], SIGALRM);
			usleep(1000);
		}
	}
	_exit(0);
}

/* exchange goes on while the others hammer. */
static void exchange(int fd) {
	char out[700], in[sizeof out];
	for (unsigned n = 0; time(NULL) < end; n++) {
		memset(out, n, sizeof out);
		if (send(fd, out, sizeof out, 0) != sizeof out || recv(fd, in, sizeof in, MSG_WAITALL) != sizeof in || memcmp(in, out, sizeof in) != 0) {
			fprintf(stderr, "hammer: round %u: %s\n", n, strerror(errno));
			counts->broken = 1;
			return;
		}
		counts->rounds++;
		usleep(500);
	}
}

static void wait_for_line(void) {
	char c;
	while (read(0, &c, 1) == 1 && c != '\n')
		;
}

int main(int argc, char **argv) {
	if (argc != 4)
		return 2;
	struct addrinfo hints = {.ai_family = AF_INET, .ai_socktype = SOCK_STREAM}, *found;
	if (getaddrinfo(argv[1], argv[2], &hints, &found) != 0)
		die("getaddrinfo");
	peer = *(struct sockaddr_in *)found->ai_addr;
	counts = mmap(NULL, 4096, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
	struct rlimit r = {1100, 1100};
	setrlimit(RLIMIT_NOFILE, &r);
	int fd = socket(AF_INET, SOCK_STREAM, 0);
	if (connect(fd, (void *)&peer, sizeof peer) < 0)
		die("connect");
	setvbuf(stdout, NULL, _IOLBF, 0);
	puts("ready");
	wait_for_line();
	end = time(NULL) + atoi(argv[3]);
	pid_t all[processes];
	for (int i = 0; i < processes; i++)
		if ((all[i] = fork()) == 0) {
			prctl(PR_SET_PDEATHSIG, SIGKILL);
			close(fd);
			close(0); /* and what else it has: a strike may hit it */
			hammer(i);
		}
	exchange(fd);
	for (int i = 0; i < processes; i++) {
		int status;
		waitpid(all[i], &status, 0);
		if (status != 0)
			printf("a process ends with status %x\n", status);
	}
	printf("hammered %ld calls, %ld rounds%s\n", counts->calls, counts->rounds, counts->broken ? ", broken" : "");
	wait_for_line();
	return counts->broken;
}
