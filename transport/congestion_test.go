package transport

import (
	"io"
	"strings"
	"testing"
)

func TestParseCongestion(t *testing.T) {
	for _, want := range []Congestion{Reno, CUBIC, BBR} {
		got, err := ParseCongestion(want.String())
		switch {
		case quicPatched || want == Reno:
			if err != nil || got != want {
				t.Errorf("%v: %v, %v", want, got, err)
			}
		case err == nil || !strings.Contains(err.Error(), "make"):
			t.Errorf("%v: %v, %v: want an error that says how to get it", want, got, err)
		}
	}
	if got, err := ParseCongestion("host"); err != nil || got != HostCongestion() {
		t.Errorf("host: %v, %v; want %v", got, err, HostCongestion())
	}
	for _, name := range []string{"", "BBR", "htcp", "bbr "} {
		if got, err := ParseCongestion(name); err == nil {
			t.Errorf("%q is taken for %v", name, got)
		} else if !strings.Contains(err.Error(), "bbr, cubic, reno") {
			t.Errorf("%q: %v: it does not say what would be right", name, err)
		}
	}
	for kernel, want := range map[string]Congestion{"bbr": BBR, "bbr3": BBR,
		"cubic": CUBIC, "reno": Reno, "htcp": CUBIC, "": CUBIC} {
		if got := congestionLike(kernel); got != want {
			t.Errorf("the kernel's %q: %v, want %v", kernel, got, want)
		}
	}
}

// TestCongestion has connections of every kind carry bytes both ways.
func TestCongestion(t *testing.T) {
	for _, cc := range []Congestion{Reno, CUBIC, BBR} {
		t.Run(cc.String(), func(t *testing.T) {
			virtual(t, func(t *testing.T, l *lab) {
				set := func(c *Config) { c.Congestion = cc }
				near, far := l.node(1, set), l.node(2, set)
				far.onAccept(func(s *Stream) {
					s.Answer(StatusOK)
					io.Copy(struct{ io.Writer }{s}, struct{ io.Reader }{s})
					s.CloseWrite()
				})
				s := near.open(t, 2)
				size := scaled(16 << 20)
				go func() {
					s.Write(make([]byte, size))
					s.CloseWrite()
				}()
				if n, err := io.Copy(io.Discard,
					struct{ io.Reader }{s}); n != int64(size) ||
					err != nil {
					t.Errorf("%d bytes of %d came back, %v", n, size, err)
				}
			})
		})
	}
}
