package v1alpha1

import (
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

// Kind names a kind of media.
//
// +kubebuilder:validation:Enum=Video;Audio
type Kind string

// The kinds of media that a pause can withhold.
const (
	KindVideo Kind = "Video"
	KindAudio Kind = "Audio"
)

// Role is what a connection does in its channel.
//
// +kubebuilder:validation:Enum=sendrecv;sendonly;recvonly
type Role string

// The roles of Sora's signalling protocol.
const (
	RoleSendRecv Role = "sendrecv"
	RoleSendOnly Role = "sendonly"
	RoleRecvOnly Role = "recvonly"
)

// The types of the conditions of an RtpStreamPause.
const (
	// ConditionReady sums the others up for kstatus: the pause is where it
	// should be.
	ConditionReady = "Ready"
	// ConditionEnforced says whether a live edge is withheld right now.
	ConditionEnforced = "Enforced"
)

// The reasons of the Ready condition.
const (
	// ReasonEnforced: every media server with a matching live edge has
	// acknowledged that no further packet of the paused kinds leaves it.
	ReasonEnforced = "Enforced"
	// ReasonArmed: the pause is in force, and no live edge matches it now.
	ReasonArmed = "Armed"
	// ReasonExpired: expiresAt has passed; the pause no longer acts.
	ReasonExpired = "Expired"
	// ReasonNotAcknowledged: a media server hosts a matching edge and has not
	// acknowledged this generation.
	ReasonNotAcknowledged = "NotAcknowledged"
	// ReasonMediaServerLost: a media server that hosted a matching edge is out
	// of touch.
	ReasonMediaServerLost = "MediaServerLost"
	// ReasonStarting: the writer of the status has not been in office long
	// enough to know every media server.
	ReasonStarting = "Starting"
)

// RtpStreamPauseSpec names the edges that are paused: in one channel, from the
// senders that the send side names to the receivers that the recv side names.
// A side without an id is open: it names everybody in the channel.
//
// +kubebuilder:validation:XValidation:rule="has(self.recvConnectionID) || has(self.recvClientID) || has(self.sendConnectionID) || has(self.sendClientID)",message="name at least one side: set recvConnectionID, recvClientID, sendConnectionID or sendClientID"
// +kubebuilder:validation:XValidation:rule="!(has(self.recvConnectionID) && has(self.recvClientID))",message="recvConnectionID and recvClientID exclude each other: remove one of them"
// +kubebuilder:validation:XValidation:rule="!(has(self.sendConnectionID) && has(self.sendClientID))",message="sendConnectionID and sendClientID exclude each other: remove one of them"
// +kubebuilder:validation:XValidation:rule="!(has(self.recvConnectionID) && has(self.sendConnectionID)) || self.recvConnectionID != self.sendConnectionID",message="recvConnectionID and sendConnectionID are equal, but no connection receives its own stream: name two connections"
// +kubebuilder:validation:XValidation:rule="!has(self.deleteAfterDisconnect) || has(self.recvConnectionID) || has(self.sendConnectionID)",message="deleteAfterDisconnect needs a connection to watch: set recvConnectionID or sendConnectionID, or remove deleteAfterDisconnect"
// +kubebuilder:validation:XValidation:rule="self.channelID == oldSelf.channelID",message="channelID is immutable: delete this pause and create another"
// +kubebuilder:validation:XValidation:rule="has(self.recvConnectionID) == has(oldSelf.recvConnectionID) && (!has(self.recvConnectionID) || self.recvConnectionID == oldSelf.recvConnectionID)",message="recvConnectionID is immutable: delete this pause and create another"
// +kubebuilder:validation:XValidation:rule="has(self.recvClientID) == has(oldSelf.recvClientID) && (!has(self.recvClientID) || self.recvClientID == oldSelf.recvClientID)",message="recvClientID is immutable: delete this pause and create another"
// +kubebuilder:validation:XValidation:rule="has(self.sendConnectionID) == has(oldSelf.sendConnectionID) && (!has(self.sendConnectionID) || self.sendConnectionID == oldSelf.sendConnectionID)",message="sendConnectionID is immutable: delete this pause and create another"
// +kubebuilder:validation:XValidation:rule="has(self.sendClientID) == has(oldSelf.sendClientID) && (!has(self.sendClientID) || self.sendClientID == oldSelf.sendClientID)",message="sendClientID is immutable: delete this pause and create another"
// +kubebuilder:validation:XValidation:rule="has(self.kinds) == has(oldSelf.kinds) && (!has(self.kinds) || self.kinds == oldSelf.kinds)",message="kinds is immutable: delete this pause and create another"
type RtpStreamPauseSpec struct {
	// channelID is the channel whose streams are paused: any string of 1 to 255
	// bytes. Immutable.
	//
	// +required
	// +kubebuilder:validation:MinLength=1
	// +kubebuilder:validation:MaxLength=255
	// +kubebuilder:validation:XValidation:rule="size(bytes(self)) <= 255",message="channelID is longer than 255 bytes in UTF-8: shorten it"
	ChannelID string `json:"channelID"`

	// recvConnectionID names the one connection that stops receiving. It goes
	// stale when that client reconnects; recvClientID does not. Immutable.
	//
	// +optional
	// +kubebuilder:validation:MinLength=1
	// +kubebuilder:validation:MaxLength=255
	// +kubebuilder:validation:XValidation:rule="size(bytes(self)) <= 255",message="recvConnectionID is longer than 255 bytes in UTF-8: shorten it"
	RecvConnectionID *string `json:"recvConnectionID,omitempty"`

	// recvClientID names the client all of whose connections stop receiving,
	// those to come included. With neither recv id, every receiver stops.
	// Immutable.
	//
	// +optional
	// +kubebuilder:validation:MinLength=1
	// +kubebuilder:validation:MaxLength=255
	// +kubebuilder:validation:XValidation:rule="size(bytes(self)) <= 255",message="recvClientID is longer than 255 bytes in UTF-8: shorten it"
	RecvClientID *string `json:"recvClientID,omitempty"`

	// sendConnectionID names the one connection whose stream is withheld.
	// Immutable.
	//
	// +optional
	// +kubebuilder:validation:MinLength=1
	// +kubebuilder:validation:MaxLength=255
	// +kubebuilder:validation:XValidation:rule="size(bytes(self)) <= 255",message="sendConnectionID is longer than 255 bytes in UTF-8: shorten it"
	SendConnectionID *string `json:"sendConnectionID,omitempty"`

	// sendClientID names the client the streams of all of whose connections are
	// withheld, those to come included. With neither send id, every sender's
	// are. Immutable.
	//
	// +optional
	// +kubebuilder:validation:MinLength=1
	// +kubebuilder:validation:MaxLength=255
	// +kubebuilder:validation:XValidation:rule="size(bytes(self)) <= 255",message="sendClientID is longer than 255 bytes in UTF-8: shorten it"
	SendClientID *string `json:"sendClientID,omitempty"`

	// kinds are the kinds of media that are withheld; Video alone when absent.
	// Immutable.
	//
	// +optional
	// +listType=set
	// +kubebuilder:validation:MinItems=1
	// +kubebuilder:validation:MaxItems=2
	Kinds []Kind `json:"kinds,omitempty"`

	// expiresAt is when the pause stops acting, an RFC 3339 date and time such
	// as "2026-12-01T09:00:00Z". The object stays. It may be moved, set and
	// removed at any time.
	//
	// +optional
	// +kubebuilder:validation:Type=string
	// +kubebuilder:validation:Format=date-time
	// +kubebuilder:validation:MaxLength=40
	// +kubebuilder:validation:Pattern=`^\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(\.\d{1,9})?(Z|[+-]([01]\d|2[0-3]):[0-5]\d)$`
	// +kubebuilder:validation:XValidation:rule="self >= timestamp('1970-01-01T00:00:00Z') && self <= timestamp('9999-12-31T23:59:59.999999999Z')",message="expiresAt must be a date and time in the years 1970 to 9999 in UTC, such as 2026-12-01T09:00:00Z: correct it, or remove it for a pause without an end"
	ExpiresAt *metav1.Time `json:"expiresAt,omitempty"`

	// deleteAfterDisconnect deletes this object once a connection that it names
	// has been gone for this long, a duration in hours, minutes and seconds such
	// as "60s" or "1h30m". It never acts before the connection has been seen. It
	// needs a connection id.
	//
	// +optional
	// +kubebuilder:validation:Type=string
	// +kubebuilder:validation:Format=duration
	// +kubebuilder:validation:MaxLength=20
	// +kubebuilder:validation:Pattern=`^([0-9]{1,6}(h|m|s))+$`
	// +kubebuilder:validation:XValidation:rule="self >= duration('0s') && self <= duration('999999h')",message="deleteAfterDisconnect must be from 0s to 999999h, such as 60s or 1h30m: correct it, or remove it to keep the object"
	DeleteAfterDisconnect *metav1.Duration `json:"deleteAfterDisconnect,omitempty"`
}

// RtpStreamPauseStatus is what the controllers know of a pause.
type RtpStreamPauseStatus struct {
	// observedGeneration is the generation that this status was computed from.
	// It is -1 until the first status is written, so that an untouched object
	// does not look finished.
	//
	// +optional
	ObservedGeneration int64 `json:"observedGeneration,omitempty"`

	// role is the role of the receiving connection, where recvConnectionID
	// names one that has been seen.
	//
	// +optional
	Role Role `json:"role,omitempty"`

	// mediaServer names a media server that hosts a matching edge, or hosted the
	// last one.
	//
	// +optional
	// +kubebuilder:validation:MaxLength=255
	MediaServer string `json:"mediaServer,omitempty"`

	// disconnectedAt is when a connection that the spec names was reported gone;
	// absent while all of them are there or have never been seen.
	//
	// +optional
	// +kubebuilder:validation:Type=string
	// +kubebuilder:validation:Format=date-time
	// +kubebuilder:validation:MaxLength=40
	// +kubebuilder:validation:Pattern=`^\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(\.\d{1,9})?(Z|[+-]([01]\d|2[0-3]):[0-5]\d)$`
	// +kubebuilder:validation:XValidation:rule="self >= timestamp('1970-01-01T00:00:00Z') && self <= timestamp('9999-12-31T23:59:59.999999999Z')",message="disconnectedAt must be a date and time in the years 1970 to 9999 in UTC: correct it"
	DisconnectedAt *metav1.Time `json:"disconnectedAt,omitempty"`

	// conditions are Ready and Enforced.
	//
	// +optional
	// +listType=map
	// +listMapKey=type
	// +kubebuilder:validation:MaxItems=8
	// +kubebuilder:validation:XValidation:rule="self.all(c, c.lastTransitionTime >= timestamp('1970-01-01T00:00:00Z') && c.lastTransitionTime <= timestamp('9999-12-31T23:59:59.999999999Z'))",message="lastTransitionTime must be a date and time in the years 1970 to 9999 in UTC, such as 2026-12-01T09:00:00Z: correct it"
	Conditions []metav1.Condition `json:"conditions,omitempty"`
}

// RtpStreamPause says that the receivers it names shall not get the streams of
// the senders it names. An edge is paused while at least one RtpStreamPause in
// force names it, and goes on when the last one is deleted or expires.
//
// +kubebuilder:object:root=true
// +kubebuilder:subresource:status
// +kubebuilder:resource:shortName=rsp,categories=nagi
// +kubebuilder:selectablefield:JSONPath=.spec.channelID
// +kubebuilder:selectablefield:JSONPath=.spec.recvConnectionID
// +kubebuilder:selectablefield:JSONPath=.spec.sendConnectionID
// +kubebuilder:selectablefield:JSONPath=.spec.recvClientID
// +kubebuilder:selectablefield:JSONPath=.spec.sendClientID
// +kubebuilder:printcolumn:name=Channel,type=string,JSONPath=.spec.channelID
// +kubebuilder:printcolumn:name=Receiver,type=string,JSONPath=`.spec['recvConnectionID','recvClientID']`
// +kubebuilder:printcolumn:name=Sender,type=string,JSONPath=`.spec['sendConnectionID','sendClientID']`
// +kubebuilder:printcolumn:name=Ready,type=string,JSONPath=`.status.conditions[?(@.type=="Ready")].status`
// +kubebuilder:printcolumn:name=Reason,type=string,JSONPath=`.status.conditions[?(@.type=="Ready")].reason`
// +kubebuilder:printcolumn:name=Age,type=date,JSONPath=.metadata.creationTimestamp
type RtpStreamPause struct {
	metav1.TypeMeta `json:",inline"`

	// +optional
	metav1.ObjectMeta `json:"metadata,omitempty"`

	// spec says whose stream is withheld from whom.
	//
	// +required
	Spec RtpStreamPauseSpec `json:"spec"`

	// status is what the controllers know of the pause.
	//
	// +optional
	// +kubebuilder:default:={"observedGeneration":-1}
	Status RtpStreamPauseStatus `json:"status,omitempty"`
}

// RtpStreamPauseList is a list of RtpStreamPause objects.
//
// +kubebuilder:object:root=true
type RtpStreamPauseList struct {
	metav1.TypeMeta `json:",inline"`
	metav1.ListMeta `json:"metadata,omitempty"`

	Items []RtpStreamPause `json:"items"`
}
