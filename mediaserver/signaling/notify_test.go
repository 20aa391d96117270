package signaling

import (
	"encoding/json"
	"testing"
	"time"

	forwardingv1 "github.com/nagi-rtc/nagi/api/forwarding/v1"
)

func TestNotifications(t *testing.T) {
	at := time.Date(2026, 12, 1, 18, 0, 0, 120_003_999, time.FixedZone("JST", 9*3600))
	member := Member{Role: Role(forwardingv1.Role_ROLE_SENDRECV), ClientID: "c", BundleID: "b", ConnectionID: "i",
		Audio: true, Metadata: json.RawMessage(`{"n":1}`)}
	var counts Counts
	for _, role := range []forwardingv1.Role{1, 2, 3, 3} {
		counts.Add(role)
	}
	state := ConnectionState{Member: member, ChannelID: "sora", SessionID: "s", Minutes: 2, Counts: counts}
	encoded, err := Encode(member)
	if err != nil {
		t.Fatal(err)
	}
	stream := RTPStream{Timestamp: at, ChannelID: "sora", RecvConnectionID: "r", SendConnectionID: "s", StreamID: "s",
		Kinds: []Kind{Kind(forwardingv1.Kind_KIND_VIDEO), Kind(forwardingv1.Kind_KIND_AUDIO)}}

	focus := Focus{Timestamp: at, ChannelID: "sora", ClientID: "c", ConnectionID: "i", Audio: true}
	reasoned := stream
	reasoned.Reason = `camera "test"`

	const (
		time  = `"timestamp":"2026-12-01T09:00:00.120003Z"`
		mjson = `"role":"sendrecv","client_id":"c","bundle_id":"b","connection_id":"i","audio":true,"video":false,` +
			`"metadata":{"n":1}`
		sjson = mjson + `,"channel_id":"sora","session_id":"s","minutes":2,"channel_connections":4,` +
			`"channel_sendrecv_connections":1,"channel_sendonly_connections":1,"channel_recvonly_connections":2`
		fjson  = `"channel_id":"sora","client_id":"c","connection_id":"i","audio":true,"video":false,"fixed":false`
		stjson = `"channel_id":"sora","recv_connection_id":"r","send_connection_id":"s","stream_id":"s",` +
			`"kinds":["video","audio"]`
	)
	for _, test := range []struct {
		message any
		want    string
	}{
		{ConnectionCreated{Timestamp: at, ConnectionState: state, Data: []Encoded{encoded, encoded}},
			`{"type":"notify","event_type":"connection.created",` + time + `,` + sjson + `,"data":[{` + mjson + `},{` + mjson +
				`}]}`},
		{ConnectionCreated{Timestamp: at, ConnectionState: state, Data: []Encoded{}},
			`{"type":"notify","event_type":"connection.created",` + time + `,` + sjson + `,"data":[]}`},
		{ConnectionCreated{Timestamp: at, ConnectionState: state}, `{"type":"notify","event_type":"connection.created",` +
			time + `,` + sjson + `}`},
		{ConnectionDestroyed{Timestamp: at, ConnectionState: state},
			`{"type":"notify","event_type":"connection.destroyed",` + time + `,` + sjson + `}`},
		{RTPStreamPaused(stream), `{"type":"notify","event_type":"rtp-stream.paused",` + time + `,` + stjson + `}`},
		{RTPStreamPaused(reasoned), `{"type":"notify","event_type":"rtp-stream.paused",` + time + `,` + stjson +
			`,"reason":"camera \"test\""}`},
		{RTPStreamResumed(stream), `{"type":"notify","event_type":"rtp-stream.resumed",` + time + `,` + stjson + `}`},
		{SpotlightFocused(focus), `{"type":"notify","event_type":"spotlight.focused",` + time + `,` + fjson + `}`},
		{SpotlightUnfocused(focus), `{"type":"notify","event_type":"spotlight.unfocused",` + time + `,` + fjson + `}`},
		{RTPStreamRejected{stream, "AV1"}, `{"type":"notify","event_type":"rtp-stream.rejected",` + time + `,` + stjson +
			`,"codec_type":"AV1"}`},
	} {
		got, err := Encode(test.message)
		if err != nil || string(got) != test.want {
			t.Errorf("%T marshals with error %v to\n%s, want\n%s", test.message, err, got, test.want)
		}
	}
}

// What a newcomer is told of those who are there was encoded before.
func TestMembersAreEncodedOnce(t *testing.T) {
	allocations := func(members int) float64 {
		created := ConnectionCreated{Data: []Encoded{}}
		for range members {
			member, err := Encode(Member{ConnectionID: NewID()})
			if err != nil {
				t.Fatal(err)
			}
			created.Data = append(created.Data, member)
		}

		return testing.AllocsPerRun(10, func() {
			if _, err := Encode(created); err != nil {
				t.Fatal(err)
			}
		})
	}
	if few, many := allocations(10), allocations(1000); many > few+20 {
		t.Errorf("%.0f allocations with 1,000 members, %.0f with 10", many, few)
	}
}
