package coordinator

import (
	"encoding/json"
	"net/http"
	"strings"
	"time"
)

// Handler returns the handler of the HTTP status port:
//
//	GET /healthz   "ok" while the process runs; needs no token
//	GET /readyz    "ok" while the coordinator admits nodes, else 503; needs no token
//	GET /metrics   metrics in Prometheus' text format; needs a status token or the token
//	               of the printed join URL, as /status does
//	GET /status    the Snapshot as JSON, without secrets; needs the header
//	               Authorization: Bearer TOKEN (RFC 6750) with a valid token: that of a
//	               join URL, or a status token
func (s *Server) Handler() http.Handler {
	mux := http.NewServeMux()
	mux.HandleFunc("GET /healthz", func(w http.ResponseWriter, _ *http.Request) {
		_, _ = w.Write([]byte("ok\n"))
	})
	mux.HandleFunc("GET /status", func(w http.ResponseWriter, r *http.Request) {
		g, ok := s.bearer(w, r)
		if !ok {
			return
		}
		w.Header().Set("Content-Type", "application/json")
		w.Header().Set("Cache-Control", "no-store")
		e := json.NewEncoder(w)
		e.SetIndent("", "  ")
		snap := s.Snapshot()
		snap.Members = s.members.snapshotFor(g, "")
		_ = e.Encode(snap) // an error means that the reader has gone
	})
	mux.HandleFunc("GET /readyz", s.serveReady)
	mux.HandleFunc("GET /metrics", s.serveMetrics)
	return mux
}

// bearer returns what the token of a request gives (RFC 6750), or refuses the request.
func (s *Server) bearer(w http.ResponseWriter, r *http.Request) (g grant, ok bool) {
	secret, ok := strings.CutPrefix(r.Header.Get("Authorization"), "Bearer ")
	g, err := s.cfg.State.admits(secret, time.Now())
	if !ok || err != nil {
		w.Header().Set("WWW-Authenticate", `Bearer realm="boxer"`)
		http.Error(w, "send the token of a valid join URL in the header Authorization: Bearer TOKEN", http.StatusUnauthorized)
		return g, false
	}
	return g, true
}
