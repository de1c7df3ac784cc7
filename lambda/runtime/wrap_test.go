package runtime

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"sync"
	"testing"
)

// A fakeSleeper notes what happens to a node.
type fakeSleeper struct {
	mu     sync.Mutex
	events []string
	awake  chan struct{} // gets a value at each Wake
	fails  error
}

func (f *fakeSleeper) note(s string) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.events = append(f.events, s)
}

func (f *fakeSleeper) Sleep(context.Context) error { f.note("sleep"); return f.fails }
func (f *fakeSleeper) Resume() error               { f.note("resume"); return f.fails }
func (f *fakeSleeper) Wake(context.Context) error {
	f.note("wake")
	f.awake <- struct{}{}
	return f.fails
}

// TestWrapper passes the requests of a runtime on, and has the node sleep between
// invocations: it is silent before the service gets the request, and back before the
// runtime gets the answer.
func TestWrapper(t *testing.T) {
	for _, fails := range []error{nil, errors.New("the coordinator is away")} {
		node := &fakeSleeper{awake: make(chan struct{}, 9), fails: fails}
		api := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			b, _ := io.ReadAll(r.Body)
			node.note(fmt.Sprintf("%s %s %s%s", r.Method, r.URL.Path, b, r.Trailer.Get("X-End")))
			w.Header().Set(headerRequestID, "42")
			io.WriteString(w, "event")
		}))
		defer api.Close()
		t.Setenv("AWS_LAMBDA_RUNTIME_API", strings.TrimPrefix(api.URL, "http://"))
		w, err := NewWrapper(slog.New(slog.DiscardHandler))
		if err != nil {
			t.Fatal(err)
		}
		defer w.Close()
		env := w.Environ([]string{"A=b", "BOXER_JOIN=boxer://secret",
			"AWS_LAMBDA_EXEC_WRAPPER=/opt/boxer/wrapper", "AWS_LAMBDA_RUNTIME_API=x"})
		own := w.listener.Addr().String()
		if !slices.Equal(env, []string{"A=b", "AWS_LAMBDA_RUNTIME_API=" + own}) {
			t.Errorf("the runtime gets %q", env)
		}
		w.Serve(node)
		do := func(method, path, body string) {
			t.Helper()
			req, err := http.NewRequest(method, "http://"+own+path,
				strings.NewReader(body))
			if err != nil {
				t.Fatal(err)
			}
			if body != "" {
				req.ContentLength = -1 // chunked, as trailers need
				req.Trailer = http.Header{"X-End": {"and a trailer"}}
			}
			resp, err := http.DefaultClient.Do(req)
			if err != nil {
				t.Fatal(err)
			}
			defer resp.Body.Close()
			b, err := io.ReadAll(resp.Body)
			if err != nil || string(b) != "event" ||
				resp.Header.Get(headerRequestID) != "42" {
				t.Errorf("got %q, %v, %v", b, resp.Header, err)
			}
		}
		do("GET", runtimePath+"invocation/next", "")
		<-node.awake
		do("POST", runtimePath+"invocation/42/response", "a response")
		do("GET", runtimePath+"invocation/next", "")
		<-node.awake
		want := []string{"sleep", "GET /2018-06-01/runtime/invocation/next ", "resume", "wake",
			"POST /2018-06-01/runtime/invocation/42/response a responseand a trailer",
			"sleep", "GET /2018-06-01/runtime/invocation/next ", "resume", "wake"}
		node.mu.Lock()
		if !slices.Equal(node.events, want) {
			t.Errorf("got\n%s\nwant\n%s", strings.Join(node.events, "\n"),
				strings.Join(want, "\n"))
		}
		node.mu.Unlock()
	}
}

// TestWrapperConcurrent leaves a node awake whose environment is never frozen.
func TestWrapperConcurrent(t *testing.T) {
	api := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		io.WriteString(w, "event")
	}))
	defer api.Close()
	t.Setenv("AWS_LAMBDA_RUNTIME_API", strings.TrimPrefix(api.URL, "http://"))
	t.Setenv("AWS_LAMBDA_MAX_CONCURRENCY", "4")
	w, err := NewWrapper(slog.New(slog.DiscardHandler))
	if err != nil {
		t.Fatal(err)
	}
	defer w.Close()
	node := &fakeSleeper{}
	w.Serve(node)
	resp, err := http.Get("http://" + w.listener.Addr().String() + runtimePath + "invocation/next")
	if err != nil {
		t.Fatal(err)
	}
	resp.Body.Close()
	if len(node.events) > 0 {
		t.Errorf("got %q", node.events)
	}
}

// TestWrapperElsewhere wraps nothing where there is no Runtime API.
func TestWrapperElsewhere(t *testing.T) {
	t.Setenv("AWS_LAMBDA_RUNTIME_API", "")
	if _, err := NewWrapper(slog.New(slog.DiscardHandler)); err == nil ||
		!strings.Contains(err.Error(), "AWS_LAMBDA_EXEC_WRAPPER") {
		t.Errorf("got %v", err)
	}
	t.Setenv("BOXER_JOIN", "")
	if _, err := JoinOf(t.Context()); err == nil ||
		!strings.Contains(err.Error(), "BOXER_JOIN") {
		t.Errorf("got %v", err)
	}
}
