package resolver

import (
	"bytes"
	"encoding/binary"
)

// The header of a message, RFC 1035 section 4.1.1: ID, flags, four counts.
const (
	headerSize = 12   // bytes
	flagQR     = 0x80 // in byte 2: this is an answer
	flagTC     = 0x02 // in byte 2: truncated
	flagRD     = 0x01 // in byte 2: recursion desired
	maskOpcode = 0x78 // in byte 2
	maskRcode  = 0x0f // in byte 3
)

// headerOnly returns an answer to query that is only a header, for messages whose
// question cannot be repeated.
func headerOnly(query []byte, rcode byte) []byte {
	b := make([]byte, headerSize)
	copy(b, query[:2])
	b[2] = flagQR | query[2]&(maskOpcode|flagRD)
	b[3] = rcode
	return b
}

// withID returns a copy of msg with another ID.
func withID(msg []byte, id uint16) []byte {
	b := bytes.Clone(msg)
	binary.BigEndian.PutUint16(b, id)
	return b
}

func msgID(msg []byte) uint16       { return binary.BigEndian.Uint16(msg) }
func questions(msg []byte) uint16   { return binary.BigEndian.Uint16(msg[4:]) }
func answerCount(msg []byte) uint16 { return binary.BigEndian.Uint16(msg[6:]) }

// records returns the number of records after the question, according to the header of
// msg.
func records(msg []byte) int {
	return int(binary.BigEndian.Uint16(msg[6:])) + int(binary.BigEndian.Uint16(msg[8:])) +
		int(binary.BigEndian.Uint16(msg[10:]))
}

func truncated(msg []byte) bool    { return msg[2]&flagTC != 0 }
func responseCode(msg []byte) byte { return msg[3] & maskRcode }

// answers reports whether msg is an answer to query, a valid message with one question:
// it has the same ID and the same question. An answer that reports an error may omit the
// question.
func answers(msg, query []byte) bool {
	if len(msg) < headerSize || msg[2]&flagQR == 0 || msgID(msg) != msgID(query) {
		return false
	}
	if questions(msg) == 0 {
		return responseCode(msg) != 0
	}
	asked, repeated := question(query), question(msg)
	if asked == nil || len(asked) != len(repeated) {
		return false
	}
	name := len(asked) - 4 // type and class follow
	return equalFold(asked[:name], repeated[:name]) &&
		bytes.Equal(asked[name:], repeated[name:])
}

// equalFold compares names of equal length as RFC 4343 requires: it ignores the case of
// ASCII letters only. The bytes that hold lengths are no letters.
func equalFold(a, b []byte) bool {
	for i := range a {
		if lower(a[i]) != lower(b[i]) {
			return false
		}
	}
	return true
}

func lower(c byte) byte {
	if 'A' <= c && c <= 'Z' {
		c += 'a' - 'A'
	}
	return c
}

// question returns the bytes of the first question of msg, or nil. The first name of a
// message is never compressed, since compression points backwards.
func question(msg []byte) []byte {
	for i := headerSize; i < len(msg); i += 1 + int(msg[i]) {
		if msg[i] > 63 {
			return nil
		}
		if msg[i] == 0 {
			if i+5 > len(msg) {
				return nil
			}
			return msg[headerSize : i+5]
		}
	}
	return nil
}
