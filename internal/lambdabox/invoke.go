package lambdabox

import (
	"bytes"
	"crypto/rand"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"strings"
	"sync"

	"github.com/aws/aws-sdk-go-v2/aws/protocol/eventstream"
)

// The service's bounds of what an invocation carries, in bytes.
const (
	maxEvent      = 6 << 20
	maxAsyncEvent = 1 << 20
	maxResponse   = 6 << 20
)

// A functionError is the service's report about a function that failed.
type functionError struct{ kind, message string }

// Error implements error.
func (e *functionError) Error() string { return e.kind + ": " + e.message }

// An invocation is an event on its way through an environment.
type invocation struct {
	id    string
	event []byte

	r *io.PipeReader // the response; fails with a *functionError
	w *io.PipeWriter

	once     sync.Once
	begun    chan struct{} // closed when there is a response, or an error
	streamed bool
}

func newInvocation(event []byte) *invocation {
	var id [16]byte
	_, _ = rand.Read(id[:])
	inv := &invocation{event: event, begun: make(chan struct{}),
		id: fmt.Sprintf("%x-%x-%x-%x-%x", id[:4], id[4:6], id[6:8], id[8:10], id[10:])}
	inv.r, inv.w = io.Pipe()
	return inv
}

func (i *invocation) begin() { i.once.Do(func() { close(i.begun) }) }

// end ends the response.
func (i *invocation) end() { i.begin(); i.w.Close() }

// fail ends the response with an error. After end it does nothing.
func (i *invocation) fail(err error) { i.begin(); i.w.CloseWithError(err) }

// refuse writes an error in the form of the service.
func refuse(w http.ResponseWriter, status int, code, message string) {
	w.Header().Set("Content-Type", "application/json")
	w.Header().Set("X-Amzn-Errortype", code)
	w.WriteHeader(status)
	_ = json.NewEncoder(w).Encode(map[string]string{"Type": "User", "Message": message,
		"message": message})
}

// begin starts the invocation that a request asks for. If there is none, it answers the
// request.
func (b *Box) begin(w http.ResponseWriter, r *http.Request, most int) *invocation {
	f := b.find(w, r)
	if f == nil {
		return nil
	}
	if no, ok := b.refused(); ok {
		refuse(w, no.status, no.code, "refused by the box")
		return nil
	}
	event, err := io.ReadAll(io.LimitReader(r.Body, int64(most)+1))
	if err != nil {
		return nil
	}
	if len(event) > most {
		refuse(w, http.StatusRequestEntityTooLarge, "RequestTooLargeException",
			fmt.Sprintf("Request must be smaller than %d bytes for the InvokeFunction operation", most))
		return nil
	}
	if len(event) > 0 && !json.Valid(event) {
		refuse(w, http.StatusBadRequest, "InvalidRequestContentException",
			"Could not parse request body into json")
		return nil
	}
	e, err := b.environment(f)
	if err != nil {
		refuse(w, http.StatusTooManyRequests, "TooManyRequestsException",
			"Rate Exceeded: "+err.Error())
		return nil
	}
	inv := newInvocation(event)
	b.all.Go(func() { e.serve(inv) })
	return inv
}

// invoke is the operation Invoke.
func (b *Box) invoke(w http.ResponseWriter, r *http.Request) {
	switch kind := r.Header.Get("X-Amz-Invocation-Type"); kind {
	case "", "RequestResponse":
		if inv := b.begin(w, r, maxEvent); inv != nil {
			b.answer(w, r, inv)
		}
	case "Event":
		if inv := b.begin(w, r, maxAsyncEvent); inv != nil {
			b.all.Go(func() { _, _ = io.Copy(io.Discard, inv.r) })
			w.WriteHeader(http.StatusAccepted)
		}
	case "DryRun":
		if b.find(w, r) != nil {
			w.WriteHeader(http.StatusNoContent)
		}
	default:
		refuse(w, http.StatusBadRequest, "InvalidParameterValueException",
			"InvocationType "+kind)
	}
}

// answer sends a whole response.
func (b *Box) answer(w http.ResponseWriter, r *http.Request, inv *invocation) {
	body, err := io.ReadAll(io.LimitReader(inv.r, maxResponse+1))
	go io.Copy(io.Discard, inv.r) // ends with the response; the function must not block
	if err == nil && len(body) > maxResponse {
		err = &functionError{"Function.ResponseSizeTooLarge",
			"Response payload size exceeded maximum allowed payload size (6291556 bytes)."}
	}
	w.Header().Set("X-Amz-Executed-Version", "$LATEST")
	var failed *functionError
	if errors.As(err, &failed) || err != nil {
		if failed == nil {
			failed = &functionError{"Runtime.Unknown", err.Error()}
		}
		w.Header().Set("X-Amz-Function-Error", "Unhandled")
		body = failed.json()
	}
	_, _ = w.Write(body)
}

// json returns the error in the form in which the invoker gets it.
func (e *functionError) json() []byte {
	if strings.HasPrefix(e.message, "{") && json.Valid([]byte(e.message)) {
		return []byte(e.message)
	}
	b, _ := json.Marshal(map[string]string{"errorType": e.kind, "errorMessage": e.message})
	return b
}

// invokeStreaming is the operation InvokeWithResponseStream: an event stream whose events
// are the chunks of the response, and its end.
func (b *Box) invokeStreaming(w http.ResponseWriter, r *http.Request) {
	inv := b.begin(w, r, maxEvent)
	if inv == nil {
		return
	}
	w.Header().Set("Content-Type", "application/vnd.amazon.eventstream")
	w.Header().Set("X-Amz-Executed-Version", "$LATEST")
	w.WriteHeader(http.StatusOK)
	s := stream{w: w, enc: eventstream.NewEncoder()}
	s.flush()
	buf := make([]byte, 32<<10)
	for {
		n, err := inv.r.Read(buf)
		if n > 0 && s.err == nil {
			s.event("PayloadChunk", "application/octet-stream", buf[:n])
		}
		if err == nil {
			continue
		}
		complete := map[string]string{}
		var failed *functionError
		if errors.As(err, &failed) {
			complete["ErrorCode"], complete["ErrorDetails"] = failed.kind,
				string(failed.json())
		} else if !errors.Is(err, io.EOF) {
			complete["ErrorCode"], complete["ErrorDetails"] = "Runtime.Unknown",
				err.Error()
		}
		j, _ := json.Marshal(complete)
		s.event("InvokeComplete", "application/json", j)
		return
	}
}

// A stream writes events. After an error it writes nothing: the invoker has left, and the
// function goes on.
type stream struct {
	w   http.ResponseWriter
	enc *eventstream.Encoder
	err error
}

func (s *stream) event(kind, contentType string, payload []byte) {
	var b bytes.Buffer
	m := eventstream.Message{Payload: payload}
	m.Headers.Set(":message-type", eventstream.StringValue("event"))
	m.Headers.Set(":event-type", eventstream.StringValue(kind))
	m.Headers.Set(":content-type", eventstream.StringValue(contentType))
	if s.err = s.enc.Encode(&b, m); s.err != nil {
		return
	}
	if _, s.err = s.w.Write(b.Bytes()); s.err == nil {
		s.flush()
	}
}

func (s *stream) flush() { _ = http.NewResponseController(s.w).Flush() }
