// Package project runs the services of a project, such as a compose file describes, and
// keeps them running.
//
// A Plan says which services there are. A project has one supervisor process, see Serve.
// It starts a process of boxer run for each instance of a service, restarts it as its
// policy says, checks its health, and keeps what it writes. Clients such as boxer up and
// boxer ps talk with the supervisor over a Unix socket, see Client. The supervisor lives
// as long as the project does, however the clients end.
//
//	boxer up ── Plan (JSON) ──► supervisor ──► boxer run ──► program, a node
//	boxer ps, logs, stop, down ──► supervisor
//
// All files of a project are in one directory, which only its user can read. When the
// supervisor dies, its services end with it, and the directory says what it ran.
package project
