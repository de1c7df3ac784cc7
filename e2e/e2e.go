// Package e2e runs real programs across functions behind NATs.
//
// It has tests only. Each builds a small cloud in the lab of internal/natlab: a
// coordinator on a public host, functions behind NATs of their own, and in them programs
// under "boxer run", as Debian ships them or from testdata. What a test expects is what
// the same programs do between two hosts of one network, and that can be checked:
//
//	go test ./e2e/                        under boxer; needs bin/boxer ("make build")
//	BOXER=/usr/bin/boxer go test ./e2e/   another binary
//	BOXER_E2E_NATIVE=1 go test ./e2e/     bare, between two hosts that are routed to each other
//	go test ./e2e/ -e2e.long              with the long runs and large files; give it -timeout 30m
package e2e
