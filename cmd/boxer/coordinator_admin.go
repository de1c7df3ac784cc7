package main

import (
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"text/tabwriter"
	"time"

	"github.com/spf13/cobra"

	"github.com/boxer-sandbox/boxer/coordinator"
)

// An adminFlags names the coordinator that a command administers.
type adminFlags struct{ state string }

func (a *adminFlags) register(cmd *cobra.Command) {
	cmd.Flags().StringVar(&a.state, "state", "", "`FILE` that the running coordinator "+
		"has as --state (default: that of a coordinator on port 4433)")
}

func (a *adminFlags) admin() (*coordinator.Admin, error) {
	path := a.state
	if path == "" {
		var err error
		if path, err = defaultState(defaultPort); err != nil {
			return nil, err
		}
	}
	path, err := filepath.Abs(path)
	if err != nil {
		return nil, fmt.Errorf("--state %s: %w", a.state, err)
	}
	return coordinator.NewAdmin(coordinator.AdminSocket(path)), nil
}

// tokenCommand administers tokens.
func tokenCommand() *cobra.Command {
	cmd := &cobra.Command{
		Use:   "token",
		Short: "Create, list and revoke tokens, which admit nodes",
		Long: `Create, list and revoke tokens of a running coordinator. A token admits nodes: its join
URL holds it. It has a name, and may have tags, which policies refer to, a lifetime,
and a number of nodes that it admits. It may bind names of nodes: then nobody joins
under these names without it.

These commands use the coordinator's Unix socket, beside its state file. They work
for the user who runs the coordinator, and for root, on its host.`,
		Example: `  boxer coordinator token create ci --tag job --ttl 24h --uses 100
  boxer coordinator token create database --bind db > db.url`,
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error { return cmd.Help() },
	}
	cmd.AddCommand(tokenCreateCommand(), tokenListCommand(), tokenRevokeCommand())
	return cmd
}

func tokenCreateCommand() *cobra.Command {
	var admin adminFlags
	var q coordinator.NewToken
	var secret, asJSON bool
	cmd := &cobra.Command{
		Use:   "create [flags] NAME",
		Short: "Create a token, and print its join URL",
		Long: `Create a token, and print its join URL. The coordinator stores only a hash of the
token, so that the URL cannot be shown again. Keep it secret: anybody who has it can
join.

With --bind, the names belong to this token: nodes join under them with this token
only, or with another one that binds them, and with this token under no other name.
With --status, the token shows the network's status ("boxer status", GET /status, GET
/metrics), and admits no node.`,
		Example: `  boxer coordinator token create ci --tag job --ttl 24h --uses 100 > ci.url
  boxer coordinator token create database --bind db > db.url
  boxer coordinator token create prometheus --status --secret > token`,
		Args: cobra.ExactArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			a, err := admin.admin()
			if err != nil {
				return err
			}
			if cmd.Flags().Changed("uses") && q.Uses < 1 {
				return fmt.Errorf("--uses %d: want 1 or more; without --uses any number of nodes may join", q.Uses)
			}
			if cmd.Flags().Changed("ttl") && q.TTL <= 0 {
				return fmt.Errorf("--ttl %v: it must be above 0s, such as 24h", q.TTL)
			}
			q.Name = args[0]
			t, err := a.CreateToken(cmd.Context(), q)
			if err != nil {
				return err
			}
			for _, m := range t.Holders {
				fmt.Fprintf(cmd.ErrOrStderr(),
					"boxer: node %d (%v) has the name %s and joined "+
						"without this token; it keeps the name until it leaves, or until boxer "+
						"coordinator evict %s\n", m.ID, m.Addr, m.Name, m.Addr)
			}
			switch {
			case asJSON:
				return printJSON(cmd.OutOrStdout(), t)
			case secret:
				t.URL = t.Secret
			}
			_, err = fmt.Fprintln(cmd.OutOrStdout(), t.URL)
			return err
		},
	}
	f := cmd.Flags()
	admin.register(cmd)
	f.StringArrayVar(&q.Tags, "tag", nil, "`TAG` of the nodes that join with the token, "+
		"for policies; may be repeated")
	f.StringArrayVar(&q.Binds, "bind", nil, "`NAME` of nodes that belongs to the token; "+
		"may be repeated")
	f.DurationVar(&q.TTL, "ttl", 0, "let the token expire after this `DURATION` "+
		"(default: never)")
	f.IntVar(&q.Uses, "uses", 0, "admit `N` nodes (default: any number)")
	f.BoolVar(&q.Status, "status", false, "show the network's status, and admit no node")
	f.BoolVar(&secret, "secret", false, "print the token alone, without the join URL")
	f.BoolVar(&asJSON, "json", false, "print JSON")
	return cmd
}

func tokenListCommand() *cobra.Command {
	var admin adminFlags
	var asJSON bool
	cmd := &cobra.Command{
		Use:   "list",
		Short: "List the tokens, without their secrets",
		Long: `List the tokens, without their secrets. The token named "default" is that of the join
URL which the coordinator prints.`,
		Example: `  boxer coordinator token list`,
		Args:    cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			a, err := admin.admin()
			if err != nil {
				return err
			}
			all, err := a.Tokens(cmd.Context())
			if err != nil {
				return err
			}
			if asJSON {
				return printJSON(cmd.OutOrStdout(), all)
			}
			return printTokens(cmd.OutOrStdout(), all, time.Now())
		},
	}
	admin.register(cmd)
	cmd.Flags().BoolVar(&asJSON, "json", false, "print JSON")
	return cmd
}

func printTokens(w io.Writer, all []coordinator.TokenInfo, now time.Time) error {
	t := tabwriter.NewWriter(w, 0, 0, 2, ' ', 0)
	fmt.Fprintln(t, "NAME\tSTATE\tUSES\tEXPIRES\tTAGS\tBINDS")
	for _, k := range all {
		uses, expires := "any", "never"
		switch {
		case k.Status:
			uses = "status only"
		case k.Uses > 0:
			uses = strconv.Itoa(k.Used) + " of " + strconv.Itoa(k.Uses)
		}
		if !k.Expires.IsZero() {
			expires = k.Expires.Local().Format(time.DateTime)
		}
		fmt.Fprintf(t, "%s\t%s\t%s\t%s\t%s\t%s\n", k.Name, k.State(now), uses, expires,
			orDash(strings.Join(k.Tags, ",")), orDash(strings.Join(k.Binds, ",")))
	}
	return t.Flush()
}

func tokenRevokeCommand() *cobra.Command {
	var admin adminFlags
	var evict bool
	cmd := &cobra.Command{
		Use:   "revoke [flags] NAME",
		Short: "Let a token admit nobody any more",
		Long: `Let a token admit nobody any more. The nodes that joined with it stay, and its names
stay bound. With --evict they are evicted, and the coordinator forgets the token: its
names are free, and another token may have its name.

The name "default" stands for the tokens of the join URLs that the coordinator has
printed. Without them, only named tokens admit nodes.`,
		Example: `  boxer coordinator token revoke ci
  boxer coordinator token revoke --evict ci`,
		Args: cobra.ExactArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			a, err := admin.admin()
			if err != nil {
				return err
			}
			gone, err := a.RevokeToken(cmd.Context(), args[0], evict)
			if err != nil {
				return err
			}
			fmt.Fprintf(cmd.OutOrStdout(), "revoked token %s\n", args[0])
			return printEvicted(cmd.OutOrStdout(), gone)
		},
	}
	admin.register(cmd)
	cmd.Flags().BoolVar(&evict, "evict", false,
		"evict the nodes that joined with the token")
	return cmd
}

func evictCommand() *cobra.Command {
	var admin adminFlags
	cmd := &cobra.Command{
		Use:   "evict NODE",
		Short: "Remove nodes from the network",
		Long: `Remove the nodes of a name, or the node of an ordinal name (node-7) or address. The
other nodes end their connections to them at once, and they cannot come back: their
programs lose the network. A program that is started again with a valid token joins
as a new node. To prevent that, revoke its token, too.`,
		Example: `  boxer coordinator evict db
  boxer coordinator evict 10.111.0.7`,
		Args: cobra.ExactArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			a, err := admin.admin()
			if err != nil {
				return err
			}
			gone, err := a.Evict(cmd.Context(), args[0])
			if err != nil {
				return err
			}
			return printEvicted(cmd.OutOrStdout(), gone)
		},
	}
	admin.register(cmd)
	return cmd
}

func printEvicted(w io.Writer, gone []coordinator.Member) error {
	var errs []error
	for _, m := range gone {
		_, err := fmt.Fprintf(w, "evicted %s, node %d, %v, which joined with token %s\n",
			m.Name, m.ID, m.Addr, m.Token)
		errs = append(errs, err)
	}
	return errors.Join(errs...)
}

// noDefaultToken tells the user of a coordinator without a join URL how nodes join.
func noDefaultToken() {
	fmt.Fprintln(os.Stderr, "boxer: there is no join URL to print, because the default token "+
		"was revoked or has expired; create one with boxer coordinator token create")
}
