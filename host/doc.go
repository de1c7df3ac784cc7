// Package host describes programs that run as nodes elsewhere, and the places where they
// can run.
//
// An Order says what to run: arguments, environment, the node's name and network. A Host
// executes orders; AWS Lambda is one (package lambda). It returns a Process for each
// order. Output, signals and exit status of the Process are those of the program,
// wherever it runs.
//
//	launcher ── Order (JSON) ──► Host ──► boxer there ──► the program, a node
//	         ◄── output and exit status, as frames ──┘
//
// The package knows nothing of networks and clouds. It has the formats on which both ends
// must agree.
package host
