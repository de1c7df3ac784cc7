// Descriptors that the supervisor hands to the program.
#include "inside.h"

// place moves a descriptor to the number of another one, if that is lower: the descriptor has to come to
// the lowest number that is free, and that is what the other one had got. It is below limit.
static s64 place(s64 fd, s64 other, u32 flags, s64 limit)
{
	if (fd < 0 || (fd > other && other >= limit)) { // the kernel has dropped it, or all numbers are taken
		sys1(SYS_close, other);
		if (fd >= 0)
			sys1(SYS_close, fd);
		return -EMFILE;
	}
	if (fd > other) {
		sys3(SYS_dup3, fd, other, flags & O_CLOEXEC);
		sys1(SYS_close, fd);
		return other;
	}
	sys1(SYS_close, other);
	if (!(flags & O_CLOEXEC))
		sys3(SYS_fcntl, fd, 2 /* F_SETFD */, 0);
	return fd;
}

// take gets the descriptor out of the supervisor by pidfd_getfd(2), where this process may. The number of
// the supervisor may be another process's in a PID namespace of the program's: so the file is looked at.
static s64 take(struct slot *s, u32 flags, s64 limit)
{
	u64 *stat = (void *)s->scratch; // struct stat: device, inode, ...
	s64 pidfd = sys2(SYS_pidfd_open, globals.shared->pid, 0);
	if (pidfd < 0)
		return pidfd;
	s64 fd = sys3(SYS_pidfd_getfd, pidfd, s->args[FROM], 0);
	if (fd < 0) {
		sys1(SYS_close, pidfd);
		return fd;
	}
	if (sys2(SYS_fstat, fd, stat) < 0 || stat[1] != s->args[INODE]) {
		sys1(SYS_close, fd);
		sys1(SYS_close, pidfd);
		return -ENOENT;
	}
	return place(fd, pidfd, flags, limit);
}

// fetch gets the descriptor over the control socket.
static s64 fetch(struct slot *s, u32 word, u32 flags, s64 limit)
{
	struct exchange *x = (void *)s->scratch;
	s64 sock = control_open();
	if (sock < 0)
		return sock;
	x->request = (struct request){.kind = FETCH, .tid = s->tid, .a = word};
	int fd;
	s64 r = control_send(sock, x, -1, 0, 0);
	if (r >= 0)
		r = control_receive(sock, x, &x->request, sizeof x->request, &fd, 1, MSG_CMSG_CLOEXEC);
	if (r < 0) {
		sys1(SYS_close, sock);
		return r;
	}
	return place(fd, sock, flags, limit);
}

static s64 either(struct slot *s, u32 word, u32 flags, s64 limit)
{
	s64 r = take(s, flags, limit);
	return r >= 0 || r == -EMFILE ? r : fetch(s, word, flags, limit);
}

// beyond is either for a program that has no number left for the other descriptor that it takes. That
// gets one above the limit, which is raised for a moment, as far as the caller may.
static s64 beyond(struct slot *s, u32 word, u32 flags)
{
	u64 old[2], raised[2];
	if (sys4(SYS_prlimit64, 0, RLIMIT_NOFILE, 0, old) < 0)
		return -EMFILE;
	raised[0] = old[0] + 2;
	raised[1] = old[1] < raised[0] ? raised[0] : old[1];
	if (sys4(SYS_prlimit64, 0, RLIMIT_NOFILE, raised, 0) < 0)
		return -EMFILE;
	s64 r = either(s, word, flags, old[0]);
	sys4(SYS_prlimit64, 0, RLIMIT_NOFILE, old, 0);
	return r;
}

static s64 received(void *arg, struct slot *s)
{
	u32 word = (u64)arg, flags = s->flags;
	struct cell *cell = &globals.shared->cells[s->args[CELL] % CELLS];
	s64 r = either(s, word, flags, 1 << 30);
	if (r == -EMFILE)
		r = beyond(s, word, flags);
	__atomic_store_n(&s->word, (word & ~(u32)STATE) | (r < 0 ? PENDING : IDLE), __ATOMIC_RELEASE);
	cell->value = r;
	__atomic_store_n(&cell->done, 1, __ATOMIC_RELEASE);
	ring(s);
	return r;
}

// receive gets the descriptor that the supervisor has for a call. If that cannot be, it returns
// an errno below 0, and the supervisor has to answer once more.
s64 receive(struct slot *s, u32 word)
{
	blocked(s);
	s64 r = on_stack(s->stack + sizeof s->stack, received, (void *)(u64)word, s);
	unblocked(s);
	return r;
}
