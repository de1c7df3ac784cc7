package lambda

import (
	"bytes"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/aws/protocol/eventstream"
	"github.com/aws/aws-sdk-go-v2/credentials"
	"github.com/aws/aws-sdk-go-v2/service/lambda"

	"github.com/boxer-sandbox/boxer/host"
)

// A script is what a fake service sends of a streamed response.
type script struct {
	pause  time.Duration // before each event
	frames []byte
	cut    int    // bytes of an event; 0: all in one
	end    string // JSON of InvokeComplete; empty: the response ends without
}

// ServeHTTP implements http.Handler.
func (s script) ServeHTTP(w http.ResponseWriter, _ *http.Request) {
	w.Header().Set("Content-Type", "application/vnd.amazon.eventstream")
	event := func(kind string, payload []byte) {
		time.Sleep(s.pause)
		m := eventstream.Message{Payload: payload}
		m.Headers.Set(":message-type", eventstream.StringValue("event"))
		m.Headers.Set(":event-type", eventstream.StringValue(kind))
		eventstream.NewEncoder().Encode(w, m)
		w.(http.Flusher).Flush()
	}
	w.(http.Flusher).Flush()
	for b := s.frames; len(b) > 0; {
		n := len(b)
		if s.cut > 0 {
			n = min(n, s.cut)
		}
		event("PayloadChunk", b[:n])
		b = b[n:]
	}
	if s.end != "" {
		event("InvokeComplete", []byte(s.end))
	}
}

// frames returns frames of an output.
func frames(write func(*host.Writer)) []byte {
	var b bytes.Buffer
	write(host.NewWriter(&b))
	return b.Bytes()
}

func TestFunction(t *testing.T) {
	whole := frames(func(w *host.Writer) {
		w.WriteJSON(host.Event, host.EventMessage{Event: host.EventHere, Instance: "one"})
		w.Write(host.Stdout, []byte("out"))
		w.Write(host.Alive, nil)
		w.Write(host.Stderr, []byte("err"))
		w.WriteJSON(host.Exit, host.Result{Code: 7})
	})
	for _, tc := range []struct {
		name   string
		script script
		code   int
		err    string
	}{
		{"at once", script{frames: whole, end: "{}"}, 7, ""},
		{"slowly", script{frames: whole, cut: 3, pause: time.Millisecond, end: "{}"}, 7, ""},
		{"without an end", script{frames: whole}, 7, ""},
		{"without a result", script{frames: whole[:40], end: "{}"}, 125,
			"unexpected EOF"},
		{"nothing", script{end: "{}"}, 125, "before it said how"},
		{"failed", script{end: `{"ErrorCode":"Runtime.ExitError","ErrorDetails":"{\"errorMessage\":\"it exited\"}"}`},
			125, "Runtime.ExitError: it exited"},
		{"no frames", script{frames: []byte("hello world"), end: "{}"}, 125,
			"not a frame"},
	} {
		t.Run(tc.name, func(t *testing.T) {
			server := httptest.NewServer(tc.script)
			defer server.Close()
			f := &Function{Name: "fn", Client: lambda.New(lambda.Options{Region: "us-east-1",
				BaseEndpoint: aws.String(server.URL), HTTPClient: ownBody{http.DefaultClient},
				Credentials: credentials.NewStaticCredentialsProvider("id", "secret", "")})}
			var stdout, stderr bytes.Buffer
			p, err := f.Start(t.Context(), host.Order{Argv: []string{"true"}},
				host.Streams{Stdout: &stdout, Stderr: &stderr})
			if err != nil {
				t.Fatal(err)
			}
			result, err := p.Wait()
			if result.Code != tc.code || (err == nil) != (tc.err == "") ||
				err != nil && !strings.Contains(err.Error(), tc.err) {
				t.Errorf("%+v, %v, want %d, %q", result, err, tc.code, tc.err)
			}
			if tc.err == "" && (stdout.String() != "out" || stderr.String() != "err") {
				t.Errorf("%q %q", &stdout, &stderr)
			}
		})
	}
}
