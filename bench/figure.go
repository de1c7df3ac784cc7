package main

// A figure is a quantity that is measured for contenders.
type figure struct {
	name string
	unit string
	more bool // more is better
}

// The figures.
var (
	dialP50    = figure{name: "connect alone, p50", unit: "us"}
	connectP50 = figure{name: "connect + first byte, p50", unit: "us"}
	connectP99 = figure{name: "connect + first byte, p99", unit: "us"}
	churnRate  = figure{name: "connections, 16 at a time", unit: "1/s", more: true}
	smallRate  = figure{name: "100 MB in writes of 100 bytes", unit: "MB/s", more: true}
	idleMemory = figure{name: "memory of an idle connection, each end", unit: "KiB"}
	idleCPU    = figure{name: "CPU while all are idle, both ends", unit: "ms/s"}
	udpTrip    = figure{name: "round trip of a datagram, 1 KiB, p50", unit: "us"}
	udpRate    = figure{name: "datagrams of 1 KiB, as many as arrive", unit: "1/s",
		more: true}
	udpLoss    = figure{name: "datagrams of 1 KiB lost, 100,000/s offered", unit: "%"}
	dnsRate    = figure{name: "DNS questions, 8 at a time", unit: "1/s", more: true}
	trapName   = figure{name: "getsockname, p50", unit: "us"}
	trapAccept = figure{name: "accept4 where nobody connects, p50", unit: "us"}
	trapHere   = figure{name: "connect on localhost, p50", unit: "us"}
	runTrue    = figure{name: "run true, p50", unit: "ms"}
	coldStart  = figure{name: "start to first byte of a cold node, p50", unit: "ms"}
	join1      = figure{name: "1 node joins", unit: "ms"}
	join100    = figure{name: "100 nodes join, 50 at a time", unit: "ms"}
	join1000   = figure{name: "1,000 nodes join, 50 at a time", unit: "ms"}
	pgbench1   = figure{name: "pgbench, 1 client", unit: "tps", more: true}
	pgbench16  = figure{name: "pgbench, 16 clients", unit: "tps", more: true}
	redisGet   = figure{name: "redis-benchmark GET, 50 clients", unit: "1/s", more: true}
	redisPipe  = figure{name: "redis-benchmark GET, pipelines of 16", unit: "1/s",
		more: true}
	wrkRate = figure{name: "wrk against nginx, 50 connections", unit: "1/s",
		more: true}
)

// A trip is a round trip of so many bytes.
type trip struct {
	size     int
	p50, p99 figure
}

var trips = []trip{newTrip(1, "1 B"), newTrip(kib, "1 KiB"), newTrip(64*kib, "64 KiB")}

func newTrip(size int, text string) trip {
	return trip{size, figure{name: "round trip " + text + ", p50", unit: "us"},
		figure{name: "round trip " + text + ", p99", unit: "us"}}
}

// A load is a bulk transfer.
type load struct {
	streams   int
	both      bool
	rate, cpu figure
}

var loads = []load{
	newLoad(1, false, "1 stream"), newLoad(8, false, "8 streams"),
	newLoad(64, false, "64 streams"),
	newLoad(1, true, "1 stream, both ways"), newLoad(8, true, "8 streams, both ways"),
	newLoad(64, true, "64 streams, both ways"),
}

func newLoad(streams int, both bool, text string) load {
	return load{streams, both, figure{name: "bulk, " + text, unit: "Gbit/s", more: true},
		figure{name: "CPU of both ends, " + text, unit: "s/GB"}}
}

// figures returns all figures in the order of the report.
func figures() []figure {
	all := []figure{dialP50, connectP50, connectP99, churnRate}
	for _, t := range trips {
		all = append(all, t.p50, t.p99)
	}
	for _, l := range loads {
		all = append(all, l.rate, l.cpu)
	}
	return append(all, udpTrip, udpRate, udpLoss, dnsRate, smallRate, idleMemory, idleCPU,
		pgbench1, pgbench16, redisGet,
		redisPipe, wrkRate,
		trapName, trapAccept, trapHere, runTrue, coldStart, join1, join100, join1000)
}

// A goal is a bound for boxer's figure in one lab: a multiple of a contender's figure, or
// a value if no contender is named.
type goal struct {
	lab     string
	figure  figure
	against string
	bound   float64 // the maximum, or the minimum if more is better
	extra   bool    // bound is the difference to the contender's figure, not a multiple
}

var (
	tripKiB = trips[1].p50
	oneway  = loads[0]
)

var goals = []goal{
	{lab: "plain", figure: trapName, bound: 7},
	{lab: "plain", figure: trapName, against: "C supervisor", bound: 1.2},
	{lab: "plain", figure: connectP50, against: nativeName, bound: 1},
	{lab: "near", figure: connectP50, against: nativeName, bound: -1000, extra: true},
	{lab: "plain", figure: tripKiB, against: nativeName, bound: 2.5},
	{lab: "plain", figure: oneway.rate, against: "tailscale", bound: 1.8},
	{lab: "plain", figure: oneway.rate, against: "quic-go", bound: 0.95},
	{lab: "plain", figure: oneway.cpu, against: "tailscale", bound: 0.45},
	{lab: "plain", figure: idleMemory, against: nativeName, bound: 16, extra: true},
	{lab: "plain", figure: churnRate, bound: 1000},
	{lab: "plain", figure: runTrue, against: nativeName, bound: 15, extra: true},
	{lab: "plain", figure: coldStart, bound: 50},
	{lab: "near", figure: coldStart, bound: 60},
	{lab: "far", figure: oneway.rate, against: nativeName, bound: 0.9},
}
