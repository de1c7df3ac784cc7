package coordinator

import (
	"net/http"
	"net/http/httptest"
	"regexp"
	"slices"
	"strings"
	"testing"
)

// metricLine matches a sample of Prometheus' text format.
var metricLine = regexp.MustCompile(`^[a-z_]+(\{[a-z]+="[^"\\]*"\})? [0-9.e+]+$`)

func TestMetrics(t *testing.T) {
	virtualTime(t, func(t *testing.T) {
		l := newLab(t, ServerConfig{Version: "v1"})
		get := func(path, token string) (int, string) {
			t.Helper()
			r := httptest.NewRequest(http.MethodGet, path, nil)
			if token != "" {
				r.Header.Set("Authorization", "Bearer "+token)
			}
			w := httptest.NewRecorder()
			l.Handler().ServeHTTP(w, r)
			return w.Code, w.Body.String()
		}
		u := l.url(t)
		a, b := mustEnter(t, u, "a"), mustEnter(t, u, "b")
		if err := a.Signal(t.Context(), b.Self().ID, []byte("x")); err != nil {
			t.Fatal(err)
		}
		bad := u
		bad.Token = "x"
		refused(t, bad, "c", ErrToken, "")
		a.Report([]PathReport{{Peer: 2, Kind: "punched"}}, About{})
		eventually(t, "the report", func() bool { return l.members.paths("punched") == 1 })
		if code, _ := get("/metrics", ""); code != http.StatusUnauthorized {
			t.Errorf("without a token: %d", code)
		}
		if code, _ := get("/metrics", l.token(t, TokenInfo{Name: "nodes"}).Token); code != http.StatusForbidden {
			t.Errorf("with a token for nodes: %d", code)
		}
		code, text := get("/metrics", l.token(t, TokenInfo{Name: "p", Status: true}).Token)
		if code != http.StatusOK {
			t.Fatalf("with a status token: %d", code)
		}
		lines := strings.Split(strings.TrimSpace(text), "\n")
		for _, line := range lines {
			if !metricLine.MatchString(line) {
				t.Errorf("%q is not a sample", line)
			}
		}
		for _, want := range []string{`boxer_coordinator_members 2`,
			`boxer_coordinator_joins_total{kind="new"} 2`,
			`boxer_coordinator_refusals_total{reason="token"} 1`,
			`boxer_coordinator_signals_total 1`,
			`boxer_coordinator_paths{kind="punched"} 1`,
			`boxer_coordinator_info{version="v1"} 1`} {
			if !slices.Contains(lines, want) {
				t.Errorf("no %q in\n%s", want, text)
			}
		}
		if code, _ := get("/readyz", ""); code != http.StatusOK {
			t.Errorf("ready: %d", code)
		}
		l.stop()
		if code, _ := get("/readyz", ""); code != http.StatusServiceUnavailable {
			t.Errorf("stopped, and ready: %d", code)
		}
	})
}
