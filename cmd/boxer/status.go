package main

import (
	"fmt"
	"io"
	"net/netip"
	"text/tabwriter"
	"time"

	"github.com/spf13/cobra"

	"github.com/boxer-sandbox/boxer/coordinator"
)

// The JSON of boxer status: scripts rely on these names.
type (
	statusJSON struct {
		Version string         `json:"version"`
		Prefix  netip.Prefix   `json:"prefix"`
		Prefix6 netip.Prefix   `json:"prefix6,omitzero"` // not there: the nodes have no IPv6 addresses
		Started time.Time      `json:"started"`
		Members []statusMember `json:"members"`
	}
	statusMember struct {
		ID    uint32       `json:"id"`
		Name  string       `json:"name"`
		Addr  netip.Addr   `json:"addr"`
		Addr6 netip.Addr   `json:"addr6,omitzero"`
		Since time.Time    `json:"since"`
		Paths []statusPath `json:"paths"`
	}
	statusPath struct {
		Peer          uint32         `json:"peer"`
		Kind          string         `json:"kind"`
		Remote        netip.AddrPort `json:"remote"`
		RTT           int64          `json:"rtt_us"`
		BytesSent     uint64         `json:"bytes_sent"`
		BytesReceived uint64         `json:"bytes_received"`
	}
)

func statusCommand() *cobra.Command {
	var url string
	var asJSON bool
	cmd := &cobra.Command{
		Use:   "status",
		Short: "Show the nodes of the network, their addresses and paths",
		Example: `  boxer status
  boxer status --join "$(cat join.url)" --json`,
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			u, err := joinURL(cmd.Context(), url)
			if err != nil {
				return err
			}
			snap, err := coordinator.Observe(cmd.Context(), u)
			if err != nil {
				return err
			}
			if asJSON {
				return printStatusJSON(cmd.OutOrStdout(), snap)
			}
			return printStatus(cmd.OutOrStdout(), snap)
		},
	}
	joinFlag(cmd, &url)
	cmd.Flags().BoolVar(&asJSON, "json", false, "print JSON")
	return cmd
}

func printStatusJSON(w io.Writer, snap coordinator.Snapshot) error {
	s := statusJSON{Version: snap.Version, Prefix: snap.Prefix, Prefix6: snap.Prefix6, Started: snap.Started, Members: []statusMember{}}
	for _, m := range snap.Members {
		sm := statusMember{ID: m.ID, Name: m.Name, Addr: m.Addr, Addr6: m.Addr6, Since: m.Since, Paths: []statusPath{}}
		for _, p := range m.Paths {
			sm.Paths = append(sm.Paths, statusPath{p.Peer, p.Kind, p.Remote, p.RTT.Microseconds(), p.BytesSent, p.BytesReceived})
		}
		s.Members = append(s.Members, sm)
	}
	return printJSON(w, s)
}

func printStatus(w io.Writer, snap coordinator.Snapshot) error {
	if len(snap.Members) == 0 {
		_, err := fmt.Fprintf(w, "no nodes on %v\n", snap.Prefix)
		return err
	}
	names := make(map[uint32]string)
	for _, m := range snap.Members {
		names[m.ID] = m.Name
	}
	t := tabwriter.NewWriter(w, 0, 0, 2, ' ', 0)
	fmt.Fprintln(t, "NODE\tNAME\tADDRESS\tIPV6\tUP\tPATH TO\tKIND\tREMOTE\tRTT\tSENT\tRECEIVED")
	for _, m := range snap.Members {
		six := "-"
		if m.Addr6.IsValid() {
			six = m.Addr6.String()
		}
		fmt.Fprintf(t, "%d\t%s\t%v\t%s\t%v", m.ID, m.Name, m.Addr, six, time.Since(m.Since).Truncate(time.Second))
		for i, p := range m.Paths {
			if i > 0 {
				fmt.Fprint(t, "\n\t\t\t\t")
			}
			peer := names[p.Peer]
			if peer == "" {
				peer = coordinator.OrdinalName(p.Peer)
			}
			fmt.Fprintf(t, "\t%s\t%s\t%v\t%v\t%s\t%s", peer, p.Kind, p.Remote,
				p.RTT.Round(time.Microsecond), size(p.BytesSent), size(p.BytesReceived))
		}
		fmt.Fprintln(t)
	}
	return t.Flush()
}

// size prints a number of bytes with a binary prefix (IEC 80000-13).
func size(n uint64) string {
	if n < 1024 {
		return fmt.Sprintf("%d B", n)
	}
	v, unit := float64(n)/1024, "KiB"
	for _, next := range []string{"MiB", "GiB", "TiB"} {
		if v < 1024 {
			break
		}
		v, unit = v/1024, next
	}
	return fmt.Sprintf("%.1f %s", v, unit)
}
