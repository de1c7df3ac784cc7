package lambdabox

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"os/exec"
	"path/filepath"
	"sync"
)

// A Machine is where an environment runs, such as a *natlab.Host.
type Machine interface {
	Name() string
	Listen(ctx context.Context, network, address string) (net.Listener, error)
	Command(ctx context.Context, name string, args ...string) *exec.Cmd
}

// Config has the parameters of New.
type Config struct {
	// NewMachine returns a machine for a new environment of a function. It may fail:
	// then the function is throttled.
	NewMachine func(ctx context.Context, function string) (Machine, error)

	// Runtimes are the managed runtimes: for each name, such as python3.13, a directory
	// with the program bootstrap.
	Runtimes map[string]string

	Jail string // path of the program of internal/jail
	Dir  string // for the files of functions; the caller removes it
	// receives the output of functions, as CloudWatch does; used by many goroutines
	Log io.Writer
}

// A Box is a small AWS Lambda.
type Box struct {
	cfg Config
	mux *http.ServeMux

	ctx  context.Context // ends with Close
	stop context.CancelFunc
	all  sync.WaitGroup // environments, asynchronous invocations

	mu        sync.Mutex
	functions map[string]*function
	layers    map[string][]byte // archives, by the ARN of the version
	count     int               // of environments so far
	refuse    []refusal
}

// A refusal is the answer to the next invocations.
type refusal struct {
	status int
	code   string
}

// New returns a box without functions.
func New(cfg Config) *Box {
	b := &Box{cfg: cfg, functions: make(map[string]*function),
		layers: make(map[string][]byte), mux: http.NewServeMux()}
	b.ctx, b.stop = context.WithCancel(context.Background())
	const functions = "/2015-03-31/functions"
	b.mux.HandleFunc("POST "+functions, b.create)
	b.mux.HandleFunc("GET "+functions+"/{name}", b.get)
	b.mux.HandleFunc("POST /2018-10-31/layers/{name}/versions", b.publishLayer)
	b.mux.HandleFunc("GET "+functions+"/{name}/configuration", b.getConfiguration)
	b.mux.HandleFunc("PUT "+functions+"/{name}/code", b.updateCode)
	b.mux.HandleFunc("PUT "+functions+"/{name}/configuration", b.updateConfiguration)
	b.mux.HandleFunc("DELETE "+functions+"/{name}", b.delete)
	b.mux.HandleFunc("PUT /2019-09-25/functions/{name}/event-invoke-config",
		b.putInvokeConfig)
	b.mux.HandleFunc("POST "+functions+"/{name}/invocations", b.invoke)
	b.mux.HandleFunc("POST /2021-11-15/functions/{name}/response-streaming-invocations",
		b.invokeStreaming)
	return b
}

// ServeHTTP implements http.Handler: the API of the service.
func (b *Box) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	if r.Header.Get("Authorization") == "" {
		refuse(w, http.StatusForbidden, "MissingAuthenticationTokenException",
			"Missing Authentication Token")
		return
	}
	b.mux.ServeHTTP(w, r)
}

// Refuse answers the next n invocations with a status and an error code of the service,
// such as 429 and TooManyRequestsException.
func (b *Box) Refuse(n, status int, code string) {
	b.mu.Lock()
	defer b.mu.Unlock()
	for range n {
		b.refuse = append(b.refuse, refusal{status, code})
	}
}

// refused returns the next refusal, if there is one.
func (b *Box) refused() (refusal, bool) {
	b.mu.Lock()
	defer b.mu.Unlock()
	if len(b.refuse) == 0 {
		return refusal{}, false
	}
	r := b.refuse[0]
	b.refuse = b.refuse[1:]
	return r, true
}

// Environments returns how many environments a function has, and how many of them are
// serving an invocation.
func (b *Box) Environments(name string) (all, busy int) {
	b.mu.Lock()
	defer b.mu.Unlock()
	f := b.functions[name]
	if f == nil {
		return 0, 0
	}
	for _, e := range f.environments {
		if e.busy {
			busy++
		}
	}
	return len(f.environments), busy
}

// Kill kills the environments of a function, as a failure of their machine would.
func (b *Box) Kill(name string) {
	b.mu.Lock()
	f := b.functions[name]
	var all []*environment
	if f != nil {
		all = append(all, f.environments...)
	}
	b.mu.Unlock()
	for _, e := range all {
		e.kill(errors.New("the environment was killed"))
	}
}

// Close ends all environments, as the service does: by SIGTERM first, where an extension
// is registered.
func (b *Box) Close() {
	b.mu.Lock()
	var all []*environment
	for _, f := range b.functions {
		all = append(all, f.environments...)
	}
	b.mu.Unlock()
	var ended sync.WaitGroup
	for _, e := range all {
		ended.Go(e.shutdown)
	}
	ended.Wait()
	b.stop()
	b.all.Wait()
}

// environment returns an idle environment of the function, or makes one. It is busy then.
func (b *Box) environment(f *function) (*environment, error) {
	b.mu.Lock()
	for _, e := range f.environments {
		if !e.busy && e.generation == f.generation {
			e.busy = true
			b.mu.Unlock()
			return e, nil
		}
	}
	b.count++
	n := b.count
	b.mu.Unlock()
	m, err := b.cfg.NewMachine(b.ctx, f.name)
	if err != nil {
		return nil, err
	}
	e := &environment{box: b, f: f, machine: m, number: n, busy: true,
		generation: f.generation, invocations: make(chan *invocation),
		idle: make(chan struct{}), gone: make(chan struct{}),
		dir: filepath.Join(b.cfg.Dir, fmt.Sprintf("environment-%d", n))}
	if err := e.start(); err != nil {
		return nil, err
	}
	b.mu.Lock()
	f.environments = append(f.environments, e)
	b.mu.Unlock()
	return e, nil
}

// remove drops an environment that has ended.
func (b *Box) remove(e *environment) {
	b.mu.Lock()
	defer b.mu.Unlock()
	for i, have := range e.f.environments {
		if have == e {
			e.f.environments = append(e.f.environments[:i], e.f.environments[i+1:]...)
			return
		}
	}
}

// release makes an environment idle.
func (b *Box) release(e *environment) {
	b.mu.Lock()
	defer b.mu.Unlock()
	e.busy = false
}
