//go:build linux

package main

import (
	"context"
	"fmt"
	"net/http"
	"time"

	"github.com/livekit/protocol/auth"
	"github.com/livekit/protocol/livekit"
	"github.com/twitchtv/twirp"
)

// liveKitWays are the subscriber's own signalling, which knows no answer, and the
// server's API, which can only end the subscription.
func liveKitWays(address string, r *rig) ([]way, error) {
	token, err := auth.NewAccessToken(liveKitKey, liveKitSecret).SetValidFor(6 * time.Hour).
		SetVideoGrant(&auth.VideoGrant{RoomAdmin: true, Room: channelID}).ToJWT()
	if err != nil {
		return nil, fmt.Errorf("make a token: %w", err)
	}
	header := http.Header{"Authorization": {"Bearer " + token}}
	rooms := livekit.NewRoomServiceProtobufClient("http://"+address, &http.Client{Transport: &http.Transport{}})

	setDisabled := func(disabled bool) func(context.Context) (request, error) {
		return func(context.Context) (request, error) {
			setting := &livekit.UpdateTrackSettings{
				TrackSids: r.receiver.videoTracks, Disabled: disabled, Quality: livekit.VideoQuality_HIGH,
			}
			q := request{sent: time.Now(), silent: true}
			err := r.receiver.liveKit.send(&livekit.SignalRequest{
				Message: &livekit.SignalRequest_TrackSetting{TrackSetting: setting},
			})
			q.answered = time.Now()

			return q, err
		}
	}
	subscribe := func(wanted bool) func(context.Context) (request, error) {
		return func(ctx context.Context) (request, error) {
			ctx, err := twirp.WithHTTPRequestHeaders(ctx, header)
			if err != nil {
				return request{}, fmt.Errorf("make a request: %w", err)
			}
			q := request{sent: time.Now()}
			_, err = rooms.UpdateSubscriptions(ctx, &livekit.UpdateSubscriptionsRequest{
				Room: channelID, Identity: pausedName, TrackSids: r.receiver.videoTracks, Subscribe: wanted,
			})
			q.answered = time.Now()
			if err != nil {
				return q, fmt.Errorf("update the subscription: %w", err)
			}

			return q, nil
		}
	}

	return []way{
		{name: "track-settings", pause: setDisabled(true), resume: setDisabled(false)},
		{name: "server-api", pause: subscribe(false), resume: subscribe(true)},
	}, nil
}
