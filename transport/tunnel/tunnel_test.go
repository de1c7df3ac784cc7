package tunnel

import (
	"bytes"
	"context"
	"crypto/ed25519"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"io"
	"math/big"
	"net"
	"net/http"
	"net/netip"
	"net/url"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/boxer-sandbox/boxer/internal/virtualtime"
)

// certificate makes a self-signed certificate.
func certificate(t *testing.T) tls.Certificate {
	t.Helper()
	public, private, err := ed25519.GenerateKey(rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	template := &x509.Certificate{SerialNumber: big.NewInt(1)}
	der, err := x509.CreateCertificate(rand.Reader, template, template, public, private)
	if err != nil {
		t.Fatal(err)
	}
	return tls.Certificate{Certificate: [][]byte{der}, PrivateKey: private}
}

func listenUDP(t *testing.T) *net.UDPConn {
	t.Helper()
	c, err := net.ListenUDP("udp4", &net.UDPAddr{IP: net.IPv4(127, 0, 0, 1)})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { c.Close() })
	c.SetDeadline(time.Now().Add(20 * time.Second))
	return c
}

// startServer runs a server until the test ends. The coordinator's socket is listener.
func startServer(t *testing.T, coordinator *net.UDPConn,
	tweaks ...func(*Server)) (*Server, uint16) {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	s := NewServer(l, &tls.Config{Certificates: []tls.Certificate{certificate(t)}},
		coordinator.LocalAddr().(*net.UDPAddr).AddrPort())
	for _, tweak := range tweaks {
		tweak(s)
	}
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- s.Serve(ctx) }()
	t.Cleanup(func() {
		cancel()
		if err := <-done; err != nil {
			t.Error(err)
		}
	})
	return s, uint16(l.Addr().(*net.TCPAddr).Port)
}

// config is that of a client that takes any server, and no proxy.
func config(node *net.UDPConn, port uint16) Config {
	return Config{Host: "localhost", IP: netip.MustParseAddr("127.0.0.1"), Port: port,
		Own: uint16(node.LocalAddr().(*net.UDPAddr).Port),
		TLS: &tls.Config{InsecureSkipVerify: true},
		Env: func() Proxy { return func(*url.URL) (*url.URL, error) { return nil, nil } }}
}

// exchange sends datagrams of several sizes through a tunnel, and back.
func exchange(t *testing.T, s *Server, c *Client, node, coordinator *net.UDPConn) {
	t.Helper()
	b := make([]byte, maxDatagram)
	for _, size := range []int{1, 1200, 1452, 9000} {
		sent := bytes.Repeat([]byte{byte(size)}, size)
		if _, err := node.WriteToUDPAddrPort(sent, c.Via); err != nil {
			t.Fatal(err)
		}
		n, from, err := coordinator.ReadFromUDPAddrPort(b)
		if err != nil || !bytes.Equal(b[:n], sent) {
			t.Fatalf("%d bytes, %v; want %d", n, err, size)
		}
		if client, ok := s.Client(from); !ok ||
			client.Addr() != netip.MustParseAddr("127.0.0.1") {
			t.Errorf("%v is the client %v, %v", from, client, ok)
		}
		if _, err := coordinator.WriteToUDPAddrPort(sent, from); err != nil {
			t.Fatal(err)
		}
		n, back, err := node.ReadFromUDPAddrPort(b)
		if err != nil || !bytes.Equal(b[:n], sent) || back != c.Via {
			t.Fatalf("%d bytes from %v, %v; want %d from %v", n, back, err, size, c.Via)
		}
	}
}

func TestTunnel(t *testing.T) {
	node, coordinator := listenUDP(t), listenUDP(t)
	s, port := startServer(t, coordinator)
	c, err := Dial(t.Context(), config(node, port))
	if err != nil {
		t.Fatal(err)
	}
	exchange(t, s, c, node, coordinator)
	// What was sent before Close arrives.
	if _, err := node.WriteToUDPAddrPort([]byte("last"), c.Via); err != nil {
		t.Fatal(err)
	}
	c.Close()
	b := make([]byte, 100)
	if n, _, err := coordinator.ReadFromUDPAddrPort(b); err != nil ||
		string(b[:n]) != "last" {
		t.Errorf("got %q, %v", b[:n], err)
	}
	awaitNone(t, s)
}

// awaitNone waits until the server has no tunnel.
func awaitNone(t *testing.T, s *Server) {
	t.Helper()
	for end := time.Now().Add(20 * time.Second); s.Count() > 0; time.Sleep(time.Millisecond) {
		if time.Now().After(end) {
			t.Fatal("the server keeps the tunnel")
		}
	}
}

// TestProxy goes through an HTTP proxy that asks for a password.
func TestProxy(t *testing.T) {
	node, coordinator := listenUDP(t), listenUDP(t)
	s, port := startServer(t, coordinator)
	const basic = "Basic dXNlcjpzZWNyZXQ=" // user:secret
	proxy := &http.Server{Handler: http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.Method != http.MethodConnect ||
			r.Header.Get("Proxy-Authorization") != basic {
			w.WriteHeader(http.StatusProxyAuthRequired)
			return
		}
		far, err := net.Dial("tcp", strings.Replace(r.Host, "localhost", "127.0.0.1", 1))
		if err != nil {
			w.WriteHeader(http.StatusBadGateway)
			return
		}
		near, _, err := w.(http.Hijacker).Hijack()
		if err != nil {
			t.Error(err)
			return
		}
		fmt.Fprint(near, "HTTP/1.1 200 OK\r\n\r\n")
		go func() { io.Copy(far, near); far.Close() }()
		io.Copy(near, far)
		near.Close()
	})}
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	go proxy.Serve(l)
	t.Cleanup(func() { proxy.Close() })
	through := func(u string) Config {
		cfg := config(node, port)
		cfg.Env = func() Proxy {
			return func(*url.URL) (*url.URL, error) { return url.Parse(u) }
		}
		return cfg
	}
	c, err := Dial(t.Context(), through("http://user:secret@"+l.Addr().String()))
	if err != nil {
		t.Fatal(err)
	}
	exchange(t, s, c, node, coordinator)
	c.Close()
	if strings.Contains(c.Proxy, "secret") {
		t.Errorf("the proxy is %q", c.Proxy)
	}
	_, err = Dial(t.Context(), through("http://user:wrong@"+l.Addr().String()))
	if err == nil || !strings.Contains(err.Error(), "407") ||
		strings.Contains(err.Error(), "wrong") {
		t.Errorf("a wrong password: %v", err)
	}
	if _, err = Dial(t.Context(), through("socks5://"+l.Addr().String())); err == nil ||
		!strings.Contains(err.Error(), "use http or https") {
		t.Errorf("another scheme: %v", err)
	}
}

// Other TLS servers, and clients that speak something else, get no tunnel.
func TestStrangers(t *testing.T) {
	node, coordinator := listenUDP(t), listenUDP(t)
	s, port := startServer(t, coordinator)
	to := fmt.Sprintf("127.0.0.1:%d", port)
	c, err := tls.Dial("tcp", to, &tls.Config{InsecureSkipVerify: true})
	if err == nil {
		c.SetDeadline(time.Now().Add(20 * time.Second))
		if _, err = c.Read(make([]byte, 1)); err == nil {
			t.Error("a client without the protocol gets data")
		}
		c.Close()
	}
	stranger, err := tls.Dial("tcp", to, &tls.Config{InsecureSkipVerify: true,
		NextProtos: []string{Protocol}})
	if err != nil {
		t.Fatal(err)
	}
	defer stranger.Close()
	stranger.SetDeadline(time.Now().Add(20 * time.Second))
	stranger.Write([]byte{0xff, 0xff, 1, 2, 3}) // longer than any datagram
	if _, err := stranger.Read(make([]byte, 1)); err == nil {
		t.Error("the tunnel goes on")
	}
	awaitNone(t, s)
	l, err := tls.Listen("tcp", "127.0.0.1:0",
		&tls.Config{Certificates: []tls.Certificate{certificate(t)}})
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	go func() {
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			c.(*tls.Conn).Handshake()
			c.Close()
		}
	}()
	if _, err := Dial(t.Context(), config(node, uint16(l.Addr().(*net.TCPAddr).Port))); err == nil {
		t.Error("another server is taken for a coordinator")
	}
}

// A tunnel ends when the coordinator does not answer, also if the client goes on sending.
func TestUnanswered(t *testing.T) {
	node, coordinator := listenUDP(t), listenUDP(t)
	s, port := startServer(t, coordinator, func(s *Server) {
		s.firstAnswer = 50 * time.Millisecond
	})
	c, err := Dial(t.Context(), config(node, port))
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	for end := time.After(20 * time.Second); ; {
		select {
		case <-c.Done():
			awaitNone(t, s)
			return
		case <-time.After(10 * time.Millisecond):
			_, _ = node.WriteToUDPAddrPort([]byte("more"), c.Via)
		case <-end:
			t.Fatal("the tunnel goes on")
		}
	}
}

// A tunnel lasts as long as the coordinator answers.
func TestNoMoreAnswers(t *testing.T) {
	virtualtime.Test(t, func(t *testing.T) {
		s := NewServer(nil, &tls.Config{}, netip.MustParseAddrPort("127.0.0.1:1"))
		near, far := net.Pipe()
		defer far.Close()
		var answers atomic.Int64
		began := time.Now()
		go func() {
			for range 100 {
				answers.Add(1)
				time.Sleep(5 * time.Second)
			}
		}()
		s.endUnanswered(near, &answers, nil)
		if d := time.Since(began); d < 500*time.Second || d > 500*time.Second+2*nextAnswer {
			t.Errorf("the tunnel ended after %v, want 1 to 2 minutes after 500 s", d)
		}
		if _, err := near.Write([]byte{1}); !errors.Is(err, io.ErrClosedPipe) {
			t.Errorf("the connection is not closed: %v", err)
		}
	})
}

// The limit of one client counts an IPv6 /64 prefix together.
func TestTunnelsOfOneSource(t *testing.T) {
	s := NewServer(nil, &tls.Config{}, netip.MustParseAddrPort("127.0.0.1:1"))
	first := netip.MustParseAddr("2001:db8::1")
	addr := first
	for i := range maxPerSource {
		if !s.enter(addr) {
			t.Fatalf("tunnel %d is refused", i)
		}
		addr = addr.Next()
	}
	if s.enter(addr) {
		t.Error("another address of the prefix gets a tunnel")
	}
	if !s.enter(netip.MustParseAddr("2001:db8:0:1::1")) {
		t.Error("another prefix gets none")
	}
	s.leave(first)
	if !s.enter(addr) {
		t.Error("the place of a tunnel that has ended is not free")
	}
}

func TestLoopbackFor(t *testing.T) {
	a := func(s string) netip.Addr { return loopbackFor(netip.MustParseAddr(s)) }
	if a("192.0.2.1") == a("192.0.2.2") || !a("192.0.2.1").IsLoopback() {
		t.Error("two IPv4 addresses share one loopback address")
	}
	if a("2001:db8::1") != a("2001:db8::2") || a("2001:db8::1") == a("2001:db8:0:1::1") {
		t.Error("IPv6 addresses are not counted by their /64")
	}
}
