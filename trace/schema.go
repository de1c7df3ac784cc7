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
	{&Header{}, "What the trace is of. The first event."},
	{&Call{}, "A system call, and what boxer did for it."},
	{&Connection{}, "What happened to a TCP connection, or to datagrams between two UDP endpoints, as one side saw it. " +
		"`connecting`, `opened` or `failed`, `progress` from time to time, `closed`."},
	{&Data{}, "A piece of what a connection carried. Only with `-s N`."},
	{&DNS{}, "A name that the node's resolver was asked for."},
	{&Process{}, "The start, exec or end of a process."},
	{&Clock{}, "How the node's wall clock differs from the coordinator's. The last one counts."},
	{&Dropped{}, "Events are missing here: the reader was slow or the disk full."},
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
