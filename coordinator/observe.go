package coordinator

import (
	"context"
	"fmt"
	"log/slog"
	"net/netip"

	"github.com/boxer-sandbox/boxer/transport"
)

// Observe asks the coordinator for the members of the network and their paths, without
// joining. It fails as Join does. While it waits, it logs the reason to slog.Default.
func Observe(ctx context.Context, url JoinURL) (Snapshot, error) {
	s, err := observe(ctx, url)
	if err != nil {
		return s, fmt.Errorf("ask %s: %w", url.Host, err)
	}
	return s, nil
}

func observe(ctx context.Context, url JoinURL) (s Snapshot, err error) {
	socket, err := transport.Listen(netip.AddrPort{})
	if err != nil {
		return s, err
	}
	defer socket.Close()
	identity, err := transport.NewIdentity()
	if err != nil {
		return s, err
	}
	d := dialer{url, socket, identity, newDiagnosis(slog.Default())}
	l, err := d.dialWithin(ctx, &hello{Token: url.Token, Observe: true}, 0)
	if err != nil {
		return s, err
	}
	defer l.close()
	return Snapshot{Version: l.welcome.Program, Prefix: l.welcome.Prefix,
		Prefix6: l.welcome.Prefix6,
		Started: l.welcome.Started, Members: l.observed}, nil
}
