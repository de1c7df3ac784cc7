// Package policy decides which node of a network may connect to which ports of which
// other nodes.
//
// A policy is a text of lines. Each line is a comment, empty, or a rule:
//
//	# What no line allows is denied.
//	allow all
//	allow web to db:5432
//	allow tag:worker ops-* to tag:cache:6379,16379 dns:53/udp
//
// "allow all" allows every node to connect to every port. Any other rule names the nodes
// that may connect, the word to, and targets: nodes with their ports. Words are separated
// by spaces. Nodes are named by
//
//	all         every node
//	NAME        the nodes of that name
//	PREFIX*     the nodes whose name begins so
//	tag:TAG     the nodes whose token has that tag
//
// Ports are a list, separated by commas, of
//
//	5432        a TCP port
//	8080-8090   TCP ports
//	53/udp      a UDP port, or ports
//	*           every port of TCP and UDP; */tcp and */udp: of one of them
package policy
