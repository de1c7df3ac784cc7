package main

import (
	"errors"
	"fmt"
	"io"
	"os"
	"strings"

	"github.com/spf13/cobra"

	"github.com/boxer-sandbox/boxer/policy"
)

// exitDenied is the exit code of boxer policy check for a connection that is denied.
const exitDenied = 1

func policyCommand(code *int) *cobra.Command {
	cmd := &cobra.Command{
		Use:   "policy",
		Short: "Check a policy: who may connect to whose ports",
		Long: `Check a policy, the file that says which nodes may connect to which ports of which
other nodes. A coordinator reads it from --policy FILE, or gets it from "boxer
coordinator policy apply FILE". What no line of a policy allows is denied. A network
without a policy allows everything.`,
		Example: `  boxer policy example > network.policy
  boxer policy check network.policy --from web --to db:5432`,
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error { return cmd.Help() },
	}
	cmd.AddCommand(policyCheckCommand(code), &cobra.Command{
		Use:     "example",
		Short:   "Print a policy to begin with: it allows everything",
		Example: `  boxer policy example > network.policy`,
		Args:    cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			_, err := io.WriteString(cmd.OutOrStdout(), policy.Example)
			return err
		},
	})
	return cmd
}

func policyCheckCommand(code *int) *cobra.Command {
	var from, to string
	cmd := &cobra.Command{
		Use:   "check [flags] FILE",
		Short: "Check the text of a policy, or whether it allows a connection",
		Long: `Check the text of a policy. With --from and --to, say whether it allows a node to
connect to a port of another one, and which line does. No coordinator is needed.

A node is NAME, tag:TAG, or both separated by commas: web,tag:prod.

Exit codes: 0 if the policy is right and allows the connection; 1 if it denies it;
125 if the policy has errors.`,
		Example: `  boxer policy check network.policy
  boxer policy check network.policy --from web --to db:5432
  boxer policy check network.policy --from tag:worker --to dns:53/udp`,
		Args: cobra.ExactArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			p, err := readPolicy(args[0])
			if err != nil {
				return err
			}
			out := cmd.OutOrStdout()
			if from == "" && to == "" {
				_, err := fmt.Fprintf(out, "%s: %d rules\n", args[0], p.Rules())
				return err
			}
			allowed, err := printVerdict(out, p, from, to)
			if err == nil && !allowed {
				*code = exitDenied
			}
			return err
		},
	}
	cmd.Flags().StringVar(&from, "from", "", "`NODE` that connects")
	cmd.Flags().StringVar(&to, "to", "", "`NODE:PORT[/udp]` to which it connects")
	return cmd
}

// readPolicy reads a policy from a file, or from standard input if path is "-".
func readPolicy(path string) (*policy.Policy, error) {
	text, err := policyText(path)
	if err != nil {
		return nil, err
	}
	return policy.Parse(path, text)
}

func policyText(path string) (string, error) {
	var in io.Reader = os.Stdin
	if path != "-" {
		f, err := os.Open(path)
		if err != nil {
			return "", fmt.Errorf("policy: %w", err)
		}
		defer f.Close()
		in = f
	}
	text, err := io.ReadAll(io.LimitReader(in, policy.MaxText+1))
	if err != nil {
		return "", fmt.Errorf("policy %s: %w", path, err)
	}
	return string(text), nil
}

// coordinatorPolicyCommand changes the policy of a running coordinator.
func coordinatorPolicyCommand() *cobra.Command {
	cmd := &cobra.Command{
		Use:   "policy",
		Short: "Change or show the policy of a running coordinator",
		Long: `Change or show the policy of a running coordinator: who may connect to whose ports.
"boxer policy example" prints a policy to begin with, and "boxer policy check" tests
one.`,
		Example: `  boxer coordinator policy apply network.policy
  boxer coordinator policy show`,
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error { return cmd.Help() },
	}
	var admin adminFlags
	apply := &cobra.Command{
		Use:   "apply FILE",
		Short: "Put a policy into effect",
		Long: `Put a policy into effect, at once and also after a restart of the coordinator. The
nodes reset connections that it does not allow. A policy with errors changes nothing.
A coordinator with --policy FILE reads that file, and refuses this command.`,
		Example: `  boxer coordinator policy apply network.policy`,
		Args:    cobra.ExactArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			text, err := policyText(args[0])
			if err != nil {
				return err
			}
			a, err := admin.admin()
			if err != nil {
				return err
			}
			return a.ApplyPolicy(cmd.Context(), args[0], text)
		},
	}
	admin.register(apply)
	var asked adminFlags
	show := &cobra.Command{
		Use:     "show",
		Short:   "Print the policy in effect",
		Example: `  boxer coordinator policy show`,
		Args:    cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			a, err := asked.admin()
			if err != nil {
				return err
			}
			p, err := a.Policy(cmd.Context())
			if err == nil && !p.Set {
				p.Text = "# The network has no policy: everybody may connect to everything.\nallow all\n"
			}
			if err == nil {
				_, err = io.WriteString(cmd.OutOrStdout(), p.Text)
			}
			return err
		},
	}
	asked.register(show)
	cmd.AddCommand(apply, show)
	return cmd
}

// printVerdict says whether the policy allows a connection.
func printVerdict(w io.Writer, p *policy.Policy, from, to string) (allowed bool,
	err error) {
	if from == "" || to == "" {
		return false, errors.New("--from and --to belong together, such as --from web --to db:5432")
	}
	a, err := policy.ParseSubject(from)
	if err != nil {
		return false, fmt.Errorf("--from: %w", err)
	}
	node, portText, ok := cutLast(to, ":")
	if !ok {
		return false, fmt.Errorf("--to %q: not NODE:PORT, such as db:5432 or dns:53/udp", to)
	}
	b, err := policy.ParseSubject(node)
	if err != nil {
		return false, fmt.Errorf("--to: %w", err)
	}
	proto, port, err := policy.ParsePort(portText)
	if err != nil {
		return false, fmt.Errorf("--to: %w", err)
	}
	line, allowed := p.Check(a, b, proto, port)
	if allowed {
		_, err = fmt.Fprintf(w, "allowed: %s to %s, by line %d\n", from, to, line)
	} else {
		_, err = fmt.Fprintf(w, "denied: %s to %s, no line allows it\n", from, to)
	}
	return allowed, err
}

// cutLast is strings.Cut at the last separator.
func cutLast(s, sep string) (before, after string, found bool) {
	i := strings.LastIndex(s, sep)
	if i < 0 {
		return s, "", false
	}
	return s[:i], s[i+len(sep):], true
}
