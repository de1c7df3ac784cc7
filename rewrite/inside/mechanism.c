// Calls that the interposer itself has to see: programs that are executed, text that is mapped,
// and the name of the program's own file.
#include "inside.h"

static int equal(const char *a, const char *b)
{
	while (*a && *a == *b)
		a++, b++;
	return *a == *b;
}

static u64 length(const char *s)
{
	u64 n = 0;
	while (s[n])
		n++;
	return n;
}

// blocked blocks all signals. Only then may the slot's buffers and its stack be used.
void blocked(struct slot *s)
{
	u64 all = ~0ull, old;
	sys4(SYS_rt_sigprocmask, SIG_SETMASK, &all, &old, 8);
	s->mask = old;
}

void unblocked(struct slot *s)
{
	u64 old = s->mask;
	sys4(SYS_rt_sigprocmask, SIG_SETMASK, &old, 0, 8);
}

// executable opens a file as execve would: it must be executable by the caller.
static s64 executable(s64 dir, const char *path, s64 flags)
{
	enum { O_NONBLOCK = 04000 };
	s64 how = O_CLOEXEC | O_NONBLOCK | (flags & AT_SYMLINK_NOFOLLOW ? O_NOFOLLOW : 0);
	s64 fd = flags & AT_EMPTY_PATH && path && !*path ? sys3(SYS_fcntl, dir, F_DUPFD_CLOEXEC, 0) : sys4(SYS_openat, dir, path, how, 0);
	if (fd < 0)
		return fd;
	s64 r = sys4(SYS_faccessat2, fd, "", X_OK, AT_EACCESS | AT_EMPTY_PATH);
	if (r == -ENOSYS || r == -EINVAL)
		r = flags & AT_EMPTY_PATH && !*path ? 0 : sys3(SYS_faccessat, dir, path, X_OK);
	if (r < 0) {
		sys1(SYS_close, fd);
		return r;
	}
	return fd;
}

// unreadable lets the supervisor say why a program does not start.
static void unreadable(struct exchange *x, const char *path)
{
	s64 sock = control_open();
	if (sock < 0)
		return;
	x->request = (struct request){.kind = UNREADABLE};
	control_send(sock, x, -1, path, length(path) + 1);
	sys1(SYS_close, sock);
}

// negotiate asks the supervisor whether a file may be executed, and opens for it what the file needs. It
// returns the descriptor of what to execute instead.
static s64 negotiate(struct slot *s, s64 dir, const char *path, s64 flags)
{
	struct exchange *x = (void *)s->scratch;
	s64 fd = executable(dir, path, flags);
	if (fd == -EACCES && sys3(SYS_faccessat, dir, path, X_OK) == 0)
		unreadable(x, path);
	if (fd < 0)
		return fd;
	s64 sock = control_open();
	s64 r = sock;
	struct verdict *v = (void *)sys6(SYS_mmap, 0, sizeof *v, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	if ((u64)v > -4096ul)
		r = (s64)v;
	int loader = -1;
	x->request = (struct request){.kind = EXECUTE, .tid = s->tid, .a = flags, .b = dir};
	const char *more = path;
	while (r >= 0) {
		r = control_send(sock, x, fd, more, more ? length(more) + 1 : 0);
		if (fd >= 0)
			sys1(SYS_close, fd);
		fd = -1;
		if (r < 0)
			break;
		r = control_receive(sock, x, v, sizeof *v, &loader, 1, MSG_CMSG_CLOEXEC);
		if (r < 0)
			break;
		r = v->error;
		if (r != OPEN)
			break;
		fd = executable(AT_FDCWD, v->path[0] ? v->path : globals.exe, 0);
		x->request = (struct request){.kind = OPENED, .tid = s->tid, .a = fd};
		more = v->path[0] ? 0 : globals.exe;
	}
	if (fd >= 0)
		sys1(SYS_close, fd);
	if (sock >= 0)
		sys1(SYS_close, sock);
	if ((u64)v <= -4096ul)
		sys2(SYS_munmap, v, sizeof *v);
	if (r == 0 && loader < 0)
		r = -24; // EMFILE: the kernel has dropped it
	return r < 0 ? r : loader;
}

// decimal writes a number and a zero, and returns where the zero is.
static char *decimal(char *to, u64 v)
{
	char digits[20];
	int k = 0;
	do
		digits[k++] = '0' + v % 10;
	while (v /= 10);
	while (k)
		*to++ = digits[--k];
	*to = 0;
	return to;
}

static s64 execute(struct slot *s, s64 dir, const char *path, u64 argv, u64 envp, s64 flags)
{
	s64 loader = negotiate(s, dir, path, flags);
	if (loader >= 0) {
		char by_name[40] = "/proc/self/fd/";
		decimal(by_name + 14, loader);
		unblocked(s); // the new program has the mask of the old one
		s64 r = sys5(SYS_execveat, loader, "", argv, envp, AT_EMPTY_PATH);
		if (r == -ENOENT) // of any descriptor, by Debian's Linux 5.10.0-32
			r = sys3(SYS_execve, by_name, argv, envp);
		sys1(SYS_close, loader);
		blocked(s);
		loader = r; // an errno
		struct exchange *x = (void *)s->scratch;
		s64 sock = control_open();
		if (sock >= 0) {
			x->request = (struct request){.kind = CANCEL, .tid = s->tid};
			control_send(sock, x, -1, 0, 0);
			sys1(SYS_close, sock);
		}
	}
	return loader;
}

// rewrite_mapping rewrites a mapping of a file. It stays as it is if the supervisor is not there.
s64 rewrite_mapping(struct slot *s, int fd, u64 addr, u64 len, u64 offset)
{
	struct exchange *x = (void *)s->scratch;
	s64 sock = control_open();
	if (sock < 0)
		return sock;
	x->request = (struct request){.kind = PLAN, .tid = s->tid};
	int plan = -1;
	s64 r = control_send(sock, x, fd, 0, 0);
	if (r >= 0)
		r = control_receive(sock, x, &x->request, sizeof x->request, &plan, 1, MSG_CMSG_CLOEXEC);
	sys1(SYS_close, sock);
	if (r < 0 || plan < 0)
		return r;
	u64 size = x->request.a, prot = x->request.b;
	s64 p = sys6(SYS_mmap, 0, size, PROT_READ, MAP_PRIVATE, plan, 0);
	sys1(SYS_close, plan);
	if (p < 0)
		return p;
	(void)prot;
	r = sys3(SYS_mprotect, addr, len, PROT_READ | PROT_WRITE);
	if (r >= 0)
		r = apply((void *)p, addr, offset, len);
	sys2(SYS_munmap, p, size);
	return r;
}

static int map(struct frame *f, struct slot *s)
{
	u64 prot = f->args[2], flags = f->args[3];
	s64 r = sys6(SYS_mmap, f->args[0], f->args[1], prot, flags, f->args[4], f->args[5]);
	f->nr = r;
	if (r < 0 && r > -4096)
		return DONE;
	u64 len = (f->args[1] + globals.page - 1) & -globals.page;
	rewrite_mapping(s, f->args[4], r, len, f->args[5]);
	sys3(SYS_mprotect, r, len, prot);
	return DONE;
}

// is_exe reports whether a path in the program's memory is the name of its own file.
static int is_exe(u64 path)
{
	char name[32];
	u64 here = 4096 - (path & 4095); // the name may end just before memory that is not there
	s64 n = copy((u64)name, path, here < sizeof name - 1 ? here : sizeof name - 1);
	int ended = 0;
	for (s64 i = 0; i < n; i++)
		ended |= !name[i];
	if (n > 0 && n < (s64)sizeof name - 1 && !ended) {
		s64 rest = copy((u64)name + n, path + n, sizeof name - 1 - n);
		n += rest > 0 ? rest : 0;
	}
	if (n <= 0)
		return 0;
	s64 pid = sys0(SYS_getpid);
	name[n] = 0;
	if (equal(name, "/proc/self/exe") || equal(name, "/proc/thread-self/exe"))
		return 1;
	char own[32] = "/proc/", *at = decimal(own + 6, pid);
	for (const char *e = "/exe"; (*at = *e); e++)
		at++;
	return equal(name, own);
}

static int link_of(struct frame *f, u64 path, u64 to, s64 size)
{
	if (size <= 0 || !is_exe(path))
		return PASS;
	u64 n = (u64)size < globals.exe_length ? (u64)size : globals.exe_length;
	f->nr = copy(to, (u64)globals.exe, n);
	return DONE;
}

// with_stack does a call with signals blocked, on the slot's own stack.
static s64 with_stack(void *arg, struct slot *s)
{
	struct frame *f = arg;
	u64 *a = f->args;
	switch ((s64)f->nr) {
	case SYS_execve:
		f->nr = execute(s, AT_FDCWD, (const char *)a[0], a[1], a[2], 0);
		return DONE;
	case SYS_execveat:
		f->nr = execute(s, (int)a[0], (const char *)a[1], a[2], a[3], (int)a[4]);
		return DONE;
	case SYS_mmap:
		return map(f, s);
	case SYS_readlink:
		return link_of(f, a[0], a[1], (int)a[2]);
	case SYS_readlinkat:
		return link_of(f, a[1], a[2], (int)a[3]);
	case SYS_getsockname:
	case SYS_getpeername:
		return name_of(f, s);
	}
	return PASS;
}

int mechanism(struct frame *f)
{
	if (f->nr == SYS_mmap && (!(f->args[2] & PROT_EXEC) || (f->args[3] & (MAP_ANONYMOUS | 3)) != MAP_PRIVATE))
		return PASS;
	struct slot *s = slot_of(sys0(SYS_gettid));
	if (!s) {
		f->nr = -EAGAIN;
		return DONE;
	}
	blocked(s);
	int r = on_stack(s->stack + sizeof s->stack, with_stack, f, s);
	unblocked(s);
	return r;
}
