package main

import (
	"context"
	"fmt"
	"io"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/boxer-sandbox/boxer/coordinator"
)

// psFlags are the flags of boxer ps.
type psFlags struct {
	status statusFlags
	all    bool
}

func psCommand() *cobra.Command {
	var f psFlags
	cmd := &cobra.Command{
		Use:   "ps [flags] [NODE...]",
		Short: "Show the programs of the network, where they run, and what they cost",
		Long: `Show the programs of the network: which node they are, where they run, their state,
for how long they have run, and about what that has cost. The states are:

  up        the node's name leads to it
  starting  it does not yet, see --ready-when of boxer run
  asleep    its environment is frozen, such as a function's between two invocations
  silent    the node does not answer

The cost of functions of AWS Lambda is that of us-east-1 without discounts, by the time
since the node has joined.`,
		Example: `  boxer ps
  boxer ps --join @join.url --json`,
		ValidArgsFunction: completeNodes,
		RunE: func(cmd *cobra.Command, args []string) error {
			if _, err := logger(); err != nil {
				return err
			}
			return f.print(cmd.Context(), cmd.OutOrStdout(), args)
		},
	}
	f.status.join = joinFlag(cmd)
	cmd.Flags().BoolVar(&f.status.asJSON, "json", false, "print JSON")
	cmd.Flags().BoolVarP(&f.all, "all", "a", false, "show nodes without a program, too, such as launchers")
	return cmd
}

// A psRow is what boxer ps shows of a node. Scripts rely on its names in JSON.
type psRow struct {
	ID      uint32    `json:"id"`
	Name    string    `json:"name"`
	State   string    `json:"state"`
	Place   string    `json:"place"` // "here", "host" or the host's name
	Program string    `json:"program"`
	Since   time.Time `json:"since"`
	Seconds float64   `json:"seconds"` // since then
	Dollars float64   `json:"dollars,omitempty"`
	Address string    `json:"address"`
	Ports   []uint16  `json:"ports,omitempty"`

	listens string // as boxer status shows it
}

func (f *psFlags) print(ctx context.Context, w io.Writer, nodes []string) error {
	v, err := f.status.look(ctx)
	if err != nil {
		return err
	}
	shown, err := only(v.snap.Members, nodes)
	if err != nil {
		return fmt.Errorf("%w on the %s", err, v.network)
	}
	rows := []psRow{}
	for _, m := range shown {
		if m.About != nil && m.About.Command != "" || f.all || len(nodes) > 0 {
			rows = append(rows, psRowOf(m, time.Now()))
		}
	}
	if f.status.asJSON {
		return printJSON(w, rows)
	}
	t := table{strings.Fields("NODE NAME STATE PLACE PROGRAM UP COST ADDRESS LISTENS")}
	for _, r := range rows {
		cost := "-"
		if r.Dollars > 0 {
			cost = fmt.Sprintf("$%.5f", r.Dollars)
		}
		up := time.Duration(r.Seconds * float64(time.Second)).Truncate(time.Second)
		t = append(t, []string{strconv.FormatUint(uint64(r.ID), 10), r.Name, r.State, r.Place,
			orDash(r.Program), up.String(), cost, r.Address, orDash(r.listens)})
	}
	return t.write(w)
}

func psRowOf(m coordinator.Member, now time.Time) psRow {
	r := psRow{listens: ports(m), ID: m.ID, Name: m.Name, State: presenceOf(m), Place: "host", Since: m.Since,
		Seconds: max(0, now.Sub(m.Since).Seconds()), Address: m.Addr.String()}
	if a := m.About; a != nil {
		r.Program, r.Ports = a.Command, slices.Clone(a.Ports)
		if a.Place != "" {
			r.Place = a.Place
		}
		r.Dollars = costOf(*a, r.Seconds)
	}
	return r
}

func presenceOf(m coordinator.Member) string {
	switch {
	case m.Asleep:
		return "asleep"
	case m.Unresponsive:
		return "silent"
	case m.Unlisted:
		return "starting"
	}
	return "up"
}

// The prices of AWS Lambda in us-east-1, in dollars, as AWS publishes them for the first
// tier: of a GB for a second, by the architecture, and of a request. Other regions, tiers
// and savings plans have other prices.
const (
	priceAMD64   = 0.0000166667
	priceARM64   = 0.0000133334
	priceRequest = 0.0000002
)

// costOf returns about what a node has cost, in dollars; 0: unknown.
func costOf(a coordinator.About, seconds float64) float64 {
	if !strings.HasPrefix(a.Place, "lambda:") || a.Memory == 0 {
		return 0
	}
	price := priceAMD64
	if a.Arch == "arm64" {
		price = priceARM64
	}
	return price*float64(a.Memory)/1024*seconds + priceRequest
}
