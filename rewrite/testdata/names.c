// names: what getsockname(2) answers, first of a socket that the supervisor does not know.
#include <arpa/inet.h>
#include <errno.h>
#include <netinet/in.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/utsname.h>
#include <unistd.h>
static void ask(int s, const char *what, void *addr, socklen_t *size)
{
	int r = getsockname(s, addr, size);
	if (r)
		printf("%s: %s\n", what, strerror(errno));
	else
		printf("%s: %s:%d, %d\n", what, inet_ntoa(((struct sockaddr_in *)addr)->sin_addr), ntohs(((struct sockaddr_in *)addr)->sin_port), (int)*size);
}
int main(void)
{
	int s = socket(AF_INET, SOCK_STREAM, 0);
	struct sockaddr_in a = {.sin_family = AF_INET, .sin_addr = {htonl(INADDR_LOOPBACK)}};
	socklen_t n = sizeof a, zero = 0, four = 4, minus = -1;
	bind(s, (void *)&a, n);
	listen(s, 5);
	memset(&a, 0, sizeof a);
	getsockname(s, (void *)&a, &n);
	struct sockaddr_in kernel = a;
	printf("unknown: %s\n", inet_ntoa(a.sin_addr));
	ask(s, "known", &a, &n);
	memset(&a, 0, sizeof a);
	ask(s, "no room", &a, &zero);
	ask(s, "little room", &a, &four);
	ask(s, "negative", &a, &minus);
	n = sizeof a;
	ask(s, "no address", 0, &n);
	n = sizeof a;
	ask(s, "no size", &a, 0);
	char *end = (char *)mmap(0, 8192, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0) + 4092;
	munmap(end + 4, 4096);
	*(socklen_t *)end = sizeof a;
	ask(s, "end of a page", &a, (socklen_t *)end);
	ask(99, "no descriptor", &a, &n);
	int c = socket(AF_INET, SOCK_STREAM, 0);
	n = sizeof a;
	ask(c, "another", &a, &n);
	connect(c, (void *)&kernel, sizeof kernel);
	n = sizeof a;
	ask(c, "connected", &a, &n);
	n = sizeof a;
	ask(c, "once more", &a, &n);
	uname(&(struct utsname){0}); // the supervisor forgets the names
	n = sizeof a;
	ask(s, "forgotten", &a, &n);
}
