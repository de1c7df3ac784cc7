package resolver

import (
	"encoding/binary"
	"errors"
	"net/netip"
	"slices"
	"sync"
	"time"
)

// What programs ask nameservers of their own choice passes by. Config.Observe is told of
// it, with the answer that has the question's ID.

// A Client is who asks a nameserver of its own choice.
type Client struct {
	Asker   int            // the thread; 0: not known
	Program netip.AddrPort // its socket, over UDP
	Server  netip.AddrPort // whom it asks
}

const (
	// passedFor is how long an answer is waited for: dig waits 5 s, libc 5 s as well.
	pendingTimeout = 10 * time.Second
	// maxPassed bounds the questions that wait. Others are not told of.
	maxPending = 1 << 10
	// maxPassedQuery is the size of the largest question that is kept, in bytes.
	maxPendingQuery = 4 << 10
)

// errNoAnswer means that a server has not answered within passedFor, or until it no
// longer mattered.
var errNoAnswer = errors.New("it has not answered")

// passing are the questions that have passed and are not answered.
type pendingQuestions struct {
	mu    sync.Mutex
	byKey map[pendingKey]*pendingQuestion
}

// A passKey tells whose answer is whose.
type pendingKey struct {
	program, server netip.AddrPort // over UDP
	stream          *Stream        // over TCP
	id              uint16
}

type pendingQuestion struct {
	Question
	expire *time.Timer
}

// Pass is Own for a client's datagram. If it is not answered here, it waits for Passed.
func (s *Server) Pass(c Client, query []byte) []byte {
	answer := s.ownAnswer(c, query, false)
	if answer == nil {
		s.noteQuestion(pendingKey{program: c.Program, server: c.Server}, c, query)
	}
	return answer
}

// Passed tells of a datagram that a nameserver has sent to a client.
func (s *Server) Passed(c Client, answer []byte) {
	s.noteAnswer(pendingKey{program: c.Program, server: c.Server}, answer)
}

// Unanswered gives up waiting for answers to what has passed.
func (s *Server) Unanswered() { s.giveUp(func(pendingKey) bool { return true }) }

// leave does so for a stream that has ended.
func (s *Server) giveUpStream(st *Stream) {
	s.giveUp(func(k pendingKey) bool { return k.stream == st })
}

func (s *Server) giveUp(which func(pendingKey) bool) {
	p := &s.pending
	p.mu.Lock()
	var keys []pendingKey
	for k := range p.byKey {
		if which(k) {
			keys = append(keys, k)
		}
	}
	p.mu.Unlock()
	for _, k := range keys {
		s.complete(k, nil)
	}
}

// sent notes a question that passes, if it is one.
func (s *Server) noteQuestion(k pendingKey, c Client, query []byte) {
	if s.observe == nil || len(query) < headerSize || len(query) > maxPendingQuery ||
		query[2]&(flagQR|maskOpcode) != 0 {
		return
	}
	k.id = binary.BigEndian.Uint16(query)
	s.complete(k, nil) // it is asked again
	p := &s.pending
	p.mu.Lock()
	defer p.mu.Unlock()
	if len(p.byKey) >= maxPending {
		return
	}
	if p.byKey == nil {
		p.byKey = make(map[pendingKey]*pendingQuestion)
	}
	q := Question{Began: time.Now(), Query: slices.Clone(query), Server: c.Server,
		Asker: c.Asker, Passed: true}
	p.byKey[k] = &pendingQuestion{q, time.AfterFunc(pendingTimeout, func() { s.complete(k, nil) })}
}

// came finds the question of an answer.
func (s *Server) noteAnswer(k pendingKey, answer []byte) {
	if len(answer) < headerSize || answer[2]&flagQR == 0 {
		return
	}
	k.id = binary.BigEndian.Uint16(answer)
	s.complete(k, slices.Clone(answer))
}

// settle tells of a question that waits, which has been answered or will not be.
func (s *Server) complete(k pendingKey, answer []byte) {
	p := &s.pending
	p.mu.Lock()
	q := p.byKey[k]
	delete(p.byKey, k)
	p.mu.Unlock()
	if q == nil {
		return
	}
	q.expire.Stop()
	q.Took, q.Answer = time.Since(q.Began), answer
	if answer == nil {
		q.Err = errNoAnswer
	}
	s.observe(q.Question)
}
