/* What a program learns of its own sockets from the kernel's lists: sock_diag(7), and /proc/net. */
#include "conformance.h"
#include <linux/inet_diag.h>
#include <linux/netlink.h>
#include <linux/sock_diag.h>

enum { most = 32 };
static struct own { int fd; ino_t inode; int proto; } own[most];
static int owns;

/* keep remembers a socket, whose entry each() prints. */
static int keep(int fd) {
	struct stat st;
	int proto = 0;
	socklen_t len = sizeof proto;
	must("fstat", fstat(fd, &st));
	must("SO_PROTOCOL", getsockopt(fd, SOL_SOCKET, SO_PROTOCOL, &proto, &len));
	own[owns++] = (struct own){fd, st.st_ino, proto};
	return fd;
}

static const char *pair(int family, const void *ip, int p) {
	in4 a4 = addr4(family == AF_INET ? *(const in_addr_t *)ip : 0, p);
	if (family == AF_INET)
		return text(&a4, sizeof a4);
	struct in6_addr a;
	memcpy(&a, ip, sizeof a);
	in6 a6 = addr6(a, p);
	return text(&a6, sizeof a6);
}

struct request { struct nlmsghdr h; struct inet_diag_req_v2 r; struct nlattr a; struct inet_diag_bc_op op[2]; };

static int ask(struct request *q, int family, int proto, int flags) {
	int fd = must("socket", socket(AF_NETLINK, SOCK_DGRAM | SOCK_CLOEXEC, NETLINK_SOCK_DIAG));
	struct sockaddr_nl kernel = {.nl_family = AF_NETLINK};
	q->h.nlmsg_type = SOCK_DIAG_BY_FAMILY;
	q->h.nlmsg_flags = NLM_F_REQUEST | flags;
	q->h.nlmsg_seq = 7;
	q->r.sdiag_family = family;
	q->r.sdiag_protocol = proto;
	q->r.idiag_states = -1;
	struct iovec v = {q, q->h.nlmsg_len};
	struct msghdr m = {.msg_name = &kernel, .msg_namelen = sizeof kernel, .msg_iov = &v, .msg_iovlen = 1};
	must("sendmsg", sendmsg(fd, &m, 0));
	return fd;
}

/* tell prints what a message says of a socket of this program. It returns 0 at the end of the answer. */
static int tell(const struct nlmsghdr *h, const struct own *of, int *found) {
	if (h->nlmsg_type == NLMSG_DONE)
		return 0;
	if (h->nlmsg_type == NLMSG_ERROR) {
		errno = -((const struct nlmsgerr *)NLMSG_DATA(h))->error;
		result("answer", -1);
		return 0;
	}
	const struct inet_diag_msg *d = NLMSG_DATA(h);
	if (of && d->idiag_inode != of->inode)
		return 1;
	++*found;
	if (of)
		say("state %d, %s to %s, sequence %d", d->idiag_state, pair(d->idiag_family, d->id.idiag_src, ntohs(d->id.idiag_sport)),
			pair(d->idiag_family, d->id.idiag_dst, ntohs(d->id.idiag_dport)), h->nlmsg_seq);
	return 1;
}

static int answer(int fd, const struct own *of, int dump) {
	static char b[65536] __attribute__((aligned(8)));
	int found = 0;
	for (int more = 1; more;) {
		ssize_t n = must("recv", recv(fd, b, sizeof b, 0));
		for (struct nlmsghdr *h = (void *)b; more && NLMSG_OK(h, n); h = NLMSG_NEXT(h, n))
			more = tell(h, of, &found) && dump;
	}
	close(fd);
	return found;
}

/* listed prints the line of a socket in a file of /proc/net. */
static void listed(const char *file, int v6, const struct own *of) {
	char line[512];
	FILE *f = fopen(file, "r");
	if (!f)
		return (void)result(file, -1);
	for (int found = 0; !found && fgets(line, sizeof line, f);) {
		unsigned a[4] = {0}, b[4] = {0}, ap, bp, state, uid;
		unsigned long inode;
		int n = v6 ? sscanf(line, " %*d: %8x%8x%8x%8x:%x %8x%8x%8x%8x:%x %x %*s %*s %*s %u %*u %lu", a, a + 1, a + 2, a + 3, &ap, b,
				    b + 1, b + 2, b + 3, &bp, &state, &uid, &inode) - 6
			   : sscanf(line, " %*d: %x:%x %x:%x %x %*s %*s %*s %u %*u %lu", a, &ap, b, &bp, &state, &uid, &inode);
		if (n != 7 || inode != of->inode)
			continue;
		found = 1;
		say("listed: state %d, %s to %s", state, pair(v6 ? AF_INET6 : AF_INET, a, ap), pair(v6 ? AF_INET6 : AF_INET, b, bp));
	}
	fclose(f);
}

static void each(void) {
	for (int i = 0; i < owns; i++) {
		struct sockaddr_storage me;
		socklen_t len = sizeof me;
		must("getsockname", getsockname(own[i].fd, (void *)&me, &len));
		int v6 = me.ss_family == AF_INET6, tcp = own[i].proto == IPPROTO_TCP;
		struct request q = {.h.nlmsg_len = NLMSG_LENGTH(sizeof q.r)};
		say("%d found", answer(ask(&q, me.ss_family, own[i].proto, NLM_F_DUMP), &own[i], 1));
		listed(tcp ? v6 ? "/proc/net/tcp6" : "/proc/net/tcp" : v6 ? "/proc/self/net/udp6" : "/proc/self/net/udp", v6, &own[i]);
	}
}

static void own_host(void) {
	if (server)
		return meet();
	in4 a = any(port), l = local(port + 1), s = self(port + 2), u = any(port + 3);
	in6 six = any6(port + 4), only = any6(port + 5), one = local6(port + 4);
	struct sockaddr *at[] = {(void *)&a, (void *)&l, (void *)&s, (void *)&six, (void *)&only};
	int listens[5];
	for (int i = 0; i < 5; i++) {
		int fd = listens[i] = keep(must("socket", socket(at[i]->sa_family, SOCK_STREAM, 0)));
		int yes = i == 4;
		if (i > 2)
			must("IPV6_V6ONLY", setsockopt(fd, IPPROTO_IPV6, IPV6_V6ONLY, &yes, sizeof yes));
		must("bind", bind(fd, at[i], i > 2 ? sizeof six : sizeof a));
		must("listen", listen(fd, 5));
	}
	in4 to_any = self(port), to_dual = local(port + 4);
	struct sockaddr *to[] = {(void *)&to_any, (void *)&l, (void *)&s, (void *)&one, (void *)&to_dual};
	int at_listener[] = {0, 1, 2, 3, 3};
	for (int i = 0; i < 5; i++) {
		int c = keep(must("socket", socket(to[i]->sa_family, SOCK_STREAM, 0)));
		must("connect", connect(c, to[i], to[i]->sa_family == AF_INET6 ? sizeof one : sizeof l));
		keep(must("accept", accept(listens[at_listener[i]], NULL, NULL)));
	}
	int d = keep(must("socket", socket(AF_INET, SOCK_DGRAM, 0))), e = keep(must("socket", socket(AF_INET, SOCK_DGRAM, 0)));
	must("bind", bind(d, SA(u)));
	u = local(port + 3);
	must("connect", connect(e, SA(u)));
	each();
	meet();
}

/* Two hosts, and questions about one socket, and about those of one port. */
static void two_hosts(void) {
	in4 a = any(port), to = peer(port);
	int fd;
	if (server) {
		int l = must("socket", socket(AF_INET, SOCK_STREAM, 0));
		must("bind", bind(l, SA(a)));
		must("listen", listen(l, 5));
		meet();
		fd = keep(must("accept", accept(l, NULL, NULL)));
	} else {
		meet();
		fd = keep(must("socket", socket(AF_INET, SOCK_STREAM, 0)));
		must("connect", connect(fd, SA(to)));
	}
	meet();
	each();
	in4 me, far;
	socklen_t len = sizeof me;
	must("getsockname", getsockname(fd, (void *)&me, &len));
	must("getpeername", getpeername(fd, (void *)&far, &len));
	struct request q = {.h.nlmsg_len = NLMSG_LENGTH(sizeof q.r)};
	q.r.id = (struct inet_diag_sockid){.idiag_sport = me.sin_port, .idiag_dport = far.sin_port,
		.idiag_src = {me.sin_addr.s_addr}, .idiag_dst = {far.sin_addr.s_addr}, .idiag_cookie = {~0u, ~0u}};
	say("%d found by its addresses", answer(ask(&q, AF_INET, IPPROTO_TCP, 0), own, 0));
	q.r.id.idiag_dport = htons(9);
	q.r.id.idiag_sport = htons(port + 7);
	say("%d found where there is none", answer(ask(&q, AF_INET, IPPROTO_TCP, 0), own, 0));
	memset(&q, 0, sizeof q);
	q.h.nlmsg_len = sizeof q;
	q.a = (struct nlattr){.nla_len = sizeof q.a + sizeof q.op, .nla_type = INET_DIAG_REQ_BYTECODE};
	for (int i = 0; i < 2; i++) { /* the port, and another one */
		q.op[0] = (struct inet_diag_bc_op){INET_DIAG_BC_S_EQ, sizeof q.op, sizeof q.op + 4};
		q.op[1] = (struct inet_diag_bc_op){.no = ntohs(me.sin_port) + i};
		say("%d found by the port", answer(ask(&q, AF_INET, IPPROTO_TCP, NLM_F_DUMP), own, 1));
	}
	meet();
	close(fd);
}

/* What is not a question. */
static void wrong(void) {
	if (server)
		return meet();
	struct request q = {.h.nlmsg_len = NLMSG_LENGTH(sizeof q.r)};
	say("%d found of no family", answer(ask(&q, 200, IPPROTO_TCP, NLM_F_DUMP), NULL, 1));
	q.h.nlmsg_len = NLMSG_LENGTH(4);
	say("%d found by half a question", answer(ask(&q, AF_INET, IPPROTO_TCP, NLM_F_DUMP), NULL, 1));
	meet();
}

int main(int argc, char **argv) {
	static const struct test tests[] = {CASE(own_host), CASE(two_hosts), CASE(wrong)};
	return RUN(tests);
}
