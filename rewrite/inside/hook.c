// What a stub asks: whose is this call? And the way to the supervisor and back.
#include "inside.h"

struct globals globals;
__attribute__((section(".data"))) struct config config = {.magic = "boxer's config!"};

// readable reports whether 8 bytes of memory can be read: the kernel copies a set of signals before it
// looks at what to do with it.
int readable(u64 addr) { return sys4(SYS_rt_sigprocmask, -1, addr, 0, 8) == -EINVAL; }

// names_net reports whether a path may name a file of a folder "net" of /proc. All such paths are longer than
// the 8 bytes that are tried first, and shorter than PATH_ROOM. Beyond them, memory may end where a page does.
static int names_net(u64 path)
{
	enum { PATH_ROOM = 64 };
	const char *proc = "/proc";
	if (!readable(path))
		return 0;
	for (u64 i = 0; proc[i]; i++)
		if (((const char *)path)[i] != proc[i])
			return 0;
	u64 last = 0; // the last five characters
	for (u64 at = path + 5; at < path + PATH_ROOM; at++) {
		if (at % 4096 == 0 && !readable(at))
			return 0;
		u8 c = *(const u8 *)at;
		last = (last << 8 | c) & 0xffffffffff;
		if (last == 0x2f6e65742f) // "/net/"
			return 1;
		if (!c)
			return 0;
	}
	return 0;
}

static int holds(const struct condition *c, const u64 *args)
{
	u64 v = args[c->arg];
	switch (c->op) {
	case PROC_NET:
		return names_net(v);
	case NOT_EQUAL:
		return v != c->value;
	case AT_LEAST:
		return v >= c->value;
	}
	return (v & c->mask) == c->value;
}

static u32 load(u32 *p) { return __atomic_load_n(p, __ATOMIC_ACQUIRE); }

static int change(u32 *p, u32 from, u32 to)
{
	return __atomic_compare_exchange_n(p, &from, to, 0, __ATOMIC_ACQ_REL, __ATOMIC_ACQUIRE);
}

static int take(struct slot *s, u32 old, u32 tid)
{
	return __atomic_compare_exchange_n(&s->tid, &old, tid, 0, __ATOMIC_ACQ_REL, __ATOMIC_ACQUIRE);
}

// renew ends what the thread that had the slot before has left there. Nobody waits for that.
static void renew(struct slot *s)
{
	for (;;) {
		u32 w = load(&s->word);
		if ((w & STATE) == ANSWERING)
			sys4(SYS_futex, &s->word, FUTEX_WAIT, w, 0);
		else if (change(&s->word, w, __atomic_add_fetch(&s->last, SEQUENCE, __ATOMIC_ACQ_REL) | IDLE))
			return;
	}
}

// slot_of finds a thread's slot. The search begins at a place that follows from the thread's number, and ends
// at a slot that nobody has had: slots are never given back. A new thread takes the first one whose thread has
// ended, so that the memory of few is in use. It returns 0 if there are more threads than slots.
struct slot *slot_of(u32 tid)
{
	struct slot *slots = globals.shared->slots;
	u32 at = (tid * 2654435761u >> 20) % STARTS, n = 0;
	for (; n < SLOTS; n++) {
		u32 old = __atomic_load_n(&slots[(at + n) % SLOTS].tid, __ATOMIC_ACQUIRE);
		if (old == tid)
			return &slots[(at + n) % SLOTS];
		if (old == 0)
			break;
	}
	for (u32 i = 0; i < SLOTS; i++) {
		struct slot *s = &slots[(at + i) % SLOTS];
		u32 old = __atomic_load_n(&s->tid, __ATOMIC_ACQUIRE);
		if ((old == 0 || sys2(SYS_tkill, old, 0) == -ESRCH) && take(s, old, tid)) {
			renew(s);
			return s;
		}
	}
	return 0;
}

// ring tells the supervisor to look at a slot.
void ring(struct slot *s)
{
	struct shared *sh = globals.shared;
	u64 i = s - sh->slots;
	__atomic_fetch_or(&sh->pending[i / 64], 1ull << i % 64, __ATOMIC_ACQ_REL);
	__atomic_fetch_add(&sh->doorbell, 1, __ATOMIC_SEQ_CST);
	if (load(&sh->asleep))
		sys3(SYS_futex, &sh->doorbell, FUTEX_WAKE, 1);
}

// settled waits until nobody else changes the slot's word. It returns the word.
static u32 settled(struct slot *s)
{
	for (;;) {
		u32 w = load(&s->word);
		switch (w & STATE) {
		case ANSWERING:
			sys4(SYS_futex, &s->word, FUTEX_WAIT, w, 0);
			break;
		case OPERATE:
			operate(s, w);
			break;
		default:
			return w;
		}
	}
}

// ask lets the supervisor answer the call. A signal handler may interrupt it anywhere, make calls
// itself, and never come back.
static int ask(struct frame *f)
{
	struct slot *s = slot_of(sys0(SYS_gettid));
	if (!s) {
		f->nr = -EAGAIN;
		return DONE;
	}
	// A call that the handler has interrupted, and whose answer is there already.
	u32 before = settled(s);
	s64 result = s->result;
	u32 flags = s->flags;
	u64 from = s->args[FROM], inode = s->args[INODE], cell = s->args[CELL];
	int r = DONE;
	for (;;) {
		u32 seq = __atomic_add_fetch(&s->last, SEQUENCE, __ATOMIC_ACQ_REL);
		__atomic_store_n(&s->word, seq | WRITING, __ATOMIC_RELEASE);
		s->self = (u64)s;
		s->nr = f->nr;
		for (int i = 0; i < 6; i++)
			s->args[i] = f->args[i];
		if (!change(&s->word, seq | WRITING, seq | PENDING))
			continue; // a handler had the slot meanwhile
		ring(s);
		u32 w;
		s64 waited = 0;
	wait:
		while ((w = load(&s->word)) == (seq | PENDING) || w == (seq | ANSWERING)) {
			if (waited == -EINTR && change(&s->word, seq | PENDING, seq | IDLE))
				break;
			// FUTEX_WAIT restarts after a handler with SA_RESTART, as the calls do that boxer takes.
			waited = sys4(SYS_futex, &s->word, FUTEX_WAIT, w, 0);
		}
		if (w == (seq | PENDING)) {
			f->nr = -EINTR;
			break;
		}
		if (w == (seq | RETURN)) {
			s64 v = s->result;
			if (load(&s->word) != w)
				continue; // cannot be: a handler puts back what it finds
			f->nr = v;
			break;
		}
		if (w == (seq | CONTINUE)) {
			r = PASS;
			break;
		}
		if (w == (seq | OPERATE)) {
			operate(s, w);
			goto wait;
		}
		if (w == (seq | RECEIVE)) {
			s64 v = receive(s, w);
			if (v < 0)
				goto wait; // for what the supervisor makes of that
			f->nr = v;
			break;
		}
	}
	u32 state = before & STATE;
	if (state == RETURN || state == CONTINUE || state == RECEIVE) {
		s->result = result;
		s->flags = flags;
		s->args[FROM] = from;
		s->args[INODE] = inode;
		s->args[CELL] = cell;
		__atomic_store_n(&s->word, before, __ATOMIC_RELEASE);
	} else {
		__atomic_store_n(&s->word, s->last | IDLE, __ATOMIC_RELEASE);
	}
	return r;
}

// ruled does a call that the rules say is the supervisor's.
static int ruled(struct frame *f)
{
	struct shared *sh = globals.shared;
	u32 at = sh->index[f->nr].first;
	for (u32 end = at + sh->index[f->nr].n; at < end; at++) {
		const struct rule *r = &sh->rules[at];
		u32 i = 0;
		while (i < r->n && holds(&r->conditions[i], f->args))
			i++;
		if (i < r->n)
			continue;
		if (!r->error || (r->error == LOG && !logged(f)))
			return ask(f);
		if (r->error == LOG)
			return DONE;
		f->nr = -(s64)r->error;
		return DONE;
	}
	return PASS;
}

int hook(struct frame *f)
{
	if (f->nr >= CALLS)
		return PASS;
	u8 what = globals.shared->table[f->nr];
	if (what & NAMES && mechanism(f) == DONE)
		return DONE;
	if (what & HAS_RULES && ruled(f) == DONE)
		return DONE;
	return what & MECHANISM ? mechanism(f) : PASS;
}
