// Package examples holds distributed systems that run unmodified, each node of them a
// function behind a NAT of its own: a folder for each, with what starts a node and a page
// that says how to try it. The package itself is their tests, which need a boxer binary
// (make build) and the systems.
package examples
