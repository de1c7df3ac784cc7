package main

import (
	"strings"
	"testing"
)

// report is what pgbench 15 prints at the end.
const report15 = `pgbench (15.18 (Debian 15.18-0+deb12u1))
transaction type: <builtin: TPC-B (sort of)>
scaling factor: 10
query mode: prepared
number of clients: 10
number of threads: 2
maximum number of tries: 1
duration: 10 s
number of transactions actually processed: 8754
number of failed transactions: 1 (0.011%)
latency average = 11.358 ms
initial connection time = 38.413 ms
tps = 880.420213 (without initial connection time)
`

func TestParseFigures(t *testing.T) {
	f, err := parseFigures(report15)
	if err != nil {
		t.Fatal(err)
	}
	if got, want := f.String(), "880 transactions/s, latency 11.358 ms, 1 of 8754 failed"; got != want {
		t.Errorf("got %q, want %q", got, want)
	}
	for line := range strings.Lines(report15) {
		_, err := parseFigures(strings.Replace(report15, line, "", 1))
		needed := strings.HasPrefix(line, "number of transactions") ||
			strings.HasPrefix(line, "number of failed") ||
			strings.HasPrefix(line, "latency") || strings.HasPrefix(line, "tps")
		if (err != nil) != needed {
			t.Errorf("without %q: %v", line, err)
		}
	}
}
