package abi

import (
	"bytes"
	"errors"
	"testing"

	"golang.org/x/sys/unix"
)

// TestParseMsghdr reads a message header and its buffers in both layouts.
func TestParseMsghdr(t *testing.T) {
	for _, tc := range []struct {
		name string
		l    *Layout
	}{{"native", &Native}, {"compat", &Compat}} {
		t.Run(tc.name, func(t *testing.T) {
			l := tc.l
			b := make([]byte, l.SizeofMsghdr)
			want := Msghdr{Addr: 0x1000, Name: 0x2000, Namelen: 28, Iov: 0x3000,
				Iovlen:  2,
				Control: 0x4000, Controllen: 24}
			copy(b, l.EncodeWord(uint64(want.Name)))
			b[l.MsgNamelen] = byte(want.Namelen)
			copy(b[l.MsgIov:], l.EncodeWord(uint64(want.Iov)))
			copy(b[l.MsgIovlen:], l.EncodeWord(want.Iovlen))
			copy(b[l.MsgControl:], l.EncodeWord(uint64(want.Control)))
			copy(b[l.MsgControllen:], l.EncodeWord(want.Controllen))
			if got := ParseMsghdr(l, want.Addr, b); got != want {
				t.Errorf("got %+v, want %+v", got, want)
			}
			word := l.EncodeWord
			iov, total, err := ParseIovecs(l, bytes.Join([][]byte{word(0x5000), word(7),
				word(0x6000), word(5)}, nil))
			if err != nil || total != 12 || len(iov) != 2 ||
				iov[0] != (Iovec{0x5000, 7}) || iov[1] != (Iovec{0x6000, 5}) {
				t.Errorf("buffers %v, %d, %v", iov, total, err)
			}
			negative := append(word(0x5000), word(^uint64(0))...)
			if _, _, err := ParseIovecs(l, negative); !errors.Is(err, unix.EINVAL) {
				t.Errorf("a negative length: %v", err)
			}
		})
	}
}

// FuzzParseIovecs holds the sum to the lengths.
func FuzzParseIovecs(f *testing.F) {
	f.Add([]byte("0123456701234567"), true)
	f.Add(bytes.Repeat([]byte{0xff}, 32), false)
	f.Fuzz(func(t *testing.T, b []byte, compat bool) {
		l := &Native
		if compat {
			l = &Compat
		}
		iov, total, err := ParseIovecs(l, b[:len(b)/l.SizeofIovec*l.SizeofIovec])
		if err != nil {
			return
		}
		var sum uint64
		for _, v := range iov {
			if sum += v.Len; l.negative(v.Len) || sum < v.Len {
				t.Fatalf("%+v passes", iov)
			}
		}
		if sum != total {
			t.Fatalf("the sum of %+v is %d, not %d", iov, total, sum)
		}
	})
}

func TestTimespec(t *testing.T) {
	for _, word := range []int{4, 8} {
		sec, nsec := ParseTimespec(AppendTimespec(nil, word, -1, 999_999_999))
		if sec != -1 || nsec != 999_999_999 {
			t.Errorf("%d bytes a field: %d, %d", word, sec, nsec)
		}
	}
	b := AppendTimespec(nil, 4, -2, 5)
	b = append(b, make([]byte, 8)...)
	if n := NativeTimeval(b); n != 16 {
		t.Errorf("a native struct timeval has %d bytes", n)
	}
	if sec, usec := ParseTimespec(b); sec != -2 || usec != 5 {
		t.Errorf("native: %d, %d", sec, usec)
	}
	if n := CompatTimeval(b); n != SizeofCompatTimeval {
		t.Errorf("a struct old_timeval32 has %d bytes", n)
	}
	if sec, usec := ParseTimespec(b[:8]); sec != -2 || usec != 5 {
		t.Errorf("compat: %d, %d", sec, usec)
	}
}

func TestSockaddrNetlink(t *testing.T) {
	want := SockaddrNetlink{Port: 4711, Groups: 5}
	b := want.Encode()
	if got, ok, err := ParseSockaddrNetlink(b[:]); got != want || !ok || err != nil {
		t.Errorf("got %+v, %v, %v", got, ok, err)
	}
	if _, _, err := ParseSockaddrNetlink(b[:11]); !errors.Is(err, unix.EINVAL) {
		t.Errorf("cut short: %v", err)
	}
	if _, ok, err := ParseSockaddrNetlink(make([]byte, 2)); ok || err != nil {
		t.Errorf("AF_UNSPEC: %v, %v", ok, err)
	}
}
