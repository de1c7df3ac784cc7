package main

import (
	"os"
	"os/signal"

	"github.com/boxer-sandbox/boxer/host"
	"github.com/boxer-sandbox/boxer/internal/linux"
)

func notify(c chan<- os.Signal, signals ...os.Signal) { signal.Notify(c, signals...) }
func forget(c chan<- os.Signal)                       { signal.Stop(c) }

// windowSize returns the size of a terminal, and a usual one for what is none.
func windowSize(f *os.File) host.WindowSize {
	rows, columns, err := linux.WindowSize(f)
	if err != nil || rows == 0 || columns == 0 {
		return host.WindowSize{Rows: 24, Columns: 80}
	}
	return host.WindowSize{Rows: rows, Columns: columns}
}
