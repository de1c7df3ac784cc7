// Package bbr decides how fast a connection sends: the congestion control BBR, version 3,
// as draft-ietf-ccwg-bbr describes it. It estimates from each acknowledgement how much
// the path delivers (sample.go) and in which time, and keeps about as much under way as
// fits, whether packets get lost or not. It knows nothing of QUIC, sockets and clocks:
// everything is told to a Sender.
//
// # Where it differs from the draft
//
//   - Losses below the threshold of 2 % of a round trip change nothing. The draft lowers
//     its short-term bounds after any loss outside of probing, so that with 1 % of random
//     loss the rate decays to a half between two probes (section "Design Considerations
//     for Choosing Constant Parameters").
//   - One drop can take a burst that left in one call, with segmentation offload. So
//     losses are counted in runs of neighbouring packets, too, and few runs say nothing
//     of a loss rate (tooHigh).
//   - A path shorter than four milliseconds gets the window of one of that length: a
//     round trip within a host or a rack is mostly that of timers, schedulers and
//     batches. Otherwise the window would be less than what the processes at its ends
//     need to take turns (bdpRTT). Below a millisecond, nothing is paced (unpaced).
//   - A sender that has nothing to send counts as limited by its application only while
//     less is under way than the path holds: with streams that wait for the receiver's
//     window it would never leave Startup (Sender.AppLimited).
//   - The path can change under the connection, and nobody tells. Round trips that no
//     queue of the sender explains lead to ProbeRTT at once, not after ten seconds
//     (Sender.seemsLonger).
//   - There is no undo of a state after a spurious loss: quic-go raises its reordering
//     threshold then. The bounds are lifted.
//   - Congestion experienced (ECN) counts as the loss of a packet.
package bbr
