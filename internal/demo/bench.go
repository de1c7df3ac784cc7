package main

import (
	"cmp"
	"context"
	"fmt"
	"regexp"
	"strconv"
	"time"

	"github.com/boxer-sandbox/boxer/internal/proctest"
)

// benchPatience bounds pgbench's runs: the first fills the tables.
const benchPatience = (benchSeconds + 120) * time.Second

// bench runs pgbench and prints its figures, and the path that its bytes took.
func (c *cloud) bench(ctx context.Context, db *database) error {
	ctx, cancel := context.WithTimeoutCause(ctx, benchPatience,
		fmt.Errorf("not done after %v", benchPatience))
	defer cancel()
	prepare := c.databaseClient(ctx, db, "pgbench", "-i", "-q", "-s",
		strconv.Itoa(benchScale))
	if _, err := outputOf(ctx, "pgbench -i", prepare); err != nil {
		return err
	}
	bench, err := c.start("pgbench", c.databaseClient(ctx, db, "pgbench", "-n", "-M", "prepared",
		"-c", strconv.Itoa(benchClients), "-j", "2", "-T", strconv.Itoa(benchSeconds)))
	if err != nil {
		return err
	}
	path, err := c.findPath(ctx, bench.Ended)
	if err != nil {
		return err
	}
	if path != nil {
		line("path", "%s", path)
	} else {
		line("path", "boxer status told of none")
	}
	select {
	case <-bench.Ended:
	case <-ctx.Done():
		return fmt.Errorf("%w: %s", context.Cause(ctx), bench.Report())
	}
	if status, err := bench.Status(); status != 0 || err != nil {
		return fmt.Errorf("%w: %s", cmp.Or(err, fmt.Errorf("status %d", status)),
			bench.Report())
	}
	f, err := parseFigures(bench.Out.String())
	if err != nil {
		return err
	}
	line("pgbench -h db", "%d clients, %d s: %s", benchClients, benchSeconds, f)
	if path == nil {
		return fmt.Errorf("boxer status shows no path between client and db")
	}
	return nil
}

// figures are the results of pgbench.
type figures struct {
	transactions, failed string
	latency              string // mean, in ms
	perSecond            float64
}

func (f figures) String() string {
	return fmt.Sprintf("%.0f transactions/s, latency %s ms, %s of %s failed", f.perSecond,
		f.latency, f.failed, f.transactions)
}

// parseFigures reads pgbench's report (pgbench(1)).
func parseFigures(report string) (figures, error) {
	var f figures
	for _, field := range []struct {
		to      *string
		pattern string
	}{
		{&f.transactions, `(?m)^number of transactions actually processed: ([0-9]+)`},
		{&f.failed, `(?m)^number of failed transactions: ([0-9]+)`},
		{&f.latency, `(?m)^latency average = ([0-9.]+) ms`},
	} {
		m := regexp.MustCompile(field.pattern).FindStringSubmatch(report)
		if m == nil {
			return f, fmt.Errorf("pgbench: nothing in its report matches %s: %s",
				field.pattern, proctest.Tail(report))
		}
		*field.to = m[1]
	}
	m := regexp.MustCompile(`(?m)^tps = ([0-9.]+)`).FindStringSubmatch(report)
	if m == nil {
		return f, fmt.Errorf("pgbench: no tps in its report: %s", proctest.Tail(report))
	}
	var err error
	if f.perSecond, err = strconv.ParseFloat(m[1], 64); err != nil {
		return f, fmt.Errorf("pgbench: %w", err)
	}
	return f, nil
}
