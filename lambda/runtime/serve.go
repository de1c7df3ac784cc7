package runtime

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"strconv"
	"sync"
	"sync/atomic"

	"github.com/boxer-sandbox/boxer/host"
)

// Config says how to serve the invocations of an environment.
type Config struct {
	API      string // HOST:PORT of the Runtime API, from $AWS_LAMBDA_RUNTIME_API
	Boxer    string // path of boxer's program
	Instance string // name of the environment, from $AWS_LAMBDA_LOG_STREAM_NAME

	Place  string // of its nodes, for boxer ps, from $AWS_LAMBDA_FUNCTION_NAME
	Memory int    // MB of the environment; 0: unknown

	// Concurrency is how many invocations the environment has at once, from
	// $AWS_LAMBDA_MAX_CONCURRENCY; below 1: one.
	Concurrency int

	// Secret reads a secret to which an order refers.
	Secret func(context.Context, host.Secret) (string, error)

	// Command runs for an order without a program. It is from $BOXER_COMMAND; empty: such
	// an order is an error.
	Command string

	// Environ is the environment of programs, to which an order's is added.
	Environ []string

	Logger *slog.Logger
}

// FromEnvironment returns the configuration that the service gives a runtime in its
// environment. The caller sets Secret, Boxer and Logger.
func FromEnvironment() (Config, error) {
	c := Config{
		API:      os.Getenv("AWS_LAMBDA_RUNTIME_API"),
		Instance: os.Getenv("AWS_LAMBDA_LOG_STREAM_NAME"),
		Environ:  programEnviron(os.Environ()),
		Command:  os.Getenv(host.CommandVariable),
	}
	if name := os.Getenv("AWS_LAMBDA_FUNCTION_NAME"); name != "" {
		c.Place = "lambda:" + name
	}
	c.Memory, _ = strconv.Atoi(os.Getenv("AWS_LAMBDA_FUNCTION_MEMORY_SIZE"))
	if c.API == "" {
		return c, errors.New("AWS_LAMBDA_RUNTIME_API is not set: this is no function of AWS Lambda; " +
			"boxer lambda serve is the bootstrap of one, see boxer lambda package")
	}
	if s := os.Getenv("AWS_LAMBDA_MAX_CONCURRENCY"); s != "" {
		n, err := strconv.Atoi(s)
		if err != nil || n < 1 {
			return c, fmt.Errorf("AWS_LAMBDA_MAX_CONCURRENCY %q: not a number from 1", s)
		}
		c.Concurrency = n
	}
	return c, nil
}

// A server serves the invocations of one environment.
type server struct {
	Config
	api  *api
	warm atomic.Bool // an invocation was served
}

// Serve serves invocations until ctx ends. The caller ends ctx at SIGTERM, by which the
// service announces the environment's end. Serve then ends the programs by SIGTERM and
// waits for them.
func Serve(ctx context.Context, c Config) error {
	s := &server{Config: c, api: newAPI(c.API)}
	if s.Instance == "" {
		s.Instance = fmt.Sprintf("process-%d", os.Getpid())
	}
	if err := s.api.extend(ctx); err != nil && ctx.Err() == nil {
		// The service will then kill programs by SIGKILL, together with the environment.
		s.Logger.Warn("programs will not get SIGTERM at the end of the environment",
			"err", err)
	}
	var all sync.WaitGroup
	failed := make(chan error, max(1, c.Concurrency))
	ctx, stop := context.WithCancel(ctx)
	defer stop()
	for range max(1, c.Concurrency) {
		all.Go(func() {
			if err := s.loop(ctx); err != nil && ctx.Err() == nil {
				failed <- err
				stop()
			}
		})
	}
	all.Wait()
	select {
	case err := <-failed:
		return err
	default:
		return nil
	}
}

// loop serves one invocation after the other.
func (s *server) loop(ctx context.Context) error {
	for ctx.Err() == nil {
		inv, err := s.api.next(ctx)
		if err != nil {
			return err
		}
		if err := s.invoke(ctx, inv); err != nil {
			s.Logger.Error("invocation", "id", inv.id, "err", err)
		}
		s.warm.Store(true)
	}
	return nil
}

// invoke serves one invocation. It reports an error if the event is not an order.
func (s *server) invoke(ctx context.Context, inv invocation) error {
	// The response is sent even if the environment ends.
	sending := context.WithoutCancel(ctx)
	o, err := host.ParseOrder(inv.event, s.Command)
	if err != nil {
		return errors.Join(err, s.api.fail(sending, inv.id, "Boxer.BadOrder", err))
	}
	join, err := s.join(ctx, o)
	if err != nil {
		return errors.Join(err, s.api.fail(sending, inv.id, "Boxer.NoNetwork", err))
	}
	j := &job{server: s, order: o, join: join, deadline: inv.deadline}
	if o.Output == host.OutputFrames {
		return j.streamed(ctx, sending, inv.id)
	}
	return j.buffered(ctx, sending, inv.id)
}

// join returns the join URL of an order.
func (s *server) join(ctx context.Context, o host.Order) (string, error) {
	if o.Join == "" {
		for _, e := range s.Environ {
			if v, ok := cutVariable(e, joinVariable); ok && v != "" {
				o.Join = v
			}
		}
	}
	if o.Join == "" {
		return "", errors.New(`no network: the order has no "join", and the function no variable BOXER_JOIN`)
	}
	secret := host.ParseSecret(o.Join)
	if secret.Store == host.StoreValue {
		return secret.Name, nil
	}
	if s.Secret == nil {
		return "", fmt.Errorf("join URL from %v: this build reads no secrets", secret)
	}
	v, err := s.Secret(ctx, secret)
	if err != nil {
		return "", fmt.Errorf("join URL from %v: %w; the function's role must allow to read it", secret, err)
	}
	return v, nil
}
