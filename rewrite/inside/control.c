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

static s64 connect_to(const void *name, u32 len)
{
	s64 sock = sys3(SYS_socket, AF_UNIX, SOCK_SEQPACKET | O_CLOEXEC, 0);
	if (sock < 0)
		return sock;
	s64 r;
	do
		r = sys3(SYS_connect, sock, name, len);
	while (r == -EINTR);
	if (r < 0) {
		sys1(SYS_close, sock);
		return r;
	}
	return sock;
}

// control_open returns a descriptor, or an errno below 0.
s64 control_open(void)
{
	s64 r = connect_to(&config.family, config.len);
	if (r == -ECONNREFUSED && config.path_len)
		r = connect_to(&config.path_family, config.path_len);
	return r;
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
