package resolver

import (
	"net/netip"
	"os"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/miekg/dns"

	"github.com/boxer-sandbox/boxer/internal/virtualtime"
)

// TestSearchDomain asks for names below a search domain, of which some are a node's when
// that domain is cut off: the outside comes first.
func TestSearchDomain(t *testing.T) {
	t.Parallel()
	alias := func(w dns.ResponseWriter, q *dns.Msg) {
		m := new(dns.Msg).SetRcode(q, dns.RcodeNameError)
		m.Answer = []dns.RR{&dns.CNAME{
			Hdr: dns.RR_Header{Name: q.Question[0].Name, Rrtype: dns.TypeCNAME,
				Class: dns.ClassINET, Ttl: 77},
			Target: "missing.example.",
		}}
		w.WriteMsg(m)
	}
	for _, tc := range []struct {
		name, question string
		upstream       dns.HandlerFunc
		rcode          int
		want           string
	}{
		{"resolves outside", "db.corp.example.", say("outside"), dns.RcodeSuccess, `"outside"`},
		{"exists outside without that type", "db.corp.example.", report(dns.RcodeSuccess),
			dns.RcodeSuccess, ""},
		{"is an alias outside", "db.corp.example.", alias, dns.RcodeNameError,
			"missing.example."},
		{"missing outside", "db.corp.example.", report(dns.RcodeNameError),
			dns.RcodeSuccess, "10.111.0.2"},
		{"missing outside, below our domain", "db.boxer.corp.example.",
			report(dns.RcodeNameError), dns.RcodeSuccess, "10.111.0.2"},
		{"missing everywhere", "nosuch.corp.example.", report(dns.RcodeNameError),
			dns.RcodeNameError, ""},
		{"outside in trouble", "db.corp.example.", report(dns.RcodeServerFailure),
			dns.RcodeNameError, ""},
		{"outside silent", "db.corp.example.", silence, dns.RcodeNameError, ""},
		{"another domain", "db.elsewhere.", report(dns.RcodeNameError),
			dns.RcodeNameError, ""},
	} {
		t.Run(tc.name, func(t *testing.T) {
			t.Parallel()
			s, addr := startUpstreams(t, tc.upstream)
			appendConf(t, s, "search other.example corp.example\n")
			m := ask(t, "udp", addr, tc.question, dns.TypeA)
			if m.Rcode != tc.rcode || data(m) != tc.want {
				t.Errorf("got %s %s, want %s %s", dns.RcodeToString[m.Rcode], data(m),
					dns.RcodeToString[tc.rcode], tc.want)
			}
		})
	}
}

// TestSearchDomainOutage has nameservers that do not answer: who looks for a node waits
// for them once.
func TestSearchDomainOutage(t *testing.T) {
	virtualtime.Test(t, func(t *testing.T) {
		var asked atomic.Int32
		s := memUpstreams(t, func(w dns.ResponseWriter, q *dns.Msg) {
			if asked.Add(1) > rounds {
				say("back")(w, q)
			}
		})
		appendConf(t, s, "search corp.example\n")
		for i, wait := range []time.Duration{forwardTimeout, 0} {
			m, took := answerOf(t, s, "db.corp.example.", dns.TypeA)
			if m.Rcode != dns.RcodeNameError || took != wait {
				t.Errorf("question %d: %s after %v", i, dns.RcodeToString[m.Rcode], took)
			}
		}
		if n := asked.Load(); n != rounds {
			t.Errorf("the nameserver was asked %d times", n)
		}
		// Other questions are asked still, and end the outage.
		if m, _ := answerOf(t, s, "example.org.", dns.TypeTXT); data(m) != `"back"` {
			t.Errorf("got %v", m)
		}
		if m, _ := answerOf(t, s, "db.corp.example.", dns.TypeA); data(m) != `"back"` {
			t.Errorf("after the outage: got %v", m)
		}
	})
}

// TestOwn asks nameservers of the program's own choice: only the network's names are
// ours.
func TestOwn(t *testing.T) {
	s, _ := startServer(t, "nameserver 192.0.2.1\nsearch corp.example\n")
	for _, tc := range []struct {
		name   string
		change func(*dns.Msg)
		want   string // "-": it is passed on
	}{
		{"db.", nil, "10.111.0.2"},
		{"DB.boxer.", nil, "10.111.0.2"},
		{"nosuch.boxer.", nil, ""},
		{"gone.", nil, ""},
		{"nosuch.", nil, "-"},
		{"db.corp.example.", nil, "-"},
		{"example.org.", nil, "-"},
		{"db.", func(m *dns.Msg) { m.RecursionDesired = false }, "-"},
		{"db.", func(m *dns.Msg) { m.Question[0].Qtype = dns.TypeAXFR }, "-"},
		{"db.", func(m *dns.Msg) { m.Question[0].Qclass = dns.ClassCHAOS }, "-"},
		{"db.", func(m *dns.Msg) { m.Opcode = dns.OpcodeUpdate }, "-"},
		{"db.", func(m *dns.Msg) { m.Opcode = dns.OpcodeNotify }, "-"},
		{"db.", func(m *dns.Msg) { m.Response = true }, "-"},
		{"db.", func(m *dns.Msg) { m.SetEdns0(1232, false); m.IsEdns0().SetVersion(1) }, "-"},
	} {
		q := new(dns.Msg).SetQuestion(tc.name, dns.TypeA)
		if tc.change != nil {
			tc.change(q)
		}
		query, err := q.Pack()
		if err != nil {
			t.Fatal(err)
		}
		got, answer := "-", s.Own(query, false)
		if answer != nil {
			var m dns.Msg
			if err := m.Unpack(answer); err != nil || m.Id != q.Id {
				t.Errorf("%v: %v", q, err)
			}
			got = data(&m)
		}
		if got != tc.want {
			t.Errorf("got %q, want %q for %v", got, tc.want, q)
		}
		for size := range len(query) {
			if s.Own(query[:size], false) != nil {
				t.Errorf("the first %d bytes are answered of %v", size, q)
			}
		}
	}
}

// TestServes tells the nameservers of resolv.conf from others.
func TestServes(t *testing.T) {
	for _, tc := range []struct{ conf, addr, want string }{
		{"nameserver 192.0.2.1\nnameserver fe80::1%lo\n", "192.0.2.1", "yes"},
		{"nameserver 192.0.2.1\nnameserver fe80::1%lo\n", "::ffff:192.0.2.1", "yes"},
		{"nameserver 192.0.2.1\nnameserver fe80::1%lo\n", "fe80::1", "yes"},
		{"nameserver 192.0.2.1\n", "192.0.2.2", "no"},
		{"nameserver 192.0.2.1\n", "127.0.0.1", "no"},
		{"nameserver 127.0.0.53\n", "127.0.0.53", "yes"},
		{"", "127.0.0.1", "yes"},
		{"", "::1", "yes"},
		{"", "127.0.0.53", "no"},
	} {
		s, _ := startServer(t, tc.conf)
		got := "no"
		if s.Serves(netip.MustParseAddr(tc.addr)) {
			got = "yes"
		}
		if got != tc.want {
			t.Errorf("%q serves %s: %s, want %s", strings.TrimSpace(tc.conf), tc.addr,
				got, tc.want)
		}
	}
}

// FuzzOwn gives Own what a program may send anywhere: it is silent, or answers the
// question.
func FuzzOwn(f *testing.F) {
	for _, name := range []string{"db.", "many.", "nosuch.boxer.",
		"2.0.111.10.in-addr.arpa.", "example.org."} {
		b, err := new(dns.Msg).SetQuestion(name, dns.TypeA).Pack()
		if err != nil {
			f.Fatal(err)
		}
		f.Add(b, false)
	}
	s, _ := startServer(f, "")
	f.Fuzz(func(t *testing.T, query []byte, stream bool) {
		answer := s.Own(query, stream)
		if answer == nil {
			return
		}
		var m dns.Msg
		if err := m.Unpack(answer); err != nil || !m.Response || m.Id != msgID(query) {
			t.Fatalf("answer %x to %x: %v", answer, query, err)
		}
	})
}

// appendConf adds to the resolv.conf of a server.
func appendConf(t *testing.T, s *Server, text string) {
	t.Helper()
	f, err := os.OpenFile(s.resolvConf, os.O_WRONLY|os.O_APPEND, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	if _, err := f.WriteString(text); err != nil {
		t.Fatal(err)
	}
}
