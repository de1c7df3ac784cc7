package main

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/netip"
	"os/exec"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/boxer-sandbox/boxer/internal/proctest"
)

const (
	joins    = 5  // runs whose median is the time to join
	connects = 20 // connections after the first, whose median is the time to connect

	benchScale   = 10 // pgbench's branches: 1 million accounts
	benchClients = 10
	benchSeconds = 10

	postgresPort = 5432
)

// measure takes the part of the client and prints its measurements.
func (c *cloud) measure(ctx context.Context, db *database) error {
	if err := c.tryWithoutBoxer(ctx); err != nil {
		return err
	}
	join, err := c.timeToJoin(ctx)
	if err != nil {
		return err
	}
	line("time to join", "%v from starting boxer to its program's first output (median of %d)", round(join), joins)

	first, later, err := c.timeToConnect(ctx)
	if err != nil {
		return err
	}
	line("time to connect", "%v the first time: name, path, connection", round(first))
	line("", "%v after that (median of %d)", round(later), connects)

	const query = "select inet_client_addr(), inet_server_addr()"
	answer, err := c.query(ctx, db, query)
	if err != nil {
		return err
	}
	line("psql -h db", "%s", query)
	line("", "%s", strings.ReplaceAll(answer, "|", ", "))
	return c.bench(ctx, db)
}

// line prints a line of the report.
func line(what, format string, args ...any) {
	fmt.Printf("  %-17s%s\n", what, fmt.Sprintf(format, args...))
}

// round keeps about three digits: the others are noise.
func round(d time.Duration) time.Duration {
	switch {
	case d >= time.Second:
		return d.Round(10 * time.Millisecond)
	case d >= 10*time.Millisecond:
		return d.Round(100 * time.Microsecond)
	}
	return d.Round(time.Microsecond)
}

// unreachable is how long the demo waits for a connection that cannot come.
const unreachable = time.Second

// tryWithoutBoxer shows that without boxer the client cannot connect to the database's
// host.
func (c *cloud) tryWithoutBoxer(ctx context.Context) error {
	host := c.db.host
	if host == nil {
		return nil
	}
	for _, addr := range []netip.Addr{host.Addr(), host.External()} {
		to := netip.AddrPortFrom(addr, postgresPort).String()
		short, cancel := context.WithTimeout(ctx, unreachable)
		conn, err := c.client.host.Dial(short, "tcp4", to)
		cancel()
		var timeout net.Error
		switch {
		case err == nil:
			conn.Close()
			return fmt.Errorf("the client can connect to %s without boxer, so the demo would show nothing", to)
		case ctx.Err() != nil:
			return context.Cause(ctx)
		case !errors.As(err, &timeout) || !timeout.Timeout():
			return fmt.Errorf("connect from the client to %s without boxer: %w; want no answer", to, err)
		}
	}
	line("without boxer", "no answer from %s or %s, as it should be", host.Addr(),
		host.External())
	return nil
}

// timeToJoin returns the time from the start of a node to the start of its program.
func (c *cloud) timeToJoin(ctx context.Context) (time.Duration, error) {
	times := make([]time.Duration, joins)
	for i := range times {
		var err error
		if times[i], err = c.joinOnce(ctx); err != nil {
			return 0, fmt.Errorf("boxer run -- echo: %w", err)
		}
	}
	return median(times), nil
}

func (c *cloud) joinOnce(ctx context.Context) (time.Duration, error) {
	// Host.Command is not used: its own start would be measured, too.
	cmd := exec.CommandContext(ctx, c.binary(), "run", "--", "echo", "started")
	cmd.Env = c.environ()
	out, err := cmd.StdoutPipe()
	if err != nil {
		return 0, err
	}
	var said strings.Builder
	cmd.Stderr = &said
	start := time.Now()
	if err := c.client.do(cmd.Start); err != nil {
		return 0, err
	}
	_, readErr := bufio.NewReader(out).ReadString('\n')
	took := time.Since(start)
	_, _ = io.Copy(io.Discard, out) // before Wait, which closes it
	if err := cmd.Wait(); err != nil {
		return 0, fmt.Errorf("%w: %s", err, proctest.Tail(said.String()))
	}
	return took, readErr
}

// connectScript connects to the database as often as it is told, and prints how many
// microseconds each took.
const connectScript = `for ((i = 0; i < $1; i++)); do
	start=${EPOCHREALTIME/./}
	exec 3<>/dev/tcp/db/5432 || exit
	echo $((${EPOCHREALTIME/./} - start))
	exec 3>&-
done`

// timeToConnect returns how long the first connection of a new node to the database
// takes, and how long further ones take.
func (c *cloud) timeToConnect(ctx context.Context) (first, later time.Duration,
	err error) {
	cmd := c.boxer(ctx, c.client, "run", "--", "bash", "-c", connectScript, "bash",
		strconv.Itoa(1+connects))
	out, err := outputOf(ctx, "connect to db", cmd)
	if err != nil {
		return 0, 0, err
	}
	var times []time.Duration
	for text := range strings.FieldsSeq(out) {
		us, err := strconv.Atoi(text)
		if err != nil {
			return 0, 0, fmt.Errorf("connect to db: %w", err)
		}
		times = append(times, time.Duration(us)*time.Microsecond)
	}
	if len(times) != 1+connects {
		return 0, 0, fmt.Errorf("connect to db: %d connections, want %d", len(times),
			1+connects)
	}
	return times[0], median(times[1:]), nil
}

func median(times []time.Duration) time.Duration {
	times = slices.Sorted(slices.Values(times))
	return times[len(times)/2]
}

// databaseClient returns the command that runs one of PostgreSQL's clients as node
// client.
func (c *cloud) databaseClient(ctx context.Context, db *database, name string,
	args ...string) *exec.Cmd {
	args = append([]string{"run", "--name", "client", "--", name, "-h", "db"}, args...)
	cmd := c.boxer(ctx, c.client, args...)
	cmd.Env = append(cmd.Env, db.environ()...)
	return cmd
}

func (c *cloud) query(ctx context.Context, db *database, text string) (string, error) {
	out, err := outputOf(ctx, "psql", c.databaseClient(ctx, db, "psql", "-XAt", "-c", text))
	return strings.TrimSpace(out), err
}
