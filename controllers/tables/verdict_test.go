package tables_test

import (
	"testing"
	"time"

	"google.golang.org/protobuf/types/known/timestamppb"

	forwardingv1 "github.com/nagi-rtc/nagi/api/forwarding/v1"
	"github.com/nagi-rtc/nagi/api/v1alpha1"
	"github.com/nagi-rtc/nagi/controllers/tables"
)

func TestJudge(t *testing.T) {
	now := time.Unix(1000, 0)
	long := now.Add(-time.Hour)
	both := []*forwardingv1.Connection{
		{ConnectionId: "r", Role: forwardingv1.Role_ROLE_RECVONLY},
		{ConnectionId: "s", Role: forwardingv1.Role_ROLE_SENDRECV},
	}
	named := func(generation int64, edges ...*forwardingv1.EdgeAcknowledgement) *forwardingv1.PauseAcknowledgement {
		return &forwardingv1.PauseAcknowledgement{Uid: "u", Generation: generation, Edges: edges}
	}
	edge := &forwardingv1.EdgeAcknowledgement{RecvConnectionId: "r", SendConnectionId: "s"}
	tests := map[string]struct {
		expires, listening time.Time
		servers            []tables.MediaServer
		want               string
		until              time.Time
	}{
		"nobody, just begun":            {listening: now.Add(-time.Second), want: v1alpha1.ReasonStarting, until: now.Add(4 * time.Second)},
		"nobody":                        {want: v1alpha1.ReasonArmed},
		"expired":                       {expires: now, servers: []tables.MediaServer{{Connections: both}}, want: v1alpha1.ReasonExpired},
		"will expire":                   {expires: now.Add(time.Second), want: v1alpha1.ReasonArmed, until: now.Add(time.Second)},
		"sender missing":                {servers: []tables.MediaServer{{Connections: both[:1]}}, want: v1alpha1.ReasonArmed},
		"said nothing":                  {servers: []tables.MediaServer{{Connections: both}}, want: v1alpha1.ReasonNotAcknowledged},
		"said nothing, just begun":      {listening: now, servers: []tables.MediaServer{{Connections: both}}, want: v1alpha1.ReasonNotAcknowledged},
		"acknowledged before the edge":  {servers: []tables.MediaServer{{Connections: both, Acknowledgement: named(2)}}, want: v1alpha1.ReasonNotAcknowledged},
		"older generation":              {servers: []tables.MediaServer{{Connections: both, Acknowledgement: named(1, edge)}}, want: v1alpha1.ReasonNotAcknowledged},
		"acknowledged":                  {servers: []tables.MediaServer{{Connections: both, Acknowledgement: named(2, edge)}}, want: v1alpha1.ReasonEnforced},
		"newer generation":              {servers: []tables.MediaServer{{Connections: both, Acknowledgement: named(3, edge)}}, want: v1alpha1.ReasonEnforced},
		"one of two":                    {servers: []tables.MediaServer{{Connections: both, Acknowledgement: named(2, edge)}, {Connections: both}}, want: v1alpha1.ReasonNotAcknowledged},
		"lost":                          {servers: []tables.MediaServer{{LostSince: now, Connections: both, Acknowledgement: named(2, edge)}}, want: v1alpha1.ReasonMediaServerLost, until: now.Add(30 * time.Second)},
		"lost long ago":                 {servers: []tables.MediaServer{{LostSince: now.Add(-30 * time.Second), Connections: both}}, want: v1alpha1.ReasonArmed},
		"lost one that hosted no match": {servers: []tables.MediaServer{{LostSince: now, Connections: both[1:]}}, want: v1alpha1.ReasonArmed},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			pause := &forwardingv1.Pause{Uid: "u", Generation: 2, RecvConnectionId: "r"}
			if !test.expires.IsZero() {
				pause.ExpiresAt = timestamppb.New(test.expires)
			}
			if test.listening.IsZero() {
				test.listening = long
			}
			verdict := tables.Judge(pause, test.servers, test.listening, now)
			if verdict.Reason != test.want || !verdict.Until.Equal(test.until) {
				t.Errorf("got %s until %v, want %s until %v", verdict.Reason, verdict.Until, test.want, test.until)
			}
		})
	}
}
