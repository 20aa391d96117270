//go:build linux

package main

import (
	"context"
	"errors"
	"fmt"

	"github.com/pion/dtls/v3"
	"github.com/pion/ice/v4"
	"github.com/pion/interceptor"
	"github.com/pion/logging"
	"github.com/pion/rtcp"
	"github.com/pion/webrtc/v4"
)

// newPeer makes a peer connection that does the least: loopback only, no
// interceptors, AEAD_AES_128_GCM or nothing.
func newPeer(p participant) (*webrtc.PeerConnection, error) {
	media := &webrtc.MediaEngine{}
	video := webrtc.RTPCodecParameters{PayloadType: 96, RTPCodecCapability: webrtc.RTPCodecCapability{
		MimeType: webrtc.MimeTypeVP8, ClockRate: 90000,
		RTCPFeedback: []webrtc.RTCPFeedback{{Type: "ccm", Parameter: "fir"}, {Type: "nack"}, {Type: "nack", Parameter: "pli"}},
	}}
	audio := webrtc.RTPCodecParameters{PayloadType: 111, RTPCodecCapability: webrtc.RTPCodecCapability{
		MimeType: webrtc.MimeTypeOpus, ClockRate: 48000, Channels: 2, SDPFmtpLine: "minptime=10;useinbandfec=1",
	}}
	err := errors.Join(media.RegisterCodec(video, webrtc.RTPCodecTypeVideo), media.RegisterCodec(audio, webrtc.RTPCodecTypeAudio))
	if err != nil {
		return nil, fmt.Errorf("register codecs: %w", err)
	}
	settings := webrtc.SettingEngine{}
	settings.SetIncludeLoopbackCandidate(true)
	if p.Protocol != "janus" { // Janus 1.1.2 refuses loopback addresses, see its configuration.
		settings.SetInterfaceFilter(func(name string) bool { return name == "lo" })
	}
	settings.SetICEMulticastDNSMode(ice.MulticastDNSModeDisabled)
	settings.SetNetworkTypes([]webrtc.NetworkType{webrtc.NetworkTypeUDP4})
	settings.SetSRTPProtectionProfiles(dtls.SRTP_AEAD_AES_128_GCM)
	settings.LoggerFactory = &logging.DefaultLoggerFactory{DefaultLogLevel: logging.LogLevelDisabled}
	api := webrtc.NewAPI(webrtc.WithMediaEngine(media), webrtc.WithSettingEngine(settings),
		webrtc.WithInterceptorRegistry(&interceptor.Registry{}))
	connection, err := api.NewPeerConnection(webrtc.Configuration{})
	if err != nil {
		return nil, fmt.Errorf("make a peer connection: %w", err)
	}
	if p.received != nil {
		connection.OnTrack(func(track *webrtc.TrackRemote, _ *webrtc.RTPReceiver) {
			p.received.count(func(buffer []byte) (int, error) {
				n, _, err := track.Read(buffer)
				return n, err
			})
		})
	}
	return connection, nil
}

// addSource puts the participant's source on the connection; before the first
// description.
func addSource(connection *webrtc.PeerConnection, p participant) (*webrtc.TrackLocalStaticRTP, error) {
	mimeType := webrtc.MimeTypeVP8
	if p.Audio {
		mimeType = webrtc.MimeTypeOpus
	}
	track, err := webrtc.NewTrackLocalStaticRTP(webrtc.RTPCodecCapability{MimeType: mimeType}, "track-"+p.name(), "stream-"+p.name())
	if err != nil {
		return nil, fmt.Errorf("make a track: %w", err)
	}
	transceiver, err := connection.AddTransceiverFromTrack(track, webrtc.RTPTransceiverInit{Direction: webrtc.RTPTransceiverDirectionSendonly})
	if err != nil {
		return nil, fmt.Errorf("add a track: %w", err)
	}
	p.source.write = track.WriteRTP
	go func() { // Ends with the connection, which ends with the process.
		for {
			packets, _, err := transceiver.Sender().ReadRTCP()
			if err != nil {
				return
			}
			for _, packet := range packets {
				switch packet.(type) {
				case *rtcp.PictureLossIndication, *rtcp.FullIntraRequest:
					p.keyframes.Add(1)
					p.source.keyframeWanted.Store(true)
				}
			}
		}
	}()
	return track, nil
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
	if err := connection.SetRemoteDescription(webrtc.SessionDescription{Type: webrtc.SDPTypeOffer, SDP: offer}); err != nil {
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

func describe(ctx context.Context, connection *webrtc.PeerConnection, description webrtc.SessionDescription) (string, error) {
	gathered := webrtc.GatheringCompletePromise(connection)
	if err := connection.SetLocalDescription(description); err != nil {
		return "", fmt.Errorf("take the own description: %w", err)
	}
	if err := wait(ctx, "candidates", gathered); err != nil {
		return "", err
	}
	return connection.LocalDescription().SDP, nil
}
