package tunnel

import (
	"bufio"
	"context"
	"crypto/tls"
	"encoding/base64"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/netip"
	"net/url"
	"time"

	"golang.org/x/sys/unix"
)

// A Config says where a tunnel leads.
type Config struct {
	Host string       // name or IP address of the server
	IP   netip.Addr   // of the server, for dialling without a proxy
	Port uint16       // TCP
	TLS  *tls.Config  // checks the server; ServerName and NextProtos are set by Dial
	Own  uint16       // port of the node's UDP socket
	Env  func() Proxy // nil: the environment's proxy (HTTPS_PROXY, NO_PROXY)
}

// A Proxy returns the HTTP proxy for a URL; nil: none.
type Proxy func(*url.URL) (*url.URL, error)

// A Client is one tunnel.
type Client struct {
	// Via is the loopback address that stands for the server: what the node's socket
	// sends there goes through the tunnel.
	Via netip.AddrPort
	// Proxy is the HTTP proxy in use; empty: none.
	Proxy string

	udp    *net.UDPConn
	stream *tls.Conn
	done   chan struct{}
}

// Dial opens a tunnel. ctx limits the handshakes only.
func Dial(ctx context.Context, cfg Config) (*Client, error) {
	c := &Client{done: make(chan struct{})}
	conn, err := c.dialTCP(ctx, cfg)
	if err != nil {
		return nil, err
	}
	config := cfg.TLS.Clone()
	config.ServerName, config.NextProtos = cfg.Host, []string{Protocol}
	c.stream = tls.Client(conn, config)
	if err := c.stream.HandshakeContext(ctx); err != nil {
		_ = conn.Close()
		return nil, fmt.Errorf("TLS with %s: %w", conn.RemoteAddr(), err)
	}
	if c.stream.ConnectionState().NegotiatedProtocol != Protocol {
		_ = conn.Close()
		return nil, fmt.Errorf("TLS with %s: the server is not a boxer coordinator",
			conn.RemoteAddr())
	}
	node := netip.AddrFrom4([4]byte{127, 0, 0, 1})
	c.udp, err = net.DialUDP("udp4", &net.UDPAddr{IP: node.AsSlice()},
		net.UDPAddrFromAddrPort(netip.AddrPortFrom(node, cfg.Own)))
	if err != nil {
		_ = conn.Close()
		return nil, err
	}
	own := c.udp.LocalAddr().(*net.UDPAddr).AddrPort()
	c.Via = netip.AddrPortFrom(own.Addr().Unmap(), own.Port())
	go func() {
		defer close(c.done)
		_ = pump(c.udp, c.stream, nil)
	}()
	return c, nil
}

// Done returns a channel that is closed when the tunnel has ended.
func (c *Client) Done() <-chan struct{} { return c.done }

// closeWithin bounds how long Close waits for what the node has sent.
const closeWithin = 300 * time.Millisecond

// Close sends what the node has sent, above all the end of its QUIC connection, ends the
// tunnel and waits for its goroutines.
func (c *Client) Close() {
	late := time.AfterFunc(closeWithin, func() { _ = c.stream.NetConn().Close() })
	defer late.Stop()
	for end := time.Now().Add(closeWithin); pending(c.udp) && time.Now().Before(end); {
		time.Sleep(time.Millisecond)
	}
	_ = c.udp.SetReadDeadline(time.Unix(1, 0)) // pump ends when it has sent all
	<-c.done
}

// pending reports whether datagrams wait to be read (SIOCINQ, udp(7)).
func pending(udp *net.UDPConn) bool {
	raw, err := udp.SyscallConn()
	if err != nil {
		return false
	}
	n := 0
	err = raw.Control(func(fd uintptr) { n, _ = unix.IoctlGetInt(int(fd), unix.SIOCINQ) })
	return err == nil && n > 0
}

// dialTCP connects to the server, by the proxy of the environment if there is one.
func (c *Client) dialTCP(ctx context.Context, cfg Config) (net.Conn, error) {
	port := fmt.Sprint(cfg.Port)
	to := net.JoinHostPort(cfg.Host, port)
	choose := func(u *url.URL) (*url.URL, error) {
		return http.ProxyFromEnvironment(&http.Request{URL: u})
	}
	if cfg.Env != nil {
		choose = cfg.Env()
	}
	proxy, err := choose(&url.URL{Scheme: "https", Host: to})
	if err != nil {
		return nil, fmt.Errorf("HTTPS_PROXY: %w", err)
	}
	var d net.Dialer
	if proxy == nil {
		return d.DialContext(ctx, "tcp", net.JoinHostPort(cfg.IP.String(), port))
	}
	conn, err := dialProxy(ctx, &d, proxy)
	if err != nil {
		return nil, fmt.Errorf("HTTP proxy %s: %w", proxy.Redacted(), err)
	}
	defer context.AfterFunc(ctx, func() { _ = conn.SetDeadline(time.Unix(1, 0)) })()
	if conn, err = connect(conn, proxy, to); err != nil {
		return nil, fmt.Errorf("HTTP proxy %s: %w", proxy.Redacted(), err)
	}
	c.Proxy = proxy.Redacted()
	return conn, nil
}

// dialProxy connects to a proxy, by TLS if its URL says https.
func dialProxy(ctx context.Context, d *net.Dialer, proxy *url.URL) (net.Conn, error) {
	port := proxy.Port()
	switch {
	case proxy.Scheme != "http" && proxy.Scheme != "https":
		return nil, fmt.Errorf("the scheme %q is not supported; use http or https",
			proxy.Scheme)
	case port == "" && proxy.Scheme == "http":
		port = "80"
	case port == "":
		port = "443"
	}
	to := net.JoinHostPort(proxy.Hostname(), port)
	if proxy.Scheme == "https" {
		return (&tls.Dialer{NetDialer: d}).DialContext(ctx, "tcp", to)
	}
	return d.DialContext(ctx, "tcp", to)
}

// connect asks a proxy for a connection (RFC 9110 section 9.3.6). It closes conn if the
// proxy refuses.
func connect(conn net.Conn, proxy *url.URL, to string) (net.Conn, error) {
	r := &http.Request{Method: http.MethodConnect, URL: &url.URL{Opaque: to}, Host: to,
		Header: make(http.Header)}
	if u := proxy.User; u != nil {
		password, _ := u.Password()
		r.Header.Set("Proxy-Authorization", "Basic "+
			base64.StdEncoding.EncodeToString([]byte(u.Username()+":"+password)))
	}
	in := bufio.NewReader(conn)
	err := r.Write(conn)
	var answer *http.Response
	if err == nil {
		answer, err = http.ReadResponse(in, r)
	}
	if err == nil && answer.StatusCode != http.StatusOK {
		err = errors.New("it answers CONNECT with " + answer.Status)
	}
	if err != nil {
		_ = conn.Close()
		return nil, err
	}
	if in.Buffered() > 0 { // the server speaks first only if it is no TLS server
		_ = conn.Close()
		return nil, io.ErrUnexpectedEOF
	}
	return conn, nil
}
