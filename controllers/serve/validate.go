package serve

import (
	"cmp"
	"fmt"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	forwardingv1 "github.com/nagi-rtc/nagi/api/forwarding/v1"
)

// maxIDBytes bounds every id and name, as the CRD does.
const maxIDBytes = 255

var compare = cmp.Compare[string]

func invalid(format string, args ...any) error {
	return status.Errorf(codes.InvalidArgument, format, args...)
}

func checkID(what, id string) error {
	if id == "" {
		return invalid("%s is empty: set it", what)
	}

	return checkLength(what, id)
}

func checkLength(what, s string) error {
	if len(s) > maxIDBytes {
		return invalid("%s has %d bytes: shorten it to %d", what, len(s), maxIDBytes)
	}

	return nil
}

func first(errors ...error) error {
	for _, err := range errors {
		if err != nil {
			return err
		}
	}

	return nil
}

func checkReport(report *forwardingv1.ChannelReport) error {
	if err := checkID("report.channel_id", report.GetChannelId()); err != nil {
		return err
	}
	seen := make(map[string]bool, len(report.GetConnections()))
	for i, c := range report.GetConnections() {
		what := fmt.Sprintf("report.connections[%d]", i)
		if err := checkConnection(what, c); err != nil {
			return err
		}
		if seen[c.GetConnectionId()] {
			return invalid("%s.connection_id %q comes twice: report each connection once", what, c.GetConnectionId())
		}
		seen[c.GetConnectionId()] = true
	}

	return nil
}

func checkConnection(what string, c *forwardingv1.Connection) error {
	err := first(
		checkID(what+".connection_id", c.GetConnectionId()),
		checkLength(what+".client_id", c.GetClientId()),
		checkLength(what+".bundle_id", c.GetBundleId()),
		checkLength(what+".session_id", c.GetSessionId()),
		checkLength(what+".audio.codec_type", c.GetAudio().GetCodecType()),
		checkLength(what+".video.codec_type", c.GetVideo().GetCodecType()),
	)
	if err != nil {
		return err
	}
	if c.CreatedTime != nil && c.CreatedTime.CheckValid() != nil {
		return invalid("%s.created_time is out of range: give a time of the years 1 to 9999", what)
	}
	switch c.GetRole() {
	case forwardingv1.Role_ROLE_SENDRECV, forwardingv1.Role_ROLE_SENDONLY, forwardingv1.Role_ROLE_RECVONLY:
		return nil
	default:
		return invalid("%s.role %d is unknown: give ROLE_SENDRECV, ROLE_SENDONLY or ROLE_RECVONLY", what, c.GetRole())
	}
}

func checkAcknowledgement(a *forwardingv1.Acknowledgement) error {
	if err := checkID("acknowledgement.channel_id", a.GetChannelId()); err != nil {
		return err
	}
	seen := make(map[string]bool, len(a.GetPauses()))
	for i, pause := range a.GetPauses() {
		what := fmt.Sprintf("acknowledgement.pauses[%d]", i)
		if err := checkID(what+".uid", pause.GetUid()); err != nil {
			return err
		}
		if seen[pause.GetUid()] {
			return invalid("%s.uid %q comes twice: acknowledge each pause once", what, pause.GetUid())
		}
		seen[pause.GetUid()] = true
		if pause.GetGeneration() < 1 {
			return invalid("%s.generation is %d: give the generation from the table, 1 or more", what, pause.GetGeneration())
		}
		if err := checkEdges(what, pause.GetEdges()); err != nil {
			return err
		}
	}

	return nil
}

func checkEdges(what string, edges []*forwardingv1.EdgeAcknowledgement) error {
	type pair struct{ receiver, sender string }
	seen := make(map[pair]bool, len(edges))
	for i, edge := range edges {
		what := fmt.Sprintf("%s.edges[%d]", what, i)
		key := pair{edge.GetRecvConnectionId(), edge.GetSendConnectionId()}
		err := first(
			checkID(what+".recv_connection_id", key.receiver),
			checkID(what+".send_connection_id", key.sender),
			checkStreams(what, edge.GetStreams()),
		)
		if err != nil {
			return err
		}
		if seen[key] {
			return invalid("%s comes twice: acknowledge each edge of a pause once", what)
		}
		seen[key] = true
	}

	return nil
}

func checkStreams(what string, streams []*forwardingv1.StreamAcknowledgement) error {
	seen := map[forwardingv1.Kind]bool{}
	for i, s := range streams {
		what := fmt.Sprintf("%s.streams[%d]", what, i)
		switch {
		case s.GetKind() != forwardingv1.Kind_KIND_AUDIO && s.GetKind() != forwardingv1.Kind_KIND_VIDEO:
			return invalid("%s.kind %d is unknown: give KIND_AUDIO or KIND_VIDEO", what, s.GetKind())
		case seen[s.GetKind()]:
			return invalid("%s.kind %s comes twice: give each kind of an edge once", what, s.GetKind())
		case s.GetLastSequenceNumber() > 0xFFFF:
			return invalid("%s.last_sequence_number is %d: an RTP sequence number has 16 bits", what, s.GetLastSequenceNumber())
		}
		seen[s.GetKind()] = true
	}

	return nil
}
