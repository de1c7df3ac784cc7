package transport

import (
	"io"
	"testing"
)

func TestStream(t *testing.T) {
	l := newLab(t)
	a := l.node(1)
	l.node(2)
	s := a.open(t, 2)
	exchange(t, s, "hello")
	if err := s.CloseWrite(); err != nil {
		t.Fatal(err)
	}
	if b, err := io.ReadAll(s); len(b) != 0 || err != nil {
		t.Errorf("after FIN: %q, %v", b, err)
	}
	if k := s.Kind(); k != KindLocal {
		t.Errorf("kind %v, want local", k)
	}
}
