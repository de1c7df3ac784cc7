package launcher

import (
	"context"
	"errors"
	"log/slog"
	"net/netip"
	"sync/atomic"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/boxer-sandbox/boxer/coordinator"
	"github.com/boxer-sandbox/boxer/syscalls"
	"github.com/boxer-sandbox/boxer/transport"
)

// startCoordinator runs one until the test ends.
func startCoordinator(t *testing.T) coordinator.JoinURL {
	t.Helper()
	_, url := startServer(t)
	return url
}

// joinAs joins as a node with a block of aliases, or without one.
func joinAs(t *testing.T, url coordinator.JoinURL, name string, aliases *syscalls.Aliases,
	accept func(*transport.Stream)) network {
	t.Helper()
	who := self{name: name}
	if aliases != nil {
		who.own = aliases.Claim()
	}
	m, err := join(t.Context(), url, who, 0, handlers{accept: accept},
		slog.New(slog.DiscardHandler))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { m.close() })
	return network{m, new(atomic.Pointer[recorder])}
}

func claimAliases(t *testing.T) *syscalls.Aliases {
	t.Helper()
	a, err := syscalls.ClaimAliases()
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { a.Release() })
	return a
}

// A member that only says that it is on this host, and a neighbour, cannot name addresses
// of this host that are not their own.
func TestLocateOfLiars(t *testing.T) {
	url := startCoordinator(t)
	ours, theirs := claimAliases(t), claimAliases(t)
	victim := joinAs(t, url, "victim", ours,
		func(s *transport.Stream) { s.Answer(transport.StatusRefused) })
	for _, tc := range []struct {
		name    string
		aliases *syscalls.Aliases // of the member that answers; nil: it is elsewhere
		answer  netip.Addr
		ok      bool
	}{
		{"elsewhere", nil, netip.MustParseAddr("127.0.0.1"), false},
		{"elsewhere-ours", nil, ours.Private, false},
		{"elsewhere-theirs", nil, theirs.Public, false},
		{"neighbour", theirs, theirs.Wildcard6, true},
		{"neighbour-host", theirs, netip.MustParseAddr("127.0.0.1"), false},
		{"neighbour-ours", theirs, ours.Private, false},
	} {
		t.Run(tc.name, func(t *testing.T) {
			kernel := netip.AddrPortFrom(tc.answer, 8500)
			liar := joinAs(t, url, tc.name, tc.aliases, func(s *transport.Stream) {
				b, _ := kernel.MarshalBinary()
				s.Answer(transport.StatusOK)
				s.Write(b)
				s.Close()
			})
			self := victim.m.client.Self().Addr
			at := liar.m.client.Self().Addr
			await(t, func() bool { return victim.SameHost(at) })
			ctx, cancel := context.WithTimeout(t.Context(), 20*time.Second)
			defer cancel()
			got, err := victim.ResolveLocal(ctx, ours.Public, self,
				netip.AddrPortFrom(at, 80), 1)
			switch {
			case tc.ok && (err != nil || got != kernel):
				t.Errorf("located at %v, %v; want %v", got, err, kernel)
			case !tc.ok && !errors.Is(err, unix.EHOSTUNREACH):
				t.Errorf("located at %v, %v; want %v", got, err, unix.EHOSTUNREACH)
			}
		})
	}
}

func await(t *testing.T, ok func() bool) {
	t.Helper()
	for end := time.Now().Add(20 * time.Second); !ok(); time.Sleep(time.Millisecond) {
		if time.Now().After(end) {
			t.Fatal("waited in vain")
		}
	}
}
