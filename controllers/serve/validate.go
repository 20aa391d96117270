package serve

import (
	"fmt"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/proto"

	forwardingv1 "github.com/nagi-rtc/nagi/api/forwarding/v1"
	"github.com/nagi-rtc/nagi/controllers/tables"
)

const (
	// maxIDBytes bounds every id and name, as the CRD does.
	maxIDBytes = 255
	// maxUIDBytes bounds the uid of a pause; Kubernetes' have 36.
	maxUIDBytes = 64
	// maxWithheld bounds the reasons why a stream is withheld: more than there are.
	maxWithheld = 16
	// maxErrorBytes bounds what an answer says that went wrong.
	maxErrorBytes = 4096
	// maxFeatures bounds the features that one side names.
	maxFeatures = 64
	// maxConnectionBytes bounds a connection, which is kept with whatever fields of it
	// are unknown here: about twice what its ids and names can have.
	maxConnectionBytes = 4096
)

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

// checkUIDs checks the uids of pauses.
func checkUIDs(what string, uids []string) error {
	for i, uid := range uids {
		if checkUID(what, uid) != nil {
			return checkUID(fmt.Sprintf("%s[%d]", what, i), uid)
		}
	}

	return nil
}

func checkUID(what, uid string) error {
	if len(uid) > maxUIDBytes {
		return invalid("%s has %d bytes: give the uid of the table, which has %d at most", what, len(uid), maxUIDBytes)
	}

	return checkID(what, uid)
}

func first(errors ...error) error {
	for _, err := range errors {
		if err != nil {
			return err
		}
	}

	return nil
}

func checkHello(hello *forwardingv1.Hello) error {
	if len(hello.GetFeatures()) > maxFeatures {
		return invalid("hello.features has %d features: name %d at most", len(hello.GetFeatures()), maxFeatures)
	}
	for i, feature := range hello.GetFeatures() {
		if err := checkID(fmt.Sprintf("hello.features[%d]", i), feature); err != nil {
			return err
		}
	}

	return first(
		checkID("hello.namespace", hello.GetNamespace()),
		checkID("hello.media_server", hello.GetMediaServer()),
		checkID("hello.incarnation", hello.GetIncarnation()),
		checkPeerAddress(hello.GetPeerAddress()),
		checkSignalingURL(hello.GetSignalingUrl()),
	)
}

// check refuses what breaks the rules by itself; what only the messages before it
// make wrong is for knowledge to tell.
func check(message *forwardingv1.SubscribeRequest) error {
	switch m := message.GetMessage().(type) {
	case *forwardingv1.SubscribeRequest_Report:
		return checkReport(m.Report)
	case *forwardingv1.SubscribeRequest_Acknowledgement:
		return checkAcknowledgement(m.Acknowledgement)
	case *forwardingv1.SubscribeRequest_Complete, *forwardingv1.SubscribeRequest_Farewell,
		*forwardingv1.SubscribeRequest_Token,
		*forwardingv1.SubscribeRequest_Standing:
		return nil
	case *forwardingv1.SubscribeRequest_Resend:
		return checkID("resend.channel_id", m.Resend.GetChannelId())
	case *forwardingv1.SubscribeRequest_Clock:
		if m.Clock.GetTime().CheckValid() != nil {
			return invalid("clock.time is out of range: give a time of the years 1 to 9999")
		}

		return nil
	case *forwardingv1.SubscribeRequest_Answer:
		return checkAnswer(m.Answer)
	case *forwardingv1.SubscribeRequest_Hello:
		return invalid(
			"Hello came twice: send it once, as the first message, and open another stream for another media server",
		)
	default:
		return invalid("a message is empty or of a kind unknown here: send what the features of Welcome allow")
	}
}

func checkReport(r *forwardingv1.ChannelReport) error {
	if err := checkID("report.channel_id", r.GetChannelId()); err != nil {
		return err
	}
	if r.GetInstance() == 0 {
		return invalid("report.instance is 0: count the channels that the process has opened from 1")
	}
	if r.GetClosed() {
		if len(r.GetJoined())+len(r.GetLeft()) > 0 || r.GetMore() {
			return invalid("report.closed comes with connections or more parts: say of a channel that has ended only that")
		}

		return nil
	}
	switch {
	case r.GetEpoch() == 0:
		return invalid("report.epoch is 0: count the changes of membership from 1")
	case r.GetBaseEpoch() >= r.GetEpoch():
		return invalid("report.base_epoch is %d and report.epoch %d: report a difference to an earlier epoch, "+
			"or 0 for a whole report", r.GetBaseEpoch(), r.GetEpoch())
	case r.GetBaseEpoch() == 0 && len(r.GetLeft()) > 0:
		return invalid("report.left comes with a whole report: leave out who is not there")
	}
	seen := make(map[string]bool, len(r.GetJoined()))
	for i, c := range r.GetJoined() {
		what := fmt.Sprintf("report.joined[%d]", i)
		if err := checkConnection(what, c); err != nil {
			return err
		}
		if seen[c.GetConnectionId()] {
			return invalid("%s.connection_id %q comes twice: report each connection once", what, c.GetConnectionId())
		}
		seen[c.GetConnectionId()] = true
	}

	return checkIDs("report.left", r.GetLeft())
}

func checkIDs(what string, ids []string) error {
	for i, id := range ids {
		if err := checkID(what, id); err != nil {
			return invalid("%s[%d]: %s", what, i, status.Convert(err).Message())
		}
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
		checkRole(what+".role", c.GetRole()),
	)
	if err != nil {
		return err
	}
	switch size := proto.Size(c); {
	case c.CreatedTime != nil && c.CreatedTime.CheckValid() != nil:
		return invalid("%s.created_time is out of range: give a time of the years 1 to 9999", what)
	case size > maxConnectionBytes:
		return invalid("%s has %d bytes: leave out what makes it larger than %d", what, size, maxConnectionBytes)
	default:
		return nil
	}
}

func checkRole(what string, role forwardingv1.Role) error {
	switch role {
	case forwardingv1.Role_ROLE_SENDRECV, forwardingv1.Role_ROLE_SENDONLY, forwardingv1.Role_ROLE_RECVONLY:
		return nil
	default:
		return invalid("%s %d is unknown: give ROLE_SENDRECV, ROLE_SENDONLY or ROLE_RECVONLY", what, role)
	}
}

func checkKind(what string, kind forwardingv1.Kind) error {
	if kind != forwardingv1.Kind_KIND_AUDIO && kind != forwardingv1.Kind_KIND_VIDEO {
		return invalid("%s %d is unknown: give KIND_AUDIO or KIND_VIDEO", what, kind)
	}

	return nil
}

func checkAcknowledgement(a *forwardingv1.Acknowledgement) error {
	if err := checkID("acknowledgement.channel_id", a.GetChannelId()); err != nil {
		return err
	}
	switch {
	case a.GetInstance() == 0:
		return invalid("acknowledgement.instance is 0: name the instance of the report")
	case a.GetEpoch() == 0:
		return invalid("acknowledgement.epoch is 0: name the epoch of the report")
	case a.GetWhole() && len(a.GetRemoved()) > 0:
		return invalid("acknowledgement.removed comes with a whole acknowledgement: leave out what the table does not hold")
	}
	seen := make(map[string]bool, len(a.GetSet()))
	for i, pause := range a.GetSet() {
		if err := checkState(i, pause); err != nil {
			return err
		}
		if seen[pause.GetUid()] {
			return invalid("acknowledgement.set[%d].uid %q comes twice: acknowledge each pause once", i, pause.GetUid())
		}
		seen[pause.GetUid()] = true
	}

	return checkUIDs("acknowledgement.removed", a.GetRemoved())
}

func checkState(i int, pause *forwardingv1.PauseState) error {
	what := fmt.Sprintf("acknowledgement.set[%d]", i)
	if err := checkUID(what+".uid", pause.GetUid()); err != nil {
		return err
	}
	if len(pause.GetDigest()) != forwardingv1.DigestBytes {
		return invalid("%s.digest has %d bytes: give the %d of the table", what, len(pause.GetDigest()),
			forwardingv1.DigestBytes)
	}
	switch pause.GetState() {
	case forwardingv1.State_STATE_MATCHING, forwardingv1.State_STATE_NOT_MATCHING, forwardingv1.State_STATE_EXPIRED,
		forwardingv1.State_STATE_NOT_UNDERSTOOD:
		return nil
	default:
		return invalid("%s.state %d is unknown: give one of the states of this version", what, pause.GetState())
	}
}

func checkAnswer(a *forwardingv1.Answer) error {
	if len(a.GetError()) > maxErrorBytes {
		return invalid("answer.error has %d bytes: shorten it to %d", len(a.GetError()), maxErrorBytes)
	}
	for i, edge := range a.GetEdges() {
		what := fmt.Sprintf("answer.edges[%d]", i)
		err := first(
			checkID(what+".recv_connection_id", edge.GetRecvConnectionId()),
			checkID(what+".send_connection_id", edge.GetSendConnectionId()),
			checkRole(what+".recv_role", edge.GetRecvRole()),
			checkPauses(what, edge),
			checkStreams(what, edge.GetStreams()),
		)
		if err != nil {
			return err
		}
	}
	for i, receiver := range a.GetReceivers() {
		what := fmt.Sprintf("answer.receivers[%d]", i)
		err := first(
			checkID(what+".recv_connection_id", receiver.GetRecvConnectionId()),
			checkRole(what+".recv_role", receiver.GetRecvRole()),
			checkIDs(what+".send_connection_ids", receiver.GetSendConnectionIds()),
		)
		if err != nil {
			return err
		}
	}
	for i, pause := range a.GetPauses() {
		if err := checkUID(fmt.Sprintf("answer.pauses[%d].uid", i), pause.GetUid()); err != nil {
			return err
		}
	}

	return nil
}

// checkPauses allows all pauses of a channel: how many of them may be told of one of
// many edges depends on the question.
func checkPauses(what string, edge *forwardingv1.Edge) error {
	switch {
	case len(edge.GetPauseUids()) > tables.MaxPauses:
		return invalid("%s.pause_uids names %d pauses: a channel has %d at most", what, len(edge.GetPauseUids()),
			tables.MaxPauses)
	case len(edge.GetPauseNames()) > 0:
		return invalid("%s.pause_names is set: leave it to View", what)
	default:
		return checkUIDs(what+".pause_uids", edge.GetPauseUids())
	}
}

func checkStreams(what string, streams []*forwardingv1.Stream) error {
	seen := map[forwardingv1.Kind]bool{}
	for i, s := range streams {
		what := fmt.Sprintf("%s.streams[%d]", what, i)
		switch err := checkKind(what+".kind", s.GetKind()); {
		case err != nil:
			return err
		case seen[s.GetKind()]:
			return invalid("%s.kind %s comes twice: give each kind of an edge once", what, s.GetKind())
		case len(s.GetWithheld()) > maxWithheld:
			return invalid("%s.withheld gives %d reasons: give each once", what, len(s.GetWithheld()))
		case s.GetLastSequenceNumber() > 0xFFFF:
			return invalid("%s.last_sequence_number is %d: an RTP sequence number has 16 bits", what, s.GetLastSequenceNumber())
		case s.GetLastRetransmissionSequenceNumber() > 0xFFFF:
			return invalid("%s.last_retransmission_sequence_number is %d: an RTP sequence number has 16 bits", what,
				s.GetLastRetransmissionSequenceNumber())
		}
		seen[s.GetKind()] = true
	}

	return nil
}
