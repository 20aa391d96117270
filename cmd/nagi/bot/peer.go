package bot

import (
	"fmt"
	"log/slog"
	"sync"

	"github.com/pion/ice/v4"
	"github.com/pion/interceptor"
	"github.com/pion/interceptor/pkg/nack"
	"github.com/pion/interceptor/pkg/report"
	"github.com/pion/logging"
	"github.com/pion/rtcp"
	"github.com/pion/sdp/v3"
	"github.com/pion/webrtc/v4"

	"github.com/nagi-rtc/nagi/mediaserver/codecs"
)

// peer is the bot's side of its peer connection.
type peer struct {
	bot        *Bot
	connection *webrtc.PeerConnection

	mu       sync.Mutex
	id       string
	client   string
	answered bool
	pending  []webrtc.ICECandidateInit // Gathered before the answer was sent.
}

func newPeer(b *Bot) (*peer, error) {
	api, err := newAPI()
	if err != nil {
		return nil, err
	}
	connection, err := api.NewPeerConnection(webrtc.Configuration{})
	if err != nil {
		return nil, fmt.Errorf("make a peer connection: %w", err)
	}
	p := &peer{bot: b, connection: connection}
	connection.OnICECandidate(p.gathered)
	connection.OnTrack(func(track *webrtc.TrackRemote, _ *webrtc.RTPReceiver) { b.streams.receive(track) })
	connection.OnConnectionStateChange(p.stateChanged)

	return p, nil
}

// newAPI sets pion up as a browser would behave: retransmission both ways,
// reports both ways, every codec.
func newAPI() (*webrtc.API, error) {
	media := &webrtc.MediaEngine{}
	for i, codec := range []codecs.Codec{codecs.VP8, codecs.VP9, codecs.H264, codecs.AV1} {
		video := webrtc.RTPCodecParameters{
			RTPCodecCapability: webrtc.RTPCodecCapability{
				MimeType: "video/" + codec.String(), ClockRate: videoClockRate, SDPFmtpLine: codec.Format("").Parameters(),
				RTCPFeedback: []webrtc.RTCPFeedback{
					{Type: "goog-remb"}, {Type: "ccm", Parameter: "fir"}, {Type: "nack"}, {Type: "nack", Parameter: "pli"},
				},
			},
			PayloadType: webrtc.PayloadType(96 + 2*i), //nolint:gosec // A handful.
		}
		if err := media.RegisterCodec(video, webrtc.RTPCodecTypeVideo); err != nil {
			return nil, fmt.Errorf("register %v: %w", codec, err)
		}
	}
	audio := webrtc.RTPCodecParameters{
		RTPCodecCapability: webrtc.RTPCodecCapability{
			MimeType: webrtc.MimeTypeOpus, ClockRate: audioClockRate, Channels: 2,
			SDPFmtpLine: "minptime=10;useinbandfec=1",
		},
		PayloadType: 111,
	}
	if err := media.RegisterCodec(audio, webrtc.RTPCodecTypeAudio); err != nil {
		return nil, fmt.Errorf("register Opus: %w", err)
	}
	level := webrtc.RTPHeaderExtensionCapability{URI: sdp.AudioLevelURI}
	if err := media.RegisterHeaderExtension(level, webrtc.RTPCodecTypeAudio); err != nil {
		return nil, fmt.Errorf("register the extension of audio levels: %w", err)
	}
	if err := webrtc.ConfigureSimulcastExtensionHeaders(media); err != nil {
		return nil, fmt.Errorf("register the extensions of simulcast: %w", err)
	}
	interceptors, err := newInterceptors()
	if err != nil {
		return nil, err
	}

	return webrtc.NewAPI(
		webrtc.WithMediaEngine(media),
		webrtc.WithInterceptorRegistry(interceptors),
		webrtc.WithSettingEngine(newSettings()),
	), nil
}

func newInterceptors() (*interceptor.Registry, error) {
	responder, err := nack.NewResponderInterceptor()
	if err != nil {
		return nil, fmt.Errorf("make the NACK responder: %w", err)
	}
	generator, err := nack.NewGeneratorInterceptor()
	if err != nil {
		return nil, fmt.Errorf("make the NACK generator: %w", err)
	}
	senderReports, err := report.NewSenderInterceptor()
	if err != nil {
		return nil, fmt.Errorf("make the sender reports: %w", err)
	}
	receiverReports, err := report.NewReceiverInterceptor()
	if err != nil {
		return nil, fmt.Errorf("make the receiver reports: %w", err)
	}
	registry := &interceptor.Registry{}
	for _, factory := range []interceptor.Factory{responder, generator, senderReports, receiverReports} {
		registry.Add(factory)
	}

	return registry, nil
}

func newSettings() webrtc.SettingEngine {
	settings := webrtc.SettingEngine{}
	// The media server may listen on loopback alone, and a machine may have no
	// other interface.
	settings.SetIncludeLoopbackCandidate(true)
	settings.SetICEMulticastDNSMode(ice.MulticastDNSModeDisabled)
	settings.SetNetworkTypes([]webrtc.NetworkType{webrtc.NetworkTypeUDP4, webrtc.NetworkTypeUDP6})
	// A stream is counted from its negotiation on: that nothing of it came is a
	// finding too.
	settings.SetFireOnTrackBeforeFirstRTP(true)
	settings.DisableCloseByDTLS(true) // See ClosePeer.
	// What pion has to say (a late packet after a close, say) would disturb the
	// live display; PION_LOG_ERROR=all and its like still show it.
	loggers := logging.NewDefaultLoggerFactory()
	if loggers.DefaultLogLevel == logging.LogLevelError {
		loggers.DefaultLogLevel = logging.LogLevelDisabled
	}
	settings.LoggerFactory = loggers

	return settings
}

// identify notes who the server says this connection is.
func (p *peer) identify(connectionID, clientID string) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.id, p.client = connectionID, clientID
}

func (p *peer) connectionID() string {
	p.mu.Lock()
	defer p.mu.Unlock()

	return p.id
}

func (p *peer) clientID() string {
	p.mu.Lock()
	defer p.mu.Unlock()

	return p.client
}

// answer answers an offer of the server's.
func (p *peer) answer(offer string) (string, error) {
	description := webrtc.SessionDescription{Type: webrtc.SDPTypeOffer, SDP: offer}
	if err := p.connection.SetRemoteDescription(description); err != nil {
		return "", fmt.Errorf("take the server's offer: %w", err)
	}
	answer, err := p.connection.CreateAnswer(nil)
	if err != nil {
		return "", fmt.Errorf("make an answer: %w", err)
	}
	if err := p.connection.SetLocalDescription(answer); err != nil {
		return "", fmt.Errorf("take the own answer: %w", err)
	}
	pub := p.bot.publisher
	if pub == nil {
		return answer.SDP, nil
	}
	if !pub.identified.Load() { // What it sends stays on the m-lines of the first offer.
		pub.obey(offer)
		if err := pub.identify(answer.SDP); err != nil {
			return "", err
		}
		pub.identified.Store(true)
	}

	return pub.asBrowser(answer.SDP), nil
}

// gathered sends a candidate, or keeps it until the answer has gone out.
func (p *peer) gathered(candidate *webrtc.ICECandidate) {
	if candidate == nil {
		return
	}
	p.mu.Lock()
	if !p.answered {
		p.pending = append(p.pending, candidate.ToJSON())
		p.mu.Unlock()

		return
	}
	p.mu.Unlock()
	if err := p.bot.sendCandidate(candidate.ToJSON()); err != nil {
		p.bot.log.Debug("candidate not sent", "error", err)
	}
}

func (p *peer) flushCandidates() error {
	p.mu.Lock()
	pending := p.pending
	p.pending, p.answered = nil, true
	p.mu.Unlock()
	for _, candidate := range pending {
		if err := p.bot.sendCandidate(candidate); err != nil {
			return err
		}
	}

	return nil
}

func (p *peer) stateChanged(state webrtc.PeerConnectionState) {
	p.bot.log.Debug("peer connection", "state", state.String())
	switch state {
	case webrtc.PeerConnectionStateConnected:
		if p.bot.publisher != nil {
			p.bot.publisher.begin()
		}
	case webrtc.PeerConnectionStateFailed:
		p.bot.end(fmt.Errorf("the peer connection failed: no way to the server's media address was found, or it was lost"))
	}
}

func (p *peer) requestKeyframe(ssrc uint32) error {
	if err := p.connection.WriteRTCP([]rtcp.Packet{&rtcp.PictureLossIndication{MediaSSRC: ssrc}}); err != nil {
		return fmt.Errorf("send a PLI: %w", err)
	}

	return nil
}

// ended tells whether the peer connection was closed.
func (p *peer) ended() bool {
	return p.connection.ConnectionState() == webrtc.PeerConnectionStateClosed ||
		p.connection.SignalingState() == webrtc.SignalingStateClosed
}

// close ends the peer connection and waits for pion's goroutines.
func (p *peer) close(log *slog.Logger) {
	if err := ClosePeer(p.connection); err != nil {
		log.Debug("peer connection not closed cleanly", "error", err)
	}
}
