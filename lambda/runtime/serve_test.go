package runtime

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"os"
	"os/signal"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/boxer-sandbox/boxer/host"
)

// TestMain is the tests, and in a process of theirs boxer run.
func TestMain(m *testing.M) {
	if len(os.Args) > 1 && os.Args[1] == "run" {
		os.Exit(fakeRun(os.Args[2:]))
	}
	os.Exit(m.Run())
}

// fakeRun is boxer run as far as a runtime sees it: it does what the program's name says.
func fakeRun(args []string) int {
	for len(args) > 0 && args[0] != "--" {
		fmt.Fprintln(os.Stderr, "flag", args[0])
		args = args[1:]
	}
	switch args[1] {
	case "environment":
		fmt.Println(os.Getenv("BOXER_JOIN"), os.Getenv("A"),
			os.Getenv("AWS_LAMBDA_RUNTIME_API"))
	case "status":
		return 7
	case "killed":
		unix.Kill(os.Getpid(), unix.SIGKILL)
	case "obedient":
		c := make(chan os.Signal, 1)
		signal.Notify(c, unix.SIGTERM)
		fmt.Println("ready")
		<-c
		fmt.Println("terminated")
		return 3
	case "stubborn":
		signal.Ignore(unix.SIGTERM)
		fmt.Println("ready")
		time.Sleep(time.Minute)
	}
	return 0
}

// A fakeAPI is the Runtime API: it gives one event, and then none.
type fakeAPI struct {
	event    string
	deadline time.Duration

	given    bool
	response bytes.Buffer
	failure  string
	done     chan struct{} // closed at the second request for an invocation
	extended bool
}

// ServeHTTP implements http.Handler.
func (f *fakeAPI) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	switch {
	case strings.HasSuffix(r.URL.Path, "/extension/register"):
		f.extended = true
		w.Header().Set("Lambda-Extension-Identifier", "x")
	case strings.HasSuffix(r.URL.Path, "/event/next"):
		<-r.Context().Done()
	case strings.HasSuffix(r.URL.Path, "/invocation/next"):
		if f.given {
			close(f.done)
			<-r.Context().Done()
			return
		}
		f.given = true
		w.Header().Set("Lambda-Runtime-Aws-Request-Id", "id")
		w.Header().Set("Lambda-Runtime-Deadline-Ms",
			fmt.Sprint(time.Now().Add(f.deadline).UnixMilli()))
		io.WriteString(w, f.event)
	case strings.HasSuffix(r.URL.Path, "/id/response"):
		io.Copy(&f.response, r.Body)
		w.WriteHeader(http.StatusAccepted)
	case strings.HasSuffix(r.URL.Path, "/id/error"):
		b, _ := io.ReadAll(r.Body)
		f.failure = string(b)
		w.WriteHeader(http.StatusAccepted)
	default:
		http.NotFound(w, r)
	}
}

// serve serves one event and returns what the API has got.
func serve(t *testing.T, event string, deadline time.Duration, c Config) *fakeAPI {
	t.Helper()
	api := &fakeAPI{event: event, deadline: deadline, done: make(chan struct{})}
	server := httptest.NewServer(api)
	c.API = strings.TrimPrefix(server.URL, "http://")
	c.Boxer, _ = os.Executable()
	c.Logger = slog.New(slog.DiscardHandler)
	c.Environ = append(c.Environ, "PATH=/usr/bin:/bin")
	if testing.CoverMode() != "" { // or this binary warns when it runs as boxer
		c.Environ = append(c.Environ, "GOCOVERDIR="+t.TempDir())
	}
	ctx, stop := context.WithCancel(t.Context())
	ended := make(chan error, 1)
	go func() { ended <- Serve(ctx, c) }()
	<-api.done
	stop()
	if err := <-ended; err != nil {
		t.Error(err)
	}
	server.CloseClientConnections()
	server.Close()
	if !api.extended {
		t.Error("no extension is registered")
	}
	return api
}

func TestServe(t *testing.T) {
	order := func(argv string, more ...string) string {
		return fmt.Sprintf(`{"version":1,"argv":[%q],"join":"boxer://x"%s}`, argv, strings.Join(more, ""))
	}
	for _, tc := range []struct {
		name, event string
		deadline    time.Duration
		want        host.Report
	}{
		{"status", order("status"), time.Minute,
			host.Report{Result: host.Result{Code: 7}}},
		{"environment", order("environment", `,"env":["A=b"],"node":{"name":"n"}`), time.Minute,
			host.Report{Stdout: "boxer://x b \n", Stderr: "flag --name=n\n"}},
		{"killed", order("killed"), time.Minute,
			host.Report{Result: host.Result{Code: 137, Error: "boxer run was killed: killed"}}},
		{"deadline", order("obedient", `,"grace":"5s"`), 6 * time.Second,
			host.Report{Result: host.Result{Code: 3, Error: "the function's time limit is reached"},
				Stdout: "ready\nterminated\n"}},
		{"grace", order("stubborn", `,"grace":"1ms"`), time.Second,
			host.Report{Result: host.Result{Code: 137,
				Error: "the function's time limit is reached"},
				Stdout: "ready\n"}},
	} {
		t.Run(tc.name, func(t *testing.T) {
			api := serve(t, tc.event, tc.deadline, Config{})
			var got host.Report
			want := tc.want
			want.Stderr = "flag --keep-output\n" + want.Stderr
			if err := json.Unmarshal(api.response.Bytes(), &got); err != nil ||
				got != want {
				t.Errorf("got %s, %v, %s, want %+v", &api.response, err, api.failure, want)
			}
		})
	}
}

func TestServeRefuses(t *testing.T) {
	secret := func(_ context.Context, s host.Secret) (string, error) {
		if s.Store != host.StoreSSM || s.Name != "/join" {
			return "", fmt.Errorf("AccessDeniedException: not %v", s)
		}
		return "boxer://secret", nil
	}
	for _, tc := range []struct{ event, want string }{
		{`{}`, "no program"},
		{`{"version":1,"argv":["status"]}`, "no network"},
		{`{"version":1,"argv":["status"],"join":"ssm:/other"}`, "AccessDeniedException"},
	} {
		api := serve(t, tc.event, time.Minute, Config{Secret: secret})
		if !strings.Contains(api.failure, tc.want) || api.response.Len() > 0 {
			t.Errorf("%s: %s, want %q", tc.event, api.failure, tc.want)
		}
	}
	api := serve(t, `{"version":1,"argv":["environment"],"join":"ssm:/join"}`, time.Minute,
		Config{Secret: secret})
	if !strings.Contains(api.response.String(), "boxer://secret") {
		t.Errorf("got %s, %s", &api.response, api.failure)
	}
}

func TestReadSecret(t *testing.T) {
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		b, _ := io.ReadAll(r.Body)
		switch {
		case !strings.HasPrefix(r.Header.Get("Authorization"),
			"AWS4-HMAC-SHA256 Credential=id/"):
			w.WriteHeader(http.StatusForbidden)
		case r.Header.Get("X-Amz-Target") == "AmazonSSM.GetParameter" && strings.Contains(string(b), `"/join"`):
			io.WriteString(w, `{"Parameter":{"Value":"boxer://ssm\n"}}`)
		case r.Header.Get("X-Amz-Target") == "secretsmanager.GetSecretValue":
			io.WriteString(w, `{"SecretString":"boxer://manager"}`)
		default:
			w.WriteHeader(http.StatusBadRequest)
			io.WriteString(w, `{"__type":"com.amazonaws#ParameterNotFound","message":"none"}`)
		}
	}))
	defer server.Close()
	t.Setenv("AWS_REGION", "eu-central-1")
	t.Setenv("AWS_ENDPOINT_URL", server.URL)
	t.Setenv("AWS_ACCESS_KEY_ID", "")
	if _, err := ReadSecret(t.Context(), host.ParseSecret("ssm:/join")); err == nil ||
		!strings.Contains(err.Error(), "no credentials") {
		t.Errorf("without credentials: %v", err)
	}
	t.Setenv("AWS_ACCESS_KEY_ID", "id")
	t.Setenv("AWS_SECRET_ACCESS_KEY", "secret")
	for from, want := range map[string]string{"ssm:/join": "boxer://ssm",
		"secretsmanager:x": "boxer://manager", "boxer://itself": "boxer://itself"} {
		if got, err := ReadSecret(t.Context(), host.ParseSecret(from)); got != want ||
			err != nil {
			t.Errorf("%s: %q, %v", from, got, err)
		}
	}
	if _, err := ReadSecret(t.Context(), host.ParseSecret("ssm:/none")); err == nil ||
		err.Error() != "ParameterNotFound: none" {
		t.Errorf("got %v", err)
	}
}
