package main

import (
	"context"
	"crypto/ed25519"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"slices"
	"strings"
	"sync"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"

	"github.com/boxer-sandbox/boxer/coordinator"
	"github.com/boxer-sandbox/boxer/host/control"
	"github.com/boxer-sandbox/boxer/launcher"
)

// A reach is the way to the supervisors of nodes.
type reach struct {
	join    *pflag.Flag
	log     *slog.Logger
	network network
	members []coordinator.Member
	locals  []launcher.Local

	mu      sync.Mutex
	meeting *launcher.Meeting // nil: nobody was asked over the network yet
	key     ed25519.PrivateKey
}

// A target is a node that a command is for.
type target struct {
	reach  *reach
	member coordinator.Member
	local  *launcher.Local // nil: the node is reached over the network
}

// find finds the nodes with a name or an id. close releases what it takes.
func (r *reach) find(ctx context.Context, name string) ([]target, error) {
	var err error
	if r.log, err = logger(); err != nil {
		return nil, err
	}
	if err := notInside("boxer controls nodes from outside of them"); err != nil {
		return nil, err
	}
	r.network, err = findNetwork(ctx, r.join, nil)
	if errors.Is(err, coordinator.ErrNotRunning) {
		return nil, errNoNetwork
	}
	if err != nil {
		return nil, err
	}
	s, err := coordinator.Observe(ctx, r.network.url)
	if err != nil {
		return nil, err
	}
	r.members = s.Members
	if r.locals, err = launcher.Locals(); err != nil {
		return nil, err
	}
	shown, err := only(s.Members, []string{name})
	if err != nil {
		return nil, fmt.Errorf("%w on the %v; boxer ps shows all", err, r.network)
	}
	targets := make([]target, 0, len(shown))
	for _, m := range shown {
		t := target{reach: r, member: m}
		i := slices.IndexFunc(r.locals, func(l launcher.Local) bool {
			return l.ID == m.ID && l.Name == m.Name &&
				l.Coordinator == r.network.url.Host
		})
		if i >= 0 {
			t.local = &r.locals[i]
		}
		targets = append(targets, t)
	}
	return targets, nil
}

// one is find for a command that is for one node.
func (r *reach) one(ctx context.Context, name string) (target, error) {
	all, err := r.find(ctx, name)
	if err != nil {
		return target{}, err
	}
	if len(all) > 1 {
		var ids []string
		for _, t := range all {
			ids = append(ids, coordinator.OrdinalName(t.member.ID))
		}
		return target{}, fmt.Errorf("%d nodes are called %s: use one of %s", len(all), name,
			strings.Join(ids, ", "))
	}
	return all[0], nil
}

// open connects to the node's supervisor.
func (t target) open(ctx context.Context) (*control.Session, error) {
	conn, err := t.dial(ctx)
	if err != nil {
		return nil, err
	}
	s, err := control.Open(conn, t.reach.key, conn.Binding)
	if err != nil {
		return nil, fmt.Errorf("node %s: %w", t.member.Name, err)
	}
	return s, nil
}

func (t target) dial(ctx context.Context) (*launcher.CommandConn, error) {
	if t.local != nil {
		return t.local.Command()
	}
	r := t.reach
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.meeting == nil {
		var err error
		if r.key, err = control.Key(false); err != nil && !errors.Is(err, fs.ErrNotExist) {
			return nil, err
		}
		if r.meeting, err = launcher.Meet(ctx, launcher.MeetConfig{Join: r.network.url,
			Version: version, Logger: r.log}); err != nil {
			return nil, err
		}
	}
	return r.meeting.Command(ctx, t.member.ID)
}

// close releases everything.
func (r *reach) close() {
	if r.meeting != nil {
		_ = r.meeting.Close()
	}
}

// ownerCommand prints the key of this user.
func ownerCommand() *cobra.Command {
	return &cobra.Command{
		Use:   "owner",
		Short: "Print the public key of this user, who controls nodes that belong to it",
		Long: `Print the public key of this user. Who has the secret key that belongs to it may run
commands in the nodes of boxer run --on and boxer run --owner, read their output and
end them, from any host. The secret key is in ~/.local/state/boxer/owner.key, which
boxer makes when it is needed first; BOXER_OWNER_KEY names another file. Copy the file
to control the nodes from another host.`,
		Example: `  boxer run --owner "$(ssh laptop boxer owner)" --name db -- postgres -D data`,
		Args:    cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			key, err := control.Key(true)
			if err != nil {
				return err
			}
			_, err = fmt.Fprintln(cmd.OutOrStdout(),
				control.FormatOwner(key.Public().(control.Owner)))
			return err
		},
	}
}
