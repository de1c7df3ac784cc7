package syscalls

import (
	"encoding/binary"
	"testing"

	"golang.org/x/sys/unix"
)

func TestHostUnreachable(t *testing.T) {
	report := make([]byte, sizeofExtendedErr)
	binary.NativeEndian.PutUint32(report, uint32(unix.ECONNREFUSED))
	report[offsetEECode] = 3
	control := appendControl(nil, unix.IPPROTO_IP, unix.IP_TTL, []byte{64, 0, 0, 0})
	control = appendControl(control, unix.IPPROTO_IP, unix.IP_RECVERR, report)
	hostUnreachable(control)
	for m := range controlMessages(control) {
		switch {
		case m.kind == unix.IP_TTL && m.data[0] != 64:
			t.Errorf("IP_TTL became %x", m.data)
		case m.kind == unix.IP_RECVERR &&
			(binary.NativeEndian.Uint32(m.data) != uint32(unix.EHOSTUNREACH) ||
				m.data[offsetEECode] != icmpHostUnreachable):
			t.Errorf("IP_RECVERR became %x", m.data)
		}
	}
}
