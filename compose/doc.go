// Package compose reads compose files and makes plans of them, which package project
// runs.
//
// The files are those of docker compose: github.com/compose-spec/compose-go/v2 (the
// specification's own library, Apache-2.0, maintained) reads, merges and checks them. A
// service's extension x-boxer says what only boxer knows, see Boxer. What a file asks for
// and boxer does not do is listed by name, see Plan.
package compose
