package transport

import (
	"context"
	"errors"
	"io"
	"log/slog"
	"net/netip"
	"sync"
	"sync/atomic"
	"testing"
	"time"
)

// A lab is a network of nodes in this process: a signaller that delivers at
// once, and a relay with STUN.
type lab struct {
	t      testing.TB
	server *Socket
	wire   *testWire                        // the server's
	listen func(id uint32) (*Socket, error) // opens a node's socket

	mu      sync.Mutex
	nodes   map[uint32]*labNode
	relayed atomic.Int64 // frames
	mute    atomic.Bool  // signals are lost
}

type labNode struct {
	*Node
	lab      *lab
	id       uint32
	identity *Identity
	socket   *Socket
	wire     *testWire
	accept   atomic.Pointer[func(*Stream)] // nil: echo
}

// newLab makes a lab on loopback.
func newLab(t testing.TB) *lab {
	server, err := Listen(loopback())
	if err != nil {
		t.Fatal(err)
	}
	return newLabOn(t, server, func(uint32) (*Socket, error) { return Listen(loopback()) })
}

func newLabOn(t testing.TB, server *Socket,
	listen func(id uint32) (*Socket, error)) *lab {
	l := &lab{t: t, server: server, listen: listen, nodes: map[uint32]*labNode{},
		wire: hook(server)}
	t.Cleanup(func() { l.server.Close() })
	l.server.ServeSTUN()
	l.server.HandleRelay(l.relay)
	// The transport starts to read when it is first used.
	ctx, cancel := context.WithCancel(context.Background())
	cancel()
	l.server.QUIC().ReadNonQUICPacket(ctx, nil)
	return l
}

// relay does what the coordinator does, which knows its nodes' addresses.
func (l *lab) relay(frame []byte, from netip.AddrPort) {
	to, _, err := ParseRelayFrame(frame)
	if err != nil {
		return
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	dest := l.nodes[to]
	for id, n := range l.nodes {
		if n.reflexive() == from && dest != nil && dest.reflexive().IsValid() {
			l.relayed.Add(1)
			SetRelayID(frame, id)
			l.server.WriteTo(frame, dest.reflexive())
		}
	}
}

func loopback() netip.AddrPort { return netip.MustParseAddrPort("127.0.0.1:0") }

// node adds a node that echoes what streams bring.
func (l *lab) node(id uint32, change ...func(*Config)) *labNode {
	l.t.Helper()
	identity, err := NewIdentity()
	if err != nil {
		l.t.Fatal(err)
	}
	socket, err := l.listen(id)
	if err != nil {
		l.t.Fatal(err)
	}
	n := &labNode{lab: l, id: id, identity: identity, socket: socket, wire: hook(socket)}
	config := Config{
		Identity:  identity,
		Socket:    socket,
		Self:      id,
		Host:      "lab",
		Server:    l.server.LocalAddr(),
		Signaller: signaller{l, id, n},
		Lookup:    l.lookup,
		LookupKey: l.lookupKey,
		Accept:    n.serve,
	}
	if testing.Verbose() {
		config.Logger = slog.New(slog.NewTextHandler(l.t.Output(),
			&slog.HandlerOptions{Level: slog.LevelDebug})).With("node", id)
	}
	for _, c := range change {
		c(&config)
	}
	if n.Node, err = New(config); err != nil {
		l.t.Fatal(err)
	}
	l.mu.Lock()
	l.nodes[config.Self] = n
	l.mu.Unlock()
	l.t.Cleanup(func() {
		n.Close()
		socket.Close()
	})
	return n
}

func (l *lab) lookup(id uint32) (Peer, bool) {
	l.mu.Lock()
	defer l.mu.Unlock()
	n := l.nodes[id]
	if n == nil {
		return Peer{}, false
	}
	return Peer{ID: id, Key: n.identity.Key()}, true
}

func (l *lab) lookupKey(key Key) (Peer, bool) {
	l.mu.Lock()
	defer l.mu.Unlock()
	for id, n := range l.nodes {
		if n.identity.Key() == key {
			return Peer{ID: id, Key: key}, true
		}
	}
	return Peer{}, false
}

type signaller struct {
	lab  *lab
	from uint32
	node *labNode
}

func (s signaller) Signal(_ context.Context, to uint32, msg []byte) error {
	s.lab.mu.Lock()
	n, member := s.lab.nodes[to], s.lab.nodes[s.from]
	s.lab.mu.Unlock()
	if member != s.node {
		return errors.New("another node has this id now") // its line has been closed
	}
	if n == nil {
		return errors.New("nobody there")
	}
	if !s.lab.mute.Load() {
		n.HandleSignal(s.from, msg)
	}
	return nil
}

// onAccept changes what the node does with streams.
func (n *labNode) onAccept(f func(*Stream)) { n.accept.Store(&f) }

func (n *labNode) serve(s *Stream) {
	if f := n.accept.Load(); f != nil {
		(*f)(s)
		return
	}
	echo(s)
}

func echo(s *Stream) {
	if s.Answer(StatusOK) != nil {
		return
	}
	if _, err := io.Copy(struct{ io.Writer }{s}, struct{ io.Reader }{s}); err != nil {
		s.Reset()
		return
	}
	s.CloseWrite()
}

// header is a plausible one for a stream between two nodes.
func header() Header {
	return Header{
		Source:      netip.MustParseAddrPort("10.111.0.2:40000"),
		Destination: netip.MustParseAddrPort("10.111.0.3:5432"),
	}
}

func (n *labNode) open(t testing.TB, to uint32) *Stream {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), 20*time.Second)
	defer cancel()
	s, err := n.Open(ctx, to, header())
	if err != nil {
		t.Fatalf("open: %v", err)
	}
	return s
}

// exchange sends a message over an echoing stream and checks what comes back.
func exchange(t testing.TB, s *Stream, msg string) {
	t.Helper()
	if _, err := io.WriteString(s, msg); err != nil {
		t.Fatalf("write: %v", err)
	}
	got := make([]byte, len(msg))
	if _, err := io.ReadFull(s, got); err != nil || string(got) != msg {
		t.Fatalf("read %q, %v; want %q", got, err, msg)
	}
}

// scaled returns how much of something a test does: less in a short run.
func scaled(n int) int {
	if testing.Short() {
		return n / 4
	}
	return n
}

// eventually waits for a condition that no event announces.
func eventually(t testing.TB, what string, ok func() bool) {
	t.Helper()
	for deadline := time.Now().Add(20 * time.Second); !ok(); time.Sleep(5 * time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatalf("never: %s", what)
		}
	}
}
