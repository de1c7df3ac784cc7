package trace

// OfProcess returns a writer that passes the events of one process to w: its calls, its
// start and end, its name lookups, and its connections with their payload. It also passes
// events of no process, such as headers and gaps.
func OfProcess(w Writer, pid int) Writer {
	return &processWriter{Writer: w, pid: pid, conns: make(map[ConnID]bool)}
}

type processWriter struct {
	Writer
	pid   int
	conns map[ConnID]bool // the connections of the process
}

func (w *processWriter) Write(e Event) error {
	switch e := e.(type) {
	case *Call:
		if e.PID == w.pid && e.Conn != 0 {
			w.conns[e.Conn] = true
		}
		return w.only(e, e.PID)
	case *Process:
		return w.only(e, e.PID)
	case *DNS:
		return w.only(e, e.PID)
	case *Connection:
		mine := e.PID == w.pid || w.conns[e.ID]
		switch {
		case !mine:
			return nil
		case e.State == Closed || e.State == Failed:
			delete(w.conns, e.ID)
		default:
			w.conns[e.ID] = true
		}
	case *Data:
		if !w.conns[e.Conn] {
			return nil
		}
	}
	return w.Writer.Write(e)
}

func (w *processWriter) only(e Event, pid int) error {
	if pid != w.pid {
		return nil
	}
	return w.Writer.Write(e)
}
