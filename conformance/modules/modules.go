// Package modules holds the versions of the Go modules whose tests boxer is tried with.
// It is a module of its own, so that boxer depends on none of them. To move to newer
// ones: go get -t PACKAGE@latest; go mod tidy would drop what only the tests of others
// need.
package modules

import (
	_ "github.com/gorilla/websocket"
	_ "github.com/miekg/dns"
	_ "github.com/quic-go/quic-go"
	_ "golang.org/x/net/ipv4"
	_ "google.golang.org/grpc"
)
