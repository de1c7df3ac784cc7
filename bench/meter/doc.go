// Package meter is the program that measures: a server and a client over any kind of
// connection.
//
// Both ends of each contender run it. The native contender and boxer use the same binary
// over the kernel's sockets. A contender with its own API is linked into the same
// process. The client reads orders from stdin and writes results to stdout, one line of
// JSON each. So bench can give one client many orders, in turns with the clients of other
// contenders.
//
// A connection begins with one byte from the client, the mode. The server answers one
// byte: the first byte of "connect + first byte". What follows depends on the mode.
package meter

import (
	"context"
	"io"
)

// A Conn is a connection whose sending side can be closed on its own.
type Conn interface {
	io.ReadWriteCloser
	CloseWrite() error
}

// A Dialer connects to the server.
type Dialer func(ctx context.Context) (Conn, error)

// A Listener accepts the clients' connections.
type Listener interface {
	Accept() (Conn, error)
}

// The modes of a connection.
const (
	modeEcho = 'e' // the server sends back what it gets, until the end
	// the server reads to the end, then sends the number of bytes, 8 bytes big endian
	modeSink   = 's'
	modeDuplex = 'd' // the same, and until then the server sends what it can
	modeIdle   = 'i' // the server waits for the end
)

// bulkBuffer is the size of a bulk read or write, in bytes.
const bulkBuffer = 128 << 10
