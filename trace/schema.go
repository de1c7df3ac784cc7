package trace

// A TypeDoc is the description of a type of event in docs/trace.md.
type TypeDoc struct {
	Type, About string
	Fields      []FieldDoc
}

// types has an empty event of each type, and a sentence about it.
var types = []struct {
	event Event
	about string
}{
	{&Header{}, "What the trace describes: node, program and settings. It is the first event."},
	{&Call{}, "A system call, and what boxer did for it."},
	{&Connection{}, "A change of a TCP connection, or of a UDP flow between two endpoints, as one side saw it. " +
		"The states are `connecting`, then `opened` or `failed`, `progress` from time to time, and `closed`."},
	{&Data{}, "A piece of the data that a connection carried. Recorded only with `-s N`."},
	{&DNS{}, "A DNS query by a program, and its answer."},
	{&Process{}, "The start, exec or end of a process."},
	{&Clock{}, "The offset of the node's wall clock from the coordinator's. The last such event is the valid one."},
	{&Dropped{}, "Events are missing here, because the reader was too slow or the disk was full."},
	{&End{}, "The last event."},
}

// Describe returns the schema: every type of event and its fields, in the order of the
// lines.
func Describe() []TypeDoc {
	var docs []TypeDoc
	for _, t := range types {
		c := codec{mode: describing}
		t.event.fields(&c)
		docs = append(docs, TypeDoc{t.event.Type(), t.about, c.docs})
	}
	return docs
}
