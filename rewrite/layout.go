package rewrite

// The declarations below repeat inside/inside.h. TestLayout compares the two.

const (
	slots      = 4096
	starts     = 1024
	calls      = 512
	conditions = 4
	maxRules   = 540
)

type condition struct {
	arg, op     uint32
	mask, value uint64
}

type rule struct {
	errno, n   uint32
	conditions [conditions]condition
}

const sizeofRule = 8 + conditions*24

// ruleLog is the errno of a rule whose calls the hook logs.
const ruleLog = 0xffff

// sizeofLog is the size of a slot's log in bytes.
const sizeofLog = 0x10000

type callLog struct {
	head, tail, since uint64
	nr                uint64
	args              [6]uint64
	_                 [128 - 80]byte
	data              [sizeofLog - 128]byte
}

// Values of the table for a system-call number.
const (
	hasRules  = 1
	mechanism = 2
	hasNames  = 4
)

// States of a call: the low bits of its slot's word.
const (
	stateIdle = iota
	stateWriting
	statePending
	stateAnswering
	stateReturn
	stateContinue
	stateReceive
	stateOperate
	stateMask = 7
)

// Arguments of stateReceive.
const (
	argFrom = iota
	argInode
	argCell
)

// Arguments of stateOperate, and operations.
const (
	argOperation = iota
	argAddress
	argLength
)
const (
	readOperation = iota
	writeOperation
	sendOperation
)

// operationSize is how much memory one operation reads or writes, in bytes.
const operationSize = 4096

const cells = 256

type cell struct {
	done  uint32
	value int32
}

type slot struct {
	word, tid, last, flags uint32
	nr                     uint64
	args                   [6]uint64
	result                 int64
	mask                   uint64
	execs, _               uint32
	self                   uint64
	_                      [8192 - 104 - operationSize]byte
	data                   [operationSize]byte
}

type index struct{ first, n uint16 }

type shared struct {
	doorbell, asleep uint32
	pending          [slots / 64]uint64
	pid, payload     uint32
	cells            [cells]cell
	logging          [slots / 64]uint64
	logs             uint32
	_                [0x1000 - 20 - 2*slots/8 - cells*8]byte
	index            [calls]index
	captures         [calls]uint32
	_                [0x2000 - 0x1000 - calls*8]byte
	rules            [maxRules]rule
	_                [0x10000 - 0x2000 - maxRules*sizeofRule]byte
	table            [0x10000]byte
	slots            [slots]slot
	named            [namedSockets]named
}

// namedSockets is how many sockets can be described at a time.
const namedSockets = 4096

// sizeofName is the size of the longest name, struct sockaddr_in6.
const sizeofName = 28

type named struct {
	version                                uint32
	ownLen, farLen, ownNameLen, farNameLen uint8
	cookie                                 uint64
	own, far, ownName, farName             [sizeofName]byte
}

// The configuration in the loader's file: struct config.
const (
	configMagic = "boxer's config!\x00"
	configName  = 18 // offset of the socket's name
	configLen   = 48 // of the length of the address
	maxName     = 30

	configPath    = 58  // offset of the path of another socket
	configPathLen = 164 // of the length of its address
	maxPath       = 106
)

// Requests over the control socket.
const (
	requestHello = 1 + iota
	requestPlan
	requestExecute
	requestOpened
	requestCancel
	requestFetch
	requestUnreadable
	requestCopy
)

type request struct {
	Kind, TID uint32
	A, B      int64
}

// verdictOpen asks for another file.
const verdictOpen = 1

const maxSegments = 16

type imageSegment struct {
	Addr, Offset, Filesz, Memsz uint64
	Prot, _                     uint32
}

// An image describes how a file is mapped. Its addresses are those in the file, before
// relocation.
type image struct {
	Entry, Headers, Low, High, Align uint64
	NHeaders, Dynamic, N, _          uint32
	Segments                         [maxSegments]imageSegment
}

type loadHead struct {
	Program, Interpreter image
	Interpreted, NArgs   uint32
	Path, Exe            uint32
	Args, Length         uint32
	KeepArg0, _          uint32
}

// maxText bounds the strings of a load, in bytes.
const maxText = 8192
