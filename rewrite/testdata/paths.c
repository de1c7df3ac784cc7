// paths opens files by names that lie at the end of memory, or beyond it, and prints the
// errno of each. The test's rule fails those of folders "net" of /proc with ENOTUNIQ.
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <unistd.h>

static void try(const char *name, const char *path, int flags)
{
	long fd = syscall(SYS_openat, AT_FDCWD, path, flags);
	printf("%s: %s\n", name, fd < 0 ? strerrorname_np(errno) : "opened");
	if (fd >= 0)
		close(fd);
}

int main(void)
{
	long page = sysconf(_SC_PAGESIZE);
	char *mem = mmap(0, 3 * page, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	char *end = mem + 2 * page;
	mprotect(end, page, PROT_NONE);
	static const char *paths[] = {"/proc/self/net/dev", "/proc/net/dev", "/proc/1/task/1/net/arp",
		"/proc/self/status", "/proc/self/network/", "/proc", "/proc/", "/dev/null", "/", ""};
	for (size_t i = 0; i < sizeof paths / sizeof *paths; i++) {
		size_t n = strlen(paths[i]) + 1;
		try(paths[i], memcpy(end - n, paths[i], n), O_RDONLY | O_CLOEXEC);
		char *across = mem + page - n / 2;
		memcpy(across, paths[i], n);
		try("across pages", across, O_RDONLY);
	}
	memcpy(end - 14, "/proc/self/net", 14);
	try("no end", end - 14, O_RDONLY);
	memcpy(end - 15, "/proc/self/net/", 15);
	try("no end after net/", end - 15, O_RDONLY);
	try("no memory", end, O_RDONLY);
	try("null", 0, O_RDONLY);
	try("high", (char *)-8, O_RDONLY);
	memcpy(mem, "/proc/self/net/dev", 19);
	try("written", mem, O_WRONLY);
	return 0;
}
