package objects

import (
	"errors"
	"fmt"
	"hash/maphash"
	"strconv"

	"k8s.io/apimachinery/pkg/types"
	"k8s.io/apimachinery/pkg/util/json"

	"github.com/nagi-rtc/nagi/api/v1alpha1"
	"github.com/nagi-rtc/nagi/controllers/held"
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

// decode reads one object by itself, so that what does not decode harms no other.
func decode(raw []byte) (*held.Pause, error) {
	object := new(v1alpha1.RtpStreamPause)
	if err := json.Unmarshal(raw, object); err != nil {
		return nil, err // As it is: the caller names the object.
	}

	return held.New(object), nil
}

// parseVersion reads a resource version; those of one resource compare as numbers.
func parseVersion(version string) (uint64, error) {
	v, err := strconv.ParseUint(version, 10, 64)
	if err != nil {
		return 0, fmt.Errorf("resource version %q is no number", version)
	}

	return v, nil
}
