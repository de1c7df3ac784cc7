package main

import (
	"context"
	"fmt"

	"github.com/boxer-sandbox/boxer/bench/over"
)

var networks = over.Networks{"tcp": over.TCP{},
	"tcp-cubic": over.TCP{Congestion: "cubic"}, "quic": over.QUIC{}}

// roles are the functions of the program inside the lab.
var roles = map[string]func(args []string) error{
	"serve":  networks.Serve,
	"client": networks.Client,
	"proxy":  proxy,
}

// proxy forwards TCP connections, as proxies that people set up by hand do.
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
	fmt.Println(over.Ready)
	return over.Proxy(ctx, l, dial)
}
