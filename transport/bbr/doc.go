// Package bbr decides how fast a connection sends: the congestion control BBR, version 3,
// as draft-ietf-ccwg-bbr describes it. From each acknowledgement it estimates the path's
// bandwidth (sample.go) and round trip, and keeps about their product in flight, whether
// packets are lost or not. It knows nothing of QUIC, sockets and clocks: the caller tells
// a Sender each event with its time.
//
// # Where it differs from the draft
//
//   - Losses below the threshold, 2 % of a round trip, change nothing. The draft lowers
//     its short-term bounds after any loss outside of probing, so that with 1 % of random
//     loss the rate falls to a half between two probes (section "Design Considerations
//     for Choosing Constant Parameters").
//   - With segmentation offload, one drop can take a burst of packets that were sent in
//     one call. So the Sender also counts the runs of neighbouring lost packets. A few
//     runs do not say what the loss rate is (tooHigh).
//   - A path shorter than four milliseconds gets the window of a path of four. Within a
//     host or a rack, timers, schedulers and batches make most of the round trip, and a
//     smaller window would be less than the processes at both ends need to take turns
//     (bdpRTT). Below a millisecond, the Sender does not pace (unpaced).
//   - A sender that has nothing to send counts as limited by its application only while
//     less than the path holds is in flight. Otherwise a connection whose streams wait
//     for the receiver's windows would never leave Startup (Sender.AppLimited).
//   - The path can change under the connection without notice. If round trips are longer
//     than a queue of the sender explains, ProbeRTT begins at once, not after ten seconds
//     (Sender.seemsLonger).
//   - After a spurious loss the Sender restores no earlier state, because quic-go raises
//     its reordering threshold. It lifts the bounds.
//   - A packet marked with congestion experienced (ECN) counts as a lost packet.
package bbr
