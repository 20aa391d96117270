package tables

import (
	forwardingv1 "github.com/nagi-rtc/nagi/api/forwarding/v1"
)

// Membership is who is in a channel, or what changed in that.
type Membership struct {
	// Instance counts the channels that the process has opened, from 1; 0: the
	// channel is not hosted now, and the rest says nothing.
	Instance uint64
	// Epoch counts the changes of the instance's membership, from 1.
	Epoch uint64
	// Base is the epoch to which this is the difference, the one that was asked
	// about; 0: this is the whole membership.
	Base uint64
	// Joined are connections that are there now and were not at Base.
	Joined []*forwardingv1.Connection
	// Left are the ids of connections that were there at Base and are not now.
	Left []string
}

// States is what one instance of a channel does with the pauses of its table, or
// what changed in that.
type States struct {
	// Instance is as in Membership; 0: the channel is not hosted now, or holds no
	// table yet, and the rest says nothing.
	Instance uint64
	// Epoch is the membership that the states were computed for.
	Epoch uint64
	// Version is that of the last table applied.
	Version uint64
	// Sequence counts the changes of the states in the instance, from 1.
	Sequence uint64
	// Whole tells that Set is all of it, and not a difference.
	Whole bool
	// Set are the states that are other than at the sequence asked about.
	Set []*forwardingv1.PauseState
	// Removed are the uids of pauses that the table held then and holds no longer.
	Removed []string
}

// Table is the pauses of one instance of a channel, or what changed in them since
// the table applied before.
type Table struct {
	ChannelID         string
	Instance, Version uint64
	// Whole tells that Set is all of it, and not a difference.
	Whole bool
	// Set are pauses that are new or have another content. They must not be
	// changed: streams share them.
	Set []*forwardingv1.Pause
	// Removed are the uids of pauses that act no longer.
	Removed []string
}

// Host is what the tables act on: the channels of this media server. Its methods
// are called from several goroutines; Apply never twice at a time for one channel.
// What it returns must not change afterwards.
//
// It tells the Subscriber by Changed whenever a channel's membership or states
// are other than before.
type Host interface {
	// Hosted returns the ids of the channels that have connections now.
	Hosted() []string
	// Membership tells what changed since an epoch of an instance: the whole
	// membership when since is 0, of another instance, or too long ago to be told.
	Membership(channelID string, instance, since uint64) Membership
	// Apply returns once the table is enforced, that is, fenced. A table of
	// another instance than the present one is ignored. The first table of an
	// instance is whole.
	Apply(table Table)
	// States tells what changed in the states of pauses since a sequence of an
	// instance: all states when since is 0, of another instance, or too long ago
	// to be told.
	States(channelID string, instance, since uint64) States
	// Ask answers a question from what is so now. The question's version and wait
	// are none of its business, nor are parts: the answer is whole.
	Ask(question *forwardingv1.Question) *forwardingv1.Answer
}
