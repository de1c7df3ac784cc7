package transport

import (
	"fmt"
	"os"
	"strings"
)

// Congestion is an algorithm that decides how fast a connection sends.
type Congestion uint8

// The algorithms.
const (
	Reno  Congestion = iota // New Reno: RFC 9002 section 7
	CUBIC                   // RFC 9438
	// BBR is version 3 (draft-ietf-ccwg-bbr). It uses the full rate of a path that loses
	// packets for other reasons than congestion.
	BBR
)

// congestionNames are those of Linux (tcp(7)).
var congestionNames = map[string]Congestion{"bbr": BBR, "cubic": CUBIC, "reno": Reno}

// hostCongestion has the name of the algorithm that the kernel's TCP uses by default
// (tcp(7)).
const hostCongestion = "/proc/sys/net/ipv4/tcp_congestion_control"

// ParseCongestion parses bbr, cubic, reno or host; host means HostCongestion. With
// published quic-go, which has reno alone, it refuses bbr and cubic.
func ParseCongestion(name string) (Congestion, error) {
	if name == "host" {
		return HostCongestion(), nil
	}
	c, ok := congestionNames[name]
	if ok && c != Reno && !quicPatched {
		return 0, fmt.Errorf("%q: this boxer was built with the published quic-go, which has reno only; use host or reno, or build boxer with make", name)
	}
	if !ok {
		return 0, fmt.Errorf("%q: unknown congestion control; use bbr, cubic, reno, or host (the algorithm of this host's TCP)", name)
	}
	return c, nil
}

// HostCongestion returns the algorithm that the kernel's TCP uses by default: the
// administrator's choice holds under boxer, too. For an algorithm that boxer does not
// have, such as htcp, it returns CUBIC, Linux's own default. With published quic-go it
// returns Reno.
func HostCongestion() Congestion {
	if !quicPatched {
		return Reno
	}
	b, err := os.ReadFile(hostCongestion)
	if err != nil {
		return CUBIC
	}
	return congestionLike(strings.TrimSpace(string(b)))
}

func congestionLike(kernel string) Congestion {
	if c, ok := congestionNames[kernel]; ok {
		return c
	}
	if strings.HasPrefix(kernel, "bbr") { // bbr2 and bbr3 of patched kernels
		return BBR
	}
	return CUBIC
}

// String returns the name that ParseCongestion parses.
func (c Congestion) String() string {
	for name, v := range congestionNames {
		if v == c {
			return name
		}
	}
	return fmt.Sprintf("Congestion(%d)", c)
}
