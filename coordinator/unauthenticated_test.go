package coordinator

import (
	"context"
	"crypto/tls"
	"encoding/binary"
	"errors"
	"io"
	"math/rand/v2"
	"net"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"strings"
	"testing"
	"time"

	"github.com/quic-go/quic-go"

	"github.com/boxer-sandbox/boxer/transport"
)

// Every way of not getting in has its own error, comes within bounds, and does
// not tell the token.
func TestJoinRefused(t *testing.T) {
	noLeaks(t)
	l := newLab(t, ServerConfig{})
	good := l.url(t)
	dead := listenUDP(t) // takes packets, and never answers
	defer dead.Close()
	other := quicServer(t)
	short, err := l.cfg.State.AddToken(time.Nanosecond)
	if err != nil {
		t.Fatal(err)
	}
	const timeout = 300 * time.Millisecond
	for _, tc := range []struct {
		name   string
		change func(*JoinURL, *ClientConfig)
		want   error
		text   string
	}{
		{"wrong token", func(u *JoinURL, _ *ClientConfig) { u.Token = "wr0ng" }, ErrToken, ""},
		{"expired token", func(u *JoinURL, _ *ClientConfig) { u.Token = short.Secret },
			ErrExpired, ""},
		{"wrong pin", func(u *JoinURL, _ *ClientConfig) { u.Pin[0] ^= 1 }, ErrPin,
			good.Pin.String()},
		{"nobody answers", func(u *JoinURL, c *ClientConfig) {
			u.Host,
				c.Timeout = dead.LocalAddr().String(), timeout
		}, ErrUnreachable, "nobody answered in"},
		{"no such host", func(u *JoinURL, c *ClientConfig) {
			u.Host,
				c.Timeout = "coordinator.invalid:4242", timeout
		}, ErrUnreachable,
			"coordinator.invalid"},
		{"only IPv6", func(u *JoinURL, c *ClientConfig) {
			u.Host,
				c.Timeout = "[::1]:4242", timeout
		}, ErrUnreachable, "IPv4"},
		{"not a coordinator", func(u *JoinURL, _ *ClientConfig) { u.Host = other },
			ErrProtocol, "not a boxer coordinator"},
		{"name", func(_ *JoinURL, c *ClientConfig) { c.Name = "a_b" }, ErrName, "a_b"},
		{"host id", func(_ *JoinURL, c *ClientConfig) { c.HostID = "a b" }, nil,
			"host id"},
	} {
		t.Run(tc.name, func(t *testing.T) {
			u, cfg := good, ClientConfig{}
			tc.change(&u, &cfg)
			began := time.Now()
			_, err := enter(t, u, cfg)
			if err == nil || tc.want != nil && !errors.Is(err, tc.want) ||
				!strings.Contains(err.Error(), tc.text) ||
				!strings.Contains(err.Error(), u.Host) {
				t.Errorf("got %v; want %v with %q and the address", err, tc.want, tc.text)
			}
			for _, secret := range []string{good.Token, "wr0ng", short.Secret} {
				if err != nil && strings.Contains(err.Error(), secret) {
					t.Errorf("the error quotes a token: %v", err)
				}
			}
			if d := time.Since(began); d > patience/2 {
				t.Errorf("it took %v", d)
			}
		})
	}
	ctx, cancel := context.WithCancel(context.Background())
	cancel()
	socket, _ := transport.Listen(loopback)
	defer socket.Close()
	identity, _ := transport.NewIdentity()
	if _, err := Join(ctx, ClientConfig{URL: good, Socket: socket,
		Identity: identity}); !errors.Is(err, context.Canceled) ||
		errors.Is(err, ErrUnreachable) {
		t.Errorf("canceled: %v", err)
	}
	if m := l.Snapshot().Members; len(m) != 0 {
		t.Errorf("got in: %+v", m)
	}
}

// quicServer is a QUIC server that is no coordinator.
func quicServer(t *testing.T) string {
	t.Helper()
	socket, err := transport.Listen(loopback)
	if err != nil {
		t.Fatal(err)
	}
	identity, _ := transport.NewIdentity()
	ln, err := socket.QUIC().Listen(&tls.Config{Certificates: []tls.Certificate{identity.Certificate()}, NextProtos: []string{"h3"}}, nil)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { ln.Close(); socket.Close() })
	return socket.LocalAddr().String()
}

// The server checks names itself: a client need not.
func TestServerChecksName(t *testing.T) {
	virtualTime(t, func(t *testing.T) {
		l := newLab(t, ServerConfig{})
		s := newStranger(t, l)
		s.send(frame(&message{Hello: &hello{Version: protocolVersion, Token: l.url(t).Token,
			Name: "node-7"}}))
		s.refused(t, codeName)
		s = newStranger(t, l)
		s.send(frame(&message{Hello: &hello{Version: protocolVersion + 1, Token: l.url(t).Token}}))
		s.refused(t, codeProtocol)
	})
}

// A stranger is a connection that is made by hand.
type stranger struct {
	socket labSocket
	conn   *quic.Conn
	stream *quic.Stream
}

func newStranger(t *testing.T, l *lab) *stranger {
	t.Helper()
	socket := listenSocket(t)
	t.Cleanup(func() { socket.Close() })
	identity, _ := transport.NewIdentity()
	var pinned error
	d := dialer{l.url(t), socket, identity, newDiagnosis(quiet), nil}
	conn, err := socket.QUIC().Dial(within(t, patience),
		net.UDPAddrFromAddrPort(l.cfg.Socket.LocalAddr()), d.tls(&pinned), &quic.Config{})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { conn.CloseWithError(0, "") })
	stream, err := conn.OpenStream()
	if err != nil {
		t.Fatal(err)
	}
	return &stranger{socket, conn, stream}
}

func (s *stranger) send(b []byte) { _, _ = s.stream.Write(b) }

// refused waits until the server has closed the connection, with that code and
// without a single byte on the stream.
func (s *stranger) refused(t *testing.T, code quic.ApplicationErrorCode) {
	t.Helper()
	_ = s.stream.SetReadDeadline(time.Now().Add(patience))
	b, err := io.ReadAll(s.stream)
	app, ok := errors.AsType[*quic.ApplicationError](err)
	if !ok || !app.Remote || app.ErrorCode != code {
		t.Errorf("got %v, want to be refused with code %d", err, code)
	}
	if len(b) > 0 {
		t.Errorf("a stranger was told %q", b)
	}
}

// Nonsense costs its sender the connection, and nobody else anything.
func TestNonsense(t *testing.T) {
	noLeaks(t)
	l := newLab(t, ServerConfig{})
	u := l.url(t)
	a, b := mustEnter(t, u, "a"), mustEnter(t, u, "b")
	random := make([]byte, 4096)
	for i := range random {
		random[i] = byte(rand.Uint32())
	}
	random[0] = 0xff
	text := func(s string) []byte {
		return append(binary.BigEndian.AppendUint32(nil,
			uint32(len(s))), s...)
	}
	for _, tc := range []struct {
		name string
		b    []byte
		code quic.ApplicationErrorCode
	}{
		{"random bytes", random, codeProtocol},
		{"too long", binary.BigEndian.AppendUint32(nil, maxHello+1), codeProtocol},
		{"no JSON", text("hello"), codeProtocol},
		{"signal first", frame(&message{Signal: &signal{Node: 1, Data: []byte("x")}}),
			codeProtocol},
		{"no token", frame(&message{Hello: &hello{Version: protocolVersion}}), codeToken},
		{"no token, signal behind", append(frame(&message{Hello: &hello{Version: protocolVersion}}), frame(&message{Signal: &signal{Node: 1, Data: []byte("x")}})...), codeToken},
		{"observe without a token", frame(&message{Hello: &hello{Version: protocolVersion,
			Observe: true}}), codeToken},
		{"forged ticket", frame(&message{Hello: &hello{Version: protocolVersion,
			Ticket: strings.Repeat("A", 200)}}), codeToken},
	} {
		t.Run(tc.name, func(t *testing.T) {
			s := newStranger(t, l)
			s.send(tc.b)
			s.refused(t, tc.code)
		})
	}
	// Members can talk nonsense too.
	for _, b := range [][]byte{random, frame(&message{Hello: &hello{Version: protocolVersion}}), frame(&message{Updates: &updateBatch{seq: 1, updates: []update{{kind: kindDown, record: memberRecord{id: 1}}}}})} {
		s := newStranger(t, l)
		s.send(frame(&message{Hello: &hello{Version: protocolVersion, Token: u.Token}}))
		if _, err := readMessage(s.stream, maxFrame); err != nil {
			t.Fatal(err)
		}
		s.send(b)
		_ = s.stream.SetReadDeadline(time.Now().Add(patience))
		_, err := io.ReadAll(s.stream)
		if app, ok := errors.AsType[*quic.ApplicationError](err); !ok ||
			app.ErrorCode != codeProtocol {
			t.Errorf("got %v, want code %d", err, codeProtocol)
		}
	}
	if err := a.Signal(within(t, patience), b.Self().ID, []byte("x")); err != nil {
		t.Error(err)
	}
	if s := <-b.signals; string(s.Data) != "x" {
		t.Errorf("got %q: a stranger's signal came through", s.Data)
	}
}

// Who says nothing is shown the door.
func TestSilence(t *testing.T) {
	virtualTime(t, func(t *testing.T) {
		l := newLab(t, ServerConfig{}, func(s *Server) { s.helloTimeout = 50 * time.Millisecond })
		s := newStranger(t, l) // opens no stream as far as the server sees
		s.refused(t, codeProtocol)
		s = newStranger(t, l)
		s.send([]byte{0, 0}) // half of a length
		select {
		case <-s.conn.Context().Done():
		case <-time.After(patience):
			t.Error("still connected")
		}
		for deadline := time.Now().Add(patience); l.strangers() > 0; {
			if time.Now().After(deadline) {
				t.Fatalf("%d places are still taken", l.strangers())
			}
			time.Sleep(time.Millisecond)
		}
	})
}

func (l *lab) strangers() int {
	l.handshakes.mu.Lock()
	defer l.handshakes.mu.Unlock()
	return l.handshakes.total
}

func TestGate(t *testing.T) {
	g := newHandshakeLimiter()
	ctx, cancel := context.WithCancel(context.Background())
	from := func(ip string) net.Addr { return net.UDPAddrFromAddrPort(netip.MustParseAddrPort(ip)) }
	for i := range maxUnauthenticatedPerSource {
		if _, err := g.acquire(ctx, from("[2001:db8::1]:1")); err != nil {
			t.Fatalf("connection %d: %v", i, err)
		}
	}
	if !g.mustValidate(nil) {
		t.Error("nobody has to prove an address")
	}
	if _, err := g.acquire(ctx, from("[2001:db8::2]:1")); err == nil {
		t.Error("one network took more than its places")
	}
	for range maxUnauthenticated - maxUnauthenticatedPerSource - 1 {
		if _, err := g.acquire(ctx, from("192.0.2.1:1")); err != nil {
			t.Fatal(err)
		}
	}
	last, err := g.acquire(ctx, from("192.0.2.2:1"))
	if err != nil {
		t.Fatal(err)
	}
	if _, err := g.acquire(ctx, from("192.0.2.3:1")); err == nil {
		t.Error("more places than there are")
	}
	releaseHandshake(last)
	releaseHandshake(last) // counts once
	if _, err := g.acquire(ctx, from("192.0.2.3:1")); err != nil {
		t.Error("who has joined still takes a place")
	}
	cancel()
	for deadline := time.Now().Add(patience); ; time.Sleep(time.Millisecond) {
		g.mu.Lock()
		total, sources := g.total, len(g.bySource)
		g.mu.Unlock()
		if total == 0 && sources == 0 {
			return
		}
		if time.Now().After(deadline) {
			t.Fatalf("%d places and %d sources are left", total, sources)
		}
	}
}

// A client that reads nothing gets the news when it reads again, and holds up
// nobody meanwhile.
func TestSlowReader(t *testing.T) {
	virtualTime(t, func(t *testing.T) {
		l := newLab(t, ServerConfig{Lease: time.Minute, Logger: quiet})
		u := l.url(t)
		a := mustEnter(t, u, "a")
		slow := newStranger(t, l)
		slow.send(frame(&message{Hello: &hello{Version: protocolVersion, Token: u.Token,
			Name: "slow"}}))
		if err := a.Wait(within(t, patience), "slow", 1); err != nil {
			t.Fatal(err)
		}
		to := a.LookupName("slow")[0].ID
		// More than the windows and the outbox hold: the rest is refused, at once.
		busy := 0
		for i := 0; i < 2000 && busy == 0; i++ {
			switch err := a.Signal(within(t, patience), to, make([]byte, MaxSignal)); {
			case errors.Is(err, ErrBusy):
				busy++
			case err != nil:
				t.Fatal(err)
			}
		}
		if busy == 0 {
			t.Error("everything was taken for one who does not read")
		}
		// More updates than the journal keeps.
		for id := uint32(1000); id < 1000+3*journalLength; id++ {
			l.members.views.all[""].journal.append(appendUp(nil,
				memberRecord{id: id, key: transport.Key{byte(id), byte(id >> 8)}}))
			l.members.views.all[""].journal.append(appendDown(nil, id))
		}
		// a keeps up: its own signal comes back behind them.
		if err := a.Signal(within(t, patience), a.Self().ID, []byte("done")); err != nil {
			t.Fatal(err)
		}
		select {
		case <-a.signals:
		case <-time.After(patience):
			t.Fatal("a is held up")
		}
		// The slow one reads at last: it gets a list again, and updates behind it.
		_ = slow.stream.SetReadDeadline(time.Now().Add(patience))
		lists := 0
		var seq uint64
		for seq < l.members.views.all[""].journal.seq() {
			m, err := readMessage(slow.stream, maxFrame)
			if err != nil {
				t.Fatal(err)
			}
			switch n := m.Updates; {
			case n == nil:
			case n.list:
				lists++
				seq = n.seq
			case n.seq != seq+uint64(len(n.updates)):
				t.Fatalf("%d updates up to %d after %d", len(n.updates), n.seq, seq)
			default:
				seq = n.seq
			}
		}
		if lists != 2 {
			t.Errorf("%d lists, want the first and one more", lists)
		}
	})
}

func TestStatusPort(t *testing.T) {
	noLeaks(t)
	l := newLab(t, ServerConfig{StatusListen: "127.0.0.1:0"})
	u := l.url(t)
	mustEnter(t, u, "db")
	transport := &http.Transport{}
	defer transport.CloseIdleConnections()
	get := func(path, token string) (int, string) {
		t.Helper()
		r, err := http.NewRequestWithContext(within(t, patience), http.MethodGet,
			"http://"+l.StatusAddr().String()+path, nil)
		if err != nil {
			t.Fatal(err)
		}
		if token != "" {
			r.Header.Set("Authorization", "Bearer "+token)
		}
		resp, err := transport.RoundTrip(r)
		if err != nil {
			t.Fatal(err)
		}
		defer resp.Body.Close()
		b, err := io.ReadAll(resp.Body)
		if err != nil {
			t.Fatal(err)
		}
		return resp.StatusCode, string(b)
	}
	if code, body := get("/healthz", ""); code != http.StatusOK || body != "ok\n" {
		t.Errorf("healthz: %d %q", code, body)
	}
	for _, token := range []string{"", "wrong", u.Token + "x"} {
		if code, body := get("/status", token); code != http.StatusUnauthorized ||
			strings.Contains(body, "db") {
			t.Errorf("token %q: %d %q", token, code, body)
		}
	}
	code, body := get("/status", u.Token)
	if code != http.StatusOK || !strings.Contains(body, `"name": "db"`) || !strings.Contains(body, `"10.111.0.2"`) {
		t.Errorf("status: %d %q", code, body)
	}
	if strings.Contains(body, u.Token) {
		t.Error("the status has the token")
	}
	rec := httptest.NewRecorder()
	l.Handler().ServeHTTP(rec, httptest.NewRequest(http.MethodPost, "/status", nil))
	if rec.Code != http.StatusMethodNotAllowed {
		t.Errorf("POST: %d", rec.Code)
	}
}
