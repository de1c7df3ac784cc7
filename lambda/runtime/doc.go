// Package runtime is boxer inside a function of AWS Lambda: a custom runtime whose events
// are orders (package host).
//
// Serve asks the Runtime API for invocations, runs the ordered program of each as a node
// of the network, streams its output into the response, and reports its exit code. The
// node lives as long as the invocation: between invocations the environment is frozen,
// and nothing of boxer runs in it.
//
//	Runtime API ◄── next ── Serve ── boxer run ── the program
//	            ◄── frames ──┘  ▲         │ a stream of the network
//	                            └─────────┴──► the launcher: signals, standard input
//
// Source: "Lambda runtime API" and "Lambda Extensions API" of the AWS Lambda Developer
// Guide.
package runtime
