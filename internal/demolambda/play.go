package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"regexp"
	"strings"
	"time"

	"golang.org/x/sys/unix"

	"github.com/boxer-sandbox/boxer/internal/proctest"
)

// postgres is a script that makes a database where a function can write, and starts
// PostgreSQL on it. Only the demo's network reaches it, so that it asks for no password.
const postgres = `set -e
bin=$(ls -d /usr/lib/postgresql/*/bin | tail -1)
$bin/initdb -D /tmp/data -U demo --auth=trust --encoding=UTF8 --locale=C --no-sync >/dev/null
echo "host all all 0.0.0.0/0 trust" >>/tmp/data/pg_hba.conf
exec $bin/postgres -D /tmp/data -k /tmp -c listen_addresses='*' -c max_wal_size=256MB`

// role is what a function needs; the box looks at its form only.
const role = "arn:aws:iam::000000000000:role/boxer"

// play plays the demo and prints what happens.
func (r *region) play(ctx context.Context) error {
	fmt.Print(`A small AWS Lambda in network namespaces. Its functions refuse seccomp filters and ptrace,
write to /tmp only, and each is behind a NAT that drops everything unsolicited.

`)
	if _, err := r.run(ctx, "lambda", "deploy", "pg", "--role", role); err != nil {
		return err
	}
	line("boxer lambda deploy pg", "a function whose bootstrap is boxer")

	began := time.Now()
	db, err := r.start("postgres", r.atDesk(ctx, "run", "--on", "lambda:pg", "--name", "db", "--",
		"sh", "-c", postgres))
	if err != nil {
		return err
	}
	if _, err := db.Err.Next(ctx, regexp.MustCompile("ready to accept connections")); err != nil {
		return fmt.Errorf("postgres: %w: %s", err, db.Report())
	}
	line("boxer run --on lambda:pg", "--name db -- postgres: ready after %v, initdb included",
		time.Since(began).Round(10*time.Millisecond))

	if _, err := r.client(ctx, "pgbench", "-i", "-q", "-s", "10"); err != nil {
		return err
	}
	out, err := r.client(ctx, "pgbench", "-n", "-M", "prepared", "-c", "10", "-j", "2", "-T", "10")
	if err != nil {
		return err
	}
	figures, err := parse(out)
	if err != nil {
		return err
	}
	line("boxer run --on lambda:pg", "-- pgbench -h db: %s", figures)

	began = time.Now()
	if _, err := r.client(ctx, "true"); err != nil {
		return err
	}
	line("warm function", "%v from boxer run --on to the exit status of true",
		time.Since(began).Round(time.Millisecond))

	if err := db.Stop(unix.SIGINT); err != nil {
		return err
	}
	line("SIGINT at the desk", "PostgreSQL has shut down in its function")
	_, err = r.run(ctx, "lambda", "delete", "pg")
	return err
}

// client runs a program in a function, with the database's place in its environment.
func (r *region) client(ctx context.Context, argv ...string) (string, error) {
	return r.run(ctx, append([]string{"run", "--on", "lambda:pg", "--env", "PGHOST=db", "--env",
		"PGUSER=demo", "--env", "PGDATABASE=postgres", "--"}, argv...)...)
}

// run runs boxer at the desk to its end, and returns what it wrote.
func (r *region) run(ctx context.Context, args ...string) (string, error) {
	var stdout, stderr bytes.Buffer
	cmd := r.atDesk(ctx, args...)
	cmd.Stdout, cmd.Stderr = &stdout, &stderr
	cmd.Cancel = func() error { return cmd.Process.Signal(os.Interrupt) }
	cmd.WaitDelay = proctest.StopPatience
	if err := cmd.Run(); err != nil {
		if ctx.Err() != nil {
			err = context.Cause(ctx)
		}
		return "", fmt.Errorf("boxer %s: %w: %s", strings.Join(args, " "), err,
			proctest.Tail(stdout.String()+stderr.String()))
	}
	return stdout.String(), nil
}

// parse reads pgbench's report (pgbench(1)).
func parse(report string) (string, error) {
	m := regexp.MustCompile(`(?s)actually processed: ([0-9]+).*failed transactions: ([0-9]+).*latency average = ([0-9.]+ ms).*tps = ([0-9]+)`).
		FindStringSubmatch(report)
	if m == nil {
		return "", errors.New("pgbench's report has no figures: " + proctest.Tail(report))
	}
	return fmt.Sprintf("%s transactions/s, latency %s, %s of %s failed", m[4], m[3], m[2], m[1]), nil
}

// line prints a line of the report.
func line(what, format string, args ...any) {
	fmt.Printf("  %-26s %s\n", what, fmt.Sprintf(format, args...))
}
