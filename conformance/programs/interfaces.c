/* What a program sees of its host's network interfaces. */
#include "conformance.h"
#include <ifaddrs.h>
#include <linux/if_packet.h>
#include <linux/netlink.h>
#include <linux/rtnetlink.h>
#include <net/if.h>
#include <net/if_arp.h>

/* The worlds' interfaces have other names: NIC is the one that has the host's address. */
static char nic[IF_NAMESIZE];

static const char *label(const char *name) {
	return nic[0] && strcmp(name, nic) == 0 ? "NIC" : name;
}

static void find_nic(void) {
	meet();
	struct ifaddrs *all;
	must("getifaddrs", getifaddrs(&all));
	for (struct ifaddrs *a = all; a; a = a->ifa_next)
		if (a->ifa_addr && a->ifa_addr->sa_family == AF_INET && ((in4 *)a->ifa_addr)->sin_addr.s_addr == self_ip)
			strcpy(nic, a->ifa_name);
	freeifaddrs(all);
}

/* Neither broadcast nor multicast nor link-local addresses are what the worlds share. */
static const char *flag_names(unsigned flags) {
	static char b[64];
	snprintf(b, sizeof b, "%s%s%s", flags & IFF_UP ? "UP " : "", flags & IFF_RUNNING ? "RUNNING " : "",
		flags & IFF_LOOPBACK ? "LOOPBACK " : "");
	return b;
}

static void list(void) {
	find_nic();
	struct ifaddrs *all;
	result("getifaddrs", getifaddrs(&all));
	for (struct ifaddrs *a = all; a; a = a->ifa_next) {
		int family = a->ifa_addr ? a->ifa_addr->sa_family : -1;
		if (family == AF_INET) {
			say("%s: inet %s %s", label(a->ifa_name), text(a->ifa_addr, sizeof(in4)), flag_names(a->ifa_flags));
		} else if (family == AF_PACKET) {
			struct sockaddr_ll *l = (void *)a->ifa_addr;
			say("%s: packet index as named: %d type %d halen %d data %d %s", label(a->ifa_name),
				l->sll_ifindex == (int)if_nametoindex(a->ifa_name), l->sll_hatype, l->sll_halen, a->ifa_data != NULL,
				flag_names(a->ifa_flags));
		} else if (family == AF_INET6 && IN6_IS_ADDR_LOOPBACK(&((in6 *)a->ifa_addr)->sin6_addr)) {
			say("%s: inet6 [::1] %s", label(a->ifa_name), flag_names(a->ifa_flags));
		}
	}
	freeifaddrs(all);
	struct if_nameindex *names = if_nameindex();
	for (struct if_nameindex *i = names; i && i->if_name; i++) {
		char back[IF_NAMESIZE] = "";
		say("%s: index > 0: %d, back %s", label(i->if_name), i->if_index > 0, label(if_indextoname(i->if_index, back) ? back : "?"));
	}
	if_freenameindex(names);
	result("if_nametoindex of nobody", if_nametoindex("nobody0"));
	say("%s", strerrorname_np(errno));
	char back[IF_NAMESIZE];
	say("if_indextoname of nobody: %d %s", if_indextoname(9999, back) != NULL, strerrorname_np(errno));
}

/* one asks for something about an interface by ioctl(2). */
static void one(int fd, const char *name) {
	struct ifreq r;
	const struct { unsigned long nr; const char *name; } asks[] = {
		{SIOCGIFADDR, "SIOCGIFADDR"}, {SIOCGIFNETMASK, "SIOCGIFNETMASK"}, {SIOCGIFDSTADDR, "SIOCGIFDSTADDR"},
	};
	for (unsigned i = 0; i < sizeof asks / sizeof *asks; i++) {
		memset(&r, 0, sizeof r);
		strcpy(r.ifr_name, name);
		result(asks[i].name, ioctl(fd, asks[i].nr, &r));
		if (asks[i].nr != SIOCGIFNETMASK || strcmp(name, "lo") == 0)
			say("%s", text(&r.ifr_addr, sizeof(in4)));
	}
	result("SIOCGIFFLAGS", ioctl(fd, SIOCGIFFLAGS, &r));
	say("%s", flag_names(r.ifr_flags));
	result("SIOCGIFINDEX", ioctl(fd, SIOCGIFINDEX, &r));
	say("as named: %d", r.ifr_ifindex == (int)if_nametoindex(name));
	result("SIOCGIFNAME", ioctl(fd, SIOCGIFNAME, &r));
	say("%s", label(r.ifr_name));
	result("SIOCGIFMTU", ioctl(fd, SIOCGIFMTU, &r));
	say("at least 1280: %d", r.ifr_mtu >= 1280);
	result("SIOCGIFHWADDR", ioctl(fd, SIOCGIFHWADDR, &r));
	unsigned char *mac = (void *)r.ifr_hwaddr.sa_data;
	say("type %d, own: %d, group: %d", r.ifr_hwaddr.sa_family, memcmp(mac, "\0\0\0\0\0\0", 6) != 0, mac[0] & 1);
	result("SIOCGIFMETRIC", ioctl(fd, SIOCGIFMETRIC, &r));
	say("%d", r.ifr_metric);
	result("SIOCGIFTXQLEN", ioctl(fd, SIOCGIFTXQLEN, &r));
}

static void requests(void) {
	find_nic();
	int kinds[] = {AF_INET, AF_INET6, AF_UNIX};
	for (int i = 0; i < 3; i++) {
		int fd = must("socket", socket(kinds[i], SOCK_DGRAM, 0));
		char buf[10 * sizeof(struct ifreq)];
		struct ifconf c = {.ifc_len = sizeof buf, .ifc_buf = buf};
		result("SIOCGIFCONF", ioctl(fd, SIOCGIFCONF, &c));
		for (unsigned j = 0; j < c.ifc_len / sizeof(struct ifreq); j++)
			say("%s %s", label(c.ifc_req[j].ifr_name), text(&c.ifc_req[j].ifr_addr, sizeof(in4)));
		c.ifc_len = sizeof(struct ifreq) + 5;
		result("SIOCGIFCONF of one", ioctl(fd, SIOCGIFCONF, &c));
		say("%d", c.ifc_len == sizeof(struct ifreq));
		c.ifc_buf = NULL;
		c.ifc_len = 0;
		result("SIOCGIFCONF of the length", ioctl(fd, SIOCGIFCONF, &c));
		say("%d", c.ifc_len == 2 * sizeof(struct ifreq));
		c.ifc_buf = (void *)16;
		c.ifc_len = 1000;
		result("SIOCGIFCONF wild", ioctl(fd, SIOCGIFCONF, &c));
		result("SIOCGIFCONF wilder", ioctl(fd, SIOCGIFCONF, (void *)16));
		close(fd);
	}
	int fd = udp();
	one(fd, "lo");
	one(fd, nic);
	struct ifreq r = {.ifr_name = "nobody0"};
	result("SIOCGIFADDR of nobody", ioctl(fd, SIOCGIFADDR, &r));
	result("SIOCGIFFLAGS wild", ioctl(fd, SIOCGIFFLAGS, (void *)16));
	r.ifr_ifindex = -1;
	result("SIOCGIFNAME of nobody", ioctl(fd, SIOCGIFNAME, &r));
	result("SIOCGIFADDR without a socket", ioctl(1, SIOCGIFADDR, &r));
	result("SIOCGIFADDR of a closed one", ioctl(99, SIOCGIFADDR, &r));
}

/* netlink prints what a socket of NETLINK_ROUTE receives, up to the end of one answer. */
static void netlink(int fd, unsigned seq, int how) {
	char buf[8192] __attribute__((aligned(8)));
	for (int done = 0; !done;) {
		struct sockaddr_nl from = {0};
		struct iovec v = {buf, sizeof buf};
		struct msghdr m = {.msg_name = &from, .msg_namelen = sizeof from, .msg_iov = &v, .msg_iovlen = 1};
		socklen_t len = sizeof from;
		struct pollfd p = {.fd = fd, .events = POLLIN};
		if (poll(&p, 1, wait_ms) != 1)
			return say("nothing comes");
		/* how big is it? */
		struct iovec none = {NULL, 0};
		struct msghdr peek = {.msg_name = &from, .msg_namelen = sizeof from, .msg_iov = &none, .msg_iovlen = 1};
		long size = recvmsg(fd, &peek, MSG_PEEK | MSG_TRUNC);
		long n = how == 0 ? recvmsg(fd, &m, 0) : how == 1 ? recvfrom(fd, buf, sizeof buf, 0, (void *)&from, &len) :
			how == 2 ? recv(fd, buf, sizeof buf, 0) : read(fd, buf, sizeof buf);
		if (n < 0)
			return (void)result("receive", n);
		if (size != n || from.nl_pid != 0 || from.nl_family != AF_NETLINK || peek.msg_namelen != sizeof from || !(peek.msg_flags & MSG_TRUNC))
			say("peeked %ld of %ld, from %u, family %d, name %u, flags %x", size, n, from.nl_pid, from.nl_family, peek.msg_namelen, peek.msg_flags);
		int left = n;
		for (struct nlmsghdr *h = (void *)buf; NLMSG_OK(h, left); h = NLMSG_NEXT(h, left)) {
			if (h->nlmsg_seq != seq)
				say("seq %u, not %u", h->nlmsg_seq, seq);
			struct sockaddr_nl own;
			socklen_t size = sizeof own;
			getsockname(fd, (void *)&own, &size);
			if (h->nlmsg_pid != own.nl_pid)
				say("pid is not the socket's");
			if (h->nlmsg_type == NLMSG_ERROR) {
				struct nlmsgerr *e = NLMSG_DATA(h);
				say("error %s, of type %d seq %u", e->error ? strerrorname_np(-e->error) : "0", e->msg.nlmsg_type, e->msg.nlmsg_seq);
				done = 1;
			} else if (h->nlmsg_type == NLMSG_DONE) {
				say("done");
				done = 1;
			} else if (h->nlmsg_type == RTM_NEWLINK) {
				struct ifinfomsg *i = NLMSG_DATA(h);
				char name[IF_NAMESIZE] = "?";
				say("link %s type %d multi %d", label(if_indextoname(i->ifi_index, name) ? name : "?"), i->ifi_type, !!(h->nlmsg_flags & NLM_F_MULTI));
				done = !(h->nlmsg_flags & NLM_F_MULTI);
			} else if (h->nlmsg_type == RTM_NEWADDR) {
				struct ifaddrmsg *a = NLMSG_DATA(h);
				struct rtattr *r = IFA_RTA(a);
				for (int rest = IFA_PAYLOAD(h); RTA_OK(r, rest); r = RTA_NEXT(r, rest))
					if (a->ifa_family == AF_INET && r->rta_type == IFA_LOCAL) {
						in4 at = addr4(*(in_addr_t *)RTA_DATA(r), 0);
						say("address %s scope %d permanent %d", text(&at, sizeof at), a->ifa_scope, !!(a->ifa_flags & IFA_F_PERMANENT));
					}
			} else if (h->nlmsg_type == RTM_NEWROUTE) {
				done = !(h->nlmsg_flags & NLM_F_MULTI);
				if (done) {
					struct rtmsg *r = NLMSG_DATA(h);
					say("route of %d bits, type %d", r->rtm_dst_len, r->rtm_type);
				}
			}
		}
	}
}

struct request { struct nlmsghdr h; union { struct rtgenmsg g; struct ifinfomsg i; struct rtmsg r; } u; char more[64]; };

/* ask sends a request in one of the ways that there are. */
static void ask(int fd, struct request *r, unsigned seq, int how) {
	struct sockaddr_nl kernel = {.nl_family = AF_NETLINK};
	r->h.nlmsg_seq = seq;
	struct iovec v = {r, r->h.nlmsg_len};
	struct msghdr m = {.msg_name = &kernel, .msg_namelen = sizeof kernel, .msg_iov = &v, .msg_iovlen = 1};
	long n = how == 0 ? sendmsg(fd, &m, 0) : how == 1 ? sendto(fd, r, r->h.nlmsg_len, 0, SA(kernel)) :
		how == 2 ? send(fd, r, r->h.nlmsg_len, 0) : write(fd, r, r->h.nlmsg_len);
	say("sent all: %d", n == (long)r->h.nlmsg_len);
}

static struct request dump_of(int type, int family) {
	return (struct request){.h = {.nlmsg_len = NLMSG_LENGTH(sizeof(struct rtgenmsg)), .nlmsg_type = type,
		.nlmsg_flags = NLM_F_REQUEST | NLM_F_DUMP}, .u.g.rtgen_family = family};
}

static void dumps(void) {
	find_nic();
	for (int how = 0; how < 4; how++) {
		int fd = must("socket", socket(AF_NETLINK, SOCK_RAW | SOCK_CLOEXEC, NETLINK_ROUTE));
		if (how % 2 == 0) { /* both ways are usual */
			struct sockaddr_nl any = {.nl_family = AF_NETLINK};
			result("bind", bind(fd, SA(any)));
		}
		struct request r = dump_of(RTM_GETLINK, AF_UNSPEC);
		ask(fd, &r, 7, how);
		netlink(fd, 7, how);
		r = dump_of(RTM_GETADDR, AF_INET);
		ask(fd, &r, 8, how);
		netlink(fd, 8, how);
		r = dump_of(RTM_GETROUTE, AF_INET);
		ask(fd, &r, 9, how);
		netlink(fd, 9, how);
		int copy = dup(fd);
		close(fd);
		r = dump_of(RTM_GETADDR, AF_INET);
		ask(copy, &r, 1u << 31, how);
		netlink(copy, 1u << 31, how);
		result("nothing more", recv(copy, &r, sizeof r, MSG_DONTWAIT));
	}
}

static void single(void) {
	find_nic();
	int fd = must("socket", socket(AF_NETLINK, SOCK_DGRAM, NETLINK_ROUTE));
	int on = 1, group = RTNLGRP_LINK;
	struct sockaddr_nl a = {.nl_family = AF_NETLINK, .nl_pid = 4000000000u, .nl_groups = RTMGRP_LINK | RTMGRP_IPV4_IFADDR};
	socklen_t len = sizeof a;
	result("NETLINK_EXT_ACK", setsockopt(fd, SOL_NETLINK, NETLINK_EXT_ACK, &on, sizeof on));
	result("NETLINK_GET_STRICT_CHK", setsockopt(fd, SOL_NETLINK, NETLINK_GET_STRICT_CHK, &on, sizeof on));
	result("bind", bind(fd, SA(a)));
	memset(&a, 0, sizeof a);
	result("getsockname", getsockname(fd, (void *)&a, &len));
	say("length %u family %d pid %u", len, a.nl_family, a.nl_pid);
	result("NETLINK_ADD_MEMBERSHIP", setsockopt(fd, SOL_NETLINK, NETLINK_ADD_MEMBERSHIP, &group, sizeof group));

	struct request r = {.h = {.nlmsg_len = NLMSG_LENGTH(sizeof r.u.i), .nlmsg_type = RTM_GETLINK, .nlmsg_flags = NLM_F_REQUEST}};
	r.u.i.ifi_index = if_nametoindex(nic);
	ask(fd, &r, 1, 0);
	netlink(fd, 1, 0);
	r.u.i.ifi_index = 9999;
	ask(fd, &r, 2, 0);
	netlink(fd, 2, 0);
	r.u.i.ifi_index = 0;
	ask(fd, &r, 3, 0);
	netlink(fd, 3, 0);
	struct rtattr *name = (void *)((char *)&r + NLMSG_ALIGN(r.h.nlmsg_len));
	name->rta_type = IFLA_IFNAME;
	name->rta_len = RTA_LENGTH(3);
	strcpy(RTA_DATA(name), "lo");
	r.h.nlmsg_len = NLMSG_ALIGN(r.h.nlmsg_len) + RTA_ALIGN(name->rta_len);
	ask(fd, &r, 4, 0);
	netlink(fd, 4, 0);

	r = dump_of(RTM_GETLINK, AF_UNSPEC);
	r.h.nlmsg_type = 4000;
	ask(fd, &r, 5, 0);
	netlink(fd, 5, 0);
	r.h.nlmsg_type = NLMSG_NOOP;
	r.h.nlmsg_flags = NLM_F_REQUEST | NLM_F_ACK;
	ask(fd, &r, 6, 0);
	netlink(fd, 6, 0);

	struct request g = {.h = {.nlmsg_len = NLMSG_LENGTH(sizeof g.u.r), .nlmsg_type = RTM_GETROUTE, .nlmsg_flags = NLM_F_REQUEST}};
	g.u.r.rtm_family = AF_INET;
	g.u.r.rtm_dst_len = 32;
	struct rtattr *dst = (void *)((char *)&g + NLMSG_ALIGN(g.h.nlmsg_len));
	dst->rta_type = RTA_DST;
	dst->rta_len = RTA_LENGTH(4);
	in_addr_t to[] = {peer_ip, self_ip, htonl(INADDR_LOOPBACK)};
	g.h.nlmsg_len = NLMSG_ALIGN(g.h.nlmsg_len) + RTA_ALIGN(dst->rta_len);
	for (int i = 0; i < 3; i++) {
		memcpy(RTA_DATA(dst), &to[i], 4);
		ask(fd, &g, 10 + i, 0);
		netlink(fd, 10 + i, 0);
	}
	/* A user may not change interfaces, and a message that lies about its length is ignored. */
	must("setuid", setuid(65534));
	int user = must("socket", socket(AF_NETLINK, SOCK_DGRAM, NETLINK_ROUTE));
	r = (struct request){.h = {.nlmsg_len = NLMSG_LENGTH(sizeof r.u.i), .nlmsg_type = RTM_NEWLINK, .nlmsg_flags = NLM_F_REQUEST | NLM_F_ACK}};
	r.u.i.ifi_index = 1;
	ask(user, &r, 20, 0);
	netlink(user, 20, 0);
	struct sockaddr_nl kernel = {.nl_family = AF_NETLINK}, nobody = {.nl_family = AF_NETLINK, .nl_pid = 12345};
	r.h.nlmsg_len = 4000;
	result("a lie", sendto(user, &r, sizeof r.h, 0, SA(kernel)));
	result("nothing comes", recv(user, &r, sizeof r, MSG_DONTWAIT));
	result("to nobody", sendto(user, &r, sizeof r.h, 0, SA(nobody)));
	result("connect to the kernel", connect(user, SA(kernel)));
	result("connect to nobody", connect(user, SA(nobody)));
	result("short address", bind(user, (void *)&kernel, 5));
	result("wild address", bind(user, (void *)16, sizeof kernel));
	result("wild name", getsockname(user, (void *)16, &len));
	result("wild request", sendto(user, (void *)16, 32, 0, SA(kernel)));
}

/* families_of dumps objects and prints of which families they are, or how the dump ended. */
static void families_of(int fd, const char *what, int type, int family) {
	static unsigned seq = 100;
	char buf[32768] __attribute__((aligned(8)));
	struct request r = dump_of(type, family);
	r.h.nlmsg_len = NLMSG_LENGTH(sizeof r.u.r); /* rtmsg, ifaddrmsg and fib_rule_hdr fit */
	r.h.nlmsg_seq = ++seq;
	must("send", send(fd, &r, r.h.nlmsg_len, 0));
	int v4 = 0, v6 = 0, more = 0;
	const char *end = NULL;
	while (!end) {
		struct pollfd p = {.fd = fd, .events = POLLIN};
		if (poll(&p, 1, wait_ms) != 1)
			return say("%s of family %d: nothing comes", what, family);
		int left = must("recv", recv(fd, buf, sizeof buf, 0));
		for (struct nlmsghdr *h = (void *)buf; NLMSG_OK(h, left); h = NLMSG_NEXT(h, left)) {
			int error = *(int *)NLMSG_DATA(h), of = ((struct rtgenmsg *)NLMSG_DATA(h))->rtgen_family;
			if (h->nlmsg_type == NLMSG_DONE || h->nlmsg_type == NLMSG_ERROR)
				end = error ? strerrorname_np(-error) : "done";
			else if (of == AF_INET || of == AF_INET6)
				of == AF_INET ? v4++ : v6++;
			else
				more++;
		}
	}
	say("%s of family %d:%s%s%s %s", what, family, v4 ? " IPv4" : "", v6 ? " IPv6" : "", more ? " others" : "", end);
}

/* The kernel answers a family that has no handler of its own as it answers AF_UNSPEC. */
static void families(void) {
	find_nic();
	int fd = must("socket", socket(AF_NETLINK, SOCK_RAW | SOCK_CLOEXEC, NETLINK_ROUTE));
	int all[] = {AF_UNSPEC, AF_UNIX, AF_INET, AF_INET6, AF_NETLINK, AF_PACKET, 200};
	for (unsigned i = 0; i < sizeof all / sizeof *all; i++) {
		families_of(fd, "links", RTM_GETLINK, all[i]);
		families_of(fd, "addresses", RTM_GETADDR, all[i]);
		families_of(fd, "routes", RTM_GETROUTE, all[i]);
		if (all[i] != AF_UNSPEC)
			families_of(fd, "rules", RTM_GETRULE, all[i]);
		families_of(fd, "prefixes", RTM_NEWPREFIX + 2, all[i]);
	}
	families_of(fd, "links", RTM_GETLINK, AF_BRIDGE);
	families_of(fd, "addresses", RTM_GETADDR, AF_BRIDGE);
	families_of(fd, "labels", RTM_GETADDRLABEL, AF_INET);
	families_of(fd, "multicast groups", RTM_GETMULTICAST, AF_UNSPEC);

	struct request g = {.h = {.nlmsg_len = NLMSG_LENGTH(sizeof g.u.r), .nlmsg_type = RTM_GETROUTE, .nlmsg_flags = NLM_F_REQUEST}};
	g.u.r.rtm_family = AF_PACKET;
	ask(fd, &g, 1, 2);
	netlink(fd, 1, 2);
	g.u.r.rtm_family = AF_INET; /* without a destination: to this host */
	ask(fd, &g, 2, 2);
	netlink(fd, 2, 2);
}

/* read_file reads a file, as fopen(3) or as other languages open it. */
static char *read_file(const char *path, int flags) {
	static char b[65536];
	int fd = open(path, O_RDONLY | flags), n = 0;
	for (long got; fd >= 0 && (got = read(fd, b + n, sizeof b - 1 - n)) > 0;)
		n += got;
	b[n] = 0;
	close(fd);
	return b;
}

/* What is in /proc/net agrees with the calls: the JVM, for one, takes names from there and asks for their flags. */
static void proc_net(void) {
	find_nic();
	const int how[] = {0, O_CLOEXEC};
	for (int i = 0; i < 4; i++) { /* the lines of if_inet6 have no order */
		int fd = udp(), lo = i % 2 == 0;
		char *rest = read_file("/proc/net/if_inet6", how[i / 2]);
		for (char *l; (l = strsep(&rest, "\n")) && *l;) {
			struct ifreq r = {0};
			unsigned index, bits, scope, flags;
			char hex[33];
			if (sscanf(l, "%32s %x %x %x %x %15s", hex, &index, &bits, &scope, &flags, r.ifr_name) != 6 || scope == 0x20)
				continue; /* link-local addresses are not what the worlds share */
			if (lo != !strcmp(r.ifr_name, "lo"))
				continue;
			say("if_inet6: %s scope %x index %d", label(r.ifr_name), scope, index == if_nametoindex(r.ifr_name));
			say("own: %d, permanent %d", strcmp(hex, "00000000000000000000000000000001") != 0, !!(flags & IFA_F_PERMANENT));
			result("SIOCGIFFLAGS", ioctl(fd, SIOCGIFFLAGS, &r));
			say("%s", flag_names(r.ifr_flags));
		}
		close(fd);
	}
	for (int i = 0; i < 2; i++) {
		int lines = 0;
		char *rest = read_file("/proc/net/dev", how[i]);
		for (char *l; (l = strsep(&rest, "\n")) && *l; lines++) {
			char *name = l + strspn(l, " ");
			char *colon = strchr(name, ':');
			if (lines < 2 || !colon)
				continue;
			*colon = 0;
			say("dev: %s index %d", label(name), if_nametoindex(name) > 0);
		}
		rest = read_file("/proc/net/route", how[i]);
		for (char *l; (l = strsep(&rest, "\n")) && *l;) {
			char name[IF_NAMESIZE];
			unsigned dst, gateway, flags, count, use, metric, mask;
			if (sscanf(l, "%15s %x %x %x %u %u %u %x", name, &dst, &gateway, &flags, &count, &use, &metric, &mask) == 8 &&
			    dst && (dst & mask) == (self_ip & mask) && strlen(l) == 127)
				say("route: %s to the own network, up %d, metric %u", label(name), flags & 1, metric);
		}
		say("fib_trie has the own address: %d", strstr(read_file("/proc/net/fib_trie", how[i]), inet_ntoa((struct in_addr){self_ip})) != NULL);
		say("tcp has a head: %d", strncmp(read_file("/proc/net/tcp", how[i]), "  sl  local_address", 19) == 0);
	}
}

int main(int argc, char **argv) {
	static const struct test tests[] = {CASE(list), CASE(requests), CASE(dumps), CASE(single), CASE(families), CASE(proc_net)};
	return RUN(tests);
}
