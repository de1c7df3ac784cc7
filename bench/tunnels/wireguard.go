package main

import (
	"context"
	"crypto/ecdh"
	"crypto/sha256"
	"fmt"
	"net"
	"net/netip"

	"golang.zx2c4.com/wireguard/conn"
	"golang.zx2c4.com/wireguard/device"
	"golang.zx2c4.com/wireguard/tun/netstack"

	"github.com/boxer-sandbox/boxer/bench/meter"
)

// wireguard is wireguard-go with the TCP of gVisor's netstack on top, as in its example
// programs.
type wireguard struct{}

var (
	wgServer = netip.MustParseAddrPort("10.9.0.1:80")
	wgClient = netip.MustParseAddr("10.9.0.2")
)

// wgMTU is WireGuard's usual MTU, in bytes: 1500 less 80 for IPv6, UDP and WireGuard's
// header.
const wgMTU = 1420

// Listen implements over.Network.
func (wireguard) Listen(_ context.Context, addr string) (meter.Listener, error) {
	at, err := netip.ParseAddrPort(addr)
	if err != nil {
		return nil, err
	}
	stack, err := wgUp(wgServer.Addr(), "server", "client",
		fmt.Sprintf("listen_port=%d\n", at.Port()),
		fmt.Sprintf("allowed_ip=%s/32\n", wgClient))
	if err != nil {
		return nil, err
	}
	l, err := stack.ListenTCPAddrPort(wgServer)
	if err != nil {
		return nil, err
	}
	return listener{l}, nil
}

// Dialer implements over.Network.
func (wireguard) Dialer(_ context.Context, addr string) (meter.Dialer, error) {
	to, err := net.ResolveUDPAddr("udp4", addr)
	if err != nil {
		return nil, err
	}
	stack, err := wgUp(wgClient, "client", "server", "",
		fmt.Sprintf("endpoint=%s\nallowed_ip=%s/32\npersistent_keepalive_interval=15\n",
			to, wgServer.Addr()))
	if err != nil {
		return nil, err
	}
	return func(ctx context.Context) (meter.Conn,
		error) {
		return stack.DialContextTCPAddrPort(ctx, wgServer)
	}, nil
}

// wgUp starts a device. own and peer are the names of the keys.
func wgUp(addr netip.Addr, own, peer, device1, peer1 string) (*netstack.Net, error) {
	tun, stack, err := netstack.CreateNetTUN([]netip.Addr{addr}, nil, wgMTU)
	if err != nil {
		return nil, err
	}
	private, err := wgKey(own)
	if err != nil {
		return nil, err
	}
	other, err := wgKey(peer)
	if err != nil {
		return nil, err
	}
	dev := device.NewDevice(tun, conn.NewDefaultBind(),
		device.NewLogger(device.LogLevelSilent, ""))
	config := fmt.Sprintf("private_key=%x\n%spublic_key=%x\n%s", private.Bytes(), device1,
		other.PublicKey().Bytes(), peer1)
	if err := dev.IpcSet(config); err != nil {
		return nil, err
	}
	return stack, dev.Up()
}

// wgKey derives a key from a name. The key is not secret, because the lab has no
// attacker.
func wgKey(name string) (*ecdh.PrivateKey, error) {
	seed := sha256.Sum256([]byte(name))
	return ecdh.X25519().NewPrivateKey(seed[:])
}

// listener adapts a net.Listener to meter.Listener.
type listener struct{ net.Listener }

// Accept implements meter.Listener.
func (l listener) Accept() (meter.Conn, error) {
	c, err := l.Listener.Accept()
	if err != nil {
		return nil, err
	}
	return halfCloser(c)
}

// halfCloser returns c if its sending side can be closed on its own.
func halfCloser(c net.Conn) (meter.Conn, error) {
	half, ok := c.(meter.Conn)
	if !ok {
		return nil, fmt.Errorf("a %T has no CloseWrite", c)
	}
	return half, nil
}
