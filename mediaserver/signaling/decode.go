package signaling

import (
	"bytes"
	"encoding/json"
	"unicode/utf8"
)

// Message is one of the messages that a client may send: Connect, Answer,
// Candidate, Pong or Disconnect.
type Message interface{ message() }

// Answer is the answer to an offer or to a re-offer.
type Answer struct {
	SDP string
	// Re is true for re-answer and for its older name update.
	Re bool
}

// Candidate is an ICE candidate of the client.
type Candidate struct {
	Candidate     string
	SDPMid        *string
	SDPMLineIndex *uint16
}

// Pong answers a ping.
type Pong struct{}

// Disconnect announces that the client goes.
type Disconnect struct{ Reason string }

func (Connect) message()    {}
func (Answer) message()     {}
func (Candidate) message()  {}
func (Pong) message()       {}
func (Disconnect) message() {}

// object is a JSON object by its exact keys: matching keys regardless of case, as
// encoding/json does for structs, would take fields for others that Sora does not
// know.
type object map[string]json.RawMessage

// Decode reads the text of one frame. Every error is a *CloseError. Fields that
// the protocol does not know are ignored; null is like an absent field.
func Decode(text []byte) (Message, error) {
	if answer, ok := decodeLongAnswer(text); ok {
		return answer, nil
	}
	if !utf8.Valid(text) || !json.Valid(text) {
		return nil, refuse(ReasonFailureJSONDecode, "the frame is no JSON text in UTF-8")
	}
	var fields object
	if err := json.Unmarshal(text, &fields); err != nil || fields == nil {
		return nil, refuse(ReasonInvalidJSON, "the frame is JSON but no object")
	}
	kind, ok := stringOf(fields["type"])
	if !ok {
		return nil, refuse(ReasonMissingType, "the message has no type, or one that is no string")
	}

	switch kind {
	case "connect":
		return decodeConnect(fields)
	case "answer", "re-answer", "update":
		return decodeAnswer(kind, fields)
	case "candidate":
		return decodeCandidate(fields)
	case "pong":
		return Pong{}, nil
	case "disconnect":
		// The reason is for the log only, so any is good.
		reason, _ := stringOf(fields["reason"])

		return Disconnect{Reason: reason}, nil
	default:
		return nil, refuse(ReasonUnknownType, "a client does not send messages of type %.40q", kind)
	}
}

// longAnswer is from how many bytes on decodeLongAnswer is worth trying.
const longAnswer = 4 << 10

// decodeLongAnswer reads an answer whose text is long, as those in big channels are, in one go:
// json.RawMessage has each byte looked at again for each level. What it does not take is read as
// all else is.
func decodeLongAnswer(text []byte) (answer Answer, ok bool) {
	if len(text) < longAnswer || !utf8.Valid(text) {
		return answer, false
	}
	var fields map[string]any
	if json.Unmarshal(text, &fields) != nil {
		return answer, false
	}
	kind, _ := fields["type"].(string)
	answer.SDP, _ = fields["sdp"].(string)
	answer.Re = kind != "answer"

	return answer, answer.SDP != "" && (kind == "answer" || kind == "re-answer" || kind == "update")
}

func decodeAnswer(kind string, fields object) (Message, error) {
	sdp, ok := stringOf(fields["sdp"])
	if !ok || sdp == "" {
		return nil, refuse(ReasonInvalidJSON, "%s needs sdp, a string that is not empty", kind)
	}

	return Answer{SDP: sdp, Re: kind != "answer"}, nil
}

func decodeCandidate(fields object) (Message, error) {
	var c Candidate
	candidate, ok := stringOf(fields["candidate"])
	if !ok {
		return nil, refuse(ReasonInvalidJSON, "candidate needs candidate, a string (an empty one is good)")
	}
	c.Candidate = candidate
	if !isNull(fields["sdpMid"]) && json.Unmarshal(fields["sdpMid"], &c.SDPMid) != nil {
		return nil, refuse(ReasonInvalidJSON, "the candidate's sdpMid is no string")
	}
	if !isNull(fields["sdpMLineIndex"]) && json.Unmarshal(fields["sdpMLineIndex"], &c.SDPMLineIndex) != nil {
		return nil, refuse(ReasonInvalidJSON, "the candidate's sdpMLineIndex is no number from 0 to 65535")
	}

	return c, nil
}

// stringOf reads a string; ok is false when there is none.
func stringOf(value json.RawMessage) (text string, ok bool) {
	if isNull(value) || json.Unmarshal(value, &text) != nil {
		return "", false
	}

	return text, true
}

// isNull tells whether a field is absent or null.
func isNull(value json.RawMessage) bool {
	return len(value) == 0 || bytes.Equal(value, []byte("null"))
}
