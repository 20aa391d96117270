//go:build linux

package main

import (
	"context"
	"fmt"

	"github.com/coder/websocket"
	"github.com/coder/websocket/wsjson"
)

const maxMessageBytes = 8 << 20

type soraMessage struct {
	Type string `json:"type"`
	SDP  string `json:"sdp,omitempty"`
	// ConnectionID is in the offer.
	ConnectionID string `json:"connection_id,omitempty"`
}

// joinSora joins our media server and returns once media can flow.
func joinSora(ctx context.Context, p participant) error {
	socket, err := dial(ctx, "ws://"+p.Address+"/signaling", nil)
	if err != nil {
		return err
	}
	connection, err := newPeer(p)
	if err != nil {
		return err
	}
	role := "recvonly"
	if p.source != nil {
		role = "sendonly"
		if p.received != nil {
			role = "sendrecv"
		}
		if err := addSources(connection, p); err != nil {
			return err
		}
		if _, err := addVoice(connection, p); err != nil {
			return err
		}
	}
	var audio, video any = false, map[string]any{"codec_type": "VP8", "bit_rate": 15000}
	if p.Audio {
		audio, video = map[string]any{"codec_type": "OPUS"}, false
	}
	if p.Voice {
		audio = map[string]any{"codec_type": "OPUS"}
	}
	connect := map[string]any{
		"type": "connect", "role": role, "channel_id": channelID, "client_id": p.name(),
		"sora_client": "Nagi bench", "multistream": true, "audio": audio, "video": video,
	}
	if len(p.Layers) > 0 {
		connect["simulcast"] = true
		connect["simulcast_request_rid"] = rid(p.index % len(p.Layers))
	}
	if p.Speakers > 0 {
		connect["spotlight"] = true
	}
	if err := wsjson.Write(ctx, socket, connect); err != nil {
		return fmt.Errorf("send connect: %w", err)
	}
	connected, ended := watchConnected(connection), make(chan error, 1)
	go func() {
		for {
			var message soraMessage
			if err := wsjson.Read(p.lifetime, socket, &message); err != nil {
				ended <- fmt.Errorf("the server closed the connection: %w", err)

				return
			}
			var answer soraMessage
			switch message.Type {
			case "offer", "re-offer":
				p.probe.named(message.ConnectionID)
				sdp, err := answerOffer(p.lifetime, connection, message.SDP)
				if err == nil {
					sdp, err = p.identify(sdp)
				}
				if err != nil {
					ended <- err

					return
				}
				answer = soraMessage{Type: map[string]string{"offer": "answer", "re-offer": "re-answer"}[message.Type], SDP: sdp}
			case "ping":
				answer = soraMessage{Type: "pong"}
			default:
				continue
			}
			if err := wsjson.Write(p.lifetime, socket, answer); err != nil {
				ended <- fmt.Errorf("answer %s: %w", message.Type, err)

				return
			}
		}
	}()
	select {
	case err := <-ended:
		return err
	case <-connected:
		return nil
	case <-ctx.Done():
		return fmt.Errorf("wait for media: %w", context.Cause(ctx))
	}
}

func dial(ctx context.Context, url string, options *websocket.DialOptions) (*websocket.Conn, error) {
	socket, response, err := websocket.Dial(ctx, url, options)
	if err != nil {
		return nil, fmt.Errorf("open a WebSocket to the server: %w", err)
	}
	if response != nil && response.Body != nil {
		_ = response.Body.Close()
	}
	socket.SetReadLimit(maxMessageBytes)

	return socket, nil
}
