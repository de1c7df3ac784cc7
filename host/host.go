package host

import (
	"context"
	"io"
)

// A Host is a place where programs run as nodes.
type Host interface {
	// Start gives the host an order. It returns as soon as the order is on its way:
	// what goes wrong later is told by Process.Wait. The end of ctx gives the process
	// up, as Process.Release does.
	Start(ctx context.Context, o Order, io Streams) (Process, error)

	// String returns the host as --on names it, such as "lambda:worker".
	String() string
}

// Streams are where the output of a process goes. Writes come from one goroutine.
type Streams struct {
	Stdout, Stderr io.Writer
}

// A Process is a program that runs on a host.
type Process interface {
	// Wait waits for the program's end. The error says why the host did not run it, or
	// not to its end, or why its result is not known.
	Wait() (Result, error)

	// Release tells the host to do without the process, as far as it can be told.
	Release()
}
