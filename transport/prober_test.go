package transport

import (
	"net/netip"
	"testing"
	"time"
)

// testStart is when the prober's tests begin: they bring their own time.
var testStart = time.Date(2030, 1, 1, 0, 0, 0, 0, time.UTC)

var (
	testServer = netip.MustParseAddrPort("198.51.100.1:443")
	testLAN    = candidate{candidateHost, netip.MustParseAddrPort("192.168.7.2:1000")}
	testPublic = candidate{candidateReflexive,
		netip.MustParseAddrPort("203.0.113.7:4242")}
	testLocal = candidate{candidateLocal, netip.MustParseAddrPort("127.0.0.1:1000")}
)

// A world runs a prober in simulated time, over paths with a round trip each.
type world struct {
	t    *testing.T
	p    prober
	now  time.Time
	rtts map[netip.AddrPort]time.Duration // paths that work; the relay is testServer

	counts      traffic
	busy        bool // the connection sends and receives all the time
	connected   bool
	checks      map[netip.AddrPort]int
	offers      int
	answers     []answerDue
	used        *pair
	keeps       bool
	retransmits int
}

type answerDue struct {
	at, sent time.Time
	pair     *pair
}

func newWorld(t *testing.T, host string, candidates ...candidate) *world {
	w := &world{
		t: t, now: testStart, rtts: map[netip.AddrPort]time.Duration{},
		checks: map[netip.AddrPort]int{},
		p: prober{timers: Timers{}.withDefaults(), host: "here", server: testServer,
			ours: newCredentials()},
	}
	w.p.want(w.now, 100*time.Millisecond)
	w.p.step(w.now, false, traffic{})
	w.p.noteOffer(&offer{credentials: newCredentials(), host: host,
		candidates: candidates}, w.now, 100*time.Millisecond)
	return w
}

// run lets time pass.
func (w *world) run(d time.Duration) {
	w.t.Helper()
	for end := w.now.Add(d); w.now.Before(end); {
		if w.busy {
			w.counts.sent++
			if w.used != nil && w.rtts[w.used.path.to] != 0 {
				w.counts.received++
			}
		}
		do := w.p.step(w.now, w.connected, w.counts)
		w.used, w.keeps = do.use, do.keep
		if do.retransmit {
			w.retransmits++
		}
		if do.offer {
			w.offers++
		}
		for _, c := range do.checks {
			w.checks[c.pair.path.to]++
			if rtt := w.rtts[c.pair.path.to]; rtt != 0 {
				w.answers = append(w.answers, answerDue{w.now.Add(rtt), w.now, c.pair})
			}
		}
		if len(do.checks) > 0 && !do.next.IsZero() && !do.next.After(w.now) {
			w.t.Fatal("the next step is due in the past")
		}
		next := end
		if w.busy {
			next = w.now.Add(50 * time.Millisecond)
		}
		if !do.next.IsZero() && do.next.Before(next) {
			next = do.next
		}
		for _, a := range w.answers {
			if a.at.Before(next) {
				next = a.at
			}
		}
		if !next.After(w.now) {
			next = w.now.Add(time.Millisecond)
		}
		w.now = next
		rest := w.answers[:0]
		for _, a := range w.answers {
			if a.at.After(w.now) {
				rest = append(rest, a)
				continue
			}
			a.pair.noteAnswer(a.sent, w.now, netip.AddrPort{})
		}
		w.answers = rest
	}
}

func (w *world) wantKind(k Kind) {
	w.t.Helper()
	got := KindNone
	if w.used != nil {
		got = w.used.kind
	}
	if got != k {
		w.t.Fatalf("after %v: uses %v, want %v", w.now.Sub(testStart), got, k)
	}
}

func TestProberPrefersTheNearest(t *testing.T) {
	w := newWorld(t, "here", testPublic, testLAN, testLocal)
	for addr, rtt := range map[netip.AddrPort]time.Duration{
		testServer: 5 * time.Millisecond, testPublic.addr: 30 * time.Millisecond,
		testLAN.addr: 40 * time.Millisecond, testLocal.addr: 50 * time.Millisecond,
	} {
		w.rtts[addr] = rtt
	}
	w.run(35 * time.Millisecond)
	w.wantKind(KindPunched) // not the relay, which answers first
	w.run(10 * time.Millisecond)
	w.wantKind(KindLAN)
	w.run(10 * time.Millisecond)
	w.wantKind(KindLocal)
}

func TestProberProbesLoopbackOfItsOwnHostOnly(t *testing.T) {
	w := newWorld(t, "elsewhere", testLocal,
		candidate{candidateHost, netip.MustParseAddrPort("127.0.0.2:5")}, testPublic)
	w.run(time.Second)
	if n := w.checks[testLocal.addr]; n != 0 || len(w.checks) != 2 {
		t.Errorf("checks %v, want those of the relay and the public address", w.checks)
	}
}

func TestProberTakesTheRelayAfterAWhile(t *testing.T) {
	w := newWorld(t, "elsewhere", testPublic)
	w.connected = true
	w.rtts[testServer] = 5 * time.Millisecond
	w.run(95 * time.Millisecond)
	w.wantKind(KindNone)
	w.run(10 * time.Millisecond)
	w.wantKind(KindRelayed)

	// A direct path that comes up later is taken, well after the search.
	w.run(30 * time.Second)
	w.wantKind(KindRelayed)
	w.rtts[testPublic.addr] = 20 * time.Millisecond
	w.run(w.p.timers.Retry + time.Second)
	w.wantKind(KindPunched)
}

func TestProberRelaysAtOnceWithoutDirectPaths(t *testing.T) {
	w := newWorld(t, "elsewhere", testLocal)
	w.rtts[testServer] = 5 * time.Millisecond
	w.run(10 * time.Millisecond)
	w.wantKind(KindRelayed)
}

func TestProberLeavesADeadPath(t *testing.T) {
	for _, tc := range []struct {
		name   string
		busy   bool
		within time.Duration
	}{
		{"busy", true, 2 * time.Second},
		{"idle", false, 4 * time.Second},
	} {
		t.Run(tc.name, func(t *testing.T) {
			w := newWorld(t, "elsewhere", testPublic)
			w.connected, w.busy = true, tc.busy
			w.rtts[testServer] = 20 * time.Millisecond
			w.rtts[testPublic.addr] = 10 * time.Millisecond
			w.run(time.Minute)
			w.wantKind(KindPunched)
			offers := w.offers
			delete(w.rtts, testPublic.addr)
			w.run(tc.within)
			w.wantKind(KindRelayed)
			if w.offers == offers {
				t.Error("the peer was not told to search")
			}
			// and back, when it works again
			w.rtts[testPublic.addr] = 10 * time.Millisecond
			w.run(w.p.timers.Retry + time.Second)
			w.wantKind(KindPunched)
		})
	}
}

// The peer asks for a search when it has lost its path: then this side, which
// may not have noticed, finds out at once, and does not suspect a path that works.
func TestProberBelievesThePeer(t *testing.T) {
	for _, lost := range []bool{true, false} {
		w := newWorld(t, "elsewhere", testPublic)
		w.connected = true
		w.rtts[testServer] = 20 * time.Millisecond
		w.rtts[testPublic.addr] = 10 * time.Millisecond
		w.run(time.Minute)
		want := KindPunched
		if lost {
			delete(w.rtts, testPublic.addr)
			want = KindRelayed
		}
		w.p.noteOffer(&offer{wantsAnswer: true, credentials: w.p.theirs,
			host: "elsewhere", candidates: []candidate{testPublic}}, w.now, 0)
		w.run(500 * time.Millisecond)
		w.wantKind(want)
	}
}

// What was sent in vain is kept, and sent again when the path has changed.
func TestProberRetransmits(t *testing.T) {
	w := newWorld(t, "elsewhere", testPublic)
	w.connected, w.busy = true, true
	w.rtts[testServer] = 20 * time.Millisecond
	w.rtts[testPublic.addr] = 10 * time.Millisecond
	w.run(time.Minute)
	if w.keeps || w.retransmits > 0 {
		t.Error("keeps or retransmits packets though nothing is wrong")
	}
	delete(w.rtts, testPublic.addr)
	w.run(600 * time.Millisecond)
	if !w.keeps || w.retransmits > 0 {
		t.Errorf("keeps %v, retransmitted %d; want to keep and wait", w.keeps,
			w.retransmits)
	}
	w.run(2 * time.Second)
	w.wantKind(KindRelayed)
	if w.retransmits == 0 {
		t.Error("nothing was retransmitted on the new path")
	}
	w.run(10 * time.Second)
	if w.keeps {
		t.Error("still keeps packets after the outage")
	}
}

func TestProberKeepsTheLastPath(t *testing.T) {
	w := newWorld(t, "elsewhere", testPublic)
	w.connected = true
	w.rtts[testPublic.addr] = 10 * time.Millisecond
	w.run(time.Second)
	delete(w.rtts, testPublic.addr)
	w.run(time.Minute)
	w.wantKind(KindPunched) // dead, but there is no other
	w.rtts[testPublic.addr] = 10 * time.Millisecond
	before := w.used.answered
	w.run(2 * w.p.timers.Retry)
	if w.used.answered == before {
		t.Error("the path was not tried again")
	}
}

// Keeping a path costs few packets, and each pair's NAT binding is refreshed
// within the 30 s that some NATs give it.
func TestProberKeepsPathsQuietly(t *testing.T) {
	w := newWorld(t, "elsewhere", testPublic, testLAN)
	w.connected = true
	w.rtts[testServer], w.rtts[testPublic.addr] = 20*time.Millisecond, 10*time.Millisecond
	w.run(time.Minute)
	clear(w.checks)
	w.run(10 * time.Minute)
	for addr, want := range map[netip.AddrPort]int{
		testPublic.addr: 240, // every 2.5 s
		testServer:      40,  // every 15 s
		testLAN.addr:    120, // would be better: every 5 s
	} {
		if n := w.checks[addr]; n < want*9/10 || n > want*11/10 {
			t.Errorf("%v was checked %d times, want %d", addr, n, want)
		}
	}
}

func TestProberStopsWhenNotWanted(t *testing.T) {
	w := newWorld(t, "elsewhere", testPublic)
	w.rtts[testPublic.addr] = 10 * time.Millisecond
	w.run(time.Minute)
	clear(w.checks)
	w.run(time.Hour)
	if len(w.checks) > 0 || w.used != nil {
		t.Errorf("still checks %v and uses %v", w.checks, w.used)
	}
	w.p.want(w.now, 100*time.Millisecond)
	w.run(50 * time.Millisecond)
	w.wantKind(KindPunched)
}

func TestProberDoesNotFlap(t *testing.T) {
	other := candidate{candidateReflexive, netip.MustParseAddrPort("203.0.113.8:4242")}
	w := newWorld(t, "elsewhere", testPublic, other)
	w.connected = true
	w.rtts[testPublic.addr], w.rtts[other.addr] = 20*time.Millisecond, 21*time.Millisecond
	w.run(10 * time.Second)
	first := w.used
	for i := range 100 { // jitter
		w.rtts[testPublic.addr] = time.Duration(20+i%3) * time.Millisecond
		w.run(time.Second)
		if w.used != first {
			t.Fatal("changed for a millisecond")
		}
	}
	w.rtts[first.path.to] = 200 * time.Millisecond
	w.run(5 * time.Minute)
	if w.used == first {
		t.Error("stayed with a path ten times slower")
	}
}

func TestProberUsesAPathThatItHears(t *testing.T) {
	w := newWorld(t, "elsewhere", testPublic)
	from := netip.MustParseAddrPort("203.0.113.99:9")
	if !w.p.noteHeard(path{to: from}, w.now) {
		t.Fatal("a check by a new path is no news")
	}
	w.run(5 * time.Millisecond)
	if w.used == nil || w.used.path.to != from {
		t.Fatalf("uses %v, want the path that was heard", w.used)
	}
	if w.checks[from] != 1 {
		t.Errorf("checked %d times, want once", w.checks[from])
	}
}

func TestProberBoundsPairs(t *testing.T) {
	w := newWorld(t, "elsewhere", testPublic)
	for i := range 1000 {
		w.p.noteHeard(path{to: netip.AddrPortFrom(testPublic.addr.Addr(), uint16(i+1))}, w.now)
	}
	if len(w.p.pairs) > maxPairs {
		t.Errorf("%d pairs, want at most %d", len(w.p.pairs), maxPairs)
	}
}

func TestKindOf(t *testing.T) {
	mine := []iface{{prefix: netip.MustParsePrefix("192.168.1.5/24")},
		{prefix: netip.MustParsePrefix("198.51.100.5/24")}}
	for _, tc := range []struct {
		remote  string
		offered candidateKind
		want    Kind
	}{
		{"127.0.0.1", candidateLocal, KindLocal},
		{"192.168.1.5", candidateHost, KindLocal},
		{"192.168.1.6", candidateHost, KindLAN},
		{"192.168.1.6", 0, KindLAN},
		{"10.0.0.1", candidateHost, KindLAN},
		{"10.0.0.1", candidateReflexive, KindPunched}, // a NAT in a lab, or of a carrier
		{"100.64.3.4", candidateHost, KindLAN},
		{"198.51.100.9", candidateHost, KindLAN},
		{"198.51.100.9", candidateReflexive, KindPunched},
		{"203.0.113.7", candidateHost, KindPunched},
		{"203.0.113.7", 0, KindPunched},
	} {
		if got := kindOf(netip.MustParseAddr(tc.remote), tc.offered,
			mine); got != tc.want {
			t.Errorf("%s offered as %d: %v, want %v", tc.remote, tc.offered, got, tc.want)
		}
	}
}

// hostileOffer names addresses of a third party, others each time.
func hostileOffer(i int) *offer {
	o := &offer{wantsAnswer: true, credentials: newCredentials(), host: "there"}
	for k := range maxCandidates {
		port := uint16(10_000 + (i*maxCandidates+k)%50_000)
		o.candidates = append(o.candidates,
			candidate{candidateReflexive,
				netip.AddrPortFrom(netip.MustParseAddr("198.51.100.99"), port)})
	}
	return o
}

// However many offers a peer sends, and whatever addresses it names, few packets go
// there.
func TestOfferFlood(t *testing.T) {
	w := newWorld(t, "there")
	w.rtts[testServer] = 10 * time.Millisecond
	pending := map[transactionID]bool{}
	sent := 0
	const seconds = 20
	for i := range seconds * 100 {
		w.p.noteOffer(hostileOffer(i), w.now, 100*time.Millisecond)
		do := w.p.step(w.now, false, traffic{})
		for _, id := range do.forget {
			delete(pending, id)
		}
		for _, c := range do.checks {
			delete(pending, c.forgotten)
			pending[c.id] = true
			if !c.pair.path.relay {
				sent++
			}
		}
		w.now = w.now.Add(10 * time.Millisecond)
	}
	if limit := publicBurst + seconds*int(time.Second/publicEvery); sent > limit {
		t.Errorf("%d checks were sent to addresses that a peer made up, want at most %d",
			sent, limit)
	}
	if limit := (maxPairs + 1) * pendingChecks; len(pending) > limit {
		t.Errorf("%d answers are waited for, want at most %d", len(pending), limit)
	}
}

// An honest peer with as many addresses as it may have is found at the last of them.
func TestManyCandidates(t *testing.T) {
	var list []candidate
	for i := range maxCandidates - 1 {
		list = append(list, candidate{candidateHost,
			netip.AddrPortFrom(netip.AddrFrom4([4]byte{172, 17, byte(i), 1}), 1000)})
	}
	list = append(list, testPublic)
	w := newWorld(t, "there", list...)
	// As behind a NAT: what comes before the peer has sent this way is dropped.
	w.run(60 * time.Millisecond)
	w.rtts[testPublic.addr] = 20 * time.Millisecond
	w.run(time.Second)
	if w.used == nil || w.used.path.to != testPublic.addr {
		t.Errorf("the path is %+v, want %v", w.used, testPublic.addr)
	}
	if n := w.checks[list[0].addr]; n < 2 {
		t.Errorf("the first address was checked %d times", n)
	}
}
