// Package launcher starts a program as a node of a network and ends with the program's
// status. It connects sandbox, rewrite, syscalls, transport, coordinator and resolver.
//
// A node has three kinds of processes. The supervisor ([Run]) answers the program's
// trapped calls and is the member of the network. Its child, boxer-init, is the root of
// the process tree. boxer-init installs the filter on a thread, starts the program from
// that thread, reaps orphans, and kills the tree when the supervisor dies. The third kind
// are the program and the processes that it starts. If boxer-init dies, its children
// become the supervisor's children, and the supervisor kills them.
package launcher
