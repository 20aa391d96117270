package serve

import (
	forwardingv1 "github.com/nagi-rtc/nagi/api/forwarding/v1"
)

// maxLookups bounds the ids that one look-up names.
const maxLookups = 1000

func checkConnectionsRequest(r *forwardingv1.ConnectionsRequest) error {
	if named := len(r.GetConnectionIds()) + len(r.GetClientIds()); named > maxLookups {
		return invalid("connection_ids and client_ids name %d: name %d at most", named, maxLookups)
	}
	if r.Wait != nil && r.GetWait().CheckValid() != nil {
		return invalid("wait is out of range: give a duration of at most some minutes")
	}

	return first(checkID("channel_id", r.GetChannelId()), checkIDs("connection_ids", r.GetConnectionIds()),
		checkIDs("client_ids", r.GetClientIds()))
}

func checkWaitEnforcedRequest(r *forwardingv1.WaitEnforcedRequest) error {
	if r.Edge != nil {
		if err := checkEdge(r.GetEdge()); err != nil {
			return err
		}
	}

	return checkID("uid", r.GetUid())
}

func checkEdge(edge *forwardingv1.EdgeName) error {
	return first(
		checkID("edge.recv_connection_id", edge.GetRecvConnectionId()),
		checkID("edge.send_connection_id", edge.GetSendConnectionId()),
	)
}

func checkListRequest(r *forwardingv1.ListRequest) error {
	return first(checkID("channel_id", r.GetChannelId()), checkKind("kind", r.GetKind()))
}

func checkExplainRequest(r *forwardingv1.ExplainRequest) error {
	if err := checkID("channel_id", r.GetChannelId()); err != nil {
		return err
	}
	switch of := r.GetOf().(type) {
	case *forwardingv1.ExplainRequest_Edge:
		return checkEdge(of.Edge)
	case *forwardingv1.ExplainRequest_Pause:
		return checkID("pause.uid", of.Pause.GetUid())
	default:
		return invalid("neither edge nor pause is set: name one")
	}
}

func checkDisconnectRequest(r *forwardingv1.DisconnectRequest) error {
	if err := checkID("channel_id", r.GetChannelId()); err != nil {
		return err
	}
	switch whom := r.GetDismissal().GetWhom().(type) {
	case *forwardingv1.Dismissal_ConnectionId:
		return checkID("dismissal.connection_id", whom.ConnectionId)
	case *forwardingv1.Dismissal_ClientId:
		return checkID("dismissal.client_id", whom.ClientId)
	case *forwardingv1.Dismissal_Everyone:
		return nil
	default:
		return invalid("dismissal names nobody: set connection_id, client_id or everyone")
	}
}
