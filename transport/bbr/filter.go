package bbr

// A cycleMax is the maximum of this cycle of probing and the one before: BBR.MaxBwFilter,
// section "BBR.max_bw: Estimated Maximum Bandwidth".
type cycleMax struct{ now, before int64 }

func (m *cycleMax) note(v int64) { m.now = max(m.now, v) }

// advance begins a cycle. One that has seen nothing does not count.
func (m *cycleMax) advance() {
	if m.now != 0 {
		m.before, m.now = m.now, 0
	}
}

func (m *cycleMax) get() int64 { return max(m.now, m.before) }

// A roundMax is the maximum of the last ten rounds: BBR.ExtraACKedFilter.
type roundMax struct {
	values [extraAckedRounds]int64
	round  int64
}

const extraAckedRounds = 10

// note adds a value in a round and returns the maximum of the last rounds.
func (m *roundMax) note(round, v, rounds int64) int64 {
	for m.round < round {
		m.round++
		m.values[m.round%extraAckedRounds] = 0
		if round-m.round > extraAckedRounds { // all of them are old
			m.values = [extraAckedRounds]int64{}
			m.round = round
		}
	}
	at := &m.values[round%extraAckedRounds]
	*at = max(*at, v)
	var most int64
	for i := range min(rounds, extraAckedRounds, round+1) {
		most = max(most, m.values[(round-i)%extraAckedRounds])
	}
	return most
}
