package coordinator

import (
	"errors"
	"fmt"
	"net/http"
	"sync/atomic"

	"github.com/VictoriaMetrics/metrics"
)

// serverMetrics are what GET /metrics shows. No label has a value that nodes or strangers
// choose, so that nobody can make them many.
type serverMetrics struct {
	set *metrics.Set

	joins, rejoins, leaves, evictions *metrics.Counter
	signals, signalsRefused           *metrics.Counter
}

// newMetrics makes the metrics of a server.
func newMetrics(s *Server) *serverMetrics {
	m := &serverMetrics{set: metrics.NewSet()}
	counter := func(name string) *metrics.Counter { return m.set.NewCounter(name) }
	m.joins = counter(`boxer_coordinator_joins_total{kind="new"}`)
	m.rejoins = counter(`boxer_coordinator_joins_total{kind="back"}`)
	m.leaves = counter("boxer_coordinator_leaves_total")
	m.evictions = counter("boxer_coordinator_evictions_total")
	m.signals = counter("boxer_coordinator_signals_total")
	m.signalsRefused = counter("boxer_coordinator_signals_refused_total")
	gauge := func(name string, f func() float64) { m.set.NewGauge(name, f) }
	gauge("boxer_coordinator_members", func() float64 { return float64(s.members.size()) })
	gauge("boxer_coordinator_uptime_seconds", func() float64 { return s.uptime().Seconds() })
	gauge("boxer_coordinator_tls_tunnels", func() float64 {
		if s.tunnels == nil {
			return 0
		}
		return float64(s.tunnels.Count())
	})
	for _, kind := range []string{"local", "lan", "punched", "relayed"} {
		gauge(fmt.Sprintf("boxer_coordinator_paths{kind=%q}", kind),
			func() float64 { return float64(s.members.paths(kind)) })
	}
	for name, v := range map[string]*atomic.Uint64{"packets": &s.relays.packets,
		"bytes": &s.relays.bytes, "dropped_packets": &s.relays.dropped} {
		gauge("boxer_coordinator_relay_"+name+"_total",
			func() float64 { return float64(v.Load()) })
	}
	gauge(fmt.Sprintf("boxer_coordinator_info{version=%q}", s.cfg.Version),
		func() float64 { return 1 })
	return m
}

// refusalNames are the values of the label of boxer_coordinator_refusals_total.
var refusalNames = map[error]string{ErrToken: "token", ErrExpired: "expired", ErrName: "name",
	ErrFull: "full", ErrBusy: "busy", ErrProtocol: "protocol", ErrEvicted: "evicted",
	ErrReplaced: "replaced"}

// refused counts the refusal of a node or an observer, if err is one.
func (m *serverMetrics) refused(err error) {
	r, ok := errors.AsType[*refusal](err)
	if !ok {
		return
	}
	name, ok := refusalNames[r.Unwrap()]
	if !ok {
		name = "other"
	}
	m.set.GetOrCreateCounter(
		fmt.Sprintf("boxer_coordinator_refusals_total{reason=%q}", name)).Inc()
}

// paths returns the number of paths of a kind that nodes have reported. Both ends of a
// path report it.
func (r *membership) paths(kind string) (n int) {
	r.mu.Lock()
	defer r.mu.Unlock()
	for _, e := range r.byID {
		for i := range e.Paths {
			if e.Paths[i].Kind == kind {
				n++
			}
		}
	}
	return n
}

// serveMetrics answers GET /metrics in Prometheus' text format, to the bearers of a
// status token or of a default token.
func (s *Server) serveMetrics(w http.ResponseWriter, r *http.Request) {
	if g, ok := s.bearer(w, r); ok {
		if !g.status && g.id != "" {
			http.Error(w, "the token admits nodes; create a status token: boxer coordinator token create NAME --status",
				http.StatusForbidden)
			return
		}
		w.Header().Set("Content-Type", "text/plain; version=0.0.4; charset=utf-8")
		s.metrics.set.WritePrometheus(w)
	}
}

// serveReady answers GET /readyz: 200 if the coordinator admits nodes.
func (s *Server) serveReady(w http.ResponseWriter, _ *http.Request) {
	if !s.ready.Load() {
		http.Error(w, "the coordinator does not serve yet, or is stopping",
			http.StatusServiceUnavailable)
		return
	}
	_, _ = w.Write([]byte("ok\n"))
}
