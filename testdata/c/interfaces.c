/* Prints the host's interfaces with their IPv4 addresses, by the C library's getifaddrs(3): "NAME ADDRESS/BITS". */
#include <arpa/inet.h>
#include <ifaddrs.h>
#include <netinet/in.h>
#include <stdio.h>

int main(void) {
	struct ifaddrs *all;
	if (getifaddrs(&all) < 0) {
		perror("getifaddrs");
		return 1;
	}
	for (struct ifaddrs *a = all; a; a = a->ifa_next) {
		if (!a->ifa_addr || a->ifa_addr->sa_family != AF_INET)
			continue;
		struct sockaddr_in *at = (void *)a->ifa_addr, *mask = (void *)a->ifa_netmask;
		printf("%s %s/%d\n", a->ifa_name, inet_ntoa(at->sin_addr), __builtin_popcount(mask->sin_addr.s_addr));
	}
	freeifaddrs(all);
	return 0;
}
