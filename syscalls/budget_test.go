package syscalls

import (
	"context"
	"errors"
	"fmt"
	"net/netip"
	"testing"
	"time"
)

// noWait is a context of one who does not wait.
func noWait() context.Context {
	ctx, cancel := context.WithCancel(context.Background())
	cancel()
	return ctx
}

// fill takes as much as a spot gets without waiting.
func (b *budget) fill(s spot) (n int) {
	for {
		if _, err := b.take(noWait(), s); err != nil {
			return n
		}
		n++
	}
}

func TestBudgetShares(t *testing.T) {
	one, two := netip.MustParseAddrPort("10.111.0.2:80"),
		netip.MustParseAddrPort("10.111.0.2:81")
	peer := func(i int) netip.Addr { return netip.AddrFrom4([4]byte{10, 111, 1, byte(i)}) }
	for _, tc := range []struct {
		files int
		takes []spot
		want  []int
	}{
		{200, []spot{{peer(1), one}, {peer(1), two}, {peer(2), one}}, []int{70, 14, 14}},
		{1024, []spot{{peer(1), one}, {peer(1), one}, {peer(1), two}, {peer(2), two}},
			[]int{598, 0, 119, 120}},
		{1 << 15, []spot{{peer(1), one}}, []int{21163}},
	} {
		b := budgetOf(tc.files)
		for i, s := range tc.takes {
			if got := b.fill(s); got != tc.want[i] {
				t.Errorf("of %d descriptors the take %d, of %v, got %d, want %d",
					tc.files, i, s, got, tc.want[i])
			}
		}
	}
}

func TestBudgetWaits(t *testing.T) {
	s := spot{netip.MustParseAddr("10.111.0.3"), netip.MustParseAddrPort("10.111.0.2:80")}
	b := budgetOf(200)
	first, err := b.take(context.Background(), s)
	if err != nil {
		t.Fatal(err)
	}
	full := b.fill(s)
	got := make(chan error, 1)
	go func() {
		_, err := b.take(context.Background(), s)
		got <- err
	}()
	eventually(t, "it waits", func() bool { b.mu.Lock(); defer b.mu.Unlock(); return len(b.queue[s]) == 1 })
	if _, err := b.take(noWait(), s); !errors.Is(err, context.Canceled) {
		t.Errorf("behind one that waits: %v", err)
	}
	first()
	if err := <-got; err != nil {
		t.Fatal(err)
	}
	if !b.short(s) { // the process has no descriptors for what the budget allows
		t.Error("the connections are not the cause")
	}
	for range full {
		b.give(s)
	}
	if b.used != 0 || len(b.peers) != 0 || len(b.spots) != 0 || len(b.queue) != 0 ||
		b.limit != b.most {
		t.Errorf("in the end: %+v", b)
	}
	if b.short(s) {
		t.Error("short of descriptors without connections, and to wait for one")
	}
}

// TestBudgetShort has a connection find no descriptor while others are open. It waits
// until one of these has ended, also if it is the only one of its peer: it does not try
// in a loop.
func TestBudgetShort(t *testing.T) {
	listener := netip.MustParseAddrPort("10.111.0.2:80")
	s := spot{netip.MustParseAddr("10.111.0.3"), listener}
	late := spot{netip.MustParseAddr("10.111.0.4"), listener}
	b := budgetOf(200)
	for _, each := range [...]spot{s, s, s, late} {
		if _, err := b.take(noWait(), each); err != nil {
			t.Fatal(err)
		}
	}
	if !b.short(late) {
		t.Fatal("the connections are not the cause")
	}
	if _, err := b.take(noWait(), late); !errors.Is(err, context.Canceled) {
		t.Errorf("before another connection has ended: %v", err)
	}
	b.give(s)
	if _, err := b.take(noWait(), late); err != nil {
		t.Errorf("after that: %v", err)
	}
}

// TestFloodedListener has a peer fill a listener that never accepts. Other listeners, for
// the same peer and for others, go on, and so does the first one afterwards.
func TestFloodedListener(t *testing.T) {
	s := boxedScript(t)
	s.b.node.budget = budgetOf(200)
	s.b.node.listeners.budget = s.b.node.budget
	deaf := s.tcp(s.b)
	deaf.bind("0.0.0.0:7000")
	deaf.listen(4096)
	l := s.listener(s.b, "0.0.0.0:7001")
	var flood []*sock
	for range 300 {
		k := s.tcpNB(s.a)
		k.connect("B:7000")
		flood = append(flood, k)
	}
	waiting := func() (n int) {
		b := s.b.node.budget
		b.mu.Lock()
		defer b.mu.Unlock()
		for _, q := range b.queue {
			n += len(q)
		}
		return n
	}
	eventually(t, "the flood waits", func() bool { return waiting() == len(flood)-70 })
	k := s.tcp(s.a)
	k.connect("B:7001")
	talk(k, l.accept(0))
	for i := range 12 {
		from := netip.AddrPortFrom(netip.MustParseAddr(fmt.Sprint("203.0.113.", 100+i)), 4000)
		ctx, cancel := context.WithTimeout(context.Background(), patience)
		accepted, err := s.b.node.Accept(ctx, Opening{Source: from,
			Destination: s.parse("B:7001")})
		cancel()
		if err != nil {
			t.Fatalf("peer %d: %v", i, err)
		}
		defer accepted.Abort()
	}
	for _, k := range flood {
		k.resetOnClose()
		k.close()
	}
	deaf.close()
	eventually(t, "the flood has gone", func() bool {
		return waiting() == 0 &&
			s.a.node.entries() == noEntries
	})
}

// TestOutOfDescriptorsWaits holds that a connection which comes in while the process has
// no descriptor left waits until another one has ended.
func TestOutOfDescriptorsWaits(t *testing.T) {
	s := boxedScript(t)
	l := s.listener(s.b, "0.0.0.0:7000")
	ks := [2]*sock{s.tcp(s.a), s.tcp(s.a)}
	for _, k := range ks {
		k.connect("B:7000")
	}
	servers := [2]*sock{l.accept(0), l.accept(0)}
	result := make(chan error, 1)
	outOfDescriptors(t, func() {
		go func() {
			ctx, cancel := context.WithTimeout(context.Background(), patience)
			defer cancel()
			accepted, err := s.b.node.Accept(ctx, Opening{
				Source:      netip.AddrPortFrom(addrA, 4000),
				Destination: s.parse("B:7000")})
			if err == nil {
				accepted.Abort()
			}
			result <- err
		}()
		b := s.b.node.budget
		for end := time.Now().Add(patience); ; time.Sleep(time.Millisecond) {
			b.mu.Lock()
			waits := len(b.queue) == 1
			b.mu.Unlock()
			if waits || time.Now().After(end) {
				break
			}
		}
	})
	talk(ks[0], servers[0])
	if err := <-result; err != nil {
		t.Errorf("after another connection has ended: %v", err)
	}
	talk(ks[1], servers[1])
}
