// The start of a process: what the kernel has executed is this; it maps what the supervisor names
// as the kernel would have, rewrites it, and goes there.
#include "inside.h"

void enter(u64 sp, u64 entry) __attribute__((noreturn));

enum { // elf.h
	AT_PHDR = 3, AT_PHENT = 4, AT_PHNUM = 5, AT_PAGESZ = 6, AT_BASE = 7, AT_ENTRY = 9, AT_RANDOM = 25, AT_EXECFN = 31,
	PHENT = 56,
};

static u64 up(u64 n) { return (n + globals.page - 1) & -globals.page; }
static u64 down(u64 n) { return n & -globals.page; }

static u64 length(const char *s)
{
	u64 n = 0;
	while (s[n])
		n++;
	return n;
}

static void say(const char *s) { sys3(SYS_write, 2, s, length(s)); }

__attribute__((noreturn)) static void die(const char *why)
{
	say("boxer: start of a program: ");
	say(why);
	say("\n");
	for (;;)
		sys1(SYS_exit_group, 125);
}

// memset is for the compiler, which may call it.
void *memset(void *to, int c, size_t n)
{
	for (volatile u8 *p = to; n--; p++)
		*p = c;
	return to;
}

void *memcpy(void *restrict to, const void *restrict from, size_t n)
{
	for (size_t i = 0; i < n; i++)
		((volatile u8 *)to)[i] = ((const u8 *)from)[i];
	return to;
}

// segments maps what a file has. It returns an errno below 0.
static s64 segments(const struct image *m, int fd, u64 bias)
{
	for (u32 i = 0; i < m->n; i++) {
		u64 a = bias + m->segments[i].addr, filesz = m->segments[i].filesz, memsz = m->segments[i].memsz;
		u64 from = down(a), file = filesz ? up(a + filesz) : from, end = up(a + memsz);
		s64 prot = m->segments[i].prot, r;
		if (filesz) {
			r = sys6(SYS_mmap, from, a + filesz - from, prot, MAP_PRIVATE | MAP_FIXED, fd, down(m->segments[i].offset));
			if (r < 0)
				return r;
		}
		if (memsz > filesz && filesz && prot & PROT_WRITE)
			memset((void *)(a + filesz), 0, (end < file ? end : file) - (a + filesz));
		if (end > file) {
			r = sys6(SYS_mmap, file, end - file, prot, MAP_PRIVATE | MAP_FIXED | MAP_ANONYMOUS, -1, 0);
			if (r < 0)
				return r;
		}
	}
	return 0;
}

// map maps a file and rewrites it. It returns the distance to the addresses of the file.
static u64 map(const struct image *m, int fd, int plan, u64 hint)
{
	u64 low = down(m->low), span = up(m->high) - low, align = m->align > globals.page ? m->align : 0, bias = 0;
	s64 r;
	if (m->dynamic) {
		r = sys6(SYS_mmap, hint, span + align, 0, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
		if (r < 0 && r > -4096)
			die("no room for it");
		bias = r - low;
		if (align) { // give back what is around
			u64 at = (r + align - 1) & -align;
			if (at > (u64)r)
				sys2(SYS_munmap, r, at - r);
			sys2(SYS_munmap, at + span, r + align - at);
			bias = at - low;
		}
	} else {
		r = sys6(SYS_mmap, low, span, 0, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE | MAP_FIXED_NOREPLACE, -1, 0);
		if (r != (s64)low)
			die("its address is taken");
	}
	if (segments(m, fd, bias) < 0)
		die("it cannot be mapped");
	struct plan_head head;
	s64 p = sys6(SYS_mmap, 0, globals.page, PROT_READ, MAP_PRIVATE, plan, 0);
	if (p < 0 && p > -4096)
		die("no room for its plan");
	head = *(struct plan_head *)p;
	sys2(SYS_munmap, p, globals.page);
	u64 size = sizeof head + head.segments * sizeof(struct plan_segment) + head.sites * sizeof(struct plan_site) +
		   head.relocs * sizeof(struct plan_reloc) + head.code;
	p = sys6(SYS_mmap, 0, size, PROT_READ, MAP_PRIVATE, plan, 0);
	sys1(SYS_close, plan);
	if (p < 0 && p > -4096)
		die("no room for its plan");
	for (u32 i = 0; head.sites && i < m->n; i++) {
		s64 prot = m->segments[i].prot;
		if (!(prot & PROT_EXEC) || !m->segments[i].filesz)
			continue;
		u64 a = bias + m->segments[i].addr, from = down(a), len = up(a + m->segments[i].filesz) - from;
		if (sys3(SYS_mprotect, from, len, PROT_READ | PROT_WRITE) < 0)
			die("its text cannot be made writable");
		if (apply((void *)p, from, down(m->segments[i].offset), len) < 0)
			die("no room for stubs");
		sys3(SYS_mprotect, from, len, prot);
	}
	sys2(SYS_munmap, p, size);
	return bias;
}

static u64 *auxv(u64 *sp, u64 type)
{
	u64 *p = sp + 1 + sp[0] + 1;
	while (*p)
		p++;
	for (p++; p[0]; p += 2)
		if (p[0] == type)
			return &p[1];
	return 0;
}

static void set(u64 *sp, u64 type, u64 v)
{
	u64 *p = auxv(sp, type);
	if (p)
		*p = v;
}

static char *copied(char *to, const char *s)
{
	do
		*to++ = *s;
	while (*s++);
	return to;
}

// with_arguments builds what a program finds at its start, with other first arguments: of
// an interpreter (execve(2), "Interpreter scripts"). The strings of the arguments go to text, since
// /proc/PID/cmdline wants them one behind the other.
static u64 *with_arguments(u64 *to, char *text, const u64 *sp, const struct load *l)
{
	u64 skip = l->keep_arg0 || !sp[0] ? 0 : 1;
	u64 *p = to;
	*p++ = l->nargs + sp[0] - skip;
	const char *s = l->text + l->args;
	for (u32 i = 0; i < l->nargs; i++, s += length(s) + 1) {
		*p++ = (u64)text;
		text = copied(text, s);
	}
	const u64 *q = sp + 1 + skip;
	for (; *q; q++) {
		*p++ = (u64)text;
		text = copied(text, (char *)*q);
	}
	*p++ = *q++;
	while (*q)
		*p++ = *q++;
	*p++ = *q++;
	for (; *q; q += 2, p += 2)
		p[0] = q[0], p[1] = q[1];
	p[0] = p[1] = 0;
	return to;
}

// text_of returns the length of the strings of all arguments.
static u64 text_of(const u64 *sp, const struct load *l)
{
	u64 n = l->length;
	for (const u64 *p = sp + 1; *p; p++)
		n += length((char *)*p) + 1;
	return n;
}

static u64 words(const u64 *sp)
{
	const u64 *p = sp + 1 + sp[0] + 1;
	while (*p)
		p++;
	for (p++; *p; p += 2)
		;
	return p + 2 - sp;
}

// leave_file puts copies in the place of what is mapped of the loader's file. The kernel lets no process
// change its /proc/PID/exe while something of the old one is mapped.
static s64 leave_file(void)
{
	extern const u8 __ehdr_start[];
	u64 base = (u64)__ehdr_start;
	const struct {
		u32 type, flags;
		u64 offset, addr, phys, filesz, memsz, align;
	} *h = (void *)(base + *(u64 *)(base + 32)); // e_phoff
	for (u32 i = *(u16 *)(base + 56); i--; h++) { // e_phnum
		if (h->type != 1) // PT_LOAD
			continue;
		u64 from = down(base + h->addr), len = up(base + h->addr + h->memsz) - from;
		s64 to = sys6(SYS_mmap, 0, len, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
		if (to < 0 && to > -4096)
			return to;
		for (u64 k = 0; k < len / 8; k++)
			((u64 *)to)[k] = ((u64 *)from)[k];
		flush(to, to + len);
		s64 r = 0;
		if (h->flags & 1) // PF_X
			r = sys3(SYS_mprotect, to, len, PROT_READ | PROT_EXEC);
		if (r >= 0)
			r = sys5(SYS_mremap, to, len, len, MREMAP_MAYMOVE | MREMAP_FIXED, from);
		if (r < 0 && r > -4096)
			return r;
	}
	return 0;
}

// describe_memory tells the kernel what is where, for /proc/PID/auxv, cmdline and stat: debuggers
// find a program by these (PR_SET_MM_MAP of prctl(2)). That takes no privilege, and may fail. Who has CAP_CHECKPOINT_RESTORE
// or CAP_SYS_ADMIN may also say what /proc/PID/exe is.
static void describe_memory(u64 *sp, const struct image *m, u64 bias, int exe)
{
	struct {
		u64 start_code, end_code, start_data, end_data, start_brk, brk, start_stack, arg_start, arg_end, env_start, env_end;
		u64 *auxv;
		u32 auxv_size, exe_fd;
	} map = {.exe_fd = -1, .start_stack = (u64)sp};
	for (u32 i = 0; i < m->n; i++) {
		u64 a = bias + m->segments[i].addr, end = a + m->segments[i].filesz;
		if (m->segments[i].prot & PROT_EXEC) {
			map.start_code = a;
			map.end_code = end;
		} else {
			map.start_data = a; // the last one
			map.end_data = end;
		}
	}
	map.start_brk = map.brk = sys1(SYS_brk, 0);
	u64 *p = sp + 1;
	if (*p)
		map.arg_start = *p;
	for (; *p; p++)
		map.arg_end = *p + length((char *)*p) + 1;
	if (*++p)
		map.env_start = *p;
	for (; *p; p++)
		map.env_end = *p + length((char *)*p) + 1;
	map.auxv = p + 1;
	for (p++; *p; p += 2)
		;
	map.auxv_size = (char *)(p + 2) - (char *)map.auxv;
	if (!map.arg_start) // there are none
		map.arg_start = map.arg_end = map.env_start ? map.env_start : (u64)sp;
	if (!map.env_start)
		map.env_start = map.env_end = map.arg_end;
	if (sys5(SYS_prctl, PR_SET_MM, PR_SET_MM_MAP, &map, sizeof map, 0) < 0)
		return;
	map.exe_fd = exe;
	if (sys5(SYS_prctl, PR_SET_MM, PR_SET_MM_MAP, &map, sizeof map, 0) == -EBUSY && leave_file() == 0)
		sys5(SYS_prctl, PR_SET_MM, PR_SET_MM_MAP, &map, sizeof map, 0);
}

static struct load l;
static struct exchange x;
static int fds[5];

__attribute__((used, noreturn)) void start(u64 *sp)
{
	u64 *page = auxv(sp, AT_PAGESZ);
	globals.page = page ? *page : 4096;
	s64 sock = control_open();
	if (sock < 0)
		die("the supervisor cannot be reached");
	x.request = (struct request){.kind = HELLO, .tid = sys0(SYS_gettid)};
	if (control_send(sock, &x, -1, 0, 0) < 0 || control_receive(sock, &x, &l, sizeof l, fds, 5, MSG_CMSG_CLOEXEC) < 0)
		die("the supervisor has not answered");
	sys1(SYS_close, sock);
	if (fds[2] < 0 || (l.interpreted && fds[4] < 0))
		die("too many files are open");
	s64 r = sys6(SYS_mmap, 0, sizeof *globals.shared, PROT_READ | PROT_WRITE, MAP_SHARED, fds[0], 0);
	if (r < 0 && r > -4096)
		die("no room for shared memory");
	globals.shared = (void *)r;
	if (globals.shared->logs) {
		r = sys6(SYS_mmap, 0, SLOTS * sizeof(struct log), PROT_READ | PROT_WRITE, MAP_SHARED | MAP_NORESERVE, fds[0], sizeof(struct shared));
		if (r < 0 && r > -4096)
			die("no room for logs");
		globals.logs = (void *)r;
	}
	sys1(SYS_close, fds[0]);
	for (const char *s = l.text + l.exe; s[globals.exe_length]; globals.exe_length++)
		globals.exe[globals.exe_length] = s[globals.exe_length];

	u64 *random = auxv(sp, AT_RANDOM);
	// As the kernel: two thirds into the address space, and as many random bits. The heap is
	// below, and may grow.
	u64 hint = 0;
	if (random) {
		u64 bits = *(u64 *)*random >> 13;
#if defined(__x86_64__)
		hint = 0x556000000000 + ((bits & 0xfffffff) << 12);
#else
		hint = 0xaab000000000 + ((bits & 0xffffff) << 12);
#endif
	}
	u64 bias = map(&l.program, fds[1], fds[2], hint), entry = bias + l.program.entry, base = 0;
	if (l.interpreted) {
		base = map(&l.interpreter, fds[3], fds[4], 0);
		sys1(SYS_close, fds[3]);
		entry = base + l.interpreter.entry;
		base += l.interpreter.low;
	}
	set(sp, AT_PHDR, bias + l.program.headers);
	set(sp, AT_PHENT, PHENT);
	set(sp, AT_PHNUM, l.program.nheaders);
	set(sp, AT_BASE, base);
	set(sp, AT_ENTRY, bias + l.program.entry);
	set(sp, AT_EXECFN, (u64)l.text + l.path);
	const char *name = l.text + l.path;
	for (const char *s = name; *s; s++)
		if (*s == '/')
			name = s + 1;
	sys2(SYS_prctl, PR_SET_NAME, name);
	if (l.nargs) {
		u64 n = words(sp) + l.nargs + 2;
		char *text = __builtin_alloca(text_of(sp, &l));
		u64 *to = __builtin_alloca(8 * n + 64);
		sp = with_arguments((u64 *)(((u64)to + 15) & ~15ull), text, sp, &l);
	}
	describe_memory(sp, &l.program, bias, fds[1]);
	sys1(SYS_close, fds[1]);
	enter((u64)sp, entry);
}
