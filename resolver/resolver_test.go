package resolver

import (
	"context"
	"io"
	"log/slog"
	"net"
	"net/netip"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/miekg/dns"
)

// fakeNames is a network with these names.
type fakeNames map[string][]netip.Addr

func (n fakeNames) LookupName(name string) []netip.Addr { return n[name] }

// HadName knows one name: there was a node called gone.
func (n fakeNames) HadName(name string) bool { return name == "gone" }

func (n fakeNames) LookupAddr(addr netip.Addr) (string, bool) {
	for name, addrs := range n {
		if slices.Contains(addrs, addr) && !strings.HasPrefix(name, "node-") {
			return name, true
		}
	}
	return "", false
}

func (n fakeNames) Prefixes() [2]netip.Prefix {
	return [...]netip.Prefix{netip.MustParsePrefix("10.111.0.0/16"),
		netip.MustParsePrefix("fd6f:7865:72::/64")}
}

func addrs(texts ...string) (out []netip.Addr) {
	for _, text := range texts {
		out = append(out, netip.MustParseAddr(text))
	}
	return out
}

// many is how many nodes are called "many": their addresses need more than 512 bytes.
const many = 60

func testNames() fakeNames {
	names := fakeNames{
		"db":       addrs("10.111.0.2"),
		"node-2":   addrs("10.111.0.2"),
		"web":      addrs("10.111.0.3", "10.111.0.4", "10.111.0.5"),
		"dual":     addrs("10.111.0.6", "fd6f:7865:72::6"),
		"four.six": addrs("10.111.0.7"),
	}
	for i := range many {
		names["many"] = append(names["many"],
			netip.AddrFrom4([4]byte{10, 111, 1, byte(i)}))
	}
	return names
}

// startServer starts a server on loopback whose resolv.conf has this text. The
// nameservers' port, if one is given, is not 53 but that of upstream.
func startServer(t testing.TB, resolvConf string, upstream ...net.Addr) (s *Server,
	addr string) {
	t.Helper()
	path := filepath.Join(t.TempDir(), "resolv.conf")
	if err := os.WriteFile(path, []byte(resolvConf), 0o600); err != nil {
		t.Fatal(err)
	}
	s = New(Config{Names: testNames(), ResolvConf: path,
		Logger: slog.New(slog.NewTextHandler(io.Discard, nil))})
	for _, a := range upstream {
		s.port = netip.MustParseAddrPort(a.String()).Port()
	}
	udp, tcp := listenBoth(t, "127.0.0.1:0")
	s.ServeUDP(udp)
	s.ServeTCP(tcp)
	t.Cleanup(func() {
		if err := s.Close(); err != nil {
			t.Errorf("Close: %v", err)
		}
	})
	return s, udp.LocalAddr().String()
}

// listenBoth returns sockets of both kinds with the same address and port.
func listenBoth(t testing.TB, addr string) (net.PacketConn, net.Listener) {
	t.Helper()
	for range 20 { // the free UDP port may be taken for TCP
		udp, err := net.ListenPacket("udp", addr)
		if err != nil {
			t.Fatal(err)
		}
		tcp, err := net.Listen("tcp", udp.LocalAddr().String())
		if err == nil {
			return udp, tcp
		}
		udp.Close()
	}
	t.Fatal("no port free for both UDP and TCP")
	return nil, nil
}

// ask sends one question and returns the answer, with all that it took.
func ask(t testing.TB, network, addr, name string, qtype uint16,
	change ...func(*dns.Msg)) *dns.Msg {
	t.Helper()
	q := new(dns.Msg).SetQuestion(name, qtype)
	for _, f := range change {
		f(q)
	}
	client := dns.Client{Net: network, Timeout: 10 * time.Second, UDPSize: dns.MaxMsgSize}
	m, _, err := client.Exchange(q, addr)
	if err != nil {
		t.Fatalf("ask %s %s: %v", name, dns.TypeToString[qtype], err)
	}
	m.Compress = true // so that m.Len is what it had on the wire
	return m
}

// data returns the answer's records without their headers.
func data(m *dns.Msg) string {
	var out []string
	for _, rr := range m.Answer {
		out = append(out, strings.TrimPrefix(rr.String(), rr.Header().String()))
	}
	return strings.Join(out, " ")
}

func TestNetworkNames(t *testing.T) {
	// No nameserver: whatever were forwarded would come back as SERVFAIL.
	_, addr := startServer(t, "search Corp.example. lab\n")
	for _, tc := range []struct {
		name  string
		qtype uint16
		rcode int
		want  string
	}{
		{"db.", dns.TypeA, dns.RcodeSuccess, "10.111.0.2"},
		{"dB.", dns.TypeA, dns.RcodeSuccess, "10.111.0.2"},
		{"node-2.", dns.TypeA, dns.RcodeSuccess, "10.111.0.2"},
		{"web.", dns.TypeA, dns.RcodeSuccess, "10.111.0.3 10.111.0.4 10.111.0.5"},
		{"four.six.", dns.TypeA, dns.RcodeSuccess, "10.111.0.7"},
		{"DB.Boxer.", dns.TypeA, dns.RcodeSuccess, "10.111.0.2"},
		{"db.corp.example.", dns.TypeA, dns.RcodeSuccess, "10.111.0.2"},
		{"db.boxer.corp.EXAMPLE.", dns.TypeA, dns.RcodeSuccess, "10.111.0.2"},
		{"web.lab.", dns.TypeA, dns.RcodeSuccess, "10.111.0.3 10.111.0.4 10.111.0.5"},
		{"db.", dns.TypeAAAA, dns.RcodeSuccess, ""},
		{"dual.", dns.TypeA, dns.RcodeSuccess, "10.111.0.6"},
		{"dual.", dns.TypeAAAA, dns.RcodeSuccess, "fd6f:7865:72::6"},
		{"dual.", dns.TypeANY, dns.RcodeSuccess, "10.111.0.6 fd6f:7865:72::6"},
		{"db.", dns.TypeMX, dns.RcodeSuccess, ""},
		{"nosuch.", dns.TypeA, dns.RcodeNameError, ""},
		{"nosuch.", dns.TypeAAAA, dns.RcodeNameError, ""},
		{"nosuch.boxer.", dns.TypeA, dns.RcodeNameError, ""},
		{"boxer.", dns.TypeA, dns.RcodeNameError, ""},
		{"nosuch.lab.", dns.TypeA, dns.RcodeNameError, ""},
		{"db.elsewhere.", dns.TypeA, dns.RcodeServerFailure, ""},
		{"2.0.111.10.in-addr.arpa.", dns.TypePTR, dns.RcodeSuccess, "db."},
		{"2.0.111.10.In-Addr.ARPA.", dns.TypePTR, dns.RcodeSuccess, "db."},
		{"2.0.111.10.in-addr.arpa.", dns.TypeA, dns.RcodeSuccess, ""},
		{"99.0.111.10.in-addr.arpa.", dns.TypePTR, dns.RcodeNameError, ""},
		{"0.111.10.in-addr.arpa.", dns.TypePTR, dns.RcodeSuccess, ""},
		{"111.10.in-addr.arpa.", dns.TypeSOA, dns.RcodeSuccess, ""},
		{"6" + strings.Repeat(".0", 19) + ".2.7.0.0.5.6.8.7.f.6.d.f.ip6.arpa.",
			dns.TypePTR, dns.RcodeSuccess, "dual."},
		{"7" + strings.Repeat(".0", 19) + ".2.7.0.0.5.6.8.7.f.6.d.f.ip6.arpa.",
			dns.TypePTR, dns.RcodeNameError, ""},
		{"2.7.0.0.5.6.8.7.f.6.d.f.ip6.arpa.", dns.TypePTR, dns.RcodeServerFailure, ""},
		{"2.0.112.10.in-addr.arpa.", dns.TypePTR, dns.RcodeServerFailure, ""},
	} {
		for _, network := range []string{"udp", "tcp"} {
			t.Run(network+"/"+tc.name+dns.TypeToString[tc.qtype], func(t *testing.T) {
				m := ask(t, network, addr, tc.name, tc.qtype)
				if m.Rcode != tc.rcode || data(m) != tc.want {
					t.Errorf("got %s %q, want %s %q", dns.RcodeToString[m.Rcode], data(m),
						dns.RcodeToString[tc.rcode], tc.want)
				}
				if q := m.Question; len(q) != 1 || q[0].Name != tc.name {
					t.Errorf("question came back as %v", q)
				}
				for _, rr := range append(m.Answer, m.Ns...) {
					if ttl := rr.Header().Ttl; ttl < 1 || ttl > 5 {
						t.Errorf("TTL is %d: %v", ttl, rr)
					}
				}
				negative := m.Rcode == dns.RcodeNameError ||
					m.Rcode == dns.RcodeSuccess && len(m.Answer) == 0
				if soa := len(m.Ns) == 1 &&
					m.Ns[0].Header().Rrtype == dns.TypeSOA; soa != negative {
					t.Errorf("authority is %v", m.Ns)
				}
			})
		}
	}
}

func TestTruncationAndEDNS(t *testing.T) {
	_, addr := startServer(t, "")
	edns := func(size uint16) func(*dns.Msg) { return func(m *dns.Msg) { m.SetEdns0(size, true) } }

	if m := ask(t, "udp", addr, "many.", dns.TypeA); !m.Truncated ||
		m.Len() > dns.MinMsgSize || m.IsEdns0() != nil {
		t.Errorf("plain: truncated %t, %d bytes, OPT %v", m.Truncated, m.Len(),
			m.IsEdns0())
	}
	if m := ask(t, "udp", addr, "many.", dns.TypeA, edns(600)); !m.Truncated ||
		m.Len() > 600 || m.IsEdns0() == nil {
		t.Errorf("600 bytes: truncated %t, %d bytes, OPT %v", m.Truncated, m.Len(),
			m.IsEdns0())
	}
	m := ask(t, "udp", addr, "many.", dns.TypeA, edns(4096))
	if m.Truncated || len(m.Answer) != many {
		t.Errorf("4096 bytes: truncated %t, %d records", m.Truncated, len(m.Answer))
	}
	if opt := m.IsEdns0(); opt == nil || opt.UDPSize() != udpSize || !opt.Do() {
		t.Errorf("4096 bytes: OPT %v", opt)
	}
	if m := ask(t, "tcp", addr, "many.", dns.TypeA); m.Truncated ||
		len(m.Answer) != many {
		t.Errorf("TCP: truncated %t, %d records", m.Truncated, len(m.Answer))
	}
	m = ask(t, "udp", addr, "db.", dns.TypeA, edns(1232),
		func(m *dns.Msg) { m.IsEdns0().SetVersion(1) })
	if m.Rcode != dns.RcodeBadVers || len(m.Answer) != 0 {
		t.Errorf("EDNS version 1: got %s, %v", dns.RcodeToString[m.Rcode], m.Answer)
	}
}

// TestRefusals sends what no resolver library sends.
func TestRefusals(t *testing.T) {
	s, _ := startServer(t, "")
	good, err := new(dns.Msg).SetQuestion("db.", dns.TypeA).Pack()
	if err != nil {
		t.Fatal(err)
	}
	change := func(f func(b []byte) []byte) []byte { return f(slices.Clone(good)) }
	for _, tc := range []struct {
		name  string
		query []byte
		rcode int // -1 for silence
	}{
		{"good", good, dns.RcodeSuccess},
		{"empty", nil, -1},
		{"half a header", good[:headerSize-1], -1},
		{"an answer", change(func(b []byte) []byte { b[2] |= flagQR; return b }), -1},
		{"question cut off", good[:headerSize], dns.RcodeFormatError},
		{"question cut short", good[:len(good)-3], dns.RcodeFormatError},
		{"two questions", change(func(b []byte) []byte {
			b[5] = 2
			return append(b,
				b[headerSize:]...)
		}), dns.RcodeFormatError},
		{"no question", change(func(b []byte) []byte { b[5] = 0; return b[:headerSize] }),
			dns.RcodeFormatError},
		{"opcode status", change(func(b []byte) []byte { b[2] |= dns.OpcodeStatus << 3; return b }), dns.RcodeNotImplemented},
		{"zone transfer", change(func(b []byte) []byte { b[len(b)-3] = byte(dns.TypeAXFR); return b }), dns.RcodeRefused},
		{"name that points to itself", change(func(b []byte) []byte { return append(b[:headerSize], 0xc0, headerSize, 0, 1, 0, 1) }), dns.RcodeFormatError},
	} {
		t.Run(tc.name, func(t *testing.T) {
			answer := s.Answer(context.Background(), tc.query, false)
			if tc.rcode < 0 {
				if answer != nil {
					t.Fatalf("got %x, want silence", answer)
				}
				return
			}
			if len(answer) < headerSize || int(responseCode(answer)) != tc.rcode ||
				msgID(answer) != msgID(tc.query) || answer[2]&flagQR == 0 {
				t.Errorf("got %x, want %s with the ID of %x", answer,
					dns.RcodeToString[tc.rcode], tc.query)
			}
		})
	}
}

// TestGoResolver lets the resolver of the standard library, with its own idea of the
// protocol, ask for what programs ask for.
func TestGoResolver(t *testing.T) {
	_, addr := startServer(t, "")
	r := &net.Resolver{PreferGo: true, Dial: func(ctx context.Context, network,
		_ string) (net.Conn, error) {
		var d net.Dialer
		return d.DialContext(ctx, network, addr)
	}}
	ctx, cancel := context.WithTimeout(context.Background(), 10*time.Second)
	defer cancel()
	if got, err := r.LookupHost(ctx, "web."); err != nil || len(got) != 3 {
		t.Errorf("web.: got %v, %v", got, err)
	}
	if got, err := r.LookupHost(ctx, "db.boxer"); err != nil ||
		!slices.Equal(got, []string{"10.111.0.2"}) {
		t.Errorf("db.boxer: got %v, %v", got, err)
	}
	if got, err := r.LookupHost(ctx, "many."); err != nil || len(got) != many {
		t.Errorf("many.: got %d addresses, %v", len(got), err)
	}
	if got, err := r.LookupAddr(ctx, "10.111.0.2"); err != nil ||
		!slices.Equal(got, []string{"db."}) {
		t.Errorf("10.111.0.2: got %v, %v", got, err)
	}
	for name, look := range map[string]func() ([]string, error){
		"nosuch.": func() ([]string, error) { return r.LookupHost(ctx, "nosuch.") },
		"10.111.0.99": func() ([]string,
			error) {
			return r.LookupAddr(ctx, "10.111.0.99")
		},
	} {
		got, err := look()
		if dnsErr, ok := err.(*net.DNSError); !ok || !dnsErr.IsNotFound {
			t.Errorf("%s: got %v, %v; want not found", name, got, err)
		}
	}
}

// TestManyAtOnce asks more at once than the server works on at once.
func TestManyAtOnce(t *testing.T) {
	_, addr := startServer(t, "")
	done := make(chan error)
	const clients, each = 2 * maxConns, 5
	for range clients {
		go func() {
			c, err := dns.DialTimeout("tcp", addr, 10*time.Second)
			if err != nil {
				done <- err
				return
			}
			defer c.Close()
			c.SetDeadline(time.Now().Add(30 * time.Second))
			for range each {
				err = c.WriteMsg(new(dns.Msg).SetQuestion("db.", dns.TypeA))
				if err == nil {
					_, err = c.ReadMsg()
				}
				if err != nil {
					break
				}
			}
			done <- err
		}()
	}
	for range clients {
		if err := <-done; err != nil {
			t.Error(err)
		}
	}
}

// TestCloseEndsAll closes the server while a client is silent on TCP and a question
// is on its way to a nameserver that does not answer.
func TestCloseEndsAll(t *testing.T) {
	silent, err := net.ListenPacket("udp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer silent.Close()
	s, addr := startServer(t, "nameserver 127.0.0.1\n", silent.LocalAddr())

	idle, err := net.Dial("tcp", addr)
	if err != nil {
		t.Fatal(err)
	}
	defer idle.Close()
	waiting, err := dns.Dial("udp", addr)
	if err != nil {
		t.Fatal(err)
	}
	defer waiting.Close()
	if err := waiting.WriteMsg(new(dns.Msg).SetQuestion("example.org.", dns.TypeA)); err != nil {
		t.Fatal(err)
	}
	if _, _, err := silent.ReadFrom(make([]byte, 512)); err != nil {
		t.Fatal(err)
	}
	start := time.Now()
	if err := s.Close(); err != nil {
		t.Error(err)
	}
	if d := time.Since(start); d > forwardTimeout/2 {
		t.Errorf("Close took %v", d)
	}
	if _, err := idle.Read(make([]byte, 1)); err != io.EOF {
		t.Errorf("read of an idle connection after Close: %v", err)
	}
	udp, err := net.ListenPacket("udp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	s.ServeUDP(udp)
	if _, err := udp.WriteTo([]byte{0}, udp.LocalAddr()); err == nil {
		t.Error("a socket given to a closed server stays open")
	}
}

// FuzzAnswer holds Answer to its contract: silence, or a message with the ID of the
// query that says it is an answer and fits a datagram.
func FuzzAnswer(f *testing.F) {
	for _, name := range []string{"db.", "many.", "nosuch.boxer.",
		"2.0.111.10.in-addr.arpa.", "example.org.", "."} {
		for _, qtype := range []uint16{dns.TypeA, dns.TypePTR, dns.TypeANY} {
			q := new(dns.Msg).SetQuestion(name, qtype)
			b, err := q.Pack()
			if err != nil {
				f.Fatal(err)
			}
			f.Add(b)
			if b, err = q.SetEdns0(1232, true).Pack(); err != nil {
				f.Fatal(err)
			}
			f.Add(b)
		}
	}
	s, _ := startServer(f, "search lab\n")
	f.Fuzz(func(t *testing.T, query []byte) {
		answer := s.Answer(context.Background(), query, false)
		if answer == nil {
			if len(query) >= headerSize && query[2]&flagQR == 0 {
				t.Fatal("silence towards a query")
			}
			return
		}
		var m dns.Msg
		if err := m.Unpack(answer); err != nil {
			t.Fatalf("answer %x: %v", answer, err)
		}
		if !m.Response || m.Id != msgID(query) || len(answer) > maxMessage {
			t.Fatalf("answer %x to query %x", answer, query)
		}
	})
}

// TestStranger asks from a socket that the server is not for: there is no answer to it,
// and others have theirs.
func TestStranger(t *testing.T) {
	s, _ := startServer(t, "")
	friend, err := net.ListenPacket("udp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer friend.Close()
	s.admits = func(_ string, source, _ netip.AddrPort) (int, bool) {
		return 7, source.String() == friend.LocalAddr().String()
	}
	conn, err := net.ListenPacket("udp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	s.ServeUDP(conn)
	stranger, err := net.ListenPacket("udp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer stranger.Close()
	query, err := new(dns.Msg).SetQuestion("db.", dns.TypeA).Pack()
	if err != nil {
		t.Fatal(err)
	}
	for _, c := range []net.PacketConn{stranger, friend} {
		if _, err := c.WriteTo(query, conn.LocalAddr()); err != nil {
			t.Fatal(err)
		}
	}
	friend.SetDeadline(time.Now().Add(10 * time.Second))
	if _, _, err := friend.ReadFrom(make([]byte, 512)); err != nil {
		t.Fatal(err)
	}
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	s.ServeTCP(l)
	c, err := net.Dial("tcp", l.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	c.SetDeadline(time.Now().Add(10 * time.Second))
	if n, err := c.Read(make([]byte, 1)); err != io.EOF {
		t.Errorf("a stranger over TCP: %d bytes, %v", n, err)
	}
	// The stranger was first: what it gets would be there by now.
	stranger.SetDeadline(time.Now().Add(50 * time.Millisecond))
	if n, _, err := stranger.ReadFrom(make([]byte, 512)); err == nil {
		t.Errorf("a stranger has an answer of %d bytes", n)
	}
}
