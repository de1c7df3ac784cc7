// Command memberlist is a node of a cluster that gossips over UDP, and over TCP where it
// must.
//
//	memberlist NAME [PEER...]
//
// It joins the cluster of those peers that are there, tells of every node that it sees
// come or go, "up NAME ADDRESS" or "down NAME", and ends with its standard input.
package main

import (
	"fmt"
	"io"
	"net"
	"os"

	"github.com/hashicorp/memberlist"
)

func main() {
	if err := run(os.Args[1], os.Args[2:]); err != nil {
		fmt.Fprintln(os.Stderr, "memberlist:", err)
		os.Exit(1)
	}
}

func run(name string, peers []string) error {
	config := memberlist.DefaultLANConfig()
	config.Name = name
	config.Events = teller{}
	config.LogOutput = io.Discard
	// What the others shall know it by: its own name's address, whatever interfaces there
	// are.
	addrs, err := net.LookupHost(name)
	if err != nil {
		return err
	}
	config.AdvertiseAddr = addrs[0]
	list, err := memberlist.Create(config)
	if err != nil {
		return err
	}
	if len(peers) > 0 {
		if _, err := list.Join(peers); err != nil {
			return err
		}
	}
	_, err = io.Copy(io.Discard, os.Stdin)
	return err
}

// A teller writes what memberlist notices to standard output.
type teller struct{}

// NotifyJoin implements memberlist.EventDelegate, as the others do.
func (teller) NotifyJoin(n *memberlist.Node) { fmt.Println("up", n.Name, n.Addr) }

// NotifyLeave is called for nodes that were found dead, too.
func (teller) NotifyLeave(n *memberlist.Node) { fmt.Println("down", n.Name) }

// NotifyUpdate is about data that nodes may carry, which these do not.
func (teller) NotifyUpdate(*memberlist.Node) {}
