package sora

import (
	"crypto/sha256"
	"encoding/binary"
	"encoding/hex"
	"net/http"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/nagi-rtc/nagi/api/v1alpha1"
)

const (
	managedByLabel = "app.kubernetes.io/managed-by"
	managedBy      = "nagi-shim"
	// deleteAfterDisconnectSeconds lets a pause end with its connections, as
	// Sora's do: connection ids never come back.
	deleteAfterDisconnectSeconds = 60
	// maxIDBytes is the longest id that the API server accepts.
	maxIDBytes = 255
)

// end is who a request names at one end of a stream: a connection, or a client,
// which is all of its connections.
type end struct {
	id     string
	client bool
}

// edge is what a request names: the streams of one connection or client to another.
type edge struct {
	channel    string
	recv, send end
}

// edgeSchema is that of PauseRtpStream and ResumeRtpStream. Client ids in place of
// connection ids are Nagi's own.
var edgeSchema = schema{
	required: []string{"channel_id", "recv_connection_id", "send_connection_id"},
	instead:  map[string]string{"recv_connection_id": "recv_client_id", "send_connection_id": "send_client_id"},
}

func edgeOf(arguments arguments) edge {
	endOf := func(side string) end {
		if id, named := arguments.text[side+"_client_id"]; named {
			return end{id: id, client: true}
		}

		return end{id: arguments.text[side+"_connection_id"]}
	}

	return edge{arguments.text["channel_id"], endOf("recv"), endOf("send")}
}

// check refuses what no channel can make true.
func (e edge) check() error {
	if !e.recv.client && !e.send.client && e.recv.id == e.send.id {
		return explained(http.StatusBadRequest, sameConnection,
			"recv_connection_id and send_connection_id are equal, but no connection receives its own stream",
			"connection_id", e.recv.id)
	}
	if !canBeID(e.channel) {
		return unknownChannel(e.channel)
	}
	for _, end := range []end{e.recv, e.send} {
		if !canBeID(end.id) && !end.client {
			return unknownConnection(end.id)
		}
		if !canBeID(end.id) {
			return explained(http.StatusBadRequest, invalidClientID, "the id of a client has 1 to 255 bytes",
				"client_id", shortened(end.id))
		}
	}

	return nil
}

func canBeID(id string) bool { return id != "" && len(id) <= maxIDBytes }

// echo is what Pause and Resume answer: the request's keys.
func (e edge) echo() map[string]string {
	key := func(side string, end end) string {
		if end.client {
			return side + "_client_id"
		}

		return side + "_connection_id"
	}

	return map[string]string{"channel_id": e.channel, key("recv", e.recv): e.recv.id, key("send", e.send): e.send.id}
}

// connectionIDs are the ids of connections among the ends.
func (e edge) connectionIDs() []string { return e.ids(false) }

// clientIDs are the ids of clients among the ends.
func (e edge) clientIDs() []string { return e.ids(true) }

func (e edge) ids(client bool) []string {
	var ids []string
	for _, end := range []end{e.recv, e.send} {
		if end.client == client {
			ids = append(ids, end.id)
		}
	}

	return ids
}

// name is derived from the edge, so that equal requests meet in one object. The
// lengths keep ("ab", "c") apart from ("a", "bc"), and the number of parts keeps
// clients apart from connections of the same ids.
func (e edge) name() string {
	parts := []string{e.channel, e.recv.id, e.send.id}
	if e.recv.client || e.send.client {
		parts = []string{e.channel, e.recv.word(), e.recv.id, e.send.word(), e.send.id}
	}
	hash := sha256.New()
	for _, part := range parts {
		// A hash never fails to take bytes.
		_ = binary.Write(hash, binary.BigEndian, uint64(len(part)))
		_, _ = hash.Write([]byte(part))
	}

	return "pause-" + hex.EncodeToString(hash.Sum(nil))[:40]
}

func (e end) word() string {
	if e.client {
		return "client"
	}

	return "connection"
}

func (e end) side() v1alpha1.Side {
	if e.client {
		return v1alpha1.Side{ClientIDs: []string{e.id}}
	}

	return v1alpha1.Side{ConnectionIDs: []string{e.id}}
}

// object is the pause that the shim makes for the edge. One that names clients
// alone has no connection whose end could be its own.
func (e edge) object(namespace string) *v1alpha1.RtpStreamPause {
	pause := &v1alpha1.RtpStreamPause{
		ObjectMeta: metav1.ObjectMeta{
			Namespace: namespace,
			Name:      e.name(),
			Labels:    map[string]string{managedByLabel: managedBy},
		},
		Spec: v1alpha1.RtpStreamPauseSpec{ChannelID: e.channel, Receivers: e.recv.side(), Senders: e.send.side()},
	}
	if len(e.connectionIDs()) > 0 {
		pause.Spec.DeleteAfterDisconnectSeconds = new(int64(deleteAfterDisconnectSeconds))
	}

	return pause
}

// made tells whether the object is one that the shim makes for the edge: its name,
// its label and exactly its edge. Anything else is somebody else's, edited or not.
func (e edge) made(pause *v1alpha1.RtpStreamPause) bool {
	return pause.Name == e.name() && pause.Labels[managedByLabel] == managedBy && pause.Spec.ChannelID == e.channel &&
		e.recv.isSide(&pause.Spec.Receivers) && e.send.isSide(&pause.Spec.Senders)
}

func (e end) isSide(side *v1alpha1.Side) bool {
	named, other := side.ConnectionIDs, side.ClientIDs
	if e.client {
		named, other = other, named
	}

	return len(named) == 1 && named[0] == e.id && len(other) == 0 && side.Everyone == nil && side.EveryoneExcept == nil
}
