// Command check runs every check and every test of this checkout, for "make test". It
// continues after a failure, shows its progress, and says at the end what failed and how
// to run that alone. It prints the lines of a top-level test together when the test has
// ended, as "go test -v" does.
//
//	check [-only NAME,...] [flag of the tests in e2e]...
package main

import (
	"context"
	"flag"
	"fmt"
	"os"
	"os/signal"
	"slices"
	"strings"
	"syscall"
	"time"
)

func main() { os.Exit(run()) }

func run() int {
	only := flag.String("only", "", "run only these `STEPS`, of "+strings.Join(names(steps(nil)), ","))
	flag.Usage = func() {
		fmt.Fprintln(os.Stderr, "usage: check [-only STEPS] [FLAG OF e2e]...")
		flag.PrintDefaults()
	}
	// Flags such as -e2e.long belong to the tests. Those of this program come first.
	own, rest := os.Args[1:], []string(nil)
	if i := slices.IndexFunc(own, func(a string) bool {
		return strings.HasPrefix(a,
			"-e2e.") || strings.HasPrefix(a, "-test.")
	}); i >= 0 {
		own, rest = own[:i], own[i:]
	}
	if err := flag.CommandLine.Parse(own); err != nil {
		return 2
	}
	all, err := choose(steps(append(rest, flag.Args()...)), *only)
	if err != nil {
		fmt.Fprintln(os.Stderr, "check:", err)
		return 2
	}
	ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGINT,
		syscall.SIGTERM)
	defer stop()
	r := &report{out: os.Stdout}
	for i, s := range all {
		began := time.Now()
		fmt.Fprintf(r.out, "check: %d of %d: %s (%s)\n", i+1, len(all), s.name, s.about)
		r.begin(s)
		err := s.run(ctx, r)
		r.stepEnded(s, err, time.Since(began))
		if ctx.Err() != nil {
			fmt.Fprintln(r.out, "check: interrupted")
			break
		}
	}
	r.summary()
	if r.failed() || ctx.Err() != nil {
		return 1
	}
	return 0
}

func names(all []step) (names []string) {
	for _, s := range all {
		names = append(names, s.name)
	}
	return names
}

// choose returns the steps with the given names, or all steps if there are none.
func choose(all []step, only string) (chosen []step, err error) {
	if only == "" {
		return all, nil
	}
	for name := range strings.SplitSeq(only, ",") {
		i := slices.IndexFunc(all, func(s step) bool { return s.name == name })
		if i < 0 {
			return nil, fmt.Errorf("no step %q; there are %s", name,
				strings.Join(names(all), ", "))
		}
		chosen = append(chosen, all[i])
	}
	return chosen, nil
}
