// Package conformance runs small programs bare on Linux and under boxer, and
// compares what they print.
//
// A program (programs/*.c) is a list of cases for a server and a client on two
// hosts. It prints what its calls return, the names of errors, events and
// their order, and nothing that depends on time. Bare, the hosts are routed to
// each other; boxed, they are functions behind a NAT each. Addresses become
// words (SELF, PEER, LOCAL), ports that the kernel chose become EPHEMERAL;
// after that each line must be the same.
//
// Where boxer differs on purpose, or does not know better yet, there is a row in
// [Known], which docs/conformance.md shows as well. A row whose difference is
// gone fails the test: it is to be removed.
package conformance
