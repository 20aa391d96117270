package bot

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"sync"

	"github.com/pion/webrtc/v4"
)

// Publication publishes what a bot publishes, on a peer connection that is negotiated by its
// owner: with a server that speaks another protocol, or without one. Whoever makes one must
// close it in the end.
type Publication struct {
	connection *webrtc.PeerConnection
	publisher  *publisher
	end        context.CancelFunc
	tasks      sync.WaitGroup
}

// NewPublication takes IVF files, as Config.Video does. Publishing begins once media can flow,
// and ends with ctx at the latest.
func NewPublication(ctx context.Context, video [][]byte) (*Publication, error) {
	api, err := newAPI()
	if err != nil {
		return nil, err
	}
	connection, err := api.NewPeerConnection(webrtc.Configuration{})
	if err != nil {
		return nil, fmt.Errorf("make a peer connection: %w", err)
	}
	p := &Publication{connection: connection}
	ctx, p.end = context.WithCancel(ctx)
	p.publisher = &publisher{
		ctx: ctx, connection: connection, run: p.tasks.Go, log: slog.New(slog.DiscardHandler),
	}
	if err := p.publisher.addTracks(video); err != nil {
		return nil, errors.Join(err, p.Close())
	}
	connection.OnConnectionStateChange(func(state webrtc.PeerConnectionState) {
		if state == webrtc.PeerConnectionStateConnected {
			p.publisher.begin()
		}
	})

	return p, nil
}

// Offer is what is offered to a server, with all candidates.
func (p *Publication) Offer() (string, error) {
	offer, err := p.connection.CreateOffer(nil)
	if err != nil {
		return "", fmt.Errorf("make an offer: %w", err)
	}

	return p.describe(offer)
}

// Accept takes a server's answer.
func (p *Publication) Accept(answer string) error {
	description := webrtc.SessionDescription{Type: webrtc.SDPTypeAnswer, SDP: answer}
	if err := p.connection.SetRemoteDescription(description); err != nil {
		return fmt.Errorf("take the server's answer: %w", err)
	}

	return nil
}

// AddCandidate takes a server's candidate, once its description has been taken.
func (p *Publication) AddCandidate(candidate webrtc.ICECandidateInit) error {
	if err := p.connection.AddICECandidate(candidate); err != nil {
		return fmt.Errorf("take the server's candidate: %w", err)
	}

	return nil
}

// Answer answers a server's offer, with all candidates.
func (p *Publication) Answer(offer string) (string, error) {
	err := p.connection.SetRemoteDescription(webrtc.SessionDescription{Type: webrtc.SDPTypeOffer, SDP: offer})
	if err != nil {
		return "", fmt.Errorf("take the server's offer: %w", err)
	}
	p.publisher.obey(offer)
	answer, err := p.connection.CreateAnswer(nil)
	if err != nil {
		return "", fmt.Errorf("make an answer: %w", err)
	}

	return p.describe(answer)
}

// describe takes the own description, and makes it what a browser's is.
func (p *Publication) describe(own webrtc.SessionDescription) (string, error) {
	gathered := webrtc.GatheringCompletePromise(p.connection)
	if err := p.connection.SetLocalDescription(own); err != nil {
		return "", fmt.Errorf("take the own description: %w", err)
	}
	<-gathered
	description := p.connection.LocalDescription().SDP
	if err := p.publisher.identify(description); err != nil {
		return "", err
	}
	p.publisher.identified.Store(true)

	return p.publisher.asBrowser(description), nil
}

// Published returns what has been sent so far.
func (p *Publication) Published() Published { return p.publisher.published() }

// Close ends it and waits for everything that belongs to it.
func (p *Publication) Close() error {
	p.end()
	err := ClosePeer(p.connection)
	p.tasks.Wait()

	return err
}
