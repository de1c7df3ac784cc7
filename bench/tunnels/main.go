// Command tunnels is the measuring program over tunnels in user space: wireguard-go with
// netstack, and Tailscale's tsnet. It is a separate program, so that their dependencies
// do not burden the other contenders.
//
//	tunnels serve wireguard|tailscale ADDR
//	tunnels client wireguard|tailscale ADDR
//	tunnels expose wireguard|tailscale ADDR TO     leads to a TCP port there what
//	tunnels reach wireguard|tailscale ADDR FROM    comes in at a TCP port here
//	tunnels control ADDR                     what Tailscale's nodes need: control server, DERP and STUN
//
// ADDR is for wireguard the UDP address to listen at, or to send to; for tailscale NAME@
// and that of the control server.
package main

import (
	"fmt"
	"os"

	"github.com/boxer-sandbox/boxer/bench/over"
)

var networks = over.Networks{"wireguard": wireguard{}, "tailscale": tailscale{}}

func main() {
	roles := map[string]func(args []string) error{
		"serve":   networks.Serve,
		"client":  networks.Client,
		"expose":  expose,
		"reach":   reach,
		"control": control,
	}
	if len(os.Args) < 2 || roles[os.Args[1]] == nil {
		fmt.Fprintln(os.Stderr, "tunnels: want serve, client, expose, reach or control")
		os.Exit(2)
	}
	if err := roles[os.Args[1]](os.Args[2:]); err != nil {
		fmt.Fprintf(os.Stderr, "tunnels %s: %v\n", os.Args[1], err)
		os.Exit(1)
	}
}
