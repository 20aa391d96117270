package claims

import (
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"strconv"
	"time"
	"unique"

	coordinationv1 "k8s.io/api/coordination/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

const (
	// TenantLabel lists claims: its value is the tenant's namespace.
	TenantLabel = "rtp.nagi.dev/claim-of"
	// NamespaceAnnotation says of which namespace the channel is.
	NamespaceAnnotation = "rtp.nagi.dev/namespace"
	// ChannelAnnotation has the channel's id, which would fit neither a name nor a label.
	ChannelAnnotation = "rtp.nagi.dev/channel-id"
	// OpeningAnnotation has the number of the opening that the channel is claimed for.
	OpeningAnnotation = "rtp.nagi.dev/opening"
	// AddressAnnotation says where other media servers reach the holder, host:port: a manager
	// that has forgotten it, or never heard it, can still have it tried.
	AddressAnnotation = "rtp.nagi.dev/peer-address"
	// namePrefix stands before the hash.
	namePrefix = "nagi-channel-"
)

// claim is what is kept of a Lease.
type claim struct {
	namespace, channelID string
	holder               Holder
	// address is where the others reach the holder; empty: nobody has said.
	address string
	// opening is the latest that the holder has claimed the channel for.
	opening   uint64
	name, uid string
	// resourceVersion is as the API server has it; version is the same as a number, by
	// which two states of one Lease are told apart.
	resourceVersion string
	version         uint64
	transitions     int32
	acquired        time.Time
	renewed         time.Time
	// written is when this replica wrote it, and learned when it came to know this
	// state of it.
	written, learned time.Time
}

// NameOf is the name of the Lease of a channel. No namespace contains a slash. The hash
// is a whole one: a tenant chooses the ids of its channels, and must not meet another's.
func NameOf(namespace, channelID string) string {
	sum := sha256.Sum256([]byte(namespace + "/" + channelID))

	return namePrefix + hex.EncodeToString(sum[:])
}

// decode reads a Lease. One that somebody has made by hand, so that it does not say what
// its name does, is no claim; one whose holder is no media server has no owner.
func decode(lease *coordinationv1.Lease) (*claim, error) {
	c := &claim{
		namespace: lease.Annotations[NamespaceAnnotation], channelID: lease.Annotations[ChannelAnnotation],
		name: lease.Name, uid: string(lease.UID), resourceVersion: lease.ResourceVersion,
		address: unique.Make(lease.Annotations[AddressAnnotation]).Value(), // Many have the same.
	}
	if NameOf(c.namespace, c.channelID) != lease.Name {
		return nil, errors.New("its annotations name another channel than its name does")
	}
	var err error
	if c.version, err = strconv.ParseUint(lease.ResourceVersion, 10, 64); err != nil {
		return nil, fmt.Errorf("its resourceVersion is no number: %w", err)
	}
	if opening, ok := lease.Annotations[OpeningAnnotation]; ok {
		if c.opening, err = strconv.ParseUint(opening, 10, 64); err != nil {
			return nil, fmt.Errorf("its opening is no number: %w", err)
		}
	}
	if lease.Spec.HolderIdentity != nil {
		c.holder = holderOf(*lease.Spec.HolderIdentity)
	}
	if lease.Spec.LeaseTransitions != nil {
		c.transitions = *lease.Spec.LeaseTransitions
	}
	if lease.Spec.AcquireTime != nil {
		c.acquired = lease.Spec.AcquireTime.Time
	}
	if lease.Spec.RenewTime != nil {
		c.renewed = lease.Spec.RenewTime.Time
	}

	return c, nil
}

// lease is the claim as it is to be written.
func (c *claim) lease(managers string) *coordinationv1.Lease {
	identity := c.holder.identity()
	acquired, renewed := metav1.NewMicroTime(c.acquired), metav1.NewMicroTime(c.renewed)

	annotations := map[string]string{
		NamespaceAnnotation: c.namespace, ChannelAnnotation: c.channelID,
		OpeningAnnotation: strconv.FormatUint(c.opening, 10),
	}
	if c.address != "" {
		annotations[AddressAnnotation] = c.address
	}

	return &coordinationv1.Lease{
		ObjectMeta: metav1.ObjectMeta{
			Namespace: managers, Name: c.name, ResourceVersion: c.resourceVersion,
			Labels: map[string]string{TenantLabel: c.namespace}, Annotations: annotations,
		},
		Spec: coordinationv1.LeaseSpec{
			HolderIdentity: &identity, AcquireTime: &acquired, RenewTime: &renewed, LeaseTransitions: &c.transitions,
		},
	}
}
