package main

// A figure is something that was measured of contenders.
type figure struct {
	name string
	unit string
	more bool // more is better
}

// The figures, in the order of the report.
var (
	dialP50    = figure{name: "connect alone, p50", unit: "us"}
	connectP50 = figure{name: "connect + first byte, p50", unit: "us"}
	connectP99 = figure{name: "connect + first byte, p99", unit: "us"}
	tripP50    = figure{name: "round trip 1 KiB, p50", unit: "us"}
	tripP99    = figure{name: "round trip 1 KiB, p99", unit: "us"}
	bulk1      = figure{name: "bulk, 1 stream", unit: "Gbit/s", more: true}
	bulk1CPU   = figure{name: "CPU of both ends, 1 stream", unit: "s/GB"}
	bulk8      = figure{name: "bulk, 8 streams", unit: "Gbit/s", more: true}
	bulk8CPU   = figure{name: "CPU of both ends, 8 streams", unit: "s/GB"}
	trapP50    = figure{name: "getsockname, p50", unit: "us"}
	runTrue    = figure{name: "run true, p50", unit: "ms"}

	figures = []figure{dialP50, connectP50, connectP99, tripP50, tripP99, bulk1, bulk1CPU, bulk8, bulk8CPU, trapP50, runTrue}
)

// A goal is what boxer's figure should be: a multiple of a contender's, or, without one, a value.
type goal struct {
	figure  figure
	against string
	bound   float64 // the most, or the least where more is better
	extra   bool    // how much more than the contender's, rather than what multiple
}

var goals = []goal{
	{figure: trapP50, bound: 10},
	{figure: connectP50, against: nativeName, bound: 1.5},
	{figure: tripP50, against: nativeName, bound: 4},
	{figure: bulk1, against: "quic-go", bound: 0.7},
	{figure: runTrue, against: nativeName, bound: 15, extra: true},
}
