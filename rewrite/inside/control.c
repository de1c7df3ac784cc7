// The control socket: an abstract Unix socket of the supervisor's, connected for one exchange each
// time, so that no descriptor of the program's is in the way.
#include "inside.h"

struct header { // struct msghdr
	void *name;
	u32 namelen, pad;
	void *iov;
	u64 iovlen;
	void *control;
	u64 controllen;
	u32 flags, pad2;
};
_Static_assert(sizeof(struct header) == sizeof(((struct exchange *)0)->header), "msghdr");

// control_open returns a descriptor, or an errno below 0.
s64 control_open(void)
{
	s64 sock = sys3(SYS_socket, AF_UNIX, SOCK_SEQPACKET | O_CLOEXEC, 0);
	if (sock < 0)
		return sock;
	s64 r;
	do
		r = sys3(SYS_connect, sock, &config.family, config.len);
	while (r == -EINTR);
	if (r < 0) {
		sys1(SYS_close, sock);
		return r;
	}
	return sock;
}

// control_send sends x->request, more behind it, and a descriptor if fd is not negative.
s64 control_send(s64 sock, struct exchange *x, int fd, const void *more, u64 n)
{
	struct header *h = (void *)x->header;
	x->iov[0] = (u64)&x->request;
	x->iov[1] = sizeof x->request;
	x->iov[2] = (u64)more;
	x->iov[3] = n;
	*h = (struct header){.iov = x->iov, .iovlen = n ? 2 : 1};
	if (fd >= 0) { // struct cmsghdr
		x->control[0] = 16 + 4;
		x->control[1] = SOL_SOCKET | (u64)SCM_RIGHTS << 32;
		x->control[2] = (u32)fd;
		h->control = x->control;
		h->controllen = 24;
	}
	s64 r;
	do
		r = sys3(SYS_sendmsg, sock, h, MSG_NOSIGNAL);
	while (r == -EINTR);
	return r;
}

// control_receive receives a message and its descriptors. It returns the message's length. fds that
// did not come are -1.
s64 control_receive(s64 sock, struct exchange *x, void *to, u64 n, int *fds, int nfds, int flags)
{
	struct header *h = (void *)x->header;
	x->iov[0] = (u64)to;
	x->iov[1] = n;
	*h = (struct header){.iov = x->iov, .iovlen = 1, .control = x->control, .controllen = sizeof x->control};
	x->control[0] = 0;
	for (int i = 0; i < nfds; i++)
		fds[i] = -1;
	s64 r;
	do
		r = sys3(SYS_recvmsg, sock, h, flags);
	while (r == -EINTR);
	if (r <= 0)
		return r ? r : -EIO;
	if (h->controllen >= 16 + 4 && x->control[1] == (SOL_SOCKET | (u64)SCM_RIGHTS << 32)) {
		int got = (x->control[0] - 16) / 4;
		for (int i = 0; i < got; i++) {
			int fd = ((int *)&x->control[2])[i];
			if (i < nfds)
				fds[i] = fd;
			else
				sys1(SYS_close, fd);
		}
	}
	return r;
}

// back tells the supervisor that the call still waits, since the descriptor could not be had.
static s64 back(struct slot *s, u32 word, s64 error)
{
	s->result = error;
	__atomic_store_n(&s->word, (word & ~(u32)STATE) | PENDING, __ATOMIC_RELEASE);
	return error;
}

// fetch is receive with signals blocked. The number that the descriptor comes to has to be the
// lowest that is free, below limit, and that is the control socket's: it goes there in one step.
static s64 fetch(struct slot *s, u32 word, u32 flags, s64 limit)
{
	struct exchange *x = (void *)s->scratch;
	s64 sock = control_open();
	if (sock < 0)
		return sock;
	x->request = (struct request){.kind = FETCH, .tid = s->tid, .a = word};
	s64 r = control_send(sock, x, -1, 0, 0);
	int fd;
	if (r >= 0)
		r = control_receive(sock, x, &x->request, sizeof x->request, &fd, 1, MSG_CMSG_CLOEXEC);
	if (r < 0) {
		sys1(SYS_close, sock);
		return r;
	}
	if (fd < 0 || (fd > sock && sock >= limit)) { // the kernel has dropped it, or all numbers are taken
		sys1(SYS_close, sock);
		if (fd >= 0)
			sys1(SYS_close, fd);
		return -EMFILE;
	}
	s64 number = fd > sock ? sock : fd;
	__atomic_store_n(&s->word, (word & ~(u32)STATE) | IDLE, __ATOMIC_RELEASE);
	x->request = (struct request){.kind = FETCHED, .tid = s->tid, .a = word, .b = number};
	control_send(sock, x, -1, 0, 0);
	if (number == sock)
		sys3(SYS_dup3, fd, sock, flags & O_CLOEXEC);
	else
		sys1(SYS_close, sock);
	if (number == fd && !(flags & O_CLOEXEC))
		sys3(SYS_fcntl, fd, 2 /* F_SETFD */, 0);
	if (number != fd)
		sys1(SYS_close, fd);
	return number;
}

// fetch_beyond is fetch for a program that has no number left for the control socket. That gets one
// above the limit, which is raised for a moment, as far as the caller may. The descriptor itself
// has to be below the limit.
static s64 fetch_beyond(struct slot *s, u32 word, u32 flags)
{
	u64 old[2], raised[2];
	if (sys4(SYS_prlimit64, 0, RLIMIT_NOFILE, 0, old) < 0)
		return -EMFILE;
	raised[0] = old[0] + 2;
	raised[1] = old[1] < raised[0] ? raised[0] : old[1];
	if (sys4(SYS_prlimit64, 0, RLIMIT_NOFILE, raised, 0) < 0)
		return -EMFILE;
	s64 r = fetch(s, word, flags, old[0]);
	sys4(SYS_prlimit64, 0, RLIMIT_NOFILE, old, 0);
	return r;
}

// receive fetches the descriptor that the supervisor has for a call. If that cannot be, it returns
// an errno below 0, and the supervisor has to answer once more.
s64 receive(struct slot *s, u32 word, u32 flags)
{
	u64 all = ~0ull, old;
	sys4(SYS_rt_sigprocmask, SIG_SETMASK, &all, &old, 8);
	s64 r = fetch(s, word, flags, 1 << 30);
	if (r == -EMFILE)
		r = fetch_beyond(s, word, flags);
	if (r < 0)
		back(s, word, r);
	sys4(SYS_rt_sigprocmask, SIG_SETMASK, &old, 0, 8);
	return r;
}
