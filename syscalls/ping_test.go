package syscalls

import (
	"testing"

	"golang.org/x/sys/unix"
)

func TestEchoAs(t *testing.T) {
	request := []byte{echoRequest, 0, 0xaa, 0xbb, 0x12, 0x34, 0, 7, 'o', 'd', 'd'}
	reply := echoAs(request, echoReply, 4711)
	if reply[0] != echoReply || echoID(reply) != 4711 ||
		string(reply[6:]) != "\x00\x07odd" {
		t.Errorf("the reply is %x", reply)
	}
	if sum := checksum(reply); sum != 0 { // of a message with its checksum: RFC 1071
		t.Errorf("the checksum is off by %#x", sum)
	}
	if request[0] != echoRequest || echoID(request) != 0x1234 {
		t.Errorf("the request became %x", request)
	}
}

// TestChecksum has the example of RFC 1071 section 3.
func TestChecksum(t *testing.T) {
	if got := checksum([]byte{0x00, 0x01, 0xf2, 0x03, 0xf4, 0xf5, 0xf6,
		0xf7}); got != ^uint16(0xddf2) {
		t.Errorf("%#x", got)
	}
}

func TestEchoOnly(t *testing.T) {
	for _, tc := range []struct {
		name string
		in   []byte
		want error
	}{
		{"request", []byte{echoRequest, 0, 0, 0, 0, 0, 0, 1}, nil},
		{"reply", []byte{echoReply, 0, 0, 0, 0, 0, 0, 1}, unix.EINVAL},
		{"code", []byte{echoRequest, 1, 0, 0, 0, 0, 0, 1}, unix.EINVAL},
		{"short", []byte{echoRequest, 0, 0, 0, 0, 0, 0}, unix.EINVAL},
		{"empty", nil, unix.EINVAL},
	} {
		_, err := echoOnly(func(b []byte) (int, error) {
			return copy(b, tc.in),
				nil
		})(make([]byte, 64))
		if err != tc.want {
			t.Errorf("%s: %v, want %v", tc.name, err, tc.want)
		}
	}
}
