//go:build linux

package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/url"
	"sync"
	"time"

	"github.com/coder/websocket"
	"github.com/livekit/protocol/auth"
	"github.com/livekit/protocol/livekit"
	"github.com/pion/webrtc/v4"
	"google.golang.org/protobuf/proto"
)

const (
	liveKitKey    = "bench"
	liveKitSecret = "a-secret-of-no-worth-on-loopback-only"
	// liveKitProtocol is the signalling version with one connection each way.
	liveKitProtocol = "15"
)

// liveKitClient is one participant of the room.
type liveKitClient struct {
	participant
	socket                *websocket.Conn
	publisher, subscriber *webrtc.PeerConnection
	candidates            map[livekit.SignalTarget][]webrtc.ICECandidateInit // Until the description is there.
	published             chan struct{}
	publishOnce           sync.Once
	disabled              map[string]bool
}

// joinLiveKit joins the room and returns once media can flow.
func joinLiveKit(ctx context.Context, p participant) error {
	token, err := auth.NewAccessToken(liveKitKey, liveKitSecret).SetIdentity(p.name()).SetValidFor(time.Hour).
		SetVideoGrant(&auth.VideoGrant{RoomJoin: true, Room: channelID}).ToJWT()
	if err != nil {
		return fmt.Errorf("make a token: %w", err)
	}
	query := url.Values{
		"access_token": {token}, "protocol": {liveKitProtocol}, "sdk": {"go"},
		"auto_subscribe": {map[bool]string{true: "1", false: "0"}[p.received != nil]},
	}
	c := &liveKitClient{
		participant: p, candidates: map[livekit.SignalTarget][]webrtc.ICECandidateInit{},
		published: make(chan struct{}), disabled: map[string]bool{},
	}
	p.probe.holdLiveKit(c)
	if c.socket, err = dial(ctx, "ws://"+p.Address+"/rtc?"+query.Encode(), nil); err != nil {
		return err
	}
	if c.publisher, err = newPeer(p); err != nil {
		return err
	}
	if c.subscriber, err = newPeer(p); err != nil {
		return err
	}
	publishing, subscribing := watchConnected(c.publisher), watchConnected(c.subscriber)
	ended := make(chan error, 1)
	go func() { ended <- c.read() }()
	go c.keepAlive()
	joined := make(chan error, 1)
	go func() { joined <- c.untilMedia(ctx, publishing, subscribing) }()
	select {
	case err := <-ended:
		return err
	case err := <-joined:
		return err
	}
}

func (c *liveKitClient) untilMedia(ctx context.Context, publishing, subscribing <-chan struct{}) error {
	if c.source != nil {
		if err := c.publish(ctx); err != nil {
			return err
		}
		if err := wait(ctx, "the publisher's connection", publishing); err != nil {
			return err
		}
	}
	if c.received == nil {
		return nil
	}
	// Tracks are announced, and then paused, once their first packet has come: in
	// the warm-up.
	return wait(ctx, "the subscriber's connection", subscribing)
}

func (c *liveKitClient) publish(ctx context.Context) error {
	track, err := addSource(c.publisher, c.participant)
	if err != nil {
		return err
	}
	add := &livekit.AddTrackRequest{
		Cid:    track.ID(),
		Name:   c.name(),
		Type:   livekit.TrackType_VIDEO,
		Source: livekit.TrackSource_CAMERA,
		Width:  1280,
		Height: 720,
	}
	if c.Audio {
		add = &livekit.AddTrackRequest{
			Cid: track.ID(), Name: c.name(), Type: livekit.TrackType_AUDIO, Source: livekit.TrackSource_MICROPHONE,
		}
	}
	if err := c.send(&livekit.SignalRequest{Message: &livekit.SignalRequest_AddTrack{AddTrack: add}}); err != nil {
		return err
	}
	voice, err := addVoice(c.publisher, c.participant)
	if err != nil {
		return err
	}
	if voice != nil {
		add := &livekit.AddTrackRequest{
			Cid: voice.ID(), Name: voice.ID(), Type: livekit.TrackType_AUDIO, Source: livekit.TrackSource_MICROPHONE,
		}
		if err := c.send(&livekit.SignalRequest{Message: &livekit.SignalRequest_AddTrack{AddTrack: add}}); err != nil {
			return err
		}
	}
	if err := wait(ctx, "the track's admission", c.published); err != nil {
		return err
	}
	sdp, err := makeOffer(ctx, c.publisher)
	if err != nil {
		return err
	}

	return c.send(&livekit.SignalRequest{
		Message: &livekit.SignalRequest_Offer{Offer: &livekit.SessionDescription{Type: "offer", Sdp: sdp, Id: 1}},
	})
}

func (c *liveKitClient) send(request *livekit.SignalRequest) error {
	data, err := proto.Marshal(request)
	if err != nil {
		return fmt.Errorf("write a signalling message: %w", err)
	}
	if err := c.socket.Write(c.lifetime, websocket.MessageBinary, data); err != nil {
		return fmt.Errorf("send a signalling message: %w", err)
	}

	return nil
}

func (c *liveKitClient) keepAlive() {
	for sleep(c.lifetime, 5*time.Second) == nil {
		if c.send(&livekit.SignalRequest{Message: &livekit.SignalRequest_Ping{Ping: time.Now().UnixMilli()}}) != nil {
			return
		}
	}
}

func (c *liveKitClient) read() error {
	for {
		_, data, err := c.socket.Read(c.lifetime)
		if err != nil {
			return fmt.Errorf("the server closed the connection: %w", err)
		}
		var response livekit.SignalResponse
		if err := proto.Unmarshal(data, &response); err != nil {
			return fmt.Errorf("read a signalling message: %w", err)
		}
		if err := c.handle(&response); err != nil {
			return err
		}
	}
}

func (c *liveKitClient) handle(response *livekit.SignalResponse) error {
	switch m := response.GetMessage().(type) {
	case *livekit.SignalResponse_Join:
		return c.pauseTracks(m.Join.GetOtherParticipants())
	case *livekit.SignalResponse_Update:
		return c.pauseTracks(m.Update.GetParticipants())
	case *livekit.SignalResponse_TrackPublished:
		c.publishOnce.Do(func() { close(c.published) })
	case *livekit.SignalResponse_Answer:
		answer := webrtc.SessionDescription{Type: webrtc.SDPTypeAnswer, SDP: m.Answer.GetSdp()}
		if err := c.publisher.SetRemoteDescription(answer); err != nil {
			return fmt.Errorf("take the answer: %w", err)
		}

		return c.addCandidates(livekit.SignalTarget_PUBLISHER)
	case *livekit.SignalResponse_Offer:
		sdp, err := answerOffer(c.lifetime, c.subscriber, m.Offer.GetSdp())
		if err != nil {
			return err
		}
		answer := &livekit.SessionDescription{Type: "answer", Sdp: sdp, Id: m.Offer.GetId()}
		if err := c.send(&livekit.SignalRequest{Message: &livekit.SignalRequest_Answer{Answer: answer}}); err != nil {
			return err
		}

		return c.addCandidates(livekit.SignalTarget_SUBSCRIBER)
	case *livekit.SignalResponse_Trickle:
		var candidate webrtc.ICECandidateInit
		if err := json.Unmarshal([]byte(m.Trickle.GetCandidateInit()), &candidate); err != nil {
			return fmt.Errorf("read a candidate: %w", err)
		}
		target := m.Trickle.GetTarget()
		c.candidates[target] = append(c.candidates[target], candidate)

		return c.addCandidates(target)
	case *livekit.SignalResponse_Leave:
		return errors.New("the server told the client to leave: " + m.Leave.GetReason().String())
	}

	return nil
}

// pauseTracks disables every track of the others, as UpdateTrackSettings does.
func (c *liveKitClient) pauseTracks(others []*livekit.ParticipantInfo) error {
	c.probe.noteTracks(others)
	if !c.paused {
		return nil
	}
	for _, other := range others {
		for _, track := range other.GetTracks() {
			if c.disabled[track.GetSid()] {
				continue
			}
			c.disabled[track.GetSid()] = true
			setting := &livekit.UpdateTrackSettings{TrackSids: []string{track.GetSid()}, Disabled: true}
			if err := c.send(&livekit.SignalRequest{
				Message: &livekit.SignalRequest_TrackSetting{TrackSetting: setting},
			}); err != nil {
				return err
			}
		}
	}

	return nil
}

func (c *liveKitClient) addCandidates(target livekit.SignalTarget) error {
	connection := c.publisher
	if target == livekit.SignalTarget_SUBSCRIBER {
		connection = c.subscriber
	}
	if connection.RemoteDescription() == nil {
		return nil
	}
	for _, candidate := range c.candidates[target] {
		if err := connection.AddICECandidate(candidate); err != nil {
			return fmt.Errorf("take a candidate: %w", err)
		}
	}
	c.candidates[target] = nil

	return nil
}
