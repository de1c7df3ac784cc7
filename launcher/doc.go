// Package launcher starts a program as a node of a network and ends with its
// status; it ties sandbox, syscalls, transport, coordinator and resolver
// together.
//
// Three processes make a node. The supervisor ([Run]) serves the program's
// trapped calls and holds the network. Its child, boxer-init, is process 1 of
// the tree: it puts the filter on a thread, starts the program from there,
// reaps orphans, and when the supervisor dies it kills the tree. The program
// and what it starts are the third. If boxer-init dies, its children become
// the supervisor's, which kills them.
package launcher
