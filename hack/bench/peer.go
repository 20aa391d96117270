//go:build linux

package main

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/pion/dtls/v3"
	"github.com/pion/ice/v4"
	"github.com/pion/interceptor"
	"github.com/pion/logging"
	"github.com/pion/rtcp"
	"github.com/pion/sdp/v3"
	"github.com/pion/transport/v5/stdnet"
	"github.com/pion/webrtc/v4"
)

// newPeer makes a peer connection that does the least that a browser does: no way off the machine, no
// decoder, AEAD_AES_128_GCM or nothing.
func newPeer(p participant) (*webrtc.PeerConnection, error) {
	media := &webrtc.MediaEngine{}
	video := webrtc.RTPCodecParameters{PayloadType: 96, RTPCodecCapability: webrtc.RTPCodecCapability{
		MimeType: webrtc.MimeTypeVP8, ClockRate: 90000,
		RTCPFeedback: []webrtc.RTCPFeedback{
			{Type: "ccm", Parameter: "fir"}, {Type: "nack"}, {Type: "nack", Parameter: "pli"},
			{Type: "goog-remb"}, {Type: "transport-cc"},
		},
	}}
	rtx := webrtc.RTPCodecParameters{PayloadType: 97, RTPCodecCapability: webrtc.RTPCodecCapability{
		MimeType: webrtc.MimeTypeRTX, ClockRate: 90000, SDPFmtpLine: "apt=96",
	}}
	audio := webrtc.RTPCodecParameters{PayloadType: 111, RTPCodecCapability: webrtc.RTPCodecCapability{
		MimeType: webrtc.MimeTypeOpus, ClockRate: 48000, Channels: 2, SDPFmtpLine: "minptime=10;useinbandfec=1",
	}}
	err := errors.Join(media.RegisterCodec(video, webrtc.RTPCodecTypeVideo),
		media.RegisterCodec(rtx, webrtc.RTPCodecTypeVideo),
		media.RegisterCodec(audio, webrtc.RTPCodecTypeAudio))
	if err != nil {
		return nil, fmt.Errorf("register codecs: %w", err)
	}
	sendTime := webrtc.RTPHeaderExtensionCapability{URI: sdp.ABSSendTimeURI}
	if err := media.RegisterHeaderExtension(sendTime, webrtc.RTPCodecTypeVideo); err != nil {
		return nil, fmt.Errorf("register the extension of sending times: %w", err)
	}
	interceptors := &interceptor.Registry{}
	if p.source != nil { // Its packets have transport-wide numbers, and servers tell it what came.
		if err := webrtc.ConfigureTWCCHeaderExtensionSender(media, interceptors); err != nil {
			return nil, fmt.Errorf("register the extension of transport-wide numbers: %w", err)
		}
	}
	if err := webrtc.ConfigureSimulcastExtensionHeaders(media); err != nil {
		return nil, fmt.Errorf("register the extensions of simulcast: %w", err)
	}
	if p.Speakers > 0 {
		level := webrtc.RTPHeaderExtensionCapability{URI: sdp.AudioLevelURI}
		if err := media.RegisterHeaderExtension(level, webrtc.RTPCodecTypeAudio); err != nil {
			return nil, fmt.Errorf("register the extension of audio levels: %w", err)
		}
	}
	settings := webrtc.SettingEngine{}
	settings.SetIncludeLoopbackCandidate(true)
	settings.DisableCloseByDTLS(true) // See bot.ClosePeer.
	only := "lo"
	if p.Protocol == "janus" {
		only = janusInterface
	}
	settings.SetInterfaceFilter(func(name string) bool { return name == only })
	timed := &receiveNet{arrivals: &arrivals{}, heard: &reception{}}
	if p.received != nil {
		if timed.Net, err = stdnet.NewNet(); err != nil {
			return nil, fmt.Errorf("look at the network: %w", err)
		}
		if p.Sink {
			timed.sink = p.received
		}
		settings.SetNet(timed)
	}
	settings.SetICEMulticastDNSMode(ice.MulticastDNSModeDisabled)
	settings.SetNetworkTypes([]webrtc.NetworkType{webrtc.NetworkTypeUDP4})
	settings.SetSRTPProtectionProfiles(dtls.SRTP_AEAD_AES_128_GCM)
	settings.LoggerFactory = &logging.DefaultLoggerFactory{DefaultLogLevel: logging.LogLevelDisabled}
	api := webrtc.NewAPI(webrtc.WithMediaEngine(media), webrtc.WithSettingEngine(settings),
		webrtc.WithInterceptorRegistry(interceptors))
	connection, err := api.NewPeerConnection(webrtc.Configuration{})
	if err != nil {
		return nil, fmt.Errorf("make a peer connection: %w", err)
	}
	p.profiles.add(connection)
	report(connection)
	if p.probe != nil {
		p.probe.watch(connection)
	} else if p.received != nil {
		if !p.Silent {
			go timed.heard.send(&p.received.feedback, connection.WriteRTCP)
		}
		connection.OnTrack(func(track *webrtc.TrackRemote, receiver *webrtc.RTPReceiver) {
			go timed.heard.follow(receiver)
			p.received.count(timed.arrivals, func(buffer []byte) (int, error) {
				n, _, err := track.Read(buffer)

				return n, err
			})
		})
	}

	return connection, nil
}

// reportInterval is how often a participant sends a reception report. Every client
// sends some, and servers give up those that do not.
const reportInterval = time.Second

// report sends empty reception reports from when media can flow until the
// connection closes.
func report(connection *webrtc.PeerConnection) {
	go func() { // Ends with the connection, which ends with the process.
		ticker := time.NewTicker(reportInterval)
		defer ticker.Stop()
		for range ticker.C {
			switch connection.ConnectionState() {
			case webrtc.PeerConnectionStateClosed, webrtc.PeerConnectionStateFailed:
				return
			case webrtc.PeerConnectionStateConnected:
				_ = connection.WriteRTCP([]rtcp.Packet{&rtcp.ReceiverReport{SSRC: 1}}) // The next one follows.
			default:
			}
		}
	}()
}

// addSource puts the participant's source on the connection; before the first
// description.
func addSource(connection *webrtc.PeerConnection, p participant) (*webrtc.TrackLocalStaticRTP, error) {
	mimeType, trackID := webrtc.MimeTypeVP8, "track-"+p.name()
	if p.Audio {
		mimeType, trackID = webrtc.MimeTypeOpus, "audio-"+p.name()
	}
	track, err := webrtc.NewTrackLocalStaticRTP(webrtc.RTPCodecCapability{MimeType: mimeType}, trackID, "stream-"+p.name())
	if err != nil {
		return nil, fmt.Errorf("make a track: %w", err)
	}
	transceiver, err := connection.AddTransceiverFromTrack(track,
		webrtc.RTPTransceiverInit{Direction: webrtc.RTPTransceiverDirectionSendonly})
	if err != nil {
		return nil, fmt.Errorf("add a track: %w", err)
	}
	p.source.write = track.WriteRTP
	go p.takeRequests(p.source, transceiver.Sender().ReadRTCP)

	return track, nil
}

// takeRequests takes requests for keyframes until the connection ends, which it does with the process.
func (p participant) takeRequests(s *source, read func() ([]rtcp.Packet, interceptor.Attributes, error)) {
	for {
		packets, _, err := read()
		if err != nil {
			return
		}
		for _, packet := range packets {
			switch packet.(type) {
			case *rtcp.PictureLossIndication, *rtcp.FullIntraRequest:
				p.probe.keyframeRequested()
				p.keyframes.Add(1)
				s.keyframeWanted.Store(true)
			}
		}
	}
}

// addVoice puts the participant's audio, if it sends any beside its video, on the
// connection.
func addVoice(connection *webrtc.PeerConnection, p participant) (*webrtc.TrackLocalStaticRTP, error) {
	if p.voice == nil {
		return nil, nil //nolint:nilnil // Nothing to add is no error.
	}
	p.Audio, p.source = true, p.voice

	return addSource(connection, p)
}

// watchConnected returns a channel that closes once media can flow.
func watchConnected(connection *webrtc.PeerConnection) <-chan struct{} {
	connected := make(chan struct{})
	done := false
	connection.OnConnectionStateChange(func(state webrtc.PeerConnectionState) {
		if state == webrtc.PeerConnectionStateConnected && !done {
			done = true
			close(connected)
		}
	})

	return connected
}

func wait(ctx context.Context, what string, event <-chan struct{}) error {
	select {
	case <-event:
		return nil
	case <-ctx.Done():
		return fmt.Errorf("wait for %s: %w", what, context.Cause(ctx))
	}
}

// answerOffer returns the answer with all candidates in it.
func answerOffer(ctx context.Context, connection *webrtc.PeerConnection, offer string) (string, error) {
	if err := connection.SetRemoteDescription(webrtc.SessionDescription{
		Type: webrtc.SDPTypeOffer, SDP: offer,
	}); err != nil {
		return "", fmt.Errorf("take the offer: %w", err)
	}
	answer, err := connection.CreateAnswer(nil)
	if err != nil {
		return "", fmt.Errorf("make an answer: %w", err)
	}

	return describe(ctx, connection, answer)
}

func makeOffer(ctx context.Context, connection *webrtc.PeerConnection) (string, error) {
	offer, err := connection.CreateOffer(nil)
	if err != nil {
		return "", fmt.Errorf("make an offer: %w", err)
	}

	return describe(ctx, connection, offer)
}

func describe(
	ctx context.Context, connection *webrtc.PeerConnection, description webrtc.SessionDescription,
) (string, error) {
	gathered := webrtc.GatheringCompletePromise(connection)
	if err := connection.SetLocalDescription(description); err != nil {
		return "", fmt.Errorf("take the own description: %w", err)
	}
	if err := wait(ctx, "candidates", gathered); err != nil {
		return "", err
	}

	return connection.LocalDescription().SDP, nil
}
