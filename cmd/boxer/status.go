package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net/netip"
	"os"
	"slices"
	"strconv"
	"time"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"
	"golang.org/x/sys/unix"

	"github.com/boxer-sandbox/boxer/coordinator"
	"github.com/boxer-sandbox/boxer/launcher"
)

// statusFlags are the flags of boxer status.
type statusFlags struct {
	join   *pflag.Flag
	asJSON bool
	watch  time.Duration
}

// minWatch bounds --watch: each status takes a connection to the coordinator.
const minWatch = 100 * time.Millisecond

func statusCommand() *cobra.Command {
	var f statusFlags
	cmd := &cobra.Command{
		Use:   "status [flags] [NODE...]",
		Short: "Show the nodes of the network, their addresses and paths",
		Long: `Show the nodes of the network, their addresses, and their paths to each other. With
NODE, a name or an id, show only these nodes and their paths.

Inside "boxer run", status shows the network of that node and marks the node's id
with *. Nodes with the same letter under HOST share a machine and a network
namespace. Kinds of paths: same host, lan, punched (through NATs), relayed (by the
coordinator).`,
		Example: `  boxer status
  boxer status db worker
  boxer status --watch
  boxer status --join @join.url --json`,
		ValidArgsFunction: completeNodes,
		RunE: func(cmd *cobra.Command, args []string) error {
			if _, err := logger(); err != nil {
				return err
			}
			if cmd.Flags().Changed("watch") && f.watch < minWatch {
				return fmt.Errorf("--watch %v: it must be %v or more", f.watch, minWatch)
			}
			if f.watch > 0 {
				return f.follow(cmd.Context(), cmd.OutOrStdout(), args)
			}
			return f.print(cmd.Context(), cmd.OutOrStdout(), args)
		},
	}
	f.join = joinFlag(cmd)
	cmd.Flags().BoolVar(&f.asJSON, "json", false, "print JSON")
	cmd.Flags().DurationVarP(&f.watch, "watch", "w", 0, "repeat every `INTERVAL` "+
		"until ctrl-C (2s without a value)")
	cmd.Flags().Lookup("watch").NoOptDefVal = "2s"
	return cmd
}

// A view is a network at one moment, as this process sees it.
type view struct {
	network string // which one it is
	self    uint32 // this process's node; 0: it is in no node
	snap    coordinator.Snapshot
}

// look finds the network and asks its coordinator.
func (f *statusFlags) look(ctx context.Context) (v view, err error) {
	if !f.join.Changed {
		if e := launcher.FindEnclosing(); e != nil {
			s, err := e.Status(ctx)
			return view{"network of coordinator " + s.Coordinator + ", of node " + e.Name,
				s.Self, s.Snapshot}, err
		}
	}
	n, err := findNetwork(ctx, f.join, nil)
	if errors.Is(err, coordinator.ErrNotRunning) {
		return v, errNoNetwork
	}
	if err != nil {
		return v, err
	}
	v.network = n.String()
	v.snap, err = coordinator.Observe(ctx, n.url)
	return v, err
}

func (f *statusFlags) print(ctx context.Context, w io.Writer, nodes []string) error {
	v, err := f.look(ctx)
	if err != nil {
		return err
	}
	shown, err := only(v.snap.Members, nodes)
	if err != nil {
		return fmt.Errorf("%w on the %s", err, v.network)
	}
	if f.asJSON {
		return printStatusJSON(w, v, shown)
	}
	return printStatus(w, v, shown)
}

// follow prints the status each interval until ctx ends. On a terminal each replaces the
// one before. What cannot be seen at the moment, may be the next time.
func (f *statusFlags) follow(ctx context.Context, w io.Writer, nodes []string) error {
	clear := ""
	if isTerminal(w) && !f.asJSON {
		clear = "\x1b[H\x1b[2J" // ECMA-48: cursor home, erase
	}
	t := time.NewTicker(f.watch)
	defer t.Stop()
	for {
		var b bytes.Buffer
		err := f.print(ctx, &b, nodes)
		if ctx.Err() != nil {
			return nil // ctrl-C is how it ends
		}
		if err != nil {
			fmt.Fprintln(&b, "boxer:", err)
		}
		if clear == "" && !f.asJSON {
			fmt.Fprintln(&b)
		}
		if _, err := fmt.Fprint(w, clear, b.String()); err != nil {
			return err
		}
		select {
		case <-t.C:
		case <-ctx.Done():
			return nil
		}
	}
}

func isTerminal(w io.Writer) bool {
	f, ok := w.(*os.File)
	if !ok {
		return false
	}
	_, err := unix.IoctlGetTermios(int(f.Fd()), unix.TCGETS)
	return err == nil
}

// only returns the members with the given names and ids; all members if there are none.
func only(members []coordinator.Member, nodes []string) ([]coordinator.Member, error) {
	if len(nodes) == 0 {
		return members, nil
	}
	for _, node := range nodes {
		if !slices.ContainsFunc(members,
			func(m coordinator.Member) bool { return isCalled(m, node) }) {
			return nil, fmt.Errorf("no node %q", node)
		}
	}
	return slices.DeleteFunc(slices.Clone(members), func(m coordinator.Member) bool {
		return !slices.ContainsFunc(nodes,
			func(node string) bool { return isCalled(m, node) })
	}), nil
}

// isCalled reports whether a node's name, id or address is s.
func isCalled(m coordinator.Member, s string) bool {
	return s == m.Name || s == strconv.FormatUint(uint64(m.ID), 10) ||
		s == coordinator.OrdinalName(m.ID) || s == m.Addr.String()
}

// The JSON of boxer status: scripts rely on these names.
type (
	statusJSON struct {
		Network string       `json:"network"`
		Version string       `json:"version"` // of the coordinator's program
		Prefix  netip.Prefix `json:"prefix"`
		// not there: the nodes have no IPv6 addresses
		Prefix6 netip.Prefix `json:"prefix6,omitzero"`
		Started time.Time    `json:"started"`
		// the node that boxer status runs in
		Self    uint32         `json:"self,omitempty"`
		Members []statusMember `json:"members"`
	}
	statusMember struct {
		Token string     `json:"token,omitempty"` // name of the node's token
		Tags  []string   `json:"tags,omitempty"`
		Over  string     `json:"over,omitempty"` // tls: no UDP gets through
		ID    uint32     `json:"id"`
		Name  string     `json:"name"`
		Addr  netip.Addr `json:"addr"`
		Addr6 netip.Addr `json:"addr6,omitzero"`
		Since time.Time  `json:"since"`
		Host  string     `json:"host"` // equal for nodes on one host

		Command string `json:"command,omitempty"` // the program that it runs
		// TCP ports that the program listens on
		Ports []uint16 `json:"ports,omitempty"`

		// version of the node's boxer; not there: not known
		Program string `json:"program,omitempty"`

		Paths []statusPath `json:"paths"`
	}
	statusPath struct {
		Peer          uint32         `json:"peer"`
		Kind          string         `json:"kind"`
		Remote        netip.AddrPort `json:"remote"`
		RTT           int64          `json:"rtt_us"`
		BytesSent     uint64         `json:"bytes_sent"`
		BytesReceived uint64         `json:"bytes_received"`
		Direct        bool           `json:"direct,omitempty"` // see DataPathDirect
	}
)

func printStatusJSON(w io.Writer, v view, shown []coordinator.Member) error {
	s := statusJSON{Network: v.network, Version: v.snap.Version, Prefix: v.snap.Prefix,
		Prefix6: v.snap.Prefix6,
		Started: v.snap.Started, Self: v.self, Members: []statusMember{}}
	for _, m := range shown {
		sm := statusMember{ID: m.ID, Name: m.Name, Addr: m.Addr, Addr6: m.Addr6,
			Since: m.Since, Host: m.Host, Program: m.Program, Token: m.Token, Tags: m.Tags,
			Over: m.Over, Paths: []statusPath{}}
		if m.About != nil {
			sm.Command, sm.Ports = m.About.Command, m.About.Ports
		}
		for _, p := range m.Paths {
			sm.Paths = append(sm.Paths, statusPath{p.Peer, p.Kind, p.Remote,
				p.RTT.Microseconds(), p.BytesSent, p.BytesReceived, p.Direct})
		}
		s.Members = append(s.Members, sm)
	}
	return printJSON(w, s)
}
