package main

import (
	"context"
	"encoding/json"
	"fmt"
	"time"

	"github.com/boxer-sandbox/boxer/internal/proctest"
)

// A status is what "boxer status --json" prints, as far as the demo reads it.
type status struct {
	Members []member `json:"members"`
}

type member struct {
	ID    uint32       `json:"id"`
	Name  string       `json:"name"`
	Paths []statusPath `json:"paths"`
}

type statusPath struct {
	Peer   uint32 `json:"peer"`
	Kind   string `json:"kind"`
	Remote string `json:"remote"`
	RTT    int64  `json:"rtt_us"`
}

// A path is the way between the client and the database.
type path struct {
	kind           string
	clientAt, dbAt string // as the other one sees them
	rtt            time.Duration
}

// String describes the path. It omits a round trip that was not measured.
func (p *path) String() string {
	text := fmt.Sprintf("%s, %s <-> %s", p.kind, p.clientAt, p.dbAt)
	if p.rtt > 0 {
		text += fmt.Sprintf(", round trip %v", p.rtt)
	}
	return text
}

// askEvery is how often the demo runs boxer status: nodes report from time to time.
const askEvery = 250 * time.Millisecond

// findPath runs boxer status until both client and db have reported the path between
// them. It returns nil if the client's program ends before that.
func (c *cloud) findPath(ctx context.Context, ended <-chan struct{}) (*path, error) {
	tick := time.NewTicker(askEvery)
	defer tick.Stop()
	for {
		select {
		case <-tick.C:
		case <-ended:
			return nil, nil
		case <-ctx.Done():
			return nil, context.Cause(ctx)
		}
		out, err := outputOf(ctx, "boxer status",
			c.boxer(ctx, c.public, "status", "--json"))
		if err != nil {
			return nil, err
		}
		var s status
		if err := json.Unmarshal([]byte(out), &s); err != nil {
			return nil, fmt.Errorf("boxer status: %w: %s", err, proctest.Tail(out))
		}
		if p := s.path("client", "db"); p != nil {
			return p, nil
		}
	}
}

// path returns the path between two nodes, or nil unless both report it with the same
// kind.
func (s *status) path(client, db string) *path {
	for _, m := range s.Members {
		for _, out := range m.Paths {
			far, back := s.back(out.Peer, m.ID)
			if m.Name == client && far == db && back != nil && back.Kind == out.Kind {
				return &path{out.Kind, back.Remote, out.Remote,
					time.Duration(out.RTT) * time.Microsecond}
			}
		}
	}
	return nil
}

// back returns the name of node id, and its path to another.
func (s *status) back(id, to uint32) (name string, p *statusPath) {
	for _, m := range s.Members {
		if m.ID != id {
			continue
		}
		for i := range m.Paths {
			if m.Paths[i].Peer == to {
				return m.Name, &m.Paths[i]
			}
		}
	}
	return "", nil
}
