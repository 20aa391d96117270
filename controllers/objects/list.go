package objects

import (
	"context"
	stdjson "encoding/json"
	"fmt"
	"strconv"
)

// pageSize bounds what one page costs in memory on either side: about 1 MiB.
const pageSize = 500

// page is one answer to a list. Its objects are left as they came: a list that
// decodes as a whole is lost as a whole to one object that does not.
type page struct {
	Metadata struct {
		ResourceVersion    string `json:"resourceVersion"`
		Continue           string `json:"continue"`
		RemainingItemCount int    `json:"remainingItemCount"`
	} `json:"metadata"`
	Items []stdjson.RawMessage `json:"items"`
}

func (c *connection) page(ctx context.Context, limit int, next string) (*page, error) {
	parameters := map[string]string{"limit": strconv.Itoa(limit)}
	if next != "" {
		parameters["continue"] = next
	}
	body, err := c.read(ctx, parameters)
	if err != nil {
		return nil, err
	}
	answer := new(page)
	if err := stdjson.Unmarshal(body, answer); err != nil {
		return nil, fmt.Errorf("read a list: %w", err)
	}

	return answer, nil
}

// list reads the collection as etcd has it now: the resource version is left unset,
// since a server whose etcd was restored refuses those of before, or, once it has
// passed them, takes them for its own. All pages are of one version.
//
// Objects equal to known ones are the known ones.
func (c *connection) list(ctx context.Context, known state) (state, uint64, error) {
	all := newState()
	for next := ""; ; {
		answer, err := c.page(ctx, pageSize, next)
		if err != nil {
			return state{}, 0, err
		}
		for _, raw := range answer.Items {
			i, err := known.read(raw)
			if err != nil {
				return state{}, 0, fmt.Errorf("read a list: %w", err)
			}
			all.put(i)
		}
		if next = answer.Metadata.Continue; next != "" {
			continue
		}
		version, err := parseVersion(answer.Metadata.ResourceVersion)
		if err != nil {
			return state{}, 0, fmt.Errorf("read a list: %w", err)
		}

		return all, version, nil
	}
}
