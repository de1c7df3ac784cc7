// Calls that are only traced: the kernel does them, and the supervisor reads later what they were.
#include "inside.h"

enum { MOST = sizeof(struct logged) + 4 * (sizeof(struct logged_piece) + 1024 + 8) };

static u64 now(void)
{
	s64 t[2];
	sys2(SYS_clock_gettime, CLOCK_MONOTONIC, t);
	return t[0] * 1000000000 + t[1];
}

// room reports whether the log has room for two calls. The end of the data may be skipped.
static int room(const struct log *l)
{
	return sizeof l->data - (l->head - __atomic_load_n(&l->tail, __ATOMIC_ACQUIRE)) >= 2 * MOST;
}

// own_stack reports whether a call changes the mapping of the stack that it is made on: then nothing may
// return here.
static int own_stack(const struct frame *f)
{
	u64 here = (u64)f, from = f->args[0] & -globals.page;
	switch ((s64)f->nr) {
	case SYS_mmap:
	case SYS_munmap:
	case SYS_mprotect:
	case SYS_mremap:
		return here >= from - 0x10000 && here < from + f->args[1] + 0x10000;
	}
	return 0;
}

// text copies a string with its zero, page by page. It returns its length, or 0 if it cannot be read.
static u32 text(u64 to, u64 from)
{
	u32 n = 0;
	while (n < STRING_ROOM) {
		u64 step = 4096 - (from + n) % 4096;
		if (step > STRING_ROOM - n)
			step = STRING_ROOM - n;
		if (copy(to + n, from + n, step) != (s64)step)
			break;
		for (u64 end = n + step; n < end; n++)
			if (!((u8 *)to)[n])
				return n + 1;
	}
	return n;
}

// capture stores the memory that an argument points to behind the entry, at p. It returns the length.
static u64 capture(const struct logged *e, u32 what, u8 *at)
{
	struct logged_piece *p = (void *)at;
	u32 arg = what & CAPTURE_ARG, payload = globals.shared->payload;
	u64 n = 0, to = (u64)(p + 1);
	p->addr = e->args[arg];
	p->after = 0;
	if (!p->addr)
		return 0;
	switch (what & CAPTURE_KIND) {
	case STRING:
		n = text(to, p->addr);
		break;
	case SENT:
		n = e->args[arg + 1] < payload ? e->args[arg + 1] : payload;
		break;
	case RECEIVED:
		n = e->result < 0 ? 0 : (u64)e->result < payload ? (u64)e->result : payload;
		n = n < e->args[arg + 1] ? n : e->args[arg + 1];
		p->after = 1;
		break;
	case TIME:
		n = 16;
		break;
	}
	if (!n || ((what & CAPTURE_KIND) != STRING && copy(to, p->addr, n) != (s64)n))
		return 0;
	p->length = n;
	return sizeof *p + ((n + 7) & ~7ull);
}

struct done {
	struct frame *f;
	s64 result;
	u64 begin;
};

// write appends an entry, with signals blocked, on the slot's stack.
static s64 write(void *arg, struct slot *s)
{
	const struct done *d = arg;
	struct log *l = &globals.logs[s - globals.shared->slots];
	u64 at = l->head % sizeof l->data, left = sizeof l->data - at, head = l->head;
	if (!room(l)) // a signal handler has filled it
		return 0;
	if (left < MOST) {
		*(struct logged *)&l->data[at] = (struct logged){.size = left};
		head += left;
		at = 0;
	}
	struct logged *e = (void *)&l->data[at];
	*e = (struct logged){.tid = s->tid, .nr = d->f->nr, .result = d->result, .begin = d->begin, .end = now()};
	for (int i = 0; i < 6; i++)
		e->args[i] = d->f->args[i];
	u64 size = sizeof *e;
	for (u32 all = globals.shared->captures[e->nr]; all; all >>= 8) {
		u64 n = capture(e, all & 0xff, (u8 *)e + size);
		e->pieces += n > 0;
		size += n;
	}
	e->size = size;
	__atomic_store_n(&l->head, head + size, __ATOMIC_RELEASE);
	u64 i = s - globals.shared->slots, *bits = &globals.shared->logging[i / 64];
	if (!(__atomic_load_n(bits, __ATOMIC_RELAXED) >> i % 64 & 1))
		__atomic_fetch_or(bits, 1ull << i % 64, __ATOMIC_RELEASE);
	if (l->head - l->tail > sizeof l->data / 2)
		ring(s);
	return 0;
}

// wait_for_room waits until the supervisor has read the log, but not for long.
static int wait_for_room(struct slot *s, struct log *l)
{
	for (int i = 0; i < 100 && !room(l); i++) {
		s64 t[2] = {0, 200000};
		u32 *tail = (u32 *)&l->tail;
		u32 now = *tail;
		ring(s);
		if (!room(l))
			sys4(SYS_futex, tail, FUTEX_WAIT, now, t);
	}
	return room(l);
}

// logged does a call and logs it. It returns 0 if the supervisor has to be asked instead.
int logged(struct frame *f)
{
	struct slot *s = slot_of(sys0(SYS_gettid));
	if (!s || !globals.logs || own_stack(f))
		return 0;
	struct log *l = &globals.logs[s - globals.shared->slots];
	if (!room(l) && !wait_for_room(s, l))
		return 0;
	struct done d = {.f = f, .begin = now()};
	l->nr = f->nr;
	for (int i = 0; i < 6; i++)
		l->args[i] = f->args[i];
	__atomic_store_n(&l->since, d.begin, __ATOMIC_RELEASE);
	u64 nr = f->nr;
	if (!(globals.shared->table[nr] & MECHANISM) || mechanism(f) == PASS)
		f->nr = sys6(nr, f->args[0], f->args[1], f->args[2], f->args[3], f->args[4], f->args[5]);
	d.result = f->nr;
	f->nr = nr;
	__atomic_store_n(&l->since, 0, __ATOMIC_RELEASE);
	blocked(s);
	on_stack(s->stack + sizeof s->stack, write, &d, s);
	unblocked(s);
	f->nr = d.result;
	return 1;
}
