package objects

import (
	"errors"
	"fmt"
	"hash/maphash"
	"maps"
	"strconv"
	"unique"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/apimachinery/pkg/util/json"

	"github.com/nagi-rtc/nagi/api/v1alpha1"
)

// seed makes the sums of stored forms comparable within this process.
var seed = maphash.MakeSeed()

// identity is what every stored object has, whatever else of it does not decode.
type identity struct {
	name    string
	uid     types.UID
	version string
	// sum is of the object as the API server sent it. After etcd was restored, an
	// object can have the uid and the resource version that are held, and yet have
	// been written again with another content.
	sum uint64
}

func identify(raw []byte) (identity, error) {
	var partial struct {
		Metadata struct {
			Name            string    `json:"name"`
			UID             types.UID `json:"uid"`
			ResourceVersion string    `json:"resourceVersion"`
		} `json:"metadata"`
	}
	if err := json.Unmarshal(raw, &partial); err != nil {
		return identity{}, fmt.Errorf("read an object's metadata: %w", err)
	}
	m := partial.Metadata
	if m.Name == "" {
		return identity{}, errors.New("an object without a name")
	}

	return identity{name: m.Name, uid: m.UID, version: m.ResourceVersion, sum: maphash.Bytes(seed, raw)}, nil
}

// decode reads one object by itself, so that what does not decode harms no other,
// and leaves out what nobody here reads. Labels equal to those given are those.
func decode(raw []byte, labels map[string]string) (*v1alpha1.RtpStreamPause, error) {
	pause := new(v1alpha1.RtpStreamPause)
	if err := json.Unmarshal(raw, pause); err != nil {
		return nil, err // As it is: the caller names the object.
	}
	pause.ManagedFields, pause.Annotations = nil, nil
	if maps.Equal(pause.Labels, labels) {
		pause.Labels = labels
	}
	share(pause)

	return pause, nil
}

// share keeps one copy of what many objects have alike: of 100,000 objects it is
// about a third.
func share(p *v1alpha1.RtpStreamPause) {
	p.Kind, p.APIVersion, p.Namespace = one(p.Kind), one(p.APIVersion), one(p.Namespace)
	p.Spec.ChannelID, p.Spec.Reason = one(p.Spec.ChannelID), one(p.Spec.Reason)
	if len(p.Spec.Kinds) == 1 && p.Spec.Kinds[0] == v1alpha1.KindVideo {
		p.Spec.Kinds = video
	}
	p.Status.MediaServer = one(p.Status.MediaServer)
	// Decoding leaves room for twice as many.
	p.Status.Conditions = exactly(p.Status.Conditions)
	for _, s := range []*v1alpha1.Side{&p.Spec.Receivers, &p.Spec.Senders} {
		s.ConnectionIDs, s.ClientIDs = exactly(s.ConnectionIDs), exactly(s.ClientIDs)
	}
	for i := range p.Status.Conditions {
		c := &p.Status.Conditions[i]
		c.Type, c.Reason, c.Message = one(c.Type), one(c.Reason), one(c.Message)
		c.Status = metav1.ConditionStatus(one(string(c.Status)))
	}
}

var video = []v1alpha1.Kind{v1alpha1.KindVideo}

func exactly[T any](list []T) []T {
	if len(list) == cap(list) {
		return list
	}

	return append(make([]T, 0, len(list)), list...)
}

func one(s string) string {
	if s == "" {
		return ""
	}

	return unique.Make(s).Value()
}

// parseVersion reads a resource version; those of one resource compare as numbers.
func parseVersion(version string) (uint64, error) {
	v, err := strconv.ParseUint(version, 10, 64)
	if err != nil {
		return 0, fmt.Errorf("resource version %q is no number", version)
	}

	return v, nil
}
