package e2e

import (
	"context"
	"encoding/json"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"github.com/boxer-sandbox/boxer/internal/proctest"
	"github.com/boxer-sandbox/boxer/trace"
)

// A troubled program is one of which a trace has to tell what its trouble is.
var troubled = []struct {
	name   string
	server string // runs in node db, and prints "ready"
	client string // runs traced in node app
	names  bool   // the host's name server is slow
	event  string // type of the event that tells
	tells  string // what a field of it has to match, and every format has to show
	errno  string // what the call failed with, if it failed
}{
	{
		name:   "refused",
		server: "print('ready', flush=True); time.sleep(1000)",
		client: "s = socket.socket(); s.connect_ex(('db', 8000))",
		event:  "connection", tells: `refused by db \(10\.111\.\d+\.\d+:8000\)`, errno: "ECONNREFUSED",
	},
	{
		name: "reset by the peer",
		server: "l = socket.create_server(('', 8000)); print('ready', flush=True)\n" +
			"while True:\n c, _ = l.accept(); c.recv(1); c.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack('ii', 1, 0)); c.close()",
		client: "s = socket.create_connection(('db', 8000)); s.send(b'x')\ntry: s.recv(1)\nexcept ConnectionResetError: pass\nelse: sys.exit('no reset')",
		event:  "connection", tells: `reset by db \(10\.111\.\d+\.\d+:8000\)`, errno: "ECONNRESET",
	},
	{
		name:   "hangs",
		server: "l = socket.socket(); l.bind(('', 8000)); l.listen(0); print('ready', flush=True); time.sleep(1000)",
		client: "import os, threading\nthreading.Timer(3, lambda: os._exit(0)).start()\nkept = [socket.create_connection(('db', 8000)) for _ in range(8)]",
		event:  "connection", tells: `waits for the answer of db \(10\.111\.\d+\.\d+:8000\): the queue of its listener is full`,
	},
	{
		name:   "slow by DNS",
		server: "print('ready', flush=True); time.sleep(1000)",
		client: "socket.gethostbyname('slow.example.com')", names: true,
		event: "dns", tells: "slow.example.com",
	},
}

// slowDNS answers each question after a second.
const slowDNS = `
import socket, time
s = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
s.bind(("0.0.0.0", 53))
print("ready", flush=True)
while True:
    q, addr = s.recvfrom(4096)
    time.sleep(1)
    end = q.index(0, 12) + 5
    s.sendto(q[:2] + b"\x81\x80\0\1\0\1\0\0\0\0" + q[12:end] + b"\xc0\x0c\0\1\0\1\0\0\0\x09\0\4\xc6\x33\x64\x07", addr)
`

// TestTraceTells has programs that hang, are refused, reset, or wait for names: the
// trace shows which of these it was, and where, in each format.
func TestTraceTells(t *testing.T) {
	if native {
		t.Skip("is about boxer")
	}
	c := newCloud(t)
	db, app := c.function("db", punchable), c.function("app", punchable)
	for _, tc := range troubled {
		t.Run(tc.name, func(t *testing.T) {
			db, app := db.with(t), app.with(t)
			if tc.names {
				dns := proctest.ForTest(t, "name server",
					c.public.Command(context.Background(), "/usr/bin/python3", "-c",
						slowDNS))
				dns.Expect("^ready")
				if err := app.host.SetResolvConf(fmt.Sprintf("nameserver %v\n",
					c.public.Addr())); err != nil {
					t.Fatal(err)
				}
			}
			const imports = "import socket, struct, sys, time\n"
			db.start("/usr/bin/python3", "-c", imports+tc.server).Expect("^ready")
			file := filepath.Join(tempDir(t), "trace.jsonl")
			cmd := app.host.Command(context.Background(), boxer, "trace", "--name", "app",
				"--wait-for", "db", "-s", "8", "-o", file, "--",
				"/usr/bin/python3", "-c", imports+tc.client)
			cmd.Env = append(os.Environ(), "BOXER_JOIN="+c.url)
			p := proctest.ForTest(t, "traced", cmd)
			if status := p.Wait(proctest.Patience); status != 0 {
				t.Fatalf("status %d: %s", status, p.Err.Tail())
			}
			tells := regexp.MustCompile(tc.tells)
			checkEvents(t, read(t, file), tc.event, tells, tc.errno)
			for _, format := range trace.Formats() {
				out := filepath.Join(tempDir(t), "out")
				if msg, err := exec.Command(boxer, "trace", "show", "--format", format,
					"-o", out, file).CombinedOutput(); err != nil {
					t.Fatalf("show as %s: %v: %s", format, err, msg)
				}
				if !tells.MatchString(read(t, out)) {
					t.Errorf("%s does not tell %q", format, tc.tells)
				}
			}
		})
	}
}

// checkEvents looks for the event that tells, and for the call that failed.
func checkEvents(t *testing.T, lines, kind string, tells *regexp.Regexp, errno string) {
	t.Helper()
	told, failed := false, errno == ""
	for line := range strings.Lines(lines) {
		var e struct {
			Type, Reason, Query, Errno string
			Dur                        int64
		}
		if err := json.Unmarshal([]byte(line), &e); err != nil {
			t.Fatalf("%v: %s", err, line)
		}
		switch {
		case e.Type == kind && kind == "dns":
			told = told || tells.MatchString(e.Query) && e.Dur > 900e6
		case e.Type == kind:
			told = told || tells.MatchString(e.Reason)
		}
		failed = failed || e.Type == "call" && e.Errno == errno
	}
	if !told || !failed {
		t.Errorf("a %s event tells %q: %v; a call fails with %s: %v:\n%s", kind, tells,
			told, errno, failed, lines)
	}
}
