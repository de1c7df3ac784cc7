package launcher

import (
	"context"
	"errors"
	"net/netip"
	"testing"

	"github.com/boxer-sandbox/boxer/transport"
)

// A node under a policy refuses a peer's trial of a direct path: the peer may not know
// the policy yet.
func TestTrialUnderPolicy(t *testing.T) {
	server, url := startServer(t)
	db := joinAs(t, url, "db", nil, (*transport.Stream).Reset)
	db.m.trial = (&directPaths{m: db.m}).acceptTrial
	web := joinAs(t, url, "web", nil, (*transport.Stream).Reset)
	await(t, func() bool { return web.m.client.Count("db") > 0 })
	ctx, cancel := context.WithTimeout(t.Context(), within)
	defer cancel()
	to := db.m.client.Self()
	if err := web.m.node.Connect(ctx, to.ID); err != nil {
		t.Fatal(err)
	}
	trial := func() transport.Status {
		t.Helper()
		s, err := web.m.node.OpenExisting(ctx, to.ID, transport.Header{
			Source:      netip.AddrPortFrom(web.m.client.Self().Addr, 0),
			Destination: netip.AddrPortFrom(to.Addr, 0), DirectTrial: true})
		if err == nil {
			s.Reset()
			return transport.StatusOK
		}
		var refused *transport.StatusError
		if !errors.As(err, &refused) {
			t.Fatal(err)
		}
		return refused.Status
	}
	// Nodes of one host have other ways.
	if got := trial(); got != transport.StatusUnreachable {
		t.Errorf("without a policy: %v, want %v", got, transport.StatusUnreachable)
	}
	if err := server.ApplyPolicy("test", "allow web to db:*"); err != nil {
		t.Fatal(err)
	}
	await(t, db.m.client.Restricted)
	if got := trial(); got != transport.StatusForbidden {
		t.Errorf("under a policy: %v, want %v", got, transport.StatusForbidden)
	}
}
