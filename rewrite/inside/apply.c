// Rewriting text by a plan of package rewrite/plan.
#include "inside.h"

enum { REACH = // of the branch to a stub, less some room
#if defined(__x86_64__)
	       0x78000000
#else
	       0x07000000
#endif
};

static u64 up(u64 n) { return (n + globals.page - 1) & -globals.page; }
static u64 down(u64 n) { return n & -globals.page; }

// near maps memory for stubs so close to text that branches reach it: below, else above.
static u64 near(u64 low, u64 high, u64 size)
{
	enum { STEP = 0x40000 };
	for (u64 away = 0; away < REACH - (high - low); away += STEP) {
		u64 tries[2] = {low - size - away, high + away};
		for (int i = 0; i < 2; i++) {
			if (i == 0 && low < size + away + 0x10000)
				continue;
			s64 r = sys6(SYS_mmap, tries[i], size, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED_NOREPLACE, -1, 0);
			if (r == (s64)tries[i])
				return r;
			if (r > 0) // a kernel before 4.17 takes the address for a hint
				sys2(SYS_munmap, r, size);
		}
	}
	return 0;
}

static void put32(u64 at, u32 v)
{
	for (int i = 0; i < 4; i++)
		((u8 *)at)[i] = v >> 8 * i;
}

static void relocate(const struct plan_reloc *r, u64 stubs, u64 bias)
{
	u64 at = stubs + r->offset;
	s64 distance = bias + r->target - (stubs + r->end);
	if (r->kind == REL32)
		put32(at, distance);
	else
		put32(at, (*(u32 *)at & 0xfc000000) | (distance >> 2 & 0x3ffffff));
}

// branch puts the branch to a stub in place of a site.
static void branch(u64 at, u32 len, u64 stub)
{
#if defined(__x86_64__)
	*(u8 *)at = 0xe9;
	put32(at + 1, stub - (at + 5));
	for (u32 i = 5; i < len; i++)
		((u8 *)at)[i] = 0xcc;
#else
	(void)len;
	put32(at, 0x14000000 | ((stub - at) >> 2 & 0x3ffffff));
#endif
}

void flush(u64 from, u64 to)
{
#if defined(__aarch64__)
	for (u64 a = from & ~15ull; a < to; a += 16)
		__asm__ volatile("dc cvau, %0\n dsb ish\n ic ivau, %0" ::"r"(a) : "memory");
	__asm__ volatile("dsb ish\n isb" ::: "memory");
#else
	(void)from, (void)to;
#endif
}

// apply rewrites what is mapped at addr from offset of the file on. The text has to be writable
// meanwhile.
s64 apply(const struct plan_head *p, u64 addr, u64 offset, u64 length)
{
	const struct plan_segment *segments = (void *)(p + 1);
	const struct plan_site *sites = (void *)(segments + p->segments);
	const struct plan_reloc *relocs = (void *)(sites + p->sites);
	const u8 *code = (void *)(relocs + p->relocs);
	u64 stubs = 0, size = up(p->code);
	for (u32 i = 0; i < p->segments; i++) {
		const struct plan_segment *g = &segments[i];
		u64 from = g->offset > offset ? g->offset : offset;
		u64 to = g->offset + g->size < offset + length ? g->offset + g->size : offset + length;
		if (from >= to)
			continue;
		u64 bias = addr + (from - offset) - (g->addr + (from - g->offset));
		u64 low = g->addr + (from - g->offset), high = g->addr + (to - g->offset);
		for (u32 k = 0; k < p->sites; k++) {
			const struct plan_site *s = &sites[k];
			if (s->addr < low || s->addr + s->len > high)
				continue;
			if (!stubs) {
				stubs = near(down(addr), up(addr + length), size);
				if (!stubs)
					return -ENOMEM;
				for (u64 b = 0; b < p->code; b++)
					((u8 *)stubs)[b] = code[b];
				((u64 *)stubs)[0] = (u64)globals.shared->table;
				((u64 *)stubs)[1] = (u64)hook_entry;
				for (u32 n = 0; n < p->relocs; n++)
					relocate(&relocs[n], stubs, bias);
			}
			branch(bias + s->addr, s->len, stubs + s->stub);
			flush(bias + s->addr, bias + s->addr + s->len);
		}
	}
	if (!stubs)
		return 0;
	flush(stubs, stubs + p->code);
	return sys3(SYS_mprotect, stubs, size, PROT_READ | PROT_EXEC);
}
