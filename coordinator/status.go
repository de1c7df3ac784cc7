package coordinator

import (
	"encoding/json"
	"net/http"
	"strings"
	"time"
)

// Handler returns the handler of the HTTP status port:
//
//	GET /healthz   "ok", for load balancers; needs no token
//	GET /status    the Snapshot as JSON, without secrets; needs the header
//	               Authorization: Bearer TOKEN (RFC 6750) with a valid token: that of a
//	               join URL, or a status token
func (s *Server) Handler() http.Handler {
	mux := http.NewServeMux()
	mux.HandleFunc("GET /healthz", func(w http.ResponseWriter, _ *http.Request) {
		_, _ = w.Write([]byte("ok\n"))
	})
	mux.HandleFunc("GET /status", func(w http.ResponseWriter, r *http.Request) {
		secret, ok := strings.CutPrefix(r.Header.Get("Authorization"), "Bearer ")
		g, err := s.cfg.State.admits(secret, time.Now())
		if !ok || err != nil {
			w.Header().Set("WWW-Authenticate", `Bearer realm="boxer"`)
			http.Error(w, "send the token of a valid join URL in the header Authorization: Bearer TOKEN", http.StatusUnauthorized)
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
	return mux
}
