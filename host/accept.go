package host

import (
	"crypto/subtle"
	"syscall"
	"time"
)

// keyTimeout bounds how long a control connection may take to send its Key frame.
const keyTimeout = 10 * time.Second

// accept accepts control connections until Controls fails.
func (r *run) accept() {
	for {
		conn, err := r.controls.Accept()
		if err != nil {
			return
		}
		go func() { // ends with the connection: by closeControls, or by keyTimeout
			defer conn.Close()
			if j := r.identify(conn); j != nil {
				r.control(j, conn)
			}
		}()
	}
}

// identify returns the job whose key a connection sends, or nil if no job has that key.
func (r *run) identify(conn Conn) *job {
	defer time.AfterFunc(keyTimeout, func() { conn.Close() }).Stop()
	kind, key, err := NewReader(conn).Read()
	if err != nil || kind != Key {
		return nil
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	for _, j := range r.jobs {
		if subtle.ConstantTimeCompare([]byte(j.key), key) == 1 {
			return j
		}
	}
	return nil
}

// control serves a process's control connection until it ends.
func (r *run) control(j *job, conn Conn) {
	w := NewWriter(conn)
	if !r.attach(j, conn, w) {
		return
	}
	input := NewInputSender(w)
	defer input.End()
	if r.cfg.Stdin != nil && r.cfg.Count == 1 && r.cfg.Life.AtLimit != Replace {
		go input.Send(r.cfg.Stdin) // not waited for: a read of a terminal cannot be cancelled
	} else {
		_ = w.Write(Stdin, nil)
	}
	for in := NewReader(conn); ; {
		kind, _, err := in.Read()
		if err != nil {
			return
		}
		if kind == Credit {
			input.Credit()
		}
	}
}

// attach makes a connection the job's control connection, and lets the process start if
// it is among the first. It returns false if the process is not needed.
func (r *run) attach(j *job, conn Conn, w *Writer) bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.ended || j.spare || j.control != nil {
		return false
	}
	if !j.chosen {
		if r.chosen == r.cfg.Count {
			r.release(j)
			return false
		}
		r.chosen++
		j.chosen = true
	}
	j.control, j.w, j.peer = conn, w, conn.Peer()
	close(j.attached)
	r.tellAttached()
	pending := j.pending
	j.pending = nil
	go r.sendSignals(j, w, pending) // ends with the connection: a write may wait for the network
	if r.chosen == r.cfg.Count && r.cfg.Extra > 0 {
		r.releaseOthers()
	}
	return true
}

// tellAttached calls Attached when all processes have connected. The caller holds r.mu.
func (r *run) tellAttached() {
	if r.cfg.Attached == nil {
		return
	}
	var nodes []uint32
	for _, j := range r.jobs {
		if j.control != nil && j.chosen {
			nodes = append(nodes, j.peer)
		}
	}
	if len(nodes) == r.cfg.Count { // the number only grows
		go r.cfg.Attached(nodes)
		r.cfg.Attached = nil
	}
}

// sendSignals lets a held process start and sends it its signals, in order, until Run or
// the connection ends.
func (r *run) sendSignals(j *job, w *Writer, pending []syscall.Signal) {
	if r.cfg.Extra > 0 && w.Write(Start, nil) != nil {
		return
	}
	for _, s := range pending {
		if w.Write(Signal, []byte{byte(s)}) != nil {
			return
		}
	}
	for {
		select {
		case s := <-j.signals:
			if w.Write(Signal, []byte{byte(s)}) != nil {
				return
			}
		case <-r.ctx.Done():
			return
		}
	}
}

// releaseOthers releases all jobs that have not connected. The caller holds r.mu.
func (r *run) releaseOthers() {
	for _, j := range r.jobs {
		if !j.chosen && !j.spare {
			r.release(j)
		}
	}
}

// release gives up a process. The caller holds r.mu. The process's program has not been
// started and never starts: its control connection ends, or cannot be made.
func (r *run) release(j *job) {
	j.spare = true
	j.process.Release()
}
