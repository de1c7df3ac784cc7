package transport

import (
	"fmt"
	"os"
	"strings"
)

// Congestion is how connections find the rate at which they send.
type Congestion uint8

// The ways there are.
const (
	Reno  Congestion = iota // New Reno: RFC 9002 section 7
	CUBIC                   // RFC 9438
	// version 3, draft-ietf-ccwg-bbr: fills paths that lose packets for other reasons
	// than congestion
	BBR
)

// congestionNames are those of Linux (tcp(7)).
var congestionNames = map[string]Congestion{"bbr": BBR, "cubic": CUBIC, "reno": Reno}

// hostCongestion is what the kernel's TCP uses by default: tcp(7).
const hostCongestion = "/proc/sys/net/ipv4/tcp_congestion_control"

// ParseCongestion reads bbr, cubic or reno, or host: like the kernel's TCP.
//
// Published quic-go, without boxer's patches, has reno alone: that is what host means
// then.
func ParseCongestion(name string) (Congestion, error) {
	if name == "host" {
		return HostCongestion(), nil
	}
	c, ok := congestionNames[name]
	if ok && c != Reno && !quicPatched {
		return 0, fmt.Errorf("%q: this boxer was built with quic-go as it is published, which has reno alone; use host or reno, or build boxer with make", name)
	}
	if !ok {
		return 0, fmt.Errorf("%q: unknown congestion control; use bbr, cubic, reno, or host for what this host's TCP uses", name)
	}
	return c, nil
}

// HostCongestion is like the default of the kernel's TCP, so that a program gets under
// boxer what the administrator chose for it. What boxer does not have, such as htcp,
// becomes CUBIC: Linux's own default.
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
	if strings.HasPrefix(kernel, "bbr") { // bbr2, bbr3: kernels that are not Linus's
		return BBR
	}
	return CUBIC
}

// String is the name as ParseCongestion reads it.
func (c Congestion) String() string {
	for name, v := range congestionNames {
		if v == c {
			return name
		}
	}
	return fmt.Sprintf("Congestion(%d)", c)
}
