package main

import (
	"os"
	"os/exec"
	"strconv"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

// talker connects to itself once for each line of its input, and says so.
const talker = `
import socket, sys
l = socket.create_server(("", 7001))
print("ready", flush=True)
while sys.stdin.readline():
    c = socket.create_connection(("127.0.0.1", 7001))
    a, _ = l.accept()
    a.close(); c.close()
    print("talked", flush=True)
`

// TestAttach attaches to a program that runs, detaches, and attaches again, by the
// node's name and by pids: the program goes on.
func TestAttach(t *testing.T) {
	cmd := exec.Command(boxer, "run", "--name", "talker", "--", "python3", "-c", talker)
	in, err := cmd.StdinPipe()
	if err != nil {
		t.Fatal(err)
	}
	p := start(t, cmd)
	if got := p.line(); got != "ready" {
		t.Fatalf("the program says %q", got)
	}
	for _, by := range [][]string{
		{"--node", "talker"},
		{"--pid", strconv.Itoa(cmd.Process.Pid)},
		{"--pid", strconv.Itoa(programOf(t, cmd.Process.Pid))},
	} {
		tracer := exec.Command(boxer, append([]string{"trace", "-o", "/dev/stdout",
			"--format", "text"}, by...)...)
		q := start(t, tracer)
		if got := q.line(); !strings.Contains(got, "node talker ") {
			t.Fatalf("%v: the trace begins with %q", by, got)
		}
		if _, err := in.Write([]byte("\n")); err != nil {
			t.Fatal(err)
		}
		if got := p.line(); got != "talked" {
			t.Fatalf("%v: the program says %q", by, got)
		}
		if got := q.line(); !strings.HasPrefix(got, `connect(`) || !strings.Contains(got, `htons(7001), sin_addr=inet_addr("127.0.0.1")}, 16) = 0`) {
			t.Errorf("%v: the trace goes on with %q", by, got)
		}
		q.signal(unix.SIGINT)
		if rest := q.rest(); !strings.Contains(rest, "accept4(") {
			t.Errorf("%v: the trace ends with %q", by, rest)
		}
		if status := wait(t, tracer); status != 0 {
			t.Errorf("%v: boxer trace ends with %d", by, status)
		}
	}
	in.Close()
	if status := wait(t, cmd); status != 0 {
		t.Errorf("the program ended with %d", status)
	}
}

// TestAttachToNobody names what is not there.
func TestAttachToNobody(t *testing.T) {
	began := time.Now()
	r := finish(t, exec.Command(boxer, "trace", "--node", "nobody-has-this-name"))
	if r.status != 125 || !strings.Contains(r.err, `attach to node "nobody-has-this-name": this user runs no such node on this host`) {
		t.Errorf("status %d after %v: %s", r.status, time.Since(began), r.err)
	}
}

// TestAttachToProcess attaches to a child of the program, as strace -p does: what the
// program itself calls is not shown.
func TestAttachToProcess(t *testing.T) {
	cmd := exec.Command(boxer, "run", "--name", "parent", "--", "python3", "-c", `
import os, socket, sys, time
l = socket.create_server(("", 7003))
r, w = os.pipe()
child = os.fork()
if child == 0:
    os.close(w)
    while os.read(r, 1):
        c = socket.create_connection(("127.0.0.1", 7003))
        c.close()
    os._exit(0)
os.close(r)
print(child, flush=True)
while sys.stdin.readline():
    os.write(w, b"x")
    a, _ = l.accept()
    a.close()
    print("talked", flush=True)
os.close(w)`)
	in, err := cmd.StdinPipe()
	if err != nil {
		t.Fatal(err)
	}
	p := start(t, cmd)
	child := p.line()
	tracer := exec.Command(boxer, "trace", "-f", "-o", "/dev/stdout", "--format", "text",
		"-p", child)
	q := start(t, tracer)
	if got := q.line(); !strings.Contains(got, "node parent ") {
		t.Fatalf("the trace begins with %q", got)
	}
	if _, err := in.Write([]byte("\n")); err != nil {
		t.Fatal(err)
	}
	if got := p.line(); got != "talked" {
		t.Fatalf("the program says %q", got)
	}
	if got := q.line(); !strings.HasPrefix(got, "connect(") {
		t.Errorf("the child's trace goes on with %q", got)
	}
	q.signal(unix.SIGINT)
	if rest := q.rest(); strings.Contains(rest, "accept4(") {
		t.Errorf("the trace has the parent's calls: %q", rest)
	}
	if status := wait(t, tracer); status != 0 {
		t.Errorf("boxer trace ends with %d", status)
	}
	in.Close()
	if status := wait(t, cmd); status != 0 {
		t.Errorf("the program ended with %d", status)
	}
	outside := finish(t, exec.Command(boxer, "trace", "-p", strconv.Itoa(os.Getpid())))
	if outside.status != 125 || !strings.Contains(outside.err,
		"this user runs no such node") {
		t.Errorf("a process that is not under boxer: status %d, %s", outside.status,
			outside.err)
	}
}
