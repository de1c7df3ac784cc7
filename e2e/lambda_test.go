package e2e

import (
	"context"
	"fmt"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/boxer-sandbox/boxer/internal/lambdabox"
	"github.com/boxer-sandbox/boxer/internal/natlab"
	"github.com/boxer-sandbox/boxer/internal/proctest"
)

// A region is a cloud with a small AWS Lambda, and a desk from which somebody uses it.
type region struct {
	*cloud
	t        *testing.T // may be a subtest of the cloud's
	box      *lambdabox.Box
	endpoint string
	desk     *natlab.Host
	home     string // of who sits there
	log      *proctest.Output
}

// newRegion returns a region without functions.
func newRegion(t *testing.T) *region {
	t.Helper()
	needBoxer(t)
	natlab.NeedUsers(t)
	natlab.NeedCommands(t, "unshare")
	if _, err := os.Stat(boxer + "-aws"); err != nil {
		t.Fatalf("%v: make build makes it", err)
	}
	jail := filepath.Join(built, "jail")
	if out, err := exec.Command("go", "build", "-o", jail,
		"../internal/jail").CombinedOutput(); err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	r := &region{cloud: newCloud(t), t: t, home: tempDir(t), log: proctest.NewOutput()}
	r.desk = must(t)(r.lab.NATed(t.Context(), "desk", punchable))
	dir := tempDir(t)
	if err := os.Chmod(dir, 0o755); err != nil {
		t.Fatal(err)
	}
	count := 0
	runtimes, err := filepath.Abs("testdata")
	if err != nil {
		t.Fatal(err)
	}
	r.box = lambdabox.New(lambdabox.Config{Jail: jail, Dir: dir, Log: r.log,
		Runtimes: map[string]string{
			"python3.13": filepath.Join(runtimes, "python-runtime"),
		},
		NewMachine: func(ctx context.Context, function string) (lambdabox.Machine, error) {
			count++
			return r.lab.NATed(ctx, fmt.Sprintf("%s-%d", function, count), punchable)
		}})
	l, err := r.public.Listen(t.Context(), "tcp", r.public.Addr().String()+":9000")
	if err != nil {
		t.Fatal(err)
	}
	server := &http.Server{Handler: r.box}
	go server.Serve(l)
	r.endpoint = "http://" + l.Addr().String()
	t.Cleanup(func() {
		r.box.Close()
		server.Close()
		if t.Failed() {
			t.Logf("what the functions wrote:\n%s", r.log)
		}
	})
	return r
}

// with returns the region for a subtest.
func (r *region) with(t *testing.T) *region {
	s := *r
	s.t = t
	return &s
}

// command returns boxer with arguments, at the desk.
func (r *region) command(args ...string) *exec.Cmd {
	cmd := r.desk.Command(context.Background(), boxer, args...)
	cmd.Env = []string{"PATH=" + os.Getenv("PATH"), "HOME=" + r.home,
		"BOXER_JOIN=" + r.url, "AWS_ENDPOINT_URL_LAMBDA=" + r.endpoint,
		"AWS_REGION=us-east-1", "AWS_ACCESS_KEY_ID=desk", "AWS_SECRET_ACCESS_KEY=desk",
		"AWS_EC2_METADATA_DISABLED=true"}
	return cmd
}

// start starts boxer at the desk.
func (r *region) start(args ...string) *proctest.Test {
	r.t.Helper()
	return proctest.ForTest(r.t, "desk", r.command(args...))
}

// boxer runs boxer at the desk without input, and returns its status and what it wrote.
func (r *region) boxer(args ...string) (status int, stdout, stderr string) {
	r.t.Helper()
	p := r.start(args...)
	p.Stdin.Close()
	status = p.Wait(3 * proctest.Patience)
	return status, p.Out.String(), p.Err.String()
}

// idle waits until no environment of a function serves an invocation, and returns how
// many there are.
func (r *region) idle(name string) int {
	r.t.Helper()
	for end := time.Now().Add(2 * proctest.Patience); ; time.Sleep(10 * time.Millisecond) {
		all, busy := r.box.Environments(name)
		if busy == 0 {
			return all
		}
		if time.Now().After(end) {
			r.t.Fatalf("of %d environments %d are busy", all, busy)
		}
	}
}

// role is that of all functions.
const role = "arn:aws:iam::000000000000:role/boxer"

// deploy makes a function with further flags.
func (r *region) deploy(name string, flags ...string) {
	r.t.Helper()
	args := append([]string{"lambda", "deploy", name, "--role", role, "--zip", r.archive()},
		flags...)
	if status, _, stderr := r.boxer(args...); status != 0 {
		r.t.Fatalf("deploy %s: status %d: %s", name, status, stderr)
	}
}

// archive returns the archive of a function with a script in it.
func (r *region) archive() string {
	r.t.Helper()
	path := filepath.Join(built, "fn.zip")
	if _, err := os.Stat(path); err == nil {
		return path
	}
	app := tempDir(r.t)
	script := filepath.Join(app, "hello.sh")
	write(r.t, script, "#!/bin/sh\necho hello from $AWS_LAMBDA_FUNCTION_NAME\n")
	if err := os.Chmod(script, 0o755); err != nil {
		r.t.Fatal(err)
	}
	status, _, stderr := r.boxer("lambda", "package", "--out", path, "--add", app)
	if status != 0 || !strings.Contains(stderr, "2 files") {
		r.t.Fatalf("package: status %d: %s", status, stderr)
	}
	return path
}

// TestLambda runs programs in functions.
func TestLambda(t *testing.T) {
	r := newRegion(t)
	r.deploy("fn")
	archive := r.archive()

	t.Run("deploy again", func(t *testing.T) {
		r := r.with(t)
		_, _, stderr := r.boxer("lambda", "deploy", "fn", "--zip", archive)
		if !strings.Contains(stderr, "fn is as it should be") {
			t.Errorf("boxer says %q", stderr)
		}
		_, _, stderr = r.boxer("lambda", "deploy", "fn", "--zip", archive, "--memory",
			"512", "--env", "SECRET=tangerine")
		if !strings.Contains(stderr, "memory 1769 -> 512 MB, variables SECRET") ||
			strings.Contains(stderr, "tangerine") {
			t.Errorf("boxer says %q", stderr)
		}
	})
	t.Run("output and status", func(t *testing.T) {
		r := r.with(t)
		status, stdout, stderr := r.boxer("run", "--on", "lambda:fn", "--env", "A=b c", "--",
			"sh", "-c", `./hello.sh; echo "$A" >&2; id -u; touch /x; exit 7`)
		if status != 7 || !strings.HasPrefix(stdout, "hello from fn\n") ||
			!strings.Contains(stderr, "b c\n") ||
			!strings.Contains(stderr, "Read-only file system") {
			t.Errorf("status %d, %q, %q", status, stdout, stderr)
		}
		if strings.Contains(r.log.String(), "boxer://") {
			t.Errorf("the function's log has the join URL")
		}
	})
	t.Run("warm", func(t *testing.T) {
		r := r.with(t)
		for range 20 {
			r.idle("fn") // it is a moment later than the response
			status, _, stderr := r.boxer("run", "--on", "lambda:fn", "--", "true")
			if status != 0 || stderr != "" {
				t.Errorf("status %d: %s", status, stderr)
			}
		}
		if all := r.idle("fn"); all != 1 {
			t.Errorf("%d environments", all)
		}
	})
	t.Run("standard input", func(t *testing.T) {
		p := r.with(t).start("run", "--on", "lambda:fn", "--", "sh", "-c",
			"cat; echo end")
		text := strings.Repeat("0123456789abcdef", 1<<16) // more than all buffers
		go func() { fmt.Fprintln(p.Stdin, text); p.Stdin.Close() }()
		if status := p.Wait(3 * proctest.Patience); status != 0 ||
			p.Out.String() != text+"\nend\n" {
			t.Errorf("status %d, %d bytes: %s", status, len(p.Out.String()), p.Err.Tail())
		}
	})
	t.Run("signals", func(t *testing.T) {
		p := r.with(t).start("run", "--on", "lambda:fn", "--", "sh", "-c",
			`trap 'echo caught; exit 9' INT; echo ready; while :; do sleep 0.1; done`)
		p.Expect("^ready$")
		p.Signal(unix.SIGINT)
		if status := p.Wait(proctest.Patience); status != 9 ||
			!strings.Contains(p.Out.String(), "caught") {
			t.Errorf("status %d, %q, %s", status, p.Out.String(), p.Err.Tail())
		}
	})
	t.Run("errors", func(t *testing.T) {
		r := r.with(t)
		for _, tc := range []struct {
			want string
			args []string
		}{
			{"ResourceNotFoundException",
				[]string{"run", "--on", "lambda:nosuch", "--", "true"}},
			{"no host is called that", []string{"run", "--on", "moon", "--", "true"}},
			{"command not found", []string{"run", "--on", "lambda:fn", "--", "nosuchprogram"}},
			{"needs --role", []string{"lambda", "deploy", "other", "--zip", archive}},
			{"ValidationException", []string{"lambda", "deploy", "other", "--zip",
				archive, "--role", "nonsense"}},
		} {
			status, _, stderr := r.boxer(tc.args...)
			if status == 0 || !strings.Contains(stderr, tc.want) {
				t.Errorf("%q: status %d, %q, want %q", tc.args, status, stderr, tc.want)
			}
		}
	})
	t.Run("throttled", func(t *testing.T) {
		r := r.with(t)
		r.box.Refuse(2, http.StatusTooManyRequests, "TooManyRequestsException")
		r.box.Refuse(1, http.StatusInternalServerError, "ServiceException")
		if status, stdout, stderr := r.boxer("run", "--on", "lambda:fn", "--", "echo",
			"once"); status != 0 || stdout != "once\n" {
			t.Errorf("status %d, %q, %q", status, stdout, stderr)
		}
	})
	t.Run("killed", func(t *testing.T) {
		p := r.with(t).start("run", "--on", "lambda:fn", "--", "sh", "-c",
			"echo ready; exec sleep 1000")
		p.Expect("^ready$")
		r.box.Kill("fn")
		if status := p.Wait(proctest.Patience); status != 125 ||
			!strings.Contains(p.Err.String(), "the function") {
			t.Errorf("status %d, %q", status, p.Err.String())
		}
	})
}

// TestLambdaLimit reaches a function's time limit.
func TestLambdaLimit(t *testing.T) {
	r := newRegion(t)
	r.deploy("brief", "--timeout", "5")
	status, stdout, stderr := r.boxer("run", "--on", "lambda:brief", "--", "sh", "-c",
		`trap 'echo terminated; exit 3' TERM; while :; do sleep 0.1; done`)
	if status != 3 || stdout != "terminated\n" ||
		!strings.Contains(stderr, "time limit") {
		t.Errorf("status %d, %q, %q", status, stdout, stderr)
	}
}

// TestLambdaLauncherDies kills the launcher: the program gets SIGTERM.
func TestLambdaLauncherDies(t *testing.T) {
	r := newRegion(t)
	r.deploy("fn")
	p := r.start("run", "--on", "lambda:fn", "--", "sh", "-c",
		"echo ready; exec sleep 1000")
	p.Expect("^ready$")
	p.Signal(unix.SIGKILL)
	if all := r.idle("fn"); all != 1 {
		t.Errorf("%d environments", all)
	}
}

// TestLambdaNetwork runs a server in one function and clients in others.
func TestLambdaNetwork(t *testing.T) {
	natlab.NeedCommands(t, "redis-server", "redis-cli")
	r := newRegion(t)
	r.deploy("fn")
	server := r.start("run", "--on", "lambda:fn", "--name", "kv", "--", "redis-server",
		"--bind", "0.0.0.0", "--protected-mode", "no", "--save", "", "--dir", "/tmp")
	server.Expect("Ready to accept connections")
	status, stdout, stderr := r.boxer("run", "--on", "lambda:fn", "--wait-for", "kv", "--",
		"redis-cli", "-h", "kv", "ping")
	if status != 0 || stdout != "PONG\n" {
		t.Errorf("status %d, %q, %q", status, stdout, stderr)
	}

	t.Run("stragglers", func(t *testing.T) {
		r := r.with(t)
		status, stdout, stderr := r.boxer("run", "--on", "lambda:fn", "--name", "worker",
			"--count", "3", "--extra", "2", "--", "sh", "-c",
			"redis-cli -h kv incr workers; sleep 1")
		if status != 0 || strings.Count(stdout, "\n") != 3 {
			t.Errorf("status %d, %q, %q", status, stdout, stderr)
		}
		for n := 1; n <= 3; n++ {
			if !strings.Contains(stdout, fmt.Sprintf(" | %d\n", n)) {
				t.Errorf("no worker says %d: %q", n, stdout)
			}
		}
		_, stdout, _ = r.boxer("run", "--on", "lambda:fn", "--", "redis-cli", "-h", "kv",
			"get", "workers")
		if stdout != "3\n" {
			t.Errorf("%q workers have run", stdout)
		}
	})
	server.Signal(unix.SIGTERM)
	if status := server.Wait(proctest.Patience); status != 0 {
		t.Errorf("redis-server ends with %d: %s", status, server.Err.Tail())
	}
}

// inFunction is a script that makes a database in /tmp and starts PostgreSQL on it.
const inFunction = `set -e
bin=$(ls -d /usr/lib/postgresql/*/bin | tail -1)
$bin/initdb -D /tmp/data -U demo --auth=trust --locale=C --no-sync >/dev/null
echo "host all all 0.0.0.0/0 trust" >>/tmp/data/pg_hba.conf
exec $bin/postgres -D /tmp/data -k /tmp -c listen_addresses='*' -c fsync=off`

// TestLambdaPostgreSQL runs PostgreSQL in one function and pgbench in another.
func TestLambdaPostgreSQL(t *testing.T) {
	natlab.NeedCommands(t, "pgbench", "psql")
	r := newRegion(t)
	r.deploy("fn", "--memory", "2048")
	server := r.start("run", "--on", "lambda:fn", "--name", "db", "--", "sh", "-c",
		inFunction)
	server.ExpectLog("database system is ready to accept connections")
	client := func(args ...string) string {
		t.Helper()
		status, stdout, stderr := r.boxer(append([]string{"run", "--on", "lambda:fn", "--env",
			"PGHOST=db", "--env", "PGUSER=demo", "--env", "PGDATABASE=postgres", "--"},
			args...)...)
		if status != 0 {
			t.Fatalf("%q: status %d: %s", args, status, stderr)
		}
		return stdout
	}
	client("pgbench", "-i", "-q", "-s", "1")
	out := client("pgbench", "-n", "-c", "4", "-j", "2", "-t", "100")
	if !strings.Contains(out, "number of transactions actually processed: 400/400") {
		t.Errorf("pgbench says\n%s", out)
	}
	if out := client("psql", "-Atc", "select count(*) from pgbench_history"); out != "400\n" {
		t.Errorf("%q transactions are in the history", out)
	}
	server.Signal(unix.SIGINT) // a fast shutdown
	if status := server.Wait(proctest.Patience); status != 0 {
		t.Errorf("PostgreSQL ends with %d: %s", status, server.Err.Tail())
	}
}

// TestLambdaReplaced replaces a server whose function nears its limit. A client that
// tries again for a second always gets through.
func TestLambdaReplaced(t *testing.T) {
	natlab.NeedCommands(t, "redis-server", "redis-cli")
	r := newRegion(t)
	r.deploy("fn")
	server := r.start("run", "--on", "lambda:fn", "--name", "kv", "--max-life", "5s",
		"--on-limit", "replace", "--ready-when", "6379", "--", "redis-server", "--bind",
		"0.0.0.0",
		"--protected-mode", "no", "--save", "", "--dir", "/tmp")
	server.Expect("Ready to accept connections")
	client := r.function("client", punchable)
	out := client.runFor(2*proctest.Patience, "sh", "-c", `
for i in $(seq 100); do
	n=0
	until id=$(redis-cli -h kv info server 2>/dev/null | grep run_id); do
		[ $((n += 1)) -lt 10 ] || { echo "gap at $i"; break; }
		sleep 0.1
	done
	echo $id
	sleep 0.1
done`)
	ids := make(map[string]bool)
	for line := range strings.Lines(out) {
		if strings.HasPrefix(line, "gap") {
			t.Error(line)
		}
		ids[line] = true
	}
	if len(ids) < 2 {
		t.Errorf("%d servers have answered, want two at least", len(ids))
	}
	if !strings.Contains(server.Err.String(), "kv/0: its successor is ready") {
		t.Errorf("boxer says %q", server.Err.String())
	}
	server.Signal(unix.SIGTERM)
	if status := server.Wait(2 * proctest.Patience); status != 0 {
		t.Errorf("redis-server ends with %d: %s", status, server.Err.Tail())
	}
}
