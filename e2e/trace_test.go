package e2e

import (
	"bytes"
	"context"
	"errors"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/boxer-sandbox/boxer/internal/natlab"
	"github.com/boxer-sandbox/boxer/internal/proctest"
	"github.com/boxer-sandbox/boxer/trace"
)

// traced runs a program in a function's node under boxer trace, with payload, and returns
// the trace's file.
func (f *function) traced(name string, args ...string) string {
	f.t.Helper()
	file := filepath.Join(tempDir(f.t), f.name+".jsonl")
	// All of a piece, which is what the supervisor relays at once: 128 KiB at most.
	args = append([]string{"trace", "-s", "131072", "-o", file, "--name", f.name, "--",
		name}, args...)
	cmd := f.host.Command(context.Background(), boxer, args...)
	cmd.Env = append(os.Environ(), "BOXER_JOIN="+f.url)
	p := proctest.ForTest(f.t, f.name+": "+filepath.Base(name), cmd)
	p.Stdin.Close()
	if status := p.Wait(proctest.Patience); status != 0 {
		f.t.Fatalf("%s: status %d\n%s", name, status, p.Err.Tail())
	}
	return file
}

// tshark reads a capture and returns fields of the packets that a filter matches.
func tshark(t *testing.T, file, filter string, fields ...string) []string {
	t.Helper()
	args := []string{"-r", file, "-N", "n", "-o", "tcp.check_checksum:TRUE", "-Y", filter,
		"-T", "fields", "-E", "separator=|"}
	for _, f := range fields {
		args = append(args, "-e", f)
	}
	cmd := exec.Command("tshark", args...)
	cmd.Env = append(os.Environ(), "HOME="+tempDir(t))
	var stderr bytes.Buffer
	cmd.Stderr = &stderr
	out, err := cmd.Output()
	if err != nil {
		t.Fatalf("tshark: %v\n%s", err, &stderr)
	}
	return strings.Fields(strings.ReplaceAll(string(out), " ", "_"))
}

// TestTraceForWireshark traces psql and curl behind a NAT, and the servers behind
// another: tshark decodes what they said.
func TestTraceForWireshark(t *testing.T) {
	if native {
		t.Skip("there is nothing to trace with")
	}
	natlab.NeedCommands(t, "tshark", "psql", "curl", "python3")
	db, app := pair(t, "db", "app")
	dir := tempDir(t)
	chown(t, dir, "postgres")
	serverTrace := filepath.Join(dir, "db.jsonl")
	db.flags = []string{"--trace", serverTrace}
	server := startPostgres(db)
	web := db.named("web")
	web.flags = nil
	site := tempDir(t)
	// 280 kB: more than one segment
	write(t, filepath.Join(site, "shop.html"), strings.Repeat("<p>needle</p>\n", 20_000))
	web.start("/usr/bin/python3", "-u", "-m", "http.server", "--directory", site, "80")
	app.reach("db:5432")
	app.reach("web:80")

	query := "select 'needle' as found"
	psql := app.traced("psql", "-X", "-h", "db", "-U", "postgres", "-At", "-c", query)
	curl := app.traced("curl", "-sS", "-o", os.DevNull, "http://web/shop.html")
	server.Stop(syscall.SIGINT)

	captured := filepath.Join(dir, "both.pcapng")
	boxerTool(t, "trace", "merge", psql, curl, serverTrace, "-o", captured)
	for _, tc := range []struct {
		filter, fields string
		want           []string
	}{
		{"pgsql.query", "ip.dst_host ipv6.dst_host pgsql.query",
			[]string{"db||select_'needle'_as_found"}},
		{"http.request", "http.request.uri http.host", []string{"/shop.html|web"}},
		{"http.response", "http.response.code http.content_length",
			[]string{"200|280000"}},
		{"_ws.malformed or tcp.checksum.status == 0", "frame.number", nil},
		{"tcp.analysis.flags and (pgsql or http or tcp.port == 80)", "frame.number", nil},
	} {
		if got := tshark(t, captured, tc.filter,
			strings.Fields(tc.fields)...); strings.Join(got, " ") != strings.Join(tc.want, " ") {
			t.Errorf("%s of %s: got %q, want %q", tc.fields, tc.filter, got, tc.want)
		}
	}
	merged := filepath.Join(dir, "both.jsonl")
	boxerTool(t, "trace", "merge", psql, serverTrace, "-o", merged)
	checkLinked(t, merged)
}

// boxerTool runs boxer itself.
func boxerTool(t *testing.T, args ...string) {
	t.Helper()
	if out, err := exec.Command(boxer, args...).CombinedOutput(); err != nil ||
		len(out) > 0 {
		t.Fatalf("boxer %q: %v\n%s", args, err, out)
	}
}

// checkLinked finds psql's connection in a merged trace: asked for by one node, accepted
// by the other after that, over a punched path, with as many bytes sent as received.
func checkLinked(t *testing.T, file string) {
	t.Helper()
	f, err := os.Open(file)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	asked := make(map[trace.ConnID]time.Duration)
	ends := make(map[trace.ConnID]*trace.Connection)
	linked := 0
	for r := trace.NewReader(f); ; {
		e, err := r.Next()
		if errors.Is(err, io.EOF) {
			break
		}
		if err != nil {
			t.Fatal(err)
		}
		c, ok := e.(*trace.Connection)
		if !ok || c.Proto != "tcp" {
			continue
		}
		begin, known := asked[c.ID]
		switch {
		case c.Role == trace.RoleConnect && !known:
			asked[c.ID] = c.Time - c.Setup
		case c.Role == trace.RoleAccept && c.State == trace.Opened && known:
			if linked++; c.Time < begin || c.Path != "punched" || c.Peer != "app" {
				t.Errorf("accepted at %v what was asked for at %v, %s, from %q", c.Time,
					begin, c.Path, c.Peer)
			}
		case c.State == trace.Closed && known:
			if other := ends[c.ID]; other != nil &&
				(other.Sent != c.Received || other.Received != c.Sent) {
				t.Errorf("one side sent %d and received %d, the other received %d and sent %d", c.Sent, c.Received, other.Received, other.Sent)
			}
			ends[c.ID] = c
		}
	}
	if linked != 1 {
		t.Errorf("%d connections of psql's were accepted by a node with a trace; want 1", linked)
	}
}
