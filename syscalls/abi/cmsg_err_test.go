package abi

import (
	"encoding/binary"
	"testing"

	"golang.org/x/sys/unix"
)

func TestHostUnreachable(t *testing.T) {
	report := make([]byte, SizeofSockExtendedErr)
	binary.NativeEndian.PutUint32(report, uint32(unix.ECONNREFUSED))
	report[offsetEECode] = 3
	control := appendControl(nil, unix.IPPROTO_IP, unix.IP_TTL, []byte{64, 0, 0, 0})
	control = appendControl(control, unix.IPPROTO_IP, unix.IP_RECVERR, report)
	HostUnreachableErrors(control)
	for m := range ControlMessages(control) {
		switch {
		case m.Type == unix.IP_TTL && m.Data[0] != 64:
			t.Errorf("IP_TTL became %x", m.Data)
		case m.Type == unix.IP_RECVERR &&
			(binary.NativeEndian.Uint32(m.Data) != uint32(unix.EHOSTUNREACH) ||
				m.Data[offsetEECode] != icmpHostUnreachable):
			t.Errorf("IP_RECVERR became %x", m.Data)
		}
	}
}
