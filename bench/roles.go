package main

import (
	"context"
	"fmt"
	"os"

	"github.com/boxer-sandbox/boxer/bench/meter"
	"github.com/boxer-sandbox/boxer/bench/over"
)

// roles are what the program does inside the lab.
var roles = map[string]func(args []string) error{
	"serve":  serve,
	"client": client,
	"proxy":  proxy,
}

var networks = map[string]over.Network{
	"tcp":  over.TCP{},
	"quic": over.QUIC{},
}

// network returns what the arguments NETWORK and ADDR name.
func network(args []string) (n over.Network, addr string, err error) {
	if len(args) != 2 || networks[args[0]] == nil {
		return nil, "", fmt.Errorf("arguments %q: want NETWORK and ADDR", args)
	}
	return networks[args[0]], args[1], nil
}

// serve is the meter's server. It writes a line when it listens.
func serve(args []string) error {
	n, addr, err := network(args)
	if err != nil {
		return err
	}
	l, err := n.Listen(context.Background(), addr)
	if err != nil {
		return err
	}
	fmt.Println(ready)
	return meter.Serve(l)
}

// ready is what servers write when clients may come.
const ready = "ready"

// client is the meter's client.
func client(args []string) error {
	n, addr, err := network(args)
	if err != nil {
		return err
	}
	ctx := context.Background()
	dial, err := n.Dialer(ctx, addr)
	if err != nil {
		return err
	}
	return meter.Obey(ctx, dial, os.Stdin, os.Stdout)
}

// proxy passes TCP connections on, as people do by hand.
func proxy(args []string) error {
	if len(args) != 2 {
		return fmt.Errorf("arguments %q: want LISTEN-ADDR and TO-ADDR", args)
	}
	ctx := context.Background()
	l, err := over.TCP{}.Listen(ctx, args[0])
	if err != nil {
		return err
	}
	dial, err := over.TCP{}.Dialer(ctx, args[1])
	if err != nil {
		return err
	}
	fmt.Println(ready)
	return over.Proxy(ctx, l, dial)
}
