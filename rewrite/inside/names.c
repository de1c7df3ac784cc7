// Names of sockets that the supervisor has described: getsockname(2) and getpeername(2) need no answer of its.
#include "inside.h"

struct buffers { // in the slot
	struct named known;
	u64 cookie;
	u32 length;
	u8 own[128], far[128]; // struct sockaddr_storage
};
_Static_assert(sizeof(struct buffers) <= sizeof(((struct slot *)0)->scratch), "buffers");

static int same(const u8 *a, const u8 *b, u32 n)
{
	for (u32 i = 0; i < n; i++)
		if (a[i] != b[i])
			return 0;
	return 1;
}

// find copies what is known of a socket. It returns 0 if that is nothing.
static int find(struct buffers *b)
{
	const struct named *from = &globals.shared->named[b->cookie % NAMED];
	u32 version = __atomic_load_n(&from->version, __ATOMIC_ACQUIRE);
	b->known = *from;
	__atomic_thread_fence(__ATOMIC_ACQUIRE);
	return !(version & 1) && __atomic_load_n(&from->version, __ATOMIC_RELAXED) == version && b->known.cookie == b->cookie;
}

// still reports whether the kernel has the names that it had when the supervisor looked.
static int still(struct buffers *b, s64 fd)
{
	b->length = sizeof b->own;
	if (sys3(SYS_getsockname, fd, b->own, &b->length) < 0 || b->length != b->known.own_length || !same(b->own, b->known.own, b->length))
		return 0;
	b->length = sizeof b->far;
	s64 r = sys3(SYS_getpeername, fd, b->far, &b->length);
	if (!b->known.far_length)
		return r == -ENOTCONN;
	return r >= 0 && b->length == b->known.far_length && same(b->far, b->known.far, b->length);
}

// name_of answers getsockname(2) or getpeername(2), or leaves the call to the supervisor. The kernel does the call
// first: it looks at the arguments, and what it has written can be written once more.
int name_of(struct frame *f, struct slot *s)
{
	struct buffers *b = (void *)s->scratch;
	s64 fd = (int)f->args[0];
	b->length = sizeof b->cookie;
	if (sys5(SYS_getsockopt, fd, SOL_SOCKET, SO_COOKIE, &b->cookie, &b->length) < 0 || !find(b))
		return PASS;
	const u8 *name = f->nr == SYS_getsockname ? b->known.own_name : b->known.far_name;
	u32 length = f->nr == SYS_getsockname ? b->known.own_name_length : b->known.far_name_length;
	u32 kernel = f->nr == SYS_getsockname ? b->known.own_length : b->known.far_length;
	if (!length || length != kernel || !still(b, fd) || !readable(f->args[2]))
		return PASS;
	u32 room = *(const volatile u32 *)f->args[2];
	s64 r = sys3(f->nr, fd, f->args[1], f->args[2]);
	if (r == 0)
		for (u32 i = 0; i < length && i < room; i++)
			((volatile u8 *)f->args[1])[i] = name[i];
	f->nr = r;
	return DONE;
}
