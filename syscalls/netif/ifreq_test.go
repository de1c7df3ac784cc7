package netif

import (
	"testing"

	"github.com/boxer-sandbox/boxer/syscalls/abi"
	"golang.org/x/sys/unix"
)

// FuzzIfreq gives the host a struct ifreq of a program's.
func FuzzIfreq(f *testing.F) {
	f.Add(uint32(unix.SIOCGIFADDR), []byte("boxer0"))
	f.Add(uint32(unix.SIOCGIFHWADDR), []byte("lo"))
	f.Add(uint32(unix.SIOCGIFNAME), append(make([]byte, unix.IFNAMSIZ), 2))
	h := dualHost()
	f.Fuzz(func(t *testing.T, request uint32, b []byte) {
		var r [abi.SizeofIfreq]byte
		copy(r[:], b)
		before := r
		if err := h.Ifreq(request, &r); err != nil {
			before[unix.IFNAMSIZ-1] = 0
			if r[unix.IFNAMSIZ-1] = 0; r != before {
				t.Errorf("%v, and something is written: %x", err, r)
			}
		}
	})
}
