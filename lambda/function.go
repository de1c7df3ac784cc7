package lambda

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/lambda"
	"github.com/aws/aws-sdk-go-v2/service/lambda/types"

	"github.com/boxer-sandbox/boxer/host"
)

// A Function is a function of AWS Lambda whose runtime is boxer. It is a host.Host: each
// order is one invocation, and the node lives as long as the invocation.
type Function struct {
	Client InvokeClient
	Name   string // name or ARN, with :QUALIFIER if not $LATEST
}

var _ host.Host = (*Function)(nil)

// An InvokeClient is the part of *lambda.Client that invokes.
type InvokeClient interface {
	InvokeWithResponseStream(context.Context, *lambda.InvokeWithResponseStreamInput,
		...func(*lambda.Options)) (*lambda.InvokeWithResponseStreamOutput, error)
}

// MaxEvent bounds the JSON of an order, in bytes: the payload of a synchronous invocation
// ("Lambda quotas", AWS Lambda Developer Guide).
const MaxEvent = 6 << 20

// String returns the function as --on names it.
func (f *Function) String() string { return "lambda:" + f.Name }

// Start invokes the function. It repeats throttled invocations, and those that the
// service fails before the function has begun, with increasing pauses. It never repeats
// an invocation that has begun.
func (f *Function) Start(ctx context.Context, o host.Order,
	out host.Streams) (host.Process,
	error) {
	o.Version, o.Output = host.OrderVersion, host.OutputFrames
	event, err := json.Marshal(o)
	if err != nil {
		return nil, err
	}
	if len(event) > MaxEvent {
		return nil, fmt.Errorf("%v: the order has %d bytes, and an event at most %d: pass fewer variables (--env)",
			f, len(event), MaxEvent)
	}
	ctx, cancel := context.WithCancel(ctx)
	p := &process{f: f, out: out, cancel: cancel, done: make(chan struct{})}
	go p.run(ctx, event) // ends with the invocation; Wait waits for it
	return p, nil
}

// A process is one invocation.
type process struct {
	f      *Function
	out    host.Streams
	cancel context.CancelFunc

	instance string // the function's log stream, once it is known; owned by run

	done   chan struct{} // closed when result and err are set
	result host.Result
	err    error
}

// Wait implements host.Process.
func (p *process) Wait() (host.Result, error) {
	<-p.done
	return p.result, p.err
}

// Release implements host.Process. The service does not end a function whose invoker has
// left. The function ends its program when the control connection ends.
func (p *process) Release() { p.cancel() }

// run invokes the function and reads its response.
func (p *process) run(ctx context.Context, event []byte) {
	defer close(p.done)
	defer p.cancel()
	out, err := p.f.Client.InvokeWithResponseStream(ctx,
		&lambda.InvokeWithResponseStreamInput{
			FunctionName: aws.String(p.f.Name), Payload: event,
			InvocationType: types.ResponseStreamingInvocationTypeRequestResponse,
		})
	if err != nil {
		p.result.Code, p.err = exitBoxer, explain(p.f, err)
		return
	}
	p.result, p.err = p.read(out.GetStream())
}

// exitBoxer is the exit code of boxer's own failures, as of boxer run.
const exitBoxer = 125

// read reads a streamed response until its end.
func (p *process) read(stream *lambda.InvokeWithResponseStreamEventStream) (host.Result,
	error) {
	defer stream.Close()
	r, w := io.Pipe()
	defer r.Close()
	go func() { w.CloseWithError(copyChunks(w, stream)) }() // ends with r, or the stream
	result, err := p.frames(host.NewReader(r))
	if err != nil {
		result.Code = exitBoxer
		if p.instance != "" {
			err = fmt.Errorf("%w (log stream %s)", err, p.instance)
		}
		return result, fmt.Errorf("%v: %w", p.f, err)
	}
	// The function has ended when the stream has.
	_, _ = io.Copy(io.Discard, r)
	return result, nil
}

// frames handles frames until the one with the result.
func (p *process) frames(r *host.Reader) (host.Result, error) {
	for {
		kind, b, err := r.Read()
		if err != nil {
			if errors.Is(err, io.EOF) {
				err = errNoResult
			}
			return host.Result{}, err
		}
		switch kind {
		case host.Stdout:
			_, err = p.out.Stdout.Write(b)
		case host.Stderr:
			_, err = p.out.Stderr.Write(b)
		case host.Event:
			var e host.EventMessage
			if json.Unmarshal(b, &e) == nil && e.Event == host.EventHere {
				p.instance = e.Instance
			}
		case host.Exit:
			var result host.Result
			err := json.Unmarshal(b, &result)
			return result, err
		}
		if err != nil {
			return host.Result{}, fmt.Errorf("write the program's output: %w", err)
		}
	}
}

// errNoResult means that a response has ended without the program's result.
var errNoResult = errors.New("the function ended before it said how the program ended: " +
	"it was out of memory or killed; its log in CloudWatch says more")

// copyChunks copies the payload of a streamed response. It fails with the function's
// error, if there is one, and with the stream's.
func copyChunks(w io.Writer, stream *lambda.InvokeWithResponseStreamEventStream) error {
	for e := range stream.Events() {
		switch e := e.(type) {
		case *types.InvokeWithResponseStreamResponseEventMemberPayloadChunk:
			if _, err := w.Write(e.Value.Payload); err != nil {
				return err
			}
		case *types.InvokeWithResponseStreamResponseEventMemberInvokeComplete:
			if code := aws.ToString(e.Value.ErrorCode); code != "" {
				return &FunctionError{Code: code,
					Details: aws.ToString(e.Value.ErrorDetails)}
			}
		}
	}
	return stream.Err()
}

// A FunctionError is the service's report about a function that failed.
type FunctionError struct {
	Code    string // such as Runtime.ExitError
	Details string // JSON, or text
}

// Error implements error.
func (e *FunctionError) Error() string {
	details := e.Details
	var d struct {
		Message string `json:"errorMessage"`
	}
	if json.Unmarshal([]byte(details), &d) == nil && d.Message != "" {
		details = d.Message
	}
	return fmt.Sprintf("the function failed: %s: %s", e.Code, details)
}
