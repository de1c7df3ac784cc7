package runtime

import (
	"context"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"net/http/httputil"
	"net/url"
	"os"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/boxer-sandbox/boxer/host"
)

// A Sleeper is a node that can be silent while its environment is frozen. Its methods are
// those of launcher.Program.
type Sleeper interface {
	Sleep(context.Context) error
	Resume() error              // does not wait
	Wake(context.Context) error // Resume, and tells the other nodes
}

// A Wrapper stands between the Runtime API and the runtime of a managed function, such as
// Python's, which runs as the program of a node. The runtime's requests tell where
// invocations begin and end: the environment is frozen from its request for the next one
// until the answer. The node sleeps meanwhile.
//
//	Runtime API ◄── Wrapper ◄── the function's runtime, a program of a node
//	                   └──► the node: Sleep, Wake
type Wrapper struct {
	api        *api
	proxy      *httputil.ReverseProxy
	log        *slog.Logger
	concurrent bool // the environment is never frozen

	listener net.Listener
	server   *http.Server

	node  Sleeper       // set before ready is closed
	ready chan struct{} // closed when there is a node

	mu     sync.Mutex
	awake  chan struct{} // closed when Wake has returned; nil: there was none
	asleep bool
}

// WrapperFlags is the variable with further flags of boxer run for a wrapped function,
// separated by spaces, such as "--asleep fail --wait-for db".
const WrapperFlags = "BOXER_FLAGS"

// sleepWithin bounds how long the coordinator may take to take note that the node sleeps.
// The function is billed for that time.
const sleepWithin = time.Second

// NewWrapper returns a wrapper that listens already. Its address replaces that of the
// Runtime API for the wrapped runtime.
func NewWrapper(log *slog.Logger) (*Wrapper, error) {
	to := os.Getenv("AWS_LAMBDA_RUNTIME_API")
	if to == "" {
		return nil, fmt.Errorf("AWS_LAMBDA_RUNTIME_API is not set: this is no function of AWS Lambda; " +
			"boxer lambda exec is for AWS_LAMBDA_EXEC_WRAPPER, see boxer lambda layer")
	}
	concurrency, _ := strconv.Atoi(os.Getenv("AWS_LAMBDA_MAX_CONCURRENCY"))
	w := &Wrapper{api: newAPI(to), log: log, ready: make(chan struct{}),
		concurrent: concurrency > 0}
	var err error
	if w.listener, err = net.Listen("tcp", "127.0.0.1:0"); err != nil {
		return nil, err
	}
	w.proxy = &httputil.ReverseProxy{
		Rewrite: func(r *httputil.ProxyRequest) {
			r.SetURL(&url.URL{Scheme: "http", Host: to})
			r.Out.Trailer = r.In.Trailer // of streamed responses; filled as they end
		},
		Transport:      w.api.http.Transport,
		FlushInterval:  -1, // at once
		ModifyResponse: func(r *http.Response) error { w.answered(r); return nil },
		ErrorLog:       slog.NewLogLogger(log.Handler(), slog.LevelDebug),
	}
	w.server = &http.Server{Handler: http.HandlerFunc(w.serve)}
	go func() { _ = w.server.Serve(w.listener) }() // until Close
	return w, nil
}

// Environ returns the environment of the wrapped runtime.
func (w *Wrapper) Environ(environ []string) []string {
	var env []string
	for _, e := range environ {
		_, join := cutVariable(e, joinVariable)
		if _, wrapper := cutVariable(e, "AWS_LAMBDA_EXEC_WRAPPER"); !join && !wrapper {
			env = append(env, e)
		}
	}
	return setVariable(env, "AWS_LAMBDA_RUNTIME_API", w.listener.Addr().String())
}

// Register registers an extension, so that the runtime gets SIGTERM before the
// environment ends.
func (w *Wrapper) Register(ctx context.Context) {
	if err := w.api.extend(ctx); err != nil {
		w.log.Warn("the function will not get SIGTERM at the end of the environment",
			"err", err)
	}
}

// Serve begins to pass requests for invocations on: the runtime runs as the node.
func (w *Wrapper) Serve(node Sleeper) {
	w.node = node
	close(w.ready)
}

// Close ends the wrapper.
func (w *Wrapper) Close() error { return w.server.Close() }

// isNext reports whether a request is for the next invocation.
func isNext(r *http.Request) bool {
	return r.Method == http.MethodGet && strings.HasSuffix(r.URL.Path, "/invocation/next")
}

// serve passes a request on. Before that for the next invocation, the node falls asleep.
func (w *Wrapper) serve(rw http.ResponseWriter, r *http.Request) {
	if isNext(r) && !w.concurrent {
		select {
		case <-w.ready:
		case <-r.Context().Done():
			return
		}
		w.sleep(r.Context())
	}
	w.proxy.ServeHTTP(rw, r)
}

func (w *Wrapper) sleep(ctx context.Context) {
	ctx, cancel := context.WithTimeout(ctx, sleepWithin)
	defer cancel()
	w.mu.Lock()
	awake := w.awake
	w.asleep = true
	w.mu.Unlock()
	if awake != nil {
		select {
		case <-awake:
		case <-ctx.Done():
		}
	}
	if err := w.node.Sleep(ctx); err != nil {
		w.log.Warn("the other nodes do not know that this one sleeps", "err", err)
	}
}

// answered wakes the node when an invocation has come. The runtime gets it at once.
func (w *Wrapper) answered(r *http.Response) {
	w.mu.Lock()
	defer w.mu.Unlock()
	if !w.asleep || !isNext(r.Request) {
		return
	}
	w.asleep = false
	// Before the runtime has the invocation: it uses the node at once.
	if err := w.node.Resume(); err != nil {
		w.log.Warn("the node cannot be resumed", "err", err)
	}
	awake := make(chan struct{})
	w.awake = awake
	go func() { // ends within wakeWithin
		defer close(awake)
		ctx, cancel := context.WithTimeout(context.Background(), wakeWithin)
		defer cancel()
		if err := w.node.Wake(ctx); err != nil {
			w.log.Warn("the other nodes do not know that this one is awake", "err", err)
		}
	}()
}

// wakeWithin bounds how long the coordinator may take to take note that the node is
// awake: the node may have to join again first.
const wakeWithin = 30 * time.Second

// JoinOf returns the join URL of a wrapped function: that of BOXER_JOIN, which may name a
// secret.
func JoinOf(ctx context.Context) (string, error) {
	s := server{Config: Config{Secret: ReadSecret}}
	join, err := s.join(ctx, host.Order{Join: os.Getenv(joinVariable)})
	if err != nil {
		return "", fmt.Errorf("%w; set the function's variable BOXER_JOIN", err)
	}
	return join, nil
}
