package rtc

import "errors"

var (
	// ErrClosed is returned by whatever is asked of a closed peer, engine or downlink.
	ErrClosed = errors.New("closed")
	// ErrAnswerOutstanding is returned by Offer while the offer before has no answer (RFC 3264 section 4).
	ErrAnswerOutstanding = errors.New("the last offer has not been answered yet")
	// ErrNoOffer is returned by Answer when there is no offer to answer.
	ErrNoOffer = errors.New("no offer waits for an answer")
	// ErrDescriptionTooLarge is returned by Answer for more than 256 KiB and 4 times the offer.
	ErrDescriptionTooLarge = errors.New("session description too large")
	// ErrInvalidAnswer is returned by Answer for a description that is malformed or does not fit the offer. The peer
	// cannot be used after it and has to be closed.
	ErrInvalidAnswer = errors.New("invalid answer")
	// ErrInvalidCandidate is returned by AddCandidate for a malformed candidate.
	ErrInvalidCandidate = errors.New("invalid ICE candidate")
	// ErrNotBound is returned by a downlink's writes before it is negotiated.
	ErrNotBound = errors.New("downlink not negotiated yet")
	// ErrFormatNotTaken is returned by AddDownlink for a format that the client has rejected, or for which a session has
	// no payload types left.
	ErrFormatNotTaken = errors.New("the client does not take the format")
	// ErrPacketTooLarge is returned by a downlink's writes for what does not fit into a datagram of udp.MaxDatagram bytes.
	ErrPacketTooLarge = errors.New("packet too large")
	// ErrBatchFull is returned by a downlink's writes when the caller has not made room in the batch.
	ErrBatchFull = errors.New("no room in the batch")

	// ErrICEFailed is what OnClosed gets when no path to the client is left, or the DTLS handshake failed.
	ErrICEFailed = errors.New("ICE or DTLS failed")
	// ErrMediaUnanswered is what OnClosed gets when media went to the client for Config.MediaTimeout without SRTP or
	// SRTCP from it, though ICE's checks came.
	ErrMediaUnanswered = errors.New("media goes to the client and neither SRTP nor SRTCP comes from it")
	// ErrClosedByClient is what OnClosed gets when the client ended DTLS.
	ErrClosedByClient = errors.New("closed by the client")
	// ErrUnreadableMedia is what OnClosed gets when packets of a stream of the client come and none can be opened.
	ErrUnreadableMedia = errors.New("media cannot be decrypted")

	// errStrangeSSRC counts as malformed RTP.
	errStrangeSSRC = errors.New("RTP of an SSRC that was replaced, or of too many")
	// errTooManyReporters counts as malformed RTCP.
	errTooManyReporters = errors.New("RTCP of too many SSRCs")
)
