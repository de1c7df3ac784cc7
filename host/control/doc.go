// Package control lets the owner of nodes follow their output, run commands in them and
// end them, wherever they run.
//
// A supervisor serves requests about its node (Serve), each on a connection of its own: a
// Unix socket for the same user of the same host, or a stream of the network for whoever
// proves the owner's key. A Session is the other end. The messages are frames of package
// host:
//
//	client                                       supervisor
//	       ◄── Challenge: a random number ──
//	  ── Proof: signature of it and of both ends' keys ──►    only over the network
//	  ── Request: logs, exec, stop, ... ──►
//	       ◄── Stdout, Stderr ──   ── Stdin, Signal, Window ──►
//	       ◄── Exit: the result ──
//
// The package knows nothing of networks: it is given connections.
package control
