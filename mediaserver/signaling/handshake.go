package signaling

import (
	"encoding/json"
	"errors"
)

// protocolVersion is what offers say: the Sora whose signalling this resembles,
// not Nagi's own version.
const protocolVersion = "2025.1.0"

// offerMessage is the first offer. Data channels are not served, so their fields are
// constants.
type offerMessage struct {
	Type         string `json:"type"`
	SDP          string `json:"sdp"`
	Version      string `json:"version"`
	ChannelID    string `json:"channel_id"`
	ConnectionID string `json:"connection_id"`
	ClientID     string `json:"client_id"`
	BundleID     string `json:"bundle_id"`
	SessionID    string `json:"session_id"`
	// Config is an RTCConfiguration.
	Config json.RawMessage `json:"config"`
	MID    offerMID        `json:"mid"`
	// Metadata is the authority's.
	Metadata json.RawMessage `json:"metadata"`

	Audio          bool   `json:"audio"`
	AudioCodecType string `json:"audio_codec_type,omitempty"`
	AudioBitRate   int    `json:"audio_bit_rate,omitempty"`
	Video          bool   `json:"video"`
	VideoCodecType string `json:"video_codec_type,omitempty"`
	VideoBitRate   int    `json:"video_bit_rate,omitempty"`

	Multistream bool `json:"multistream"`
	// Encodings are what the client is to send of video, if that is more than one.
	Encodings []Encoding `json:"encodings,omitempty"`

	Simulcast                 bool `json:"simulcast"`
	SimulcastMulticodec       bool `json:"simulcast_multicodec"`
	Spotlight                 bool `json:"spotlight"`
	DataChannelSignaling      bool `json:"data_channel_signaling"`
	IgnoreDisconnectWebSocket bool `json:"ignore_disconnect_websocket"`
}

type offerMID struct {
	Audio string `json:"audio,omitempty"`
	Video string `json:"video,omitempty"`
}

type reofferMessage struct {
	Type string `json:"type"`
	SDP  string `json:"sdp"`
}

// receive acts on one message of the client, or ends the connection when it may
// not come now.
func (c *connection) receive(r received) {
	switch m := r.message.(type) {
	case decision:
		c.decided = m.answer
	case Connect:
		if c.expects("connect", c.phase == awaitingConnect) {
			m.text = r.text
			c.join(m)
		}
	case Answer:
		switch {
		case m.Re && c.expects("re-answer", c.reoffer.outstanding):
			c.takeReAnswer(m.SDP)
		case !m.Re && c.expects("answer", c.phase == awaitingAnswer):
			c.takeAnswer(m.SDP)
		}
	case Candidate:
		if c.expects("candidate", c.offered()) {
			c.takeCandidate(m)
		}
	case Pong:
		if c.expects("pong", c.offered()) {
			c.timers.pong.Reset(c.config.PongTimeout)
		}
	}
}

// offered tells whether the client has been sent an offer.
func (c *connection) offered() bool { return c.phase >= awaitingAnswer }

func (c *connection) expects(kind string, expected bool) bool {
	if !expected {
		c.end(refuse(ReasonUnexpectedType, "%s is not expected now", kind))
	}

	return expected
}

// join takes the client into its channel, or to where that is hosted.
func (c *connection) join(request Connect) {
	c.log = c.log.With("channel", request.ChannelID)
	request.ConnectionID = NewID()
	if c.pass != nil && c.pass.ConnectionID != "" {
		request.ConnectionID = c.pass.ConnectionID
	}
	if c.config.Peers != nil {
		c.place(request)

		return
	}
	admitted, err := c.admit(request)
	if err != nil {
		c.end(err)

		return
	}
	c.open(admitted)
}

// open takes an admitted client into its channel here, and sends the offer. Nothing is made
// for it before.
func (c *connection) open(request Connect) {
	session, err := c.config.Channels.Join(c.ctx, request, c)
	if err != nil {
		c.end(closeErrorOf(err, ReasonInternalError))

		return
	}
	c.session = session

	offer, err := session.Offer(c.ctx)
	if err != nil {
		c.end(closeErrorOf(err, ReasonInternalError))

		return
	}
	c.log = c.log.With("connection", offer.ConnectionID)
	c.log.Debug("offer made", "client", offer.ClientID, "role", request.Role, "library", request.SoraClient)
	c.offerSize.Store(int64(len(offer.SDP)))
	c.send(newOfferMessage(request, offer, c.config.ICE.current()))

	c.phase = awaitingAnswer
	c.timers.await(c.config.AnswerTimeout, ReasonAnswerTimeout)
	c.timers.ping.Reset(c.config.PingInterval)
	c.timers.pong.Reset(c.config.PongTimeout)
}

func newOfferMessage(request Connect, offer Offer, config json.RawMessage) offerMessage {
	message := offerMessage{
		Type:         "offer",
		SDP:          offer.SDP,
		Version:      protocolVersion,
		ChannelID:    offer.ChannelID,
		ConnectionID: offer.ConnectionID,
		ClientID:     offer.ClientID,
		BundleID:     offer.BundleID,
		SessionID:    offer.SessionID,
		Config:       config,
		MID:          offerMID{Audio: offer.AudioMID, Video: offer.VideoMID},
		Metadata:     json.RawMessage("{}"),
		Multistream:  true,
		Spotlight:    request.Spotlight != nil,
	}
	if audio := request.Audio; audio != nil {
		message.Audio, message.AudioCodecType, message.AudioBitRate = true, audio.CodecType, audio.BitRate
	}
	if video := request.Video; video != nil {
		message.Video, message.VideoCodecType, message.VideoBitRate = true, video.CodecType, video.BitRate
	}

	if request.OfferMetadata != nil {
		message.Metadata = request.OfferMetadata
	}

	message.Simulcast = request.Simulcast
	if request.offersEncodings() {
		message.Encodings = request.Encodings
		if message.Encodings == nil {
			message.Encodings = newEncodings(request.bitRate())
		}
	}

	return message
}

func (c *connection) takeAnswer(sdp string) {
	// Before the answer is applied: it may bring media up, and the news of that
	// must find this timer running.
	c.timers.await(c.config.MediaTimeout, ReasonConnectionWaitTimeout)
	if err := c.session.Answer(c.ctx, sdp); err != nil {
		c.end(closeErrorOf(err, ReasonInvalidSDP))

		return
	}
	c.phase = established
	c.sendReoffer()
}

func (c *connection) takeReAnswer(sdp string) {
	c.timers.reAnswer.Stop()
	if err := c.session.Answer(c.ctx, sdp); err != nil {
		c.end(closeErrorOf(err, ReasonInvalidSDP))

		return
	}
	c.reoffer.outstanding = false
	c.sendReoffer()
}

// sendReoffer sends a re-offer if one is wanted and may go now.
func (c *connection) sendReoffer() {
	if !c.reoffer.wanted || c.reoffer.outstanding || c.phase != established {
		return
	}
	// What was wished before is in this offer. Wishes from here on may be or not, so they count again.
	select {
	case <-c.renegotiate:
	default:
	}
	c.reoffer = reofferState{outstanding: true}
	sdp, err := c.session.Reoffer(c.ctx)
	if err != nil {
		c.end(closeErrorOf(err, ReasonInternalError))

		return
	}
	c.metrics.reoffers.Inc()
	c.timers.reAnswer.Reset(c.config.AnswerTimeout)
	c.offerSize.Store(int64(len(sdp)))
	c.send(reofferMessage{Type: "re-offer", SDP: sdp})
}

// errTooManyCandidates says why a candidate was dropped.
var errTooManyCandidates = errors.New("the client has sent too many")

// takeCandidate drops what cannot be used: one odd candidate of many must not
// end a connection.
func (c *connection) takeCandidate(m Candidate) {
	err := errTooManyCandidates
	if c.candidates++; c.candidates <= maxCandidates {
		err = c.session.Candidate(m.Candidate, m.SDPMid, m.SDPMLineIndex)
	}
	if err != nil {
		c.metrics.candidatesDropped.Inc()
		c.log.Debug("candidate dropped", "error", err)
	}
}
