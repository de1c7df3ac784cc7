package e2e

import (
	"bytes"
	"encoding/json"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/boxer-sandbox/boxer/internal/natlab"
	"github.com/boxer-sandbox/boxer/internal/proctest"
)

// call makes a request of the box's API, from the box's machine, and returns the body of
// its answer.
func (r *region) call(method, path string, body any) []byte {
	r.t.Helper()
	b, err := json.Marshal(body)
	if err != nil {
		r.t.Fatal(err)
	}
	req, err := http.NewRequestWithContext(r.t.Context(), method, r.endpoint+path,
		bytes.NewReader(b))
	if err != nil {
		r.t.Fatal(err)
	}
	req.Header.Set("Authorization", "signed")
	w := &recorder{header: make(http.Header)}
	r.box.ServeHTTP(w, req)
	if w.status >= 300 {
		r.t.Fatalf("%s %s: %d %s", method, path, w.status, &w.body)
	}
	return w.body.Bytes()
}

// A recorder is an http.ResponseWriter that keeps what is written.
type recorder struct {
	header http.Header
	status int
	body   bytes.Buffer
}

func (w *recorder) Header() http.Header         { return w.header }
func (w *recorder) WriteHeader(status int)      { w.status = status }
func (w *recorder) Write(b []byte) (int, error) { return w.body.Write(b) }

// archiveOf returns the archive of a directory.
func archiveOf(t *testing.T, dir string) []byte {
	t.Helper()
	path := filepath.Join(tempDir(t), "fn.zip")
	cmd := exec.Command("python3", "-m", "zipfile", "-c", path, ".")
	cmd.Dir = dir
	entries, err := os.ReadDir(dir)
	if err != nil {
		t.Fatal(err)
	}
	cmd.Args = cmd.Args[:len(cmd.Args)-1]
	for _, e := range entries {
		cmd.Args = append(cmd.Args, e.Name())
	}
	if out, err := cmd.CombinedOutput(); err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	b, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	return b
}

// layered makes a function with a managed runtime and boxer's layer.
func (r *region) layered(name, runtime, handler, dir string, env map[string]string) {
	r.t.Helper()
	path := filepath.Join(tempDir(r.t), "layer.zip")
	if status, _, stderr := r.boxer("lambda", "layer", "--out", path); status != 0 {
		r.t.Fatalf("layer: status %d: %s", status, stderr)
	}
	layer, err := os.ReadFile(path)
	if err != nil {
		r.t.Fatal(err)
	}
	var published struct{ LayerVersionArn string }
	if err := json.Unmarshal(r.call("POST", "/2018-10-31/layers/boxer/versions",
		map[string]any{"Content": map[string]any{"ZipFile": layer}}),
		&published); err != nil {
		r.t.Fatal(err)
	}
	variables := map[string]string{"AWS_LAMBDA_EXEC_WRAPPER": "/opt/boxer/wrapper",
		"BOXER_JOIN": r.url, "BOXER_NAME": name}
	for k, v := range env {
		variables[k] = v
	}
	r.call("POST", "/2015-03-31/functions", map[string]any{"FunctionName": name,
		"Role": role, "Runtime": runtime, "Handler": handler, "Timeout": 60,
		"Layers":      []string{published.LayerVersionArn},
		"Code":        map[string]any{"ZipFile": archiveOf(r.t, dir)},
		"Environment": map[string]any{"Variables": variables}})
}

// An answer is that of testdata/python-function.
type answer struct {
	Answer, Host, Address string
	Error                 *string
	Took                  float64
}

// invoke invokes a function.
func (r *region) invoke(name string, event any) (a answer) {
	r.t.Helper()
	b := r.call("POST", "/2015-03-31/functions/"+name+"/invocations", event)
	if err := json.Unmarshal(b, &a); err != nil || a.Answer == "" {
		r.t.Fatalf("%s answers %s (%v)", name, b, err)
	}
	return a
}

// TestLambdaLayer runs a Python function as a node by its configuration alone. It sleeps
// between invocations.
func TestLambdaLayer(t *testing.T) {
	natlab.NeedCommands(t, "redis-server", "python3")
	r := newRegion(t)
	kv := r.function("kv", punchable)
	kv.flags = []string{"--peer-timeout", "2s"}
	server := kv.start("redis-server", "--bind", "0.0.0.0",
		"--protected-mode", "no", "--save", "", "--dir", "/tmp")
	server.Expect("Ready to accept connections")
	r.layered("py", "python3.13", "app.handle", "testdata/python-function",
		map[string]string{"BOXER_FLAGS": "--peer-timeout 2s"})

	first := r.invoke("py", map[string]any{})
	if first.Answer != "+PONG" || first.Host != "py" || first.Error != nil {
		t.Fatalf("the function answers %+v", first)
	}
	r.idle("py")
	asleep := func(what string) {
		t.Helper()
		status, stdout, stderr := r.boxer("ps", "py")
		if status != 0 || !strings.Contains(stdout, "py    asleep  lambda:py  python3") {
			t.Errorf("%s: status %d, %q, %q", what, status, stdout, stderr)
		}
	}
	asleep("after the first invocation")

	client := r.function("client", punchable)
	client.flags = []string{"--asleep", "fail"}
	t.Run("connects fail", func(t *testing.T) {
		out := client.runFor(proctest.Patience, "python3", "-c", `
import socket
try:
    socket.create_connection(("py", 8080), timeout=60)
except OSError as e:
    print(e)`)
		if !strings.Contains(out, "No route to host") {
			t.Errorf("the client says %q", out)
		}
	})
	t.Run("connects wait", func(t *testing.T) {
		waiting := r.function("waiting", punchable)
		c := waiting.start("python3", "-c", `
import socket
print("connects", flush=True)
c = socket.create_connection(("py", 8080), timeout=60)
print(c.makefile().readline())`)
		c.Expect("^connects$")
		// It waits until the function is invoked again.
		if got := r.invoke("py", map[string]any{"sleep": 1}); got.Address != first.Address {
			t.Errorf("the function answers %+v, had %s", got, first.Address)
		}
		if status := c.Wait(proctest.Patience); status != 0 ||
			!strings.Contains(c.Out.String(), "hello from python") {
			t.Errorf("the client ends with %d: %q, %q", status, c.Out.String(),
				c.Err.String())
		}
	})
	t.Run("peers lose patience", func(t *testing.T) {
		r.idle("py")
		time.Sleep(4 * time.Second) // longer than peers keep a silent connection
		asleep("after a longer sleep")
		got := r.invoke("py", map[string]any{})
		if got.Error == nil || *got.Error != "ConnectionResetError" ||
			got.Answer != "+PONG" || got.Address != first.Address {
			t.Errorf("the function answers %+v, had %s", got, first.Address)
		}
		if got.Took > 5 {
			t.Errorf("the connection that was lost has held the function up for %v s",
				got.Took)
		}
	})
	if all := r.idle("py"); all != 1 {
		t.Errorf("%d environments", all)
	}
}
