// Command joinbench makes nodes join boxer's network, all in one process, for make bench.
//
//	joinbench COUNT    the join URL is in $BOXER_JOIN
//
// It writes how long it took until the last node had joined, in the format of bench's
// package meter. It is not part of the module bench, because that module uses quic-go
// without boxer's patches.
package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/netip"
	"os"
	"strconv"
	"sync"
	"time"

	"github.com/boxer-sandbox/boxer/coordinator"
	"github.com/boxer-sandbox/boxer/transport"
)

// joinAtOnce bounds the nodes that join at the same time, because this one process does
// the work of all of them.
const joinAtOnce = 50

func main() {
	if err := join(os.Args[1:]); err != nil {
		fmt.Fprintln(os.Stderr, "joinbench:", err)
		os.Exit(1)
	}
}

// join makes nodes join. The argument is their number.
func join(args []string) error {
	if len(args) != 1 {
		return fmt.Errorf("arguments %q: want COUNT", args)
	}
	count, err := strconv.Atoi(args[0])
	if err != nil {
		return err
	}
	url, err := coordinator.ParseJoinURL(os.Getenv("BOXER_JOIN"))
	if err != nil {
		return err
	}
	members := make([]member, count)
	for i := range members {
		if err := members[i].prepare(); err != nil {
			return err
		}
	}
	var wg sync.WaitGroup
	errs := make([]error, count)
	places := make(chan struct{}, joinAtOnce)
	start := time.Now()
	for i := range members {
		wg.Go(func() {
			places <- struct{}{}
			errs[i] = members[i].join(url)
			<-places
		})
	}
	wg.Wait()
	took := time.Since(start)
	for i := range members {
		errs = append(errs, members[i].leave())
	}
	if err := errors.Join(errs...); err != nil {
		return err
	}
	return json.NewEncoder(os.Stdout).Encode(struct{ Elapsed time.Duration }{took})
}

// A member is a node that only joins.
type member struct {
	socket   *transport.Socket
	identity *transport.Identity
	client   *coordinator.Client
}

func (m *member) prepare() (err error) {
	if m.socket, err = transport.Listen(netip.AddrPort{}); err != nil {
		return err
	}
	m.identity, err = transport.NewIdentity()
	return err
}

func (m *member) join(url coordinator.JoinURL) (err error) {
	m.client, err = coordinator.Join(context.Background(),
		coordinator.ClientConfig{URL: url, Socket: m.socket, Identity: m.identity,
			Timeout: time.Minute})
	return err
}

func (m *member) leave() error {
	if m.client == nil {
		return m.socket.Close()
	}
	return errors.Join(m.client.Close(), m.socket.Close())
}
