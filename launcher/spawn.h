#include <stddef.h>
#include <stdint.h>

// boxer_spawn starts path as a new process and returns its pid, or -1 with the reason
// in errno. The signals of mask are blocked in it (bit n-1 is signal n), those that
// are ignored here stay ignored, and RLIMIT_NOFILE is what this process was started
// with. Before the exec the child writes its own pid, as digits, to each of the count
// places in own: parts of envp, of BOXER_PID_ROOM bytes each.
int boxer_spawn(const char *path, char *const argv[], char *const envp[],
		char *const own[], size_t count, uint64_t mask);

// Room for a pid of 32 bits as digits and the final zero.
#define BOXER_PID_ROOM 12
