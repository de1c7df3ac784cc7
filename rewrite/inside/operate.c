// What the program does for the supervisor where that may not look into it: its memory is read and
// written, and its descriptors are sent, by itself.
#include "inside.h"

// there reports whether memory is mapped. It does not tell whether that may be read.
static int there(u64 addr, u64 n)
{
	u8 in[1];
	for (u64 p = addr & -globals.page; p < addr + n; p += globals.page)
		if (sys3(SYS_mincore, p, globals.page, in) == -ENOMEM)
			return 0;
	return 1;
}

// copy copies memory of the program's, of which one end may not be there: EFAULT instead of a crash.
// Where process_vm_readv(2) is refused, a part that is mapped has to be accessible.
s64 copy(u64 to, u64 from, u64 n)
{
	u64 local[2] = {to, n}, remote[2] = {from, n};
	s64 r = sys6(SYS_process_vm_readv, sys0(SYS_getpid), (s64)local, 1, (s64)remote, 1, 0);
	if (r != -ENOSYS && r != -1 /* EPERM */)
		return r;
	if (!there(from, n) || !there(to, n))
		return -EFAULT;
	for (u64 i = 0; i < n; i++)
		((u8 *)to)[i] = ((u8 *)from)[i];
	return n;
}

static s64 all(s64 r, u64 n) { return r >= 0 && (u64)r != n ? -EFAULT : r; }

static s64 send_fd(struct slot *s, u32 word)
{
	struct exchange *x = (void *)s->scratch;
	s64 sock = control_open();
	if (sock < 0)
		return sock;
	x->request = (struct request){.kind = COPY, .tid = s->tid, .a = word};
	s64 r = control_send(sock, x, s->args[ADDRESS], 0, 0);
	if (r >= 0) // until the supervisor has it
		r = control_receive(sock, x, &x->request, sizeof x->request, 0, 0, 0);
	sys1(SYS_close, sock);
	return r;
}

static s64 operation(void *arg, struct slot *s)
{
	u64 n = s->args[LENGTH] < sizeof s->data ? s->args[LENGTH] : sizeof s->data;
	switch (s->args[OPERATION]) {
	case READ_MEMORY:
		return all(copy((u64)s->data, s->args[ADDRESS], n), n);
	case WRITE_MEMORY:
		return all(copy(s->args[ADDRESS], (u64)s->data, n), n);
	case SEND_FD:
		return send_fd(s, (u64)arg);
	}
	return -ENOSYS;
}

// operate does what the word asks for, unless a signal handler of this thread has done it meanwhile.
void operate(struct slot *s, u32 word)
{
	blocked(s);
	if (__atomic_load_n(&s->word, __ATOMIC_ACQUIRE) == word) {
		s->result = on_stack(s->stack + sizeof s->stack, operation, (void *)(u64)word, s);
		__atomic_store_n(&s->word, (word & ~(u32)STATE) | ANSWERING, __ATOMIC_RELEASE);
		ring(s);
	}
	unblocked(s);
}
