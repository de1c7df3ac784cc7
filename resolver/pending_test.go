package resolver

import (
	"errors"
	"io"
	"net/netip"
	"slices"
	"testing"

	"github.com/miekg/dns"
)

// observed makes the server tell of questions on a channel.
func observed(s *Server) chan Question {
	told := make(chan Question, 16)
	s.observe = func(q Question) { told <- q }
	return told
}

// replyTo returns the answer to a question, with one address.
func replyTo(t testing.TB, query []byte, address string) []byte {
	t.Helper()
	var q dns.Msg
	if err := q.Unpack(query); err != nil {
		t.Fatal(err)
	}
	m := new(dns.Msg).SetReply(&q)
	rr, err := dns.NewRR(q.Question[0].Name + " A " + address)
	if err != nil {
		t.Fatal(err)
	}
	m.Answer = []dns.RR{rr}
	b, err := m.Pack()
	if err != nil {
		t.Fatal(err)
	}
	return b
}

// TestPassed has programs ask name servers of their own choice over UDP: what passes is
// told with the answer of that server to that program.
func TestPassed(t *testing.T) {
	s, _ := startServer(t, "")
	told := observed(s)
	a := Client{Asker: 1, Program: netip.MustParseAddrPort("127.0.0.1:1000"),
		Server: netip.MustParseAddrPort("192.0.2.1:53")}
	b, other := a, a
	b.Asker, b.Program = 2, netip.MustParseAddrPort("127.0.0.1:1001")
	other.Server = netip.MustParseAddrPort("192.0.2.2:53")
	query := message(t, "example.org.", dns.TypeA)[2:]
	for _, c := range []Client{a, b} {
		if answer := s.Pass(c, query); answer != nil {
			t.Fatalf("%v is answered here", c)
		}
	}
	s.Passed(other, replyTo(t, query, "192.0.2.66")) // nobody has asked it
	s.Passed(b, query)                               // no answer
	s.Passed(b, replyTo(t, query, "192.0.2.5"))
	s.Passed(b, replyTo(t, query, "192.0.2.6")) // a second one
	if q := <-told; q.Asker != 2 || q.Server != b.Server || !q.Passed || q.Err != nil ||
		!slices.Equal(q.Answer, replyTo(t, query, "192.0.2.5")) {
		t.Errorf("got %+v", q)
	}
	s.Pass(a, query) // once more: the first time is over
	s.Unanswered()
	for range 2 {
		if q := <-told; q.Asker != 1 || q.Answer != nil ||
			!errors.Is(q.Err, errNoAnswer) {
			t.Errorf("got %+v", q)
		}
	}
	if s.Pass(a, message(t, "db.", dns.TypeA)[2:]) == nil {
		t.Error("a name of the network is not answered")
	}
	if q := <-told; q.Asker != 1 || q.Server != a.Server || !q.Local || q.Passed {
		t.Errorf("got %+v", q)
	}
	if len(told) != 0 || len(s.pending.byKey) != 0 {
		t.Errorf("%d more are told, %d wait", len(told), len(s.pending.byKey))
	}
}

// TestPassedStream does so over TCP, where messages come in pieces.
func TestPassedStream(t *testing.T) {
	s, _ := startServer(t, "")
	told := observed(s)
	st, c := dialFor(t, s, Client{Asker: 3}, true)
	go io.Copy(io.Discard, st)
	first, second := message(t, "one.example.", dns.TypeA),
		message(t, "two.example.", dns.TypeA)
	write(t, st, first)
	write(t, st, second)
	expect(t, c, slices.Concat(first, second))
	var both []byte
	for _, q := range [][]byte{second, first} {
		r := replyTo(t, q[2:], "192.0.2.7")
		both = append(append(both, byte(len(r)>>8), byte(len(r))), r...)
	}
	for len(both) > 0 {
		n := min(5, len(both))
		write(t, c, both[:n])
		both = both[n:]
	}
	for _, want := range [][]byte{second, first} {
		if q := <-told; q.Asker != 3 || q.Err != nil ||
			!slices.Equal(q.Query, want[2:]) ||
			!slices.Equal(q.Answer, replyTo(t, want[2:], "192.0.2.7")) {
			t.Errorf("got %+v, want the answer to %q", q, want)
		}
	}
	write(t, st, first)
	expect(t, c, first)
	c.Close()
	if q := <-told; q.Answer != nil || !errors.Is(q.Err, errNoAnswer) {
		t.Errorf("after the server's end: %+v", q)
	}
}
