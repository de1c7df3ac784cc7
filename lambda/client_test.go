package lambda

import (
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"strings"
	"sync/atomic"
	"testing"

	"github.com/boxer-sandbox/boxer/host"
)

// TestNeverTwice invokes a function by a service that answers in different ways: one that
// may have begun is not invoked again.
func TestNeverTwice(t *testing.T) {
	const bundle = "/etc/ssl/certs/ca-certificates.crt"
	if _, err := os.Stat(bundle); err == nil {
		t.Setenv("AWS_CA_BUNDLE", bundle) // which the SDK gives to the HTTP client
	}
	t.Setenv("AWS_ACCESS_KEY_ID", "id")
	t.Setenv("AWS_SECRET_ACCESS_KEY", "secret")
	for _, tc := range []struct {
		name   string
		answer func(n int32, w http.ResponseWriter)
		want   int32
	}{
		{"connection ends", func(_ int32, w http.ResponseWriter) { hangUp(t, w) }, 1},
		{"gateway", func(_ int32, w http.ResponseWriter) { w.WriteHeader(http.StatusBadGateway) }, 1},
		{"throttled once", func(n int32, w http.ResponseWriter) {
			if n > 1 {
				hangUp(t, w)
				return
			}
			w.Header().Set("X-Amzn-Errortype", "TooManyRequestsException")
			w.WriteHeader(http.StatusTooManyRequests)
		}, 2},
	} {
		t.Run(tc.name, func(t *testing.T) {
			var requests atomic.Int32
			server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter,
				_ *http.Request) {
				tc.answer(requests.Add(1), w)
			}))
			defer server.Close()
			t.Setenv("AWS_ENDPOINT_URL_LAMBDA", server.URL)
			client, err := NewClient(t.Context(), "us-east-1", "")
			if err != nil {
				t.Fatal(err)
			}
			p, err := (&Function{Client: client, Name: "fn"}).Start(t.Context(),
				host.Order{Argv: []string{"true"}}, host.Streams{})
			if err != nil {
				t.Fatal(err)
			}
			if result, err := p.Wait(); err == nil || result.Code != 125 {
				t.Errorf("%+v, %v", result, err)
			}
			if got := requests.Load(); got != tc.want {
				t.Errorf("%d requests, want %d", got, tc.want)
			}
		})
	}
}

// hangUp closes a request's connection without an answer.
func hangUp(t *testing.T, w http.ResponseWriter) {
	conn, _, err := w.(http.Hijacker).Hijack()
	if err != nil {
		t.Error(err)
		return
	}
	conn.(*net.TCPConn).Close()
}

// TestNoCredentials says what is missing.
func TestNoCredentials(t *testing.T) {
	for _, name := range []string{"AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY",
		"AWS_PROFILE"} {
		t.Setenv(name, "")
	}
	t.Setenv("AWS_EC2_METADATA_DISABLED", "true")
	t.Setenv("AWS_CONFIG_FILE", "/dev/null")
	t.Setenv("AWS_SHARED_CREDENTIALS_FILE", "/dev/null")
	t.Setenv("AWS_ENDPOINT_URL_LAMBDA", "http://127.0.0.1:1")
	client, err := NewClient(t.Context(), "us-east-1", "")
	if err != nil {
		t.Fatal(err)
	}
	p, err := (&Function{Client: client, Name: "fn"}).Start(t.Context(),
		host.Order{Argv: []string{"true"}}, host.Streams{})
	if err != nil {
		t.Fatal(err)
	}
	if _, err := p.Wait(); err == nil || !strings.Contains(err.Error(), "aws configure") {
		t.Errorf("got %v", err)
	}
}
