package host

import (
	"context"
	"io"
)

// A Host is a place where programs run as nodes.
type Host interface {
	// Start sends the host an order and returns at once. Process.Wait reports later
	// errors. When ctx ends, the process is given up as by Process.Release.
	Start(ctx context.Context, o Order, io Streams) (Process, error)

	// String returns the host as --on names it, such as "lambda:worker".
	String() string
}

// Streams receive the output of a process. One goroutine writes to them.
type Streams struct {
	Stdout, Stderr io.Writer
}

// A Process is a program that runs on a host.
type Process interface {
	// Wait waits for the program's end. The error says why the program did not run, did
	// not run to its end, or why its result is unknown.
	Wait() (Result, error)

	// Release tells the host that the process is not needed, if the host can be told.
	Release()
}
