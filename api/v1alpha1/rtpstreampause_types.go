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
	// enough to know every media server, or has not listed yet which of them own channels.
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
//
// +kubebuilder:validation:XValidation:rule="has(self.connectionIDs) || has(self.clientIDs)",reason=FieldValueRequired,message="name whom to except: connectionIDs, clientIDs or both; without an exception write everyone: {}"
type EveryoneExcept struct {
	// connectionIDs are connections that are not meant: 1 to 64 ids of 1 to 255
	// bytes each.
	//
	// +optional
	// +listType=set
	// +kubebuilder:validation:MaxItems=64
	// +kubebuilder:validation:XValidation:rule="size(self) > 0",reason=FieldValueRequired,message="the list is empty: name 1 to 64 ids; remove the list where it excepts nobody"
	// +kubebuilder:validation:items:MaxLength=255
	// +kubebuilder:validation:items:XValidation:rule="size(self) > 0",message="an id is empty: fill it in, or remove it from the list"
	// +kubebuilder:validation:items:XValidation:rule="size(bytes(self)) <= 255",message="an id is longer than 255 bytes in UTF-8: shorten it"
	ConnectionIDs []string `json:"connectionIDs,omitempty"`

	// clientIDs are clients none of whose connections is meant: 1 to 64 ids of 1 to
	// 255 bytes each.
	//
	// +optional
	// +listType=set
	// +kubebuilder:validation:MaxItems=64
	// +kubebuilder:validation:XValidation:rule="size(self) > 0",reason=FieldValueRequired,message="the list is empty: name 1 to 64 ids; remove the list where it excepts nobody"
	// +kubebuilder:validation:items:MaxLength=255
	// +kubebuilder:validation:items:XValidation:rule="size(self) > 0",message="an id is empty: fill it in, or remove it from the list"
	// +kubebuilder:validation:items:XValidation:rule="size(bytes(self)) <= 255",message="an id is longer than 255 bytes in UTF-8: shorten it"
	ClientIDs []string `json:"clientIDs,omitempty"`
}

// Side names the connections on one side of the paused edges. Exactly one member
// is set. It is one value to server-side apply: whoever applies it owns the whole,
// since the members of two appliers would otherwise unite.
//
// +structType=atomic
// +kubebuilder:validation:XValidation:rule="has(self.connectionIDs) || has(self.clientIDs) || has(self.everyone) || has(self.everyoneExcept)",reason=FieldValueRequired,message="it names nobody: set connectionIDs, clientIDs, everyone ({}) or everyoneExcept; a member without a value does not count"
// +kubebuilder:validation:XValidation:rule="[has(self.connectionIDs), has(self.clientIDs), has(self.everyone), has(self.everyoneExcept)].filter(set, set).size() <= 1",message="connectionIDs, clientIDs, everyone and everyoneExcept exclude each other: keep exactly one of them"
type Side struct {
	// connectionIDs names connections: 1 to 64 ids of 1 to 255 bytes each. They go
	// stale when their clients reconnect.
	//
	// +optional
	// +listType=set
	// +kubebuilder:validation:MaxItems=64
	// +kubebuilder:validation:XValidation:rule="size(self) > 0",reason=FieldValueRequired,message="the list is empty: name 1 to 64 ids; everybody is everyone: {}"
	// +kubebuilder:validation:items:MaxLength=255
	// +kubebuilder:validation:items:XValidation:rule="size(self) > 0",message="an id is empty: fill it in, or remove it from the list"
	// +kubebuilder:validation:items:XValidation:rule="size(bytes(self)) <= 255",message="an id is longer than 255 bytes in UTF-8: shorten it"
	ConnectionIDs []string `json:"connectionIDs,omitempty"`

	// clientIDs names clients: all of their connections, those to come included; 1
	// to 64 ids of 1 to 255 bytes each.
	//
	// +optional
	// +listType=set
	// +kubebuilder:validation:MaxItems=64
	// +kubebuilder:validation:XValidation:rule="size(self) > 0",reason=FieldValueRequired,message="the list is empty: name 1 to 64 ids; everybody is everyone: {}"
	// +kubebuilder:validation:items:MaxLength=255
	// +kubebuilder:validation:items:XValidation:rule="size(self) > 0",message="an id is empty: fill it in, or remove it from the list"
	// +kubebuilder:validation:items:XValidation:rule="size(bytes(self)) <= 255",message="an id is longer than 255 bytes in UTF-8: shorten it"
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
// senders to the receivers. Everything but channelID may be edited, and an edit is
// one step.
//
// Both sides are required. CEL says so and not the schema: an error of the schema
// would silence every rule below, and could not tell what to write.
//
// +kubebuilder:validation:XValidation:rule="has(self.receivers)",fieldPath=".receivers",reason=FieldValueRequired,message="say who does not get the streams: connectionIDs, clientIDs, everyone ({}) or everyoneExcept"
// +kubebuilder:validation:XValidation:rule="has(self.senders)",fieldPath=".senders",reason=FieldValueRequired,message="say whose streams are withheld: connectionIDs, clientIDs, everyone ({}) or everyoneExcept"
// +kubebuilder:validation:XValidation:rule="!has(self.receivers) || !has(self.senders) || !has(self.receivers.connectionIDs) || !has(self.senders.connectionIDs) || size(self.receivers.connectionIDs) != 1 || self.receivers.connectionIDs != self.senders.connectionIDs",message="receivers and senders name the same single connection, but no connection receives its own stream: name two connections"
// +kubebuilder:validation:XValidation:rule="!has(self.ttlSecondsAfterExpired) || has(self.expiresAt)",fieldPath=".ttlSecondsAfterExpired",reason=FieldValueForbidden,message="it counts from expiresAt: set expiresAt, or remove ttlSecondsAfterExpired"
// +kubebuilder:validation:XValidation:rule="!has(self.deleteAfterDisconnectSeconds) || (has(self.receivers) && has(self.receivers.connectionIDs)) || (has(self.senders) && has(self.senders.connectionIDs))",fieldPath=".deleteAfterDisconnectSeconds",reason=FieldValueForbidden,message="it needs connections to watch: name connectionIDs in receivers or senders, or remove deleteAfterDisconnectSeconds"
type RtpStreamPauseSpec struct {
	// channelID is the channel whose streams are paused: any string of 1 to 255
	// bytes. Immutable.
	//
	// +required
	// +kubebuilder:validation:MaxLength=255
	// +kubebuilder:validation:XValidation:rule="size(self) > 0",message="channelID is empty: name the channel"
	// +kubebuilder:validation:XValidation:rule="size(bytes(self)) <= 255",message="channelID is longer than 255 bytes in UTF-8: shorten it"
	// +kubebuilder:validation:XValidation:rule="self == oldSelf",message="channelID is immutable: delete this pause and create another"
	ChannelID string `json:"channelID,omitempty"`

	// receivers are those who do not get the streams. Required.
	//
	// +optional
	Receivers Side `json:"receivers,omitzero"`

	// senders are those whose streams are withheld. Required.
	//
	// +optional
	Senders Side `json:"senders,omitzero"`

	// kinds are the kinds of media that are withheld; Video alone when absent.
	//
	// +optional
	// +listType=atomic
	// +kubebuilder:validation:MaxItems=2
	// +kubebuilder:validation:XValidation:rule="size(self) > 0",reason=FieldValueRequired,message="the list is empty: name Video, Audio or both, or remove kinds for Video alone"
	// +kubebuilder:validation:XValidation:rule="size(self) < 2 || self[0] != self[1]",message="one kind is named twice: name each once"
	Kinds []Kind `json:"kinds,omitempty"`

	// reason is told to the receivers and shown by tools: one line of 1 to 256
	// bytes.
	//
	// +optional
	// +kubebuilder:validation:MaxLength=256
	// +kubebuilder:validation:XValidation:rule="size(self) > 0",message="reason is empty: write one line, or remove it"
	// +kubebuilder:validation:XValidation:rule="size(bytes(self)) <= 256",message="reason is longer than 256 bytes in UTF-8: shorten it"
	// +kubebuilder:validation:XValidation:rule=`!self.matches('[\\p{Cc}\\p{Zl}\\p{Zp}]')`,message="reason must be one line: remove line breaks, tabs and other control characters"
	Reason string `json:"reason,omitempty"`

	// expiresAt is when the pause stops acting, an RFC 3339 date and time such as
	// "2026-12-01T09:00:00Z". The object stays.
	//
	// +optional
	// +kubebuilder:validation:Schemaless
	// +kubebuilder:validation:Type=string
	// +kubebuilder:validation:MaxLength=255
	// +kubebuilder:validation:XValidation:rule=`self.matches('^[1-9][0-9]{3}-(0[1-9]|1[0-2])-(0[1-9]|[12][0-9]|3[01])T([01][0-9]|2[0-3]):[0-5][0-9]:[0-5][0-9]([.][0-9]{1,9})?(Z|[+-]([01][0-9]|2[0-3]):[0-5][0-9])$') && !self.matches('^9999-12-31T.*-') && !format.datetime().validate(self).hasValue() && timestamp(self) >= timestamp('1970-01-01T00:00:00Z') && timestamp(self) <= timestamp('9999-12-31T23:59:59.999999999Z')`,message="expiresAt must be a date and time in the years 1970 to 9999 in UTC, such as 2026-12-01T09:00:00Z or 2026-12-01T18:00:00+09:00: correct it, or remove it for a pause without an end"
	ExpiresAt *metav1.Time `json:"expiresAt,omitempty"`

	// ttlSecondsAfterExpired deletes this object that long after expiresAt, in
	// seconds: 0 to 31536000 (365 days). It needs expiresAt.
	//
	// +optional
	// +kubebuilder:validation:Schemaless
	// +kubebuilder:validation:Type=integer
	// +kubebuilder:validation:XValidation:rule="self >= 0 && self <= 31536000",message="ttlSecondsAfterExpired must be from 0 to 31536000 seconds (365 days): correct it, or remove it to keep the object"
	TTLSecondsAfterExpired *int64 `json:"ttlSecondsAfterExpired,omitempty"`

	// deleteAfterDisconnectSeconds deletes this object once all connections that
	// the connectionIDs of one side name have been gone for that long, in seconds:
	// 0 to 31536000 (365 days). A connection that was never seen does not count as
	// gone, and an edit starts anew. It needs connectionIDs on a side.
	//
	// +optional
	// +kubebuilder:validation:Schemaless
	// +kubebuilder:validation:Type=integer
	// +kubebuilder:validation:XValidation:rule="self >= 0 && self <= 31536000",message="deleteAfterDisconnectSeconds must be from 0 to 31536000 seconds (365 days): correct it, or remove it to keep the object"
	DeleteAfterDisconnectSeconds *int64 `json:"deleteAfterDisconnectSeconds,omitempty"`
}

// RtpStreamPauseStatus is what the controllers know of a pause.
type RtpStreamPauseStatus struct {
	// conditions are Ready and Enforced.
	//
	// +optional
	// +listType=map
	// +listMapKey=type
	// +kubebuilder:validation:MaxItems=8
	// +kubebuilder:validation:XValidation:rule="self.all(c, c.lastTransitionTime >= timestamp('1970-01-01T00:00:00Z') && c.lastTransitionTime <= timestamp('9999-12-31T23:59:59.999999999Z'))",message="lastTransitionTime must be a date and time in the years 1970 to 9999 in UTC, such as 2026-12-01T09:00:00Z: correct it"
	Conditions []metav1.Condition `json:"conditions,omitempty"`

	// observedGeneration is the generation that this status was computed from.
	// It is -1 until the first status is written, so that an untouched object
	// does not look finished.
	//
	// +optional
	ObservedGeneration int64 `json:"observedGeneration,omitempty"`

	// enforcedGeneration is the newest generation of which a media server has
	// withheld a matching edge: the connections that it names have been seen.
	//
	// +optional
	// +kubebuilder:validation:Minimum=1
	EnforcedGeneration int64 `json:"enforcedGeneration,omitempty"`

	// mediaServer names a media server that withholds a matching edge, or did last;
	// absent once that one has ended, or has been out of touch for too long.
	//
	// +optional
	// +kubebuilder:validation:MinLength=1
	// +kubebuilder:validation:MaxLength=255
	MediaServer string `json:"mediaServer,omitempty"`

	// disconnectedAt is when the last of the connections that one side's
	// connectionIDs name was reported gone; absent while any of them is there or
	// has never been seen.
	//
	// +optional
	// +kubebuilder:validation:Schemaless
	// +kubebuilder:validation:Type=string
	// +kubebuilder:validation:MaxLength=255
	// +kubebuilder:validation:XValidation:rule=`self.matches('^[1-9][0-9]{3}-(0[1-9]|1[0-2])-(0[1-9]|[12][0-9]|3[01])T([01][0-9]|2[0-3]):[0-5][0-9]:[0-5][0-9]([.][0-9]{1,9})?(Z|[+-]([01][0-9]|2[0-3]):[0-5][0-9])$') && !self.matches('^9999-12-31T.*-') && !format.datetime().validate(self).hasValue() && timestamp(self) >= timestamp('1970-01-01T00:00:00Z') && timestamp(self) <= timestamp('9999-12-31T23:59:59.999999999Z')`,message="disconnectedAt must be a date and time in the years 1970 to 9999 in UTC, such as 2026-12-01T09:00:00Z or 2026-12-01T18:00:00+09:00: correct it"
	DisconnectedAt *metav1.Time `json:"disconnectedAt,omitempty"`
}

// RtpStreamPause says that the receivers it names shall not get the streams of
// the senders it names. An edge is paused while at least one RtpStreamPause in
// force names it, and goes on when the last one is deleted or expires.
//
// +kubebuilder:object:root=true
// +kubebuilder:subresource:status
// +kubebuilder:resource:shortName=rsp,categories=nagi
// +kubebuilder:selectablefield:JSONPath=.spec.channelID
// +kubebuilder:printcolumn:name=Channel,type=string,JSONPath=.spec.channelID
// +kubebuilder:printcolumn:name=Receivers,type=string,JSONPath=.spec.receivers
// +kubebuilder:printcolumn:name=Senders,type=string,JSONPath=.spec.senders
// +kubebuilder:printcolumn:name=Ready,type=string,JSONPath=`.status.conditions[?(@.type=="Ready")].status`
// +kubebuilder:printcolumn:name=Reason,type=string,JSONPath=`.status.conditions[?(@.type=="Ready")].reason`
// +kubebuilder:printcolumn:name=Age,type=date,JSONPath=.metadata.creationTimestamp
// +kubebuilder:printcolumn:name=Kinds,type=string,priority=1,JSONPath=.spec.kinds
// +kubebuilder:printcolumn:name=Expires,type=string,priority=1,JSONPath=.spec.expiresAt
// +kubebuilder:printcolumn:name=Enforced,type=string,priority=1,JSONPath=`.status.conditions[?(@.type=="Enforced")].status`
// +kubebuilder:printcolumn:name=MediaServer,type=string,priority=1,JSONPath=.status.mediaServer
type RtpStreamPause struct {
	metav1.TypeMeta `json:",inline"`

	// metadata is what every object has: a name, a namespace, labels.
	//
	// +optional
	metav1.ObjectMeta `json:"metadata,omitempty"`

	// spec says whose stream is withheld from whom.
	//
	// +required
	Spec RtpStreamPauseSpec `json:"spec"`

	// status is what the controllers know of the pause.
	//
	// +optional
	// +default={"observedGeneration":-1}
	Status RtpStreamPauseStatus `json:"status,omitzero"`
}

// RtpStreamPauseList is a list of RtpStreamPause objects.
//
// +kubebuilder:object:root=true
type RtpStreamPauseList struct {
	metav1.TypeMeta `json:",inline"`
	metav1.ListMeta `json:"metadata,omitempty"`

	Items []RtpStreamPause `json:"items"`
}
