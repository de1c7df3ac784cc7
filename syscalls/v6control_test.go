package syscalls

import (
	"bytes"
	"encoding/binary"
	"net/netip"
	"testing"

	"github.com/boxer-sandbox/boxer/syscalls/abi"
	"golang.org/x/sys/unix"
)

// TestV6Control sends control messages of IPv6, and takes those of IPv4 that come of
// them.
func TestV6Control(t *testing.T) {
	number := func(v int32) []byte { return binary.NativeEndian.AppendUint32(nil, uint32(v)) }
	put := func(level, kind int32, data []byte) []byte {
		b, _ := abi.PutControl(nil, level, kind, data, maxControl)
		return b
	}
	hops, ttl := put(unix.IPPROTO_IPV6, unix.IPV6_HOPLIMIT, number(7)),
		put(unix.IPPROTO_IP, unix.IP_TTL, number(7))
	class, tos := put(unix.IPPROTO_IPV6, unix.IPV6_TCLASS, number(32)),
		put(unix.IPPROTO_IP, unix.IP_TOS, []byte{32})
	other := put(unix.SOL_SOCKET, unix.SO_TIMESTAMP, make([]byte, 16))

	sent, ok := v4Control(bytes.Join([][]byte{hops, other, class,
		put(unix.IPPROTO_IPV6, unix.IPV6_HOPLIMIT, number(-1))}, nil))
	if want := bytes.Join([][]byte{ttl, other,
		put(unix.IPPROTO_IP, unix.IP_TOS, number(32))}, nil); !ok ||
		!bytes.Equal(sent, want) {
		t.Errorf("sent %x, %v; want %x", sent, ok, want)
	}
	if sent, ok := v4Control(other); ok {
		t.Errorf("%x became %x", other, sent)
	}

	came := bytes.Join([][]byte{ttl, tos, other}, nil)
	both := mappedReceive{wants: [3]bool{true, true}, ours: [3]bool{true, true}}
	for _, tc := range []struct {
		name string
		r    mappedReceive
		isV6 bool
		room int
		want []byte
		cut  bool
	}{
		{"all", both, true, 200, bytes.Join([][]byte{hops, class, other}, nil), false},
		{"an IPv4 datagram", both, false, 200, other, false},
		{"asked for both ways", mappedReceive{wants: [3]bool{true}}, false, 200,
			came, false},
		{"one, and no room for its header's neighbour", both, true, 24 + 15, hops, true},
		{"half a value", both, true, 24 + 18,
			append(bytes.Clone(hops), append([]byte{18, 0, 0, 0, 0, 0, 0, 0},
				class[8:18]...)...), true},
		{"asked for about IPv4 alone", mappedReceive{}, true, 200, other, false},
	} {
		if got, cut := tc.r.control(came, tc.isV6, tc.room); !bytes.Equal(got, tc.want) ||
			cut != tc.cut {
			t.Errorf("%s: %x, %v; want %x, %v", tc.name, got, cut, tc.want, tc.cut)
		}
	}
}

// TestOriginalDestination turns the address that a datagram was sent to into an IPv6 one.
func TestOriginalDestination(t *testing.T) {
	put := func(level, kind int32, at string, isV6 bool) []byte {
		b, _ := abi.PutControl(nil, level, kind, abi.AppendSockaddr(nil,
			abi.Sockaddr{Addr: netip.MustParseAddrPort(at), V6: isV6}), 200)
		return b
	}
	came := put(unix.IPPROTO_IP, unix.IP_RECVORIGDSTADDR, "127.64.0.9:7", false)
	asked := mappedReceive{wants: [3]bool{2: true}, ours: [3]bool{2: true}}
	for _, tc := range []struct {
		name string
		r    mappedReceive
		isV6 bool
		want []byte
	}{
		{"over IPv6", asked, true, put(unix.IPPROTO_IPV6, unix.IPV6_RECVORIGDSTADDR,
			"[::ffff:127.64.0.9]:7", true)},
		{"over IPv4", asked, false, nil},
		{"over IPv4, asked for", mappedReceive{}, false, came},
		{"over IPv6, asked for about IPv4", mappedReceive{}, true, nil},
	} {
		if got, _ := tc.r.control(came, tc.isV6, 200); !bytes.Equal(got, tc.want) {
			t.Errorf("%s: %x, want %x", tc.name, got, tc.want)
		}
	}
}

// FuzzV6Control holds the messages to their room, whatever a program sends.
func FuzzV6Control(f *testing.F) {
	f.Add([]byte("\x14\x00\x00\x00\x00\x00\x00\x00\x29\x00\x00\x00\x34\x00\x00\x00\x07\x00\x00\x00\x00\x00\x00\x00"), uint16(40), true)
	f.Fuzz(func(t *testing.T, b []byte, room uint16, isV6 bool) {
		v4Control(b)
		out, _ := mappedReceive{wants: [3]bool{true, true},
			ours: [3]bool{true}}.control(b, isV6, int(room))
		if len(out) > int(room) {
			t.Fatalf("%d bytes in a room of %d", len(out), room)
		}
	})
}
