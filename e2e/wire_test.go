package e2e

import (
	"bytes"
	"context"
	"crypto/ed25519"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"fmt"
	"math/big"
	"net"
	"net/netip"
	"os"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/quic-go/quic-go"

	"github.com/boxer-sandbox/boxer/internal/proctest"
)

// A spy looks for texts in all packets of the lab's internet.
type spy struct {
	mu      sync.Mutex
	packets int
	seen    map[string]int
}

func (s *spy) look(packet []byte) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.packets++
	for text := range s.seen {
		if bytes.Contains(packet, []byte(text)) {
			s.seen[text]++
		}
	}
}

// TestNothingInTheClear sends a text in both directions and looks for it on the wire. Run
// bare it is there.
func TestNothingInTheClear(t *testing.T) {
	for _, tc := range []string{"punched", "relayed"} {
		t.Run(tc, func(t *testing.T) {
			const marker = "this-is-nobodys-business"
			c := newCloud(t)
			nat := map[string]func(string) *function{
				"punched": func(name string) *function { return c.function(name, punchable) },
				"relayed": func(name string) *function { return c.function(name, symmetric) },
			}[tc]
			db, app := nat("db"), nat("app")
			watch := &spy{seen: map[string]int{marker: 0}}
			if !native {
				token, _, _ := strings.Cut(strings.TrimPrefix(c.url, "boxer://"), "@")
				watch.seen[token] = 0
			}
			capture, err := c.lab.Capture(watch.look)
			if err != nil {
				t.Fatal(err)
			}
			defer capture.Close()
			db.echo()
			client := app.start(program(t, "probe"), "hold", "db:7", "3")
			client.Expect(`^holding 3$`)
			for range 10 {
				client.Say(marker)
				client.Expect(`^echoed ` + marker + ` 3$`)
			}
			client.Stdin.Close()
			client.Wait(proctest.Patience)
			if err := capture.Close(); err != nil {
				t.Fatal(err)
			}
			if watch.packets < 20 {
				t.Errorf("only %d packets were seen: the capture is wrong", watch.packets)
			}
			for text, n := range watch.seen {
				if (n > 0) != native {
					t.Errorf("%d of %d packets have %q", n, watch.packets, text)
				}
			}
		})
	}
}

// udpSockets returns the UDP sockets of the function that are bound to all addresses or
// to its own.
func (f *function) udpSockets() []netip.AddrPort {
	f.t.Helper()
	var text []byte
	err := f.host.Do(func() (err error) {
		text, err = os.ReadFile("/proc/thread-self/net/udp")
		return err
	})
	var text6 []byte
	if err == nil {
		err = f.host.Do(func() (err error) {
			text6, err = os.ReadFile("/proc/thread-self/net/udp6")
			return err
		})
	}
	if err != nil {
		f.t.Fatal(err)
	}
	var found []netip.AddrPort
	for _, line := range strings.Split(string(text)+string(text6), "\n") {
		parts := strings.Fields(line)
		if len(parts) < 3 {
			continue
		}
		addr, portText, ok := strings.Cut(parts[1], ":")
		// loopback, in the host's byte order
		if !ok || strings.HasSuffix(addr, "7F") && len(addr) == 8 {
			continue
		}
		var port uint16
		if _, err := fmt.Sscanf(portText, "%X", &port); err == nil {
			found = append(found, netip.AddrPortFrom(f.host.Addr(), port))
		}
	}
	return found
}

// strangersTLS returns the configuration of somebody with a key of his own making who
// believes everybody. He offers all protocols that boxer has; a server takes the one that
// it knows.
func strangersTLS(t *testing.T) *tls.Config {
	t.Helper()
	public, private, err := ed25519.GenerateKey(rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	template := &x509.Certificate{SerialNumber: big.NewInt(1),
		NotAfter: time.Now().Add(time.Hour)}
	der, err := x509.CreateCertificate(rand.Reader, template, template, public, private)
	if err != nil {
		t.Fatal(err)
	}
	return &tls.Config{
		Certificates:       []tls.Certificate{{Certificate: [][]byte{der}, PrivateKey: private}},
		InsecureSkipVerify: true,
		NextProtos:         []string{"boxer/2", "boxer/1", "boxer-coordinator/1"},
	}
}

// TestStranger dials a node and the coordinator as somebody who knows the protocol, and
// no secret.
func TestStranger(t *testing.T) {
	needBoxer(t)
	db, app := pair(t, "db", "app")
	db.echo()
	app.reach("db:7")
	// no NAT between them
	neighbour := must(t)(db.host.Router().Host(t.Context(), "neighbour"))

	targets := map[string]netip.AddrPort{"coordinator": netip.AddrPortFrom(db.public.Addr(), coordinatorPort)}
	for _, addr := range db.udpSockets() {
		targets["node at "+addr.String()] = addr
	}
	if len(targets) < 2 {
		t.Fatal("the node has no UDP socket: the test is wrong")
	}
	for name, target := range targets {
		t.Run(name, func(t *testing.T) {
			conn, err := neighbour.ListenPacket(t.Context(), "udp4", "0.0.0.0:0")
			if err != nil {
				t.Fatal(err)
			}
			defer conn.Close()
			ctx, cancel := context.WithTimeout(t.Context(), 15*time.Second)
			defer cancel()
			q, err := quic.Dial(ctx, conn, net.UDPAddrFromAddrPort(target),
				strangersTLS(t), nil)
			if err != nil {
				if ctx.Err() != nil && name == "coordinator" {
					t.Fatalf("the coordinator does not answer at all: %v", err)
				}
				t.Log(err)
				return
			}
			defer q.CloseWithError(0, "")
			// In TLS 1.3 a client is done before the server has seen its certificate.
			s, err := q.OpenStreamSync(ctx)
			if err != nil {
				t.Log(err)
				return
			}
			if _, err := s.Write(bytes.Repeat([]byte{1, 0, 0, 0, 7, 'd', 'b', 0},
				100)); err != nil {
				t.Log(err)
				return
			}
			s.SetReadDeadline(time.Now().Add(10 * time.Second))
			answer := make([]byte, 4096)
			n, err := s.Read(answer)
			if n > 0 && bytes.Contains(answer[:n], []byte("db")) {
				t.Errorf("the stranger is told %q", answer[:n])
			}
			if ctx.Err() == nil && err == nil {
				n, err = s.Read(answer)
			}
			if err == nil || os.IsTimeout(err) {
				t.Errorf("the stranger has a stream that goes on: %d bytes, %v", n, err)
			}
			t.Log(err)
		})
	}
	app.reach("db:7") // and nobody was disturbed
}
