package over

import (
	"context"
	"fmt"
	"os"

	"github.com/boxer-sandbox/boxer/bench/meter"
)

// Ready is the line that servers write when they accept clients.
const Ready = "ready"

// Networks are the kinds of connection by name.
type Networks map[string]Network

// Serve runs the meter's server with the arguments NETWORK and ADDR. It writes Ready when
// it listens.
func (n Networks) Serve(args []string) error {
	network, addr, err := n.find(args)
	if err != nil {
		return err
	}
	l, err := network.Listen(context.Background(), addr)
	if err != nil {
		return err
	}
	if network, ok := network.(datagramNetwork); ok {
		c, err := network.ListenPacket(context.Background(), addr)
		if err != nil {
			return err
		}
		go meter.ServeDatagrams(c) // until the process is killed
	}
	fmt.Println(Ready)
	return meter.Serve(l)
}

// Client runs the meter's client with the arguments NETWORK and ADDR. It executes orders
// from stdin.
func (n Networks) Client(args []string) error {
	network, addr, err := n.find(args)
	if err != nil {
		return err
	}
	ctx := context.Background()
	dial, err := network.Dialer(ctx, addr)
	if err != nil {
		return err
	}
	return meter.Obey(ctx, dial, os.Stdin, os.Stdout)
}

func (n Networks) find(args []string) (network Network, addr string, err error) {
	if len(args) != 2 || n[args[0]] == nil {
		return nil, "", fmt.Errorf("arguments %q: want NETWORK and ADDR", args)
	}
	return n[args[0]], args[1], nil
}
