package main

import (
	"context"
	"fmt"

	"github.com/boxer-sandbox/boxer/bench/over"
)

// expose forwards connections from a tunnel to a TCP address. Its arguments are NETWORK,
// ADDR and TO.
func expose(args []string) error {
	if len(args) != 3 || networks[args[0]] == nil {
		return fmt.Errorf("arguments %q: want NETWORK, ADDR and TO", args)
	}
	return forward(networks[args[0]], args[1], over.TCP{}, args[2])
}

// reach forwards connections to a TCP address through a tunnel. Its arguments are
// NETWORK, ADDR and FROM.
func reach(args []string) error {
	if len(args) != 3 || networks[args[0]] == nil {
		return fmt.Errorf("arguments %q: want NETWORK, ADDR and FROM", args)
	}
	return forward(over.TCP{}, args[2], networks[args[0]], args[1])
}

func forward(in over.Network, from string, out over.Network, to string) error {
	ctx := context.Background()
	l, err := in.Listen(ctx, from)
	if err != nil {
		return err
	}
	dial, err := out.Dialer(ctx, to)
	if err != nil {
		return err
	}
	fmt.Println(over.Ready)
	return over.Proxy(ctx, l, dial)
}
