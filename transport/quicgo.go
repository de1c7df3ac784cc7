package transport

import "runtime/debug"

// quicModule is the path of quic-go's module.
const quicModule = "github.com/quic-go/quic-go"

// QUICVersion says which quic-go this program was built with, such as "quic-go v0.65.0
// patched": with boxer's patches, or as it is published ("unpatched").
func QUICVersion() string {
	version := "quic-go"
	if info, ok := debug.ReadBuildInfo(); ok {
		for _, m := range info.Deps {
			if m.Path == quicModule {
				version += " " + m.Version
			}
		}
	}
	if quicPatched {
		return version + " patched"
	}
	return version + " unpatched"
}
