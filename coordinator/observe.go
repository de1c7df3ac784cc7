package coordinator

import (
	"context"
	"fmt"
	"log/slog"
	"net/netip"

	"github.com/boxer-sandbox/boxer/transport"
)

// Observe asks the coordinator for the members of the network and their paths, without
// joining. Under a policy it gets those that the bearer of the token would see, and all
// if the token is a status token. It fails as Join does. While it waits, it logs the
// reason to slog.Default.
func Observe(ctx context.Context, url JoinURL) (Snapshot, error) {
	return ObserveAs(ctx, url, "")
}

// ObserveAs is Observe for a node of that name. The token has to admit it.
func ObserveAs(ctx context.Context, url JoinURL, name string) (Snapshot, error) {
	s, err := observe(ctx, url, name)
	if err != nil {
		return s, fmt.Errorf("ask %s: %w", url.Host, err)
	}
	return s, nil
}

func observe(ctx context.Context, url JoinURL, name string) (s Snapshot, err error) {
	socket, err := transport.Listen(netip.AddrPort{})
	if err != nil {
		return s, err
	}
	defer socket.Close()
	identity, err := transport.NewIdentity()
	if err != nil {
		return s, err
	}
	d := dialer{url, socket, identity, newDiagnosis(slog.Default()), nil}
	d.detour = newDetourer(url, socket, identity, slog.Default(), d.diagnosis.probe)
	defer d.detour.close()
	l, err := d.dialWithin(ctx, &hello{Token: url.Token, Name: name, Observe: true}, 0)
	if err != nil {
		return s, err
	}
	defer l.close()
	return Snapshot{Version: l.welcome.Program, Prefix: l.welcome.Prefix,
		Prefix6: l.welcome.Prefix6,
		Started: l.welcome.Started, Members: l.observed}, nil
}
