package resolver

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/miekg/dns"

	"github.com/boxer-sandbox/boxer/internal/virtualtime"
)

// startUpstreams starts a nameserver for each handler, on 127.0.0.1, 127.0.0.2 and so
// on, all on one port, and a resolver that has them in its resolv.conf.
func startUpstreams(t *testing.T, handlers ...dns.HandlerFunc) (s *Server, addr string) {
	t.Helper()
	var conf strings.Builder
	var upstream net.Addr
	host := func(i int) string { return fmt.Sprintf("127.0.0.%d", i+1) }
	port := "0"
	for i, h := range handlers {
		udp, tcp := listenBoth(t, net.JoinHostPort(host(i), port))
		_, port, _ = net.SplitHostPort(udp.LocalAddr().String())
		upstream = udp.LocalAddr()
		fmt.Fprintln(&conf, "nameserver", host(i))
		for _, server := range []*dns.Server{{PacketConn: udp, Handler: h},
			{Listener: tcp, Handler: h}} {
			ready := make(chan struct{})
			server.NotifyStartedFunc = func() { close(ready) }
			go server.ActivateAndServe()
			<-ready
			t.Cleanup(func() { server.Shutdown() })
		}
	}
	return startServer(t, conf.String(), upstream)
}

// say answers every question with a TXT record.
func say(text string) dns.HandlerFunc {
	return func(w dns.ResponseWriter, q *dns.Msg) {
		m := new(dns.Msg).SetReply(q)
		m.Answer = []dns.RR{&dns.TXT{
			Hdr: dns.RR_Header{Name: q.Question[0].Name, Rrtype: dns.TypeTXT,
				Class: dns.ClassINET, Ttl: 77},
			Txt: []string{text},
		}}
		w.WriteMsg(m)
	}
}

// report answers every question with this code and no record.
func report(rcode int) dns.HandlerFunc {
	return func(w dns.ResponseWriter, q *dns.Msg) { w.WriteMsg(new(dns.Msg).SetRcode(q, rcode)) }
}

func silence(dns.ResponseWriter, *dns.Msg) {}

// memUpstreams is startUpstreams for virtual time: the nameservers are in memory, and
// questions go to Server.Answer.
func memUpstreams(t *testing.T, handlers ...dns.HandlerFunc) *Server {
	t.Helper()
	var conf strings.Builder
	byAddr := make(map[string]dns.HandlerFunc)
	for i, h := range handlers {
		host := fmt.Sprintf("127.0.0.%d", i+1)
		fmt.Fprintln(&conf, "nameserver", host)
		byAddr[net.JoinHostPort(host, "53")] = h
	}
	path := filepath.Join(t.TempDir(), "resolv.conf")
	if err := os.WriteFile(path, []byte(conf.String()), 0o600); err != nil {
		t.Fatal(err)
	}
	s := New(Config{Names: testNames(), ResolvConf: path, Logger: slog.New(slog.DiscardHandler)})
	var all sync.WaitGroup
	s.dial = func(_ context.Context, network, addr string) (net.Conn, error) {
		if network != "udp" {
			return nil, errors.New("only UDP is in memory")
		}
		client, server := net.Pipe()
		all.Go(func() {
			defer server.Close()
			for {
				b, err := readDatagram(server)
				if err != nil {
					return
				}
				q := new(dns.Msg)
				if err := q.Unpack(b); err != nil {
					t.Error(err)
					return
				}
				byAddr[addr](memWriter{conn: server}, q)
			}
		})
		return client, nil
	}
	t.Cleanup(func() {
		s.Close()
		all.Wait()
	})
	return s
}

// A memWriter writes the answer of a handler to a connection in memory.
type memWriter struct {
	dns.ResponseWriter // for what the handlers do not call
	conn               net.Conn
}

func (w memWriter) WriteMsg(m *dns.Msg) error {
	b, err := m.Pack()
	if err == nil {
		_, err = w.conn.Write(b)
	}
	return err
}

// answerOf asks a server that has no sockets, and returns how long the answer took.
func answerOf(t *testing.T, s *Server, name string, qtype uint16) (*dns.Msg, time.Duration) {
	t.Helper()
	query, err := new(dns.Msg).SetQuestion(name, qtype).Pack()
	if err != nil {
		t.Fatal(err)
	}
	start := time.Now()
	m := new(dns.Msg)
	if err := m.Unpack(s.Answer(t.Context(), query, false)); err != nil {
		t.Fatal(err)
	}
	return m, time.Since(start)
}

func TestForward(t *testing.T) {
	dead := func(w dns.ResponseWriter, q *dns.Msg) { t.Errorf("asked for %s", q.Question[0].Name) }
	for _, tc := range []struct {
		name, question string
		upstreams      []dns.HandlerFunc
		rcode          int
		want           string
		took           time.Duration
	}{
		{name: "answer", question: "example.org.", upstreams: []dns.HandlerFunc{say("one")}, want: `"one"`},
		{name: "single label", question: "printer.", upstreams: []dns.HandlerFunc{say("one")}, want: `"one"`},
		{name: "first counts", question: "example.org.", upstreams: []dns.HandlerFunc{say("one"), dead}, want: `"one"`},
		{name: "no such name", question: "example.org.",
			upstreams: []dns.HandlerFunc{report(dns.RcodeNameError), dead},
			rcode:     dns.RcodeNameError},
		{name: "refused, then answer", question: "example.org.", upstreams: []dns.HandlerFunc{report(dns.RcodeRefused), say("two")}, want: `"two"`},
		{name: "silent, then answer", question: "example.org.",
			upstreams: []dns.HandlerFunc{silence, say("two")}, want: `"two"`,
			took: forwardTimeout / (2 * rounds)},
		{name: "all refuse", question: "example.org.",
			upstreams: []dns.HandlerFunc{report(dns.RcodeRefused),
				report(dns.RcodeRefused)}, rcode: dns.RcodeRefused},
		{name: "all refuse a single label", question: "nosuch.",
			upstreams: []dns.HandlerFunc{report(dns.RcodeRefused)},
			rcode:     dns.RcodeNameError},
		{name: "all silent", question: "example.org.",
			upstreams: []dns.HandlerFunc{silence, silence}, rcode: dns.RcodeServerFailure,
			took: forwardTimeout},
		{name: "all silent to a single label", question: "nosuch.",
			upstreams: []dns.HandlerFunc{silence}, rcode: dns.RcodeNameError,
			took: forwardTimeout},
		{name: "network's own", question: "db.", upstreams: []dns.HandlerFunc{dead}},
		{name: "a node that has left", question: "gone.",
			upstreams: []dns.HandlerFunc{silence}, rcode: dns.RcodeNameError},
		{name: "network's domain", question: "nosuch.boxer.",
			upstreams: []dns.HandlerFunc{dead}, rcode: dns.RcodeNameError},
		{name: "network's address", question: "99.0.111.10.in-addr.arpa.",
			upstreams: []dns.HandlerFunc{dead}, rcode: dns.RcodeNameError},
		{name: "address outside", question: "2.0.112.10.in-addr.arpa.", upstreams: []dns.HandlerFunc{say("one")}, want: `"one"`},
	} {
		t.Run(tc.name, func(t *testing.T) {
			virtualtime.Test(t, func(t *testing.T) {
				s := memUpstreams(t, tc.upstreams...)
				m, took := answerOf(t, s, tc.question, dns.TypeTXT)
				if m.Rcode != tc.rcode || data(m) != tc.want {
					t.Errorf("got %s %s, want %s %s", dns.RcodeToString[m.Rcode], data(m),
						dns.RcodeToString[tc.rcode], tc.want)
				}
				if took != tc.took {
					t.Errorf("took %v, want %v", took, tc.took)
				}
			})
		})
	}
}

// TestForwardDead asks nameservers that are not there: the ICMP message ends the wait.
func TestForwardDead(t *testing.T) {
	udp, tcp := listenBoth(t, "127.0.0.1:0")
	udp.Close()
	tcp.Close()
	_, addr := startServer(t, "nameserver 127.0.0.1\nnameserver 127.0.0.2\nnameserver 127.0.0.3\n", udp.LocalAddr())
	start := time.Now()
	if m := ask(t, "udp", addr, "example.org.",
		dns.TypeA); m.Rcode != dns.RcodeServerFailure {
		t.Errorf("got %s", dns.RcodeToString[m.Rcode])
	}
	if m := ask(t, "tcp", addr, "nosuch.", dns.TypeA); m.Rcode != dns.RcodeNameError {
		t.Errorf("got %s", dns.RcodeToString[m.Rcode])
	}
	if d := time.Since(start); d > forwardTimeout/4 {
		t.Errorf("took %v", d)
	}
}

// TestForwardRetries loses the first datagram.
func TestForwardRetries(t *testing.T) {
	virtualtime.Test(t, func(t *testing.T) {
		var asked atomic.Int32
		s := memUpstreams(t, func(w dns.ResponseWriter, q *dns.Msg) {
			if asked.Add(1) > 1 {
				say("again")(w, q)
			}
		})
		m, took := answerOf(t, s, "example.org.", dns.TypeTXT)
		if data(m) != `"again"` || took != forwardTimeout/rounds {
			t.Errorf("got %v after %v", m, took)
		}
	})
}

// TestForwardUnchanged compares bytes: records of types that nobody knows, names in
// odd case, EDNS options and flags come through in both directions.
func TestForwardUnchanged(t *testing.T) {
	upstream, err := net.ListenPacket("udp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer upstream.Close()
	_, addr := startServer(t, "nameserver 127.0.0.1\n", upstream.LocalAddr())

	q := new(dns.Msg).SetQuestion("eXaMpLe.org.", 65280)
	q.SetEdns0(1400, true)
	q.IsEdns0().Option = []dns.EDNS0{&dns.EDNS0_LOCAL{Code: 65001, Data: []byte("option")}}
	query, err := q.Pack()
	if err != nil {
		t.Fatal(err)
	}
	m := new(dns.Msg).SetReply(q)
	m.Zero = true // a flag that must be zero
	m.Answer = []dns.RR{&dns.RFC3597{Hdr: dns.RR_Header{Name: "EXAMPLE.org.",
		Rrtype: 65280, Class: dns.ClassINET, Ttl: 9}, Rdata: "c0ffee"}}
	m.Extra = []dns.RR{q.IsEdns0()}
	reply, err := m.Pack()
	if err != nil {
		t.Fatal(err)
	}

	client, err := net.Dial("udp", addr)
	if err != nil {
		t.Fatal(err)
	}
	defer client.Close()
	client.SetDeadline(time.Now().Add(10 * time.Second))
	upstream.SetDeadline(time.Now().Add(10 * time.Second))
	if _, err := client.Write(query); err != nil {
		t.Fatal(err)
	}
	buf := make([]byte, maxMessage)
	n, from, err := upstream.ReadFrom(buf)
	if err != nil {
		t.Fatal(err)
	}
	if !bytes.Equal(buf[2:n], query[2:]) {
		t.Errorf("upstream got %x, want %x", buf[:n], query)
	}
	id := msgID(buf)
	// Answers to other questions, and under other IDs, are a forger's: not to be
	// believed.
	forged := withID(reply, id)
	forged[headerSize+1] ^= 1
	for _, b := range [][]byte{withID(reply, id+1), forged, query,
		withID(reply, id)[:headerSize-1]} {
		if _, err := upstream.WriteTo(b, from); err != nil {
			t.Fatal(err)
		}
	}
	if _, err := upstream.WriteTo(withID(reply, id), from); err != nil {
		t.Fatal(err)
	}
	n, err = client.Read(buf)
	if err != nil {
		t.Fatal(err)
	}
	if !bytes.Equal(buf[:n], reply) {
		t.Errorf("client got %x, want %x", buf[:n], reply)
	}
}

// TestForwardLarge has an answer that only TCP can carry.
func TestForwardLarge(t *testing.T) {
	_, addr := startUpstreams(t, func(w dns.ResponseWriter, q *dns.Msg) {
		m := new(dns.Msg).SetReply(q)
		for i := range 100 {
			m.Answer = append(m.Answer, &dns.A{
				Hdr: dns.RR_Header{Name: q.Question[0].Name, Rrtype: dns.TypeA,
					Class: dns.ClassINET, Ttl: 60},
				A: net.IPv4(192, 0, 2, byte(i)),
			})
		}
		if w.RemoteAddr().Network() == "udp" {
			m.Truncate(dns.MinMsgSize)
		}
		w.WriteMsg(m)
	})
	if m := ask(t, "udp", addr, "example.org.", dns.TypeA); !m.Truncated {
		t.Errorf("UDP: not truncated, %d records", len(m.Answer))
	}
	if m := ask(t, "tcp", addr, "example.org.", dns.TypeA); m.Truncated ||
		len(m.Answer) != 100 {
		t.Errorf("TCP: truncated %t, %d records", m.Truncated, len(m.Answer))
	}
}

// TestNoLoop has the server's own address as the nameserver.
func TestNoLoop(t *testing.T) {
	for _, bound := range []string{"127.0.0.1:0", "0.0.0.0:0"} {
		t.Run(bound, func(t *testing.T) {
			udp, err := net.ListenPacket("udp4", bound)
			if err != nil {
				t.Fatal(err)
			}
			s, _ := startServer(t, "nameserver 127.0.0.1\n", udp.LocalAddr())
			s.ServeUDP(udp)
			start := time.Now()
			addr := net.JoinHostPort("127.0.0.1", fmt.Sprint(s.port))
			if m := ask(t, "udp", addr, "example.org.",
				dns.TypeA); m.Rcode != dns.RcodeServerFailure {
				t.Errorf("got %s", dns.RcodeToString[m.Rcode])
			}
			if d := time.Since(start); d > forwardTimeout/2 {
				t.Errorf("took %v", d)
			}
		})
	}
}

// TestResolvConfChanges moves the nameserver while the server runs.
func TestResolvConfChanges(t *testing.T) {
	s, addr := startUpstreams(t, say("one"), say("two"))
	for i, want := range []string{`"one"`, `"two"`} {
		conf := fmt.Sprintf("nameserver 127.0.0.%d\n", i+1)
		if err := os.WriteFile(s.resolvConf, []byte(conf), 0o600); err != nil {
			t.Fatal(err)
		}
		if m := ask(t, "udp", addr, "example.org.", dns.TypeTXT); data(m) != want {
			t.Errorf("got %s, want %s", data(m), want)
		}
	}
	if err := os.Remove(s.resolvConf); err != nil {
		t.Fatal(err)
	}
	if m := ask(t, "udp", addr, "example.org.",
		dns.TypeTXT); m.Rcode != dns.RcodeServerFailure {
		t.Errorf("without resolv.conf: %v", m)
	}
}
