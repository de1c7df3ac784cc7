// Package trace writes, reads, merges and shows traces of what a program did with the
// network.
//
// A trace is a sequence of events: first a [Header], then calls, connections, payload,
// name lookups and processes, in the order in which they ended. In files and on sockets
// it is JSON lines, one event per line. docs/trace.md lists the fields. It is generated
// from the methods here that write and read them. A [Reader] needs memory for one line,
// however long the trace is.
//
// The package imports no other package of boxer, so that other programs can import it to
// read traces:
//
//	r := trace.NewReader(file)
//	for {
//		event, err := r.Next()
//		if errors.Is(err, io.EOF) {
//			break
//		}
//		...
//		switch e := event.(type) {
//		case *trace.Call:
//			fmt.Println(e.Comm, e.Name, e.Errno, e.Failure)
//		case *trace.Connection:
//			fmt.Println(e.ID, e.State, e.Remote, e.Reason)
//		}
//	}
package trace
