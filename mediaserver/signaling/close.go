package signaling

import "fmt"

// Close codes. Sora's own errors go with the application code 4490; SDKs hand
// code and reason to the application alike.
const (
	CodeNormal    = 1000 // RFC 6455 section 7.4.1: the purpose is fulfilled
	CodeGoingAway = 1001 // RFC 6455 section 7.4.1: the server goes down
	CodeError     = 4490
)

// Reasons of closes that are no error: code 1000.
const (
	ReasonTypeDisconnect  = "TYPE-DISCONNECT"  // the client asked for it
	ReasonDisconnectedAPI = "DISCONNECTED-API" // somebody asked the server for it
)

// ReasonShutdown goes with code 1001, so that SDKs report an abnormal end and
// applications connect again.
const ReasonShutdown = "SHUTDOWN"

// Reasons that go with code 4490. docs/signaling.md explains each.
const (
	ReasonAuthenticationFailure       = "AUTHENTICATION-FAILURE"
	ReasonAuthenticationInternalError = "AUTHENTICATION-INTERNAL-ERROR"

	ReasonFailureJSONDecode     = "FAILURE-JSON-DECODE"
	ReasonInvalidJSON           = "INVALID-JSON"
	ReasonMissingType           = "MISSING-TYPE"
	ReasonUnknownType           = "UNKNOWN-TYPE"
	ReasonUnexpectedType        = "UNEXPECTED-TYPE"
	ReasonBinaryMessage         = "BINARY-MESSAGE"
	ReasonMessageTooLarge       = "MESSAGE-TOO-LARGE"
	ReasonInvalidRole           = "INVALID-ROLE"
	ReasonInvalidChannelID      = "INVALID-CHANNEL-ID"
	ReasonInvalidClientID       = "INVALID-CLIENT-ID"
	ReasonInvalidBundleID       = "INVALID-BUNDLE-ID"
	ReasonInvalidAudioFormat    = "INVALID-AUDIO-FORMAT"
	ReasonInvalidVideoFormat    = "INVALID-VIDEO-FORMAT"
	ReasonInvalidMetadata       = "INVALID-METADATA"
	ReasonChannelFull           = "CHANNEL-FULL"
	ReasonTooManyChannels       = "TOO-MANY-CHANNELS"
	ReasonTooManyProfiles       = "TOO-MANY-PROFILES"
	ReasonUnknownCodecType      = "UNKNOWN-CODEC-TYPE"
	ReasonH265                  = "H265-NOT-SUPPORTED"
	ReasonLegacyStream          = "LEGACY-STREAM-NOT-SUPPORTED"
	ReasonInvalidRID            = "INVALID-SIMULCAST-RID"
	ReasonInvalidSpotlight      = "INVALID-SPOTLIGHT"
	ReasonSpotlightMismatch     = "SPOTLIGHT-MISMATCH"
	ReasonForwardingFilter      = "FORWARDING-FILTER-NOT-SUPPORTED"
	ReasonInvalidSDP            = "INVALID-SDP"
	ReasonConnectWaitTimeout    = "CONNECT-WAIT-TIMEOUT-ERROR"
	ReasonAnswerTimeout         = "ANSWER-TIMEOUT-ERROR"
	ReasonConnectionWaitTimeout = "CONNECTION-CREATED-WAIT-TIMEOUT-ERROR"
	ReasonReAnswerTimeout       = "RE-ANSWER-TIMEOUT-ERROR"
	ReasonPongTimeout           = "PONG-TIMEOUT-ERROR"
	ReasonSlowClient            = "SLOW-CLIENT"
	ReasonTransportFailed       = "TRANSPORT-FAILED"
	ReasonMediaUnanswered       = "MEDIA-UNANSWERED"
	ReasonUnreadableMedia       = "UNREADABLE-MEDIA"
	ReasonInternalError         = "INTERNAL-ERROR"
)

// CodeNotOwner is what a media server closes a socket with that was passed on to it and whose
// channel it does not host; the reason is the name of the one that does, as far as it
// knows, and empty where that does not fit. Clients are never told it.
const CodeNotOwner = 4991

// Reasons that clients are told who cannot be served where their channel is, with code 4490.
const (
	// ReasonChannelUnreachable is that the media server that hosts the channel cannot be reached.
	ReasonChannelUnreachable = "CHANNEL-UNREACHABLE"
	// ReasonTooManyClients is that it has as many clients of the client's address as it may.
	ReasonTooManyClients = "TOO-MANY-CLIENTS"
	// ReasonChannelUnclaimed is that nobody can say whose the channel is.
	ReasonChannelUnclaimed = "CHANNEL-UNCLAIMED"
)

// ReasonRedirected goes with code 1000, to a client that was redirected and has not gone.
const ReasonRedirected = "REDIRECTED"

// reasonPassedOn is what metrics call the end of a socket that was passed on: what its
// client was told is another media server's word. reasonNotOwner is that of one that was
// passed here in vain.
const (
	reasonPassedOn = "PASSED-ON"
	reasonNotOwner = "NOT-OWNER"
)

// reasonDropped is what Leave hears when the client's socket is gone without a
// close of ours.
const reasonDropped = "WEBSOCKET-DROPPED"

// CloseError is why a client is dismissed, in the words that it is told.
type CloseError struct {
	Code   int
	Reason string
	// Detail is for the log: which field was wrong and how to mend it.
	Detail string

	// counted is what metrics call a Reason that is not one of this package's.
	counted string
}

// Error returns code, reason and detail.
func (e *CloseError) Error() string {
	if e.Detail == "" {
		return fmt.Sprintf("closed with %d %s", e.Code, e.Reason)
	}

	return fmt.Sprintf("closed with %d %s: %s", e.Code, e.Reason, e.Detail)
}

// refuse makes a CloseError with the application code.
func refuse(reason, detail string, arguments ...any) *CloseError {
	return &CloseError{Code: CodeError, Reason: reason, Detail: fmt.Sprintf(detail, arguments...)}
}

// CloseTransportFailed is what a client is closed with when its media transport
// has failed or ended.
func CloseTransportFailed() (code int, reason string) {
	return CodeError, ReasonTransportFailed
}

// CloseMediaUnanswered is what a client is closed with that is sent media and sends
// neither media nor reports.
func CloseMediaUnanswered() (code int, reason string) {
	return CodeError, ReasonMediaUnanswered
}

// CloseUnreadableMedia is what a client is closed with when nothing of a stream
// that it sends can be decrypted.
func CloseUnreadableMedia() (code int, reason string) {
	return CodeError, ReasonUnreadableMedia
}
