package coordinator

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"log/slog"
	"net/netip"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/quic-go/quic-go"

	"github.com/boxer-sandbox/boxer/transport"
)

// The messages of version 3, as its decoder had them: a field that is not here costs
// the connection. Do not change these.
type (
	v3Message struct {
		Hello   *v3Hello                            `json:"hello,omitempty"`
		Alive   *struct{ Pad string }               `json:"alive,omitempty"`
		Report  *struct{ Paths []v3Path }           `json:"report,omitempty"`
		Welcome *v3Welcome                          `json:"welcome,omitempty"`
		Page    *v3Page                             `json:"page,omitempty"`
		Receipt *v3Receipt                          `json:"receipt,omitempty"`
		Mirror  *struct{ Reflexive netip.AddrPort } `json:"mirror,omitempty"`
		Ask     *struct{}                           `json:"ask,omitempty"`
		Signal  *v3Signal                           `json:"signal,omitempty"`
	}
	v3Hello struct {
		Version                   int
		Token, Ticket, Name, Host string
		Observe                   bool
	}
	v3Welcome struct {
		Self            v3Member
		Prefix, Prefix6 netip.Prefix
		Ticket          string
		Reflexive       netip.AddrPort
		Lease           time.Duration `json:"lease_ns"`
		Started         time.Time
		Program         string
	}
	v3Member struct {
		ID          uint32
		Name        string
		Addr, Addr6 netip.Addr
		Key         transport.Key
		Host        string
		Since       time.Time
		Silent      bool
		Paths       []v3Path
	}
	v3Path struct {
		Peer          uint32
		Kind          string
		Remote        netip.AddrPort
		RTT           time.Duration `json:"rtt_ns"`
		BytesSent     uint64        `json:"bytes_sent"`
		BytesReceived uint64        `json:"bytes_received"`
	}
	v3Page struct {
		Members []v3Member
		Last    bool
	}
	v3Receipt struct {
		Seq  uint64
		Code string
		At   int64
	}
	v3Signal struct {
		Seq  uint64
		Node uint32
		Data []byte
	}
)

// readV3 reads one message as version 3 did; nil is news, whose encoding is the same.
func readV3(r io.Reader) (*v3Message, error) {
	b, err := readFrame(r, maxFrame)
	if err != nil {
		return nil, err
	}
	if len(b) > 0 && b[0] == batchMark {
		_, err := decodeBatch(b)
		return nil, err
	}
	d := json.NewDecoder(bytes.NewReader(b))
	d.DisallowUnknownFields()
	m := new(v3Message)
	if err := d.Decode(m); err != nil {
		return nil, fmt.Errorf("version 3 does not understand %s: %w", b, err)
	}
	return m, nil
}

// A node of version 3 joins, is told of others, is asked and answers, exchanges
// signals, and comes back with its ticket; an observer of version 3 sees everybody.
func TestNodeOfVersion3(t *testing.T) {
	noLeaks(t)
	l := newLab(t, ServerConfig{Prefix6: DefaultPrefix6, DataPath: DataPathDirect},
		func(s *Server) { s.maxHold = 0 })
	u := l.url(t)
	g, err := enter(t, u, ClientConfig{Name: "new", Program: "v2.0"})
	if err != nil {
		t.Fatal(err)
	}
	hello := func(text string) *stranger {
		s := newStranger(t, l)
		s.send(appendText(fmt.Sprintf(`{"hello":{"version":3,%s}}`, text)))
		_ = s.stream.SetReadDeadline(time.Now().Add(patience))
		return s
	}
	until := func(s *stranger, what string, ok func(*v3Message) bool) *v3Message {
		t.Helper()
		for {
			m, err := readV3(s.stream)
			if err != nil {
				t.Fatalf("%s: %v", what, err)
			}
			if m != nil && ok(m) {
				return m
			}
		}
	}
	old := hello(fmt.Sprintf(`"token":%q,"name":"old","host":"h"`, u.Token))
	welcome := until(old, "welcome", func(m *v3Message) bool { return m.Welcome != nil }).Welcome
	g.sees(t, welcome.Self.ID, true)
	if err := g.Signal(within(t, patience), welcome.Self.ID,
		[]byte("to the old one")); err != nil {
		t.Fatal(err)
	}
	until(old, "signal", func(m *v3Message) bool {
		return m.Signal != nil &&
			string(m.Signal.Data) == "to the old one"
	})
	old.send(appendText(fmt.Sprintf(`{"signal":{"seq":1,"node":%d,"data":"aGk="}}`, g.Self().ID)))
	until(old, "receipt", func(m *v3Message) bool {
		return m.Receipt != nil &&
			m.Receipt.Code == ""
	})
	if s := <-g.signals; string(s.Data) != "hi" {
		t.Errorf("the old one's signal came as %q", s.Data)
	}
	old.send(appendText(`{"report":{"paths":[{"peer":1,"kind":"lan","remote":"192.0.2.1:5","rtt_ns":1,"bytes_sent":2,"bytes_received":3}]}}`))

	mustEnter(t, u, "old")
	until(old, "ask", func(m *v3Message) bool { return m.Ask != nil })
	old.send(appendText(`{"alive":{"pad":"................"}}`))

	observer := hello(fmt.Sprintf(`"token":%q,"observe":true`, u.Token))
	seen := until(observer, "page", func(m *v3Message) bool { return m.Page != nil }).Page
	if len(seen.Members) < 2 || seen.Members[0].Name != "new" {
		t.Errorf("the observer sees %+v", seen)
	}
	if s, err := Observe(within(t, patience), u); err != nil ||
		s.Members[0].Program != "v2.0" || s.Members[1].Program != "" {
		t.Errorf("an observer of this version sees %+v, %v", s.Members, err)
	}
}

func appendText(text string) []byte {
	b := []byte{0, 0, byte(len(text) >> 8), byte(len(text))}
	return append(b, text...)
}

// A node and an observer of this version come to a coordinator of version 3.
func TestCoordinatorOfVersion3(t *testing.T) {
	noLeaks(t)
	u := v3Coordinator(t)
	g, err := enter(t, u, ClientConfig{Name: "new", Program: "v2.0"})
	if err != nil {
		t.Fatal(err)
	}
	if g.Self().Name != "new" || g.Self().ID != 7 {
		t.Errorf("it is %+v", g.Self())
	}
	if err := g.Signal(within(t, patience), 7, []byte("hi")); err != nil {
		t.Error(err)
	}
	if s, err := Observe(within(t, patience), u); err != nil || len(s.Members) != 1 ||
		s.Members[0].Name != "new" {
		t.Errorf("an observer sees %+v, %v", s, err)
	}
}

// v3Coordinator serves version 3, to one node at a time.
func v3Coordinator(t *testing.T) JoinURL {
	t.Helper()
	socket, err := transport.Listen(loopback)
	if err != nil {
		t.Fatal(err)
	}
	id, err := transport.NewIdentity()
	if err != nil {
		t.Fatal(err)
	}
	ln, err := socket.QUIC().Listen(serverTLS(id), &quic.Config{})
	if err != nil {
		t.Fatal(err)
	}
	var all sync.WaitGroup
	ctx, cancel := context.WithCancel(context.Background())
	all.Go(func() {
		for {
			c, err := ln.Accept(ctx)
			if err != nil {
				return
			}
			all.Go(func() { serveV3(ctx, c) })
		}
	})
	t.Cleanup(func() { cancel(); ln.Close(); socket.Close(); all.Wait() })
	return JoinURL{Token: "token", Host: socket.LocalAddr().String(),
		Pin: PinOf(id.Key())}
}

func serveV3(ctx context.Context, c *quic.Conn) {
	defer context.AfterFunc(ctx, func() { c.CloseWithError(codeShutdown, "") })()
	s, err := c.AcceptStream(ctx)
	if err != nil {
		return
	}
	m, err := readV3(s)
	if err != nil || m == nil || m.Hello == nil || m.Hello.Version != 3 {
		c.CloseWithError(codeProtocol, "the node speaks another version, the coordinator 3; run the same version of boxer on both")
		return
	}
	key, _ := transport.PeerKey(c.ConnectionState().TLS)
	self := Member{ID: 7, Name: "new", Addr: netip.MustParseAddr("10.111.0.8"), Key: key}
	w := &welcome{Self: self, Prefix: DefaultPrefix, Lease: DefaultLease,
		Reflexive: addrPortOf(c.RemoteAddr()), Ticket: "t"}
	s.Write(frame(&message{Welcome: w}))
	if m.Hello.Observe {
		s.Write(frame(&message{Page: &page{Members: []Member{self}, Last: true}}))
		return
	}
	s.Write((&updateBatch{list: true, last: true,
		updates: []update{{kind: kindUp, record: recordOf(self)}}}).appendTo(nil))
	for {
		m, err := readV3(s)
		switch {
		case err != nil || m == nil:
			c.CloseWithError(codeProtocol, "message is not the expected JSON")
			return
		case m.Signal != nil:
			s.Write(frame(&message{Ack: &ack{Seq: m.Signal.Seq}}))
		}
	}
}

// A node that the coordinator refuses for good when it comes back says so, once for
// each cause; and it says that it is back.
func TestRefusedAgain(t *testing.T) {
	noLeaks(t)
	path := restartable(t)
	l := newLab(t, ServerConfig{State: load(t, path)})
	var log syncBuffer
	g, err := enter(t, l.url(t), ClientConfig{Name: "a",
		Logger: slog.New(slog.NewTextHandler(&log, &slog.HandlerOptions{Level: slog.LevelWarn}))})
	if err != nil {
		t.Fatal(err)
	}
	addr := l.cfg.Socket.LocalAddr()
	l.stop()
	g.offline(t)
	// Another one has its place for a while.
	socket, err := transport.Listen(addr)
	if err != nil {
		t.Fatal(err)
	}
	tlsConfig := serverTLS(load(t, path).Identity())
	tries := make(chan struct{}, 100)
	ln, err := socket.QUIC().Listen(tlsConfig, &quic.Config{})
	if err != nil {
		t.Fatal(err)
	}
	ended := make(chan struct{})
	go func() {
		defer close(ended)
		for {
			c, err := ln.Accept(context.Background())
			if err != nil {
				return
			}
			c.CloseWithError(codeProtocol,
				"the node speaks version 4, the coordinator 9; run the same version of boxer on both")
			notify(tries)
		}
	}()
	for range 6 { // each attempt tries two versions
		select {
		case <-tries:
		case <-time.After(patience):
			t.Fatal("it has stopped trying")
		}
	}
	ln.Close()
	<-ended
	socket.Close()
	newLab(t, ServerConfig{State: load(t, path)})
	eventually(t, "it is back", func() bool {
		return strings.Contains(log.String(),
			"joined again")
	})
	text := log.String()
	if n := strings.Count(text, "refuses this node"); n != 1 ||
		!strings.Contains(text, "the coordinator 9") {
		t.Errorf("%d refusals are told, want one with its cause:\n%s", n, text)
	}
}

type syncBuffer struct {
	mu sync.Mutex
	b  bytes.Buffer
}

func (s *syncBuffer) Write(b []byte) (int, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.b.Write(b)
}

func (s *syncBuffer) String() string {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.b.String()
}
