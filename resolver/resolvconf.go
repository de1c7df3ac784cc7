package resolver

import (
	"bufio"
	"io"
	"net/netip"
	"os"
	"strings"
)

const (
	// maxServers is the number of nameservers that are used: MAXNS of resolv.conf(5).
	maxServers = 3
	// maxResolvConf limits what is read of the file, in bytes.
	maxResolvConf = 64 << 10
)

// A resolvConf has the settings of resolv.conf(5) that matter here.
type resolvConf struct {
	servers []netip.Addr
	search  []string // in lower case, without trailing dots
}

// readResolvConf reads the file at path. A missing or unreadable file has no nameservers.
// The result is not cached: a read takes about 10 us, and only questions that are about
// to cost a network round trip need one.
func readResolvConf(path string) resolvConf {
	f, err := os.Open(path)
	if err != nil {
		return resolvConf{}
	}
	defer f.Close()
	return parseResolvConf(io.LimitReader(f, maxResolvConf))
}

// parseResolvConf ignores lines that it does not understand, as libc's resolvers do.
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
		case "search": // the last "domain" or "search" line counts
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
