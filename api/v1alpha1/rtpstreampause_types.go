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

// The types of the conditions of an RtpStreamPause.
const (
	// ConditionReady sums up for kstatus: the rule is in place, for who is there
	// and for who comes.
	ConditionReady = "Ready"
	// ConditionEnforced says whether a live edge is withheld right now.
	ConditionEnforced = "Enforced"
)

// The reasons of the Ready condition.
const (
	// ReasonEnforced (True): every media server that hosts the channel has
	// acknowledged the present content, and withholds at least one live edge.
	ReasonEnforced = "Enforced"
	// ReasonArmed (True): the pause is in force, and no live edge matches it now.
	ReasonArmed = "Armed"
	// ReasonExpired (True): expiresAt has passed; the pause no longer acts anywhere.
	ReasonExpired = "Expired"
	// ReasonNotAcknowledged (False): a media server hosts the channel and has not
	// acknowledged the present content.
	ReasonNotAcknowledged = "NotAcknowledged"
	// ReasonMediaServerLost (Unknown): a media server that hosts the channel, or may
	// by now, is out of touch.
	ReasonMediaServerLost = "MediaServerLost"
	// ReasonStarting (Unknown): the writer of the status has not been in office long
	// enough to know every media server.
	ReasonStarting = "Starting"
	// ReasonNotUnderstood (False): the pause asks for what this version does not
	// know, so that it acts on nobody.
	ReasonNotUnderstood = "NotUnderstood"
	// ReasonLimitExceeded (False): the channel has more pauses than act; older ones do.
	ReasonLimitExceeded = "LimitExceeded"
	// ReasonDeleting (False): the object is being deleted and acts no longer.
	ReasonDeleting = "Deleting"
)

// The reasons of the Enforced condition, beside NotAcknowledged, MediaServerLost
// and Starting, which mean what they mean of Ready.
const (
	// ReasonWithheld (True): live edges match and no packet of the paused kinds
	// leaves on them.
	ReasonWithheld = "Withheld"
	// ReasonNoLiveEdge (False): nobody is there whom the pause concerns.
	ReasonNoLiveEdge = "NoLiveEdge"
	// ReasonNotInForce (False): the pause has expired, is being deleted or was refused.
	ReasonNotInForce = "NotInForce"
)

// Everyone is everybody in the channel. It has no fields: write {}.
type Everyone struct{}

// EveryoneExcept is everybody in the channel but those named: at least one of the
// lists is set.
type EveryoneExcept struct {
	// connectionIDs are connections that are not meant.
	//
	// +optional
	// +listType=set
	ConnectionIDs []string `json:"connectionIDs,omitempty"`

	// clientIDs are clients none of whose connections is meant.
	//
	// +optional
	// +listType=set
	ClientIDs []string `json:"clientIDs,omitempty"`
}

// Side names the connections on one side of the paused edges. Exactly one member
// is set.
//
// +structType=atomic
type Side struct {
	// connectionIDs names connections. They go stale when their clients reconnect.
	//
	// +optional
	// +listType=set
	ConnectionIDs []string `json:"connectionIDs,omitempty"`

	// clientIDs names clients: all of their connections, those to come included.
	//
	// +optional
	// +listType=set
	ClientIDs []string `json:"clientIDs,omitempty"`

	// everyone names everybody in the channel, those to come included: write {}.
	//
	// +optional
	Everyone *Everyone `json:"everyone,omitempty"`

	// everyoneExcept names everybody but some.
	//
	// +optional
	EveryoneExcept *EveryoneExcept `json:"everyoneExcept,omitempty"`
}

// RtpStreamPauseSpec names the edges that are paused: in one channel, from the
// senders to the receivers.
type RtpStreamPauseSpec struct {
	// channelID is the channel whose streams are paused: any string of 1 to 255
	// bytes. Immutable.
	//
	// +required
	ChannelID string `json:"channelID"`

	// receivers are those who do not get the streams.
	//
	// +required
	Receivers Side `json:"receivers"`

	// senders are those whose streams are withheld.
	//
	// +required
	Senders Side `json:"senders"`

	// kinds are the kinds of media that are withheld; Video alone when absent.
	//
	// +optional
	// +listType=set
	Kinds []Kind `json:"kinds,omitempty"`

	// reason is told to the receivers and shown by tools: one line of at most 256
	// bytes.
	//
	// +optional
	Reason string `json:"reason,omitempty"`

	// expiresAt is when the pause stops acting, an RFC 3339 date and time such as
	// "2026-12-01T09:00:00Z". The object stays.
	//
	// +optional
	ExpiresAt *metav1.Time `json:"expiresAt,omitempty"`

	// ttlSecondsAfterExpired deletes this object that long after expiresAt, in
	// seconds. It needs expiresAt.
	//
	// +optional
	TTLSecondsAfterExpired *int64 `json:"ttlSecondsAfterExpired,omitempty"`

	// deleteAfterDisconnectSeconds deletes this object once all connections that
	// the connectionIDs of one side name have been gone for that long, in seconds.
	// A connection that was never seen does not count as gone. It needs
	// connectionIDs on a side.
	//
	// +optional
	DeleteAfterDisconnectSeconds *int64 `json:"deleteAfterDisconnectSeconds,omitempty"`
}

// RtpStreamPauseStatus is what the controllers know of a pause.
type RtpStreamPauseStatus struct {
	// observedGeneration is the generation that this status was computed from.
	// It is -1 until the first status is written, so that an untouched object
	// does not look finished.
	//
	// +optional
	ObservedGeneration int64 `json:"observedGeneration,omitempty"`

	// mediaServer names a media server that withholds a matching edge, or did last.
	//
	// +optional
	// +kubebuilder:validation:MaxLength=255
	MediaServer string `json:"mediaServer,omitempty"`

	// disconnectedAt is when the last of the connections that one side's
	// connectionIDs name was reported gone; absent while any of them is there or
	// has never been seen.
	//
	// +optional
	DisconnectedAt *metav1.Time `json:"disconnectedAt,omitempty"`

	// conditions are Ready and Enforced.
	//
	// +optional
	// +listType=map
	// +listMapKey=type
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
