package matching

import forwardingv1 "github.com/nagi-rtc/nagi/api/forwarding/v1"

// Kinds is a set of media kinds.
type Kinds uint8

// allKinds are the kinds that this build knows, in the protocol's order.
var allKinds = [kindCount]forwardingv1.Kind{forwardingv1.Kind_KIND_AUDIO, forwardingv1.Kind_KIND_VIDEO}

const kindCount = 2

// KindsOf returns the set of the kinds in the list.
func KindsOf(list ...forwardingv1.Kind) Kinds {
	var set Kinds
	for _, kind := range list {
		set |= 1 << kind
	}

	return set
}

// Has tells whether kind is in the set.
func (k Kinds) Has(kind forwardingv1.Kind) bool { return k&(1<<kind) != 0 }

// List returns the kinds of the set in the protocol's order.
func (k Kinds) List() []forwardingv1.Kind {
	var list []forwardingv1.Kind
	for _, kind := range allKinds {
		if k.Has(kind) {
			list = append(list, kind)
		}
	}

	return list
}
