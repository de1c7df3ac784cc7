package main

import (
	"crypto/tls"
	"fmt"
	"io"
	"log"
	"net"
	"net/http"
	"net/http/httptest"
	"net/netip"

	"tailscale.com/derp/derpserver"
	"tailscale.com/net/stun"
	"tailscale.com/tailcfg"
	"tailscale.com/tstest/integration/testcontrol"
	"tailscale.com/types/key"
	"tailscale.com/types/logger"

	"github.com/boxer-sandbox/boxer/bench/over"
)

// control serves Tailscale's nodes, with the argument ADDR: the test suite's control
// server there, DERP at the next port, and STUN.
func control(args []string) error {
	if len(args) != 1 {
		return fmt.Errorf("arguments %q: want ADDR", args)
	}
	at, err := netip.ParseAddrPort(args[0])
	if err != nil {
		return err
	}
	derp := netip.AddrPortFrom(at.Addr(), at.Port()+1)
	stunPort, err := serveSTUN(at.Addr())
	if err != nil {
		return err
	}
	if err := serveDERP(derp); err != nil {
		return err
	}
	l, err := net.Listen("tcp", at.String())
	if err != nil {
		return err
	}
	ip := at.Addr().String()
	server := &testcontrol.Server{
		Logf: logger.Discard, ExplicitBaseURL: "http://" + at.String(),
		AllNodesSameUser: true, AllOnline: true,
		DERPMap: &tailcfg.DERPMap{Regions: map[int]*tailcfg.DERPRegion{1: {
			RegionID: 1, RegionCode: "lab",
			Nodes: []*tailcfg.DERPNode{{
				Name: "1", RegionID: 1, HostName: ip, IPv4: ip, IPv6: "none",
				STUNPort: stunPort, STUNTestIP: ip, DERPPort: int(derp.Port()),
				InsecureForTests: true,
			}},
		}}},
	}
	fmt.Println(over.Ready)
	return http.Serve(l, server)
}

// serveDERP starts the relay, through which nodes also make their first contact.
func serveDERP(at netip.AddrPort) error {
	l, err := net.Listen("tcp", at.String())
	if err != nil {
		return err
	}
	s := httptest.NewUnstartedServer(derpserver.Handler(derpserver.New(key.NewNode(),
		logger.Discard)))
	s.Listener.Close()
	s.Listener = l
	s.Config.ErrorLog = log.New(io.Discard, "", 0)
	// DERP takes HTTP/1 over
	s.Config.TLSNextProto = make(map[string]func(*http.Server, *tls.Conn, http.Handler))
	s.StartTLS()
	return nil
}

// serveSTUN starts a STUN server and returns its port.
func serveSTUN(addr netip.Addr) (port int, err error) {
	conn, err := net.ListenUDP("udp4", net.UDPAddrFromAddrPort(netip.AddrPortFrom(addr, 0)))
	if err != nil {
		return 0, err
	}
	go func() { // runs until the process ends
		buf := make([]byte, 1500)
		for {
			n, from, err := conn.ReadFromUDPAddrPort(buf)
			if err != nil {
				return
			}
			if id, err := stun.ParseBindingRequest(buf[:n]); err == nil {
				from = netip.AddrPortFrom(from.Addr().Unmap(), from.Port())
				_, _ = conn.WriteToUDPAddrPort(stun.Response(id, from), from)
			}
		}
	}()
	return conn.LocalAddr().(*net.UDPAddr).Port, nil
}
