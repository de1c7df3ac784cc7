package syscalls

import (
	"testing"

	"golang.org/x/sys/unix"
)

// TestDescribed checks that the names of sockets are known to the table of names when a
// program first asks for them: after accept(2), and once they were asked for.
func TestDescribed(t *testing.T) {
	s := boxedScript(t)
	w := s.world
	l := s.listener(w.a, "0.0.0.0:7000")
	c := s.tcp(w.b)
	c.connect("A:7000")
	d := l.accept(0)
	names := w.a.node.Names.(*fakeNames)
	entry := func(k *sock) (SocketNames, bool) {
		id, err := cookie(k.fd)
		if err != nil {
			t.Fatal(err)
		}
		names.mu.Lock()
		defer names.mu.Unlock()
		e, ok := names.entries[id]
		return e, ok
	}
	e, ok := entry(d)
	if !ok || len(e.OwnName) != unix.SizeofSockaddrInet4 ||
		len(e.FarName) != unix.SizeofSockaddrInet4 {
		t.Errorf("after accept: %+v, %v", e, ok)
	}
	if _, ok := entry(l); ok {
		t.Error("the listener's name is known, but nobody has asked")
	}
	l.sockname()
	if e, ok := entry(l); !ok || len(e.Far) != 0 || len(e.FarName) != 0 {
		t.Errorf("after getsockname: %+v, %v", e, ok)
	}
	k := s.tcp(w.a)
	k.sockname()
	if _, ok := entry(k); ok {
		t.Error("the name of a socket that is not the node's is known")
	}
	k.bind("0.0.0.0:7001")
	k.sockname()
	if _, ok := entry(k); !ok {
		t.Error("a bound socket's name is not known after getsockname")
	}
	k.connect("B:7009") // where nobody listens
	if _, ok := entry(k); ok {
		t.Error("the name from before connect is known")
	}
}
