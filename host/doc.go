// Package host describes what runs somewhere, and the places where it can run.
//
// An Order says what to run: arguments, environment, the node's name and network. A Host
// is a place that takes orders, such as AWS Lambda (package lambda). It returns a Process
// for each order, whose output, signals and exit status are those of the program, however
// far away it runs.
//
//	launcher ── Order (JSON) ──► Host ──► boxer there ──► the program, a node
//	         ◄── output and exit status, as frames ──┘
//
// The package knows nothing of networks and clouds; it has the formats that both ends
// must agree on.
package host
