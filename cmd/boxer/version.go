package main

import (
	"fmt"
	"runtime/debug"

	"github.com/spf13/cobra"

	"github.com/boxer-sandbox/boxer/transport"
)

// version is set by the linker. Otherwise it is the version of the module ("go install
// ...@VERSION").
var version = "devel"

func init() {
	if info, ok := debug.ReadBuildInfo(); ok && version == "devel" &&
		info.Main.Version != "" {
		version = info.Main.Version
	}
}

func versionCommand() *cobra.Command {
	return &cobra.Command{
		Use:     "version",
		Short:   "Print the versions of boxer and quic-go",
		Example: "  boxer version",
		Args:    cobra.NoArgs,
		Run: func(cmd *cobra.Command, _ []string) {
			fmt.Fprint(cmd.OutOrStdout(), versionText())
		},
	}
}

// versionText is what "boxer version" prints.
func versionText() string {
	return fmt.Sprintf("boxer "+
		"%s\n%s\n", version, transport.QUICVersion())
}
