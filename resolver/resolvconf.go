package resolver

import (
	"bufio"
	"io"
	"net/netip"
	"os"
	"strings"
)

const (
	// maxServers is how many nameservers are asked: MAXNS of resolv.conf(5).
	maxServers = 3
	// maxResolvConf bounds what is read of the file, in bytes.
	maxResolvConf = 64 << 10
)

// A resolvConf is what resolv.conf(5) says that matters here.
type resolvConf struct {
	servers []netip.Addr
	search  []string // in lower case, without trailing dots
}

// readResolvConf reads the file at path. One that is missing or unreadable has no
// nameservers. There is no cache to go stale: reading costs some 10 us, and only
// questions that are about to cost a network round trip depend on it.
func readResolvConf(path string) resolvConf {
	f, err := os.Open(path)
	if err != nil {
		return resolvConf{}
	}
	defer f.Close()
	return parseResolvConf(io.LimitReader(f, maxResolvConf))
}

// parseResolvConf skips what it does not understand, as the resolvers of libc do.
func parseResolvConf(r io.Reader) resolvConf {
	var conf resolvConf
	lines := bufio.NewScanner(r)
	for lines.Scan() {
		fields := strings.Fields(lines.Text())
		if len(fields) < 2 {
			continue
		}
		switch fields[0] {
		case "nameserver":
			addr, err := netip.ParseAddr(fields[1])
			if err == nil && len(conf.servers) < maxServers {
				conf.servers = append(conf.servers, addr.Unmap())
			}
		case "domain":
			conf.search = searchList(fields[1:2])
		case "search": // the last one of domain and search counts
			conf.search = searchList(fields[1:])
		}
	}
	return conf
}

func searchList(domains []string) []string {
	var out []string
	for _, d := range domains {
		if d = strings.ToLower(strings.Trim(d, ".")); d != "" {
			out = append(out, d)
		}
	}
	return out
}
