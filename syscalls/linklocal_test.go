package syscalls

import (
	"fmt"
	"net/netip"
	"testing"

	"github.com/boxer-sandbox/boxer/syscalls/abi"
	"golang.org/x/sys/unix"
)

// TestLinkLocal connects and sends to IPv6 link-local addresses, by no interface, by the
// node's, by lo and by one that is not there. Linux does the same on a host without
// link-local addresses (Linux 6.18, addrgenmode none): seen with a program that made
// these calls.
func TestLinkLocal(t *testing.T) {
	s := boxedScript(t)
	s.a.node.Datagrams = datagramNet{s.net}
	for _, typ := range []int{unix.SOCK_DGRAM, unix.SOCK_STREAM} {
		for scope, want := range map[uint32]unix.Errno{0: unix.EINVAL,
			1: unix.ENETUNREACH,
			2: unix.ENETUNREACH, 999: unix.ENETUNREACH} {
			for _, bound := range []bool{false, true} {
				k := s.open(s.a, unix.AF_INET6, typ)
				if bound {
					k.bind("[::]:7003")
				}
				to := abi.AppendSockaddr(nil, abi.Sockaddr{V6: true, Scope: scope,
					Addr: netip.MustParseAddrPort("[fe80::1234]:7001")})
				_, at := k.m.mem.take(len(to), to)
				what := fmt.Sprintf("type %d, scope %d, bound %t", typ, scope, bound)
				_, errno := k.m.start(k.thread, unix.SYS_CONNECT, k.fdArg(), at,
					uintptr(len(to))).wait(t)
				if errno != want {
					t.Errorf("%s: connect: %v, want %v", what, errno, want)
				}
				if typ == unix.SOCK_DGRAM {
					_, errno = k.m.start(k.thread, unix.SYS_SENDTO, k.fdArg(), at, 1, 0, at,
						uintptr(len(to))).wait(t)
					if errno != unix.ENETUNREACH {
						t.Errorf("%s: sendto: %v, want ENETUNREACH", what, errno)
					}
				}
				k.close()
			}
		}
	}
}
